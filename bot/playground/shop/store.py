"""Keep the fake shop's discounts and orders, and send its orders to the desk."""

import asyncio
import json
import logging
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2

from bot.playground.workspace import Store
from retention import clock
from retention.connect.shops.shopify import Shopify
from retention.db import Database
from retention.demo import SHOP_ORDER
from retention.demo.shopify_discounts import Discounts, value_of
from retention.errors import BadInput
from retention.privacy import standard_webhooks
from retention.text import gettext
from workers.queue.child_environments import ChildEnvironments

log = logging.getLogger(__name__)

MAX_QUANTITY, MAX_LINES = 99, 50
_SETS = ("customers", "products", "used_by")  # of a discount; JSON has no sets


@dataclass(frozen=True, slots=True)
class Line:
    """A product in a basket."""

    item_id: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """A placed order. ``is_sent`` says whether the desk has it already."""

    order_id: str
    subtotal: float
    discount: float
    code: str
    is_sent: bool

    @property
    def total(self) -> float:
        """What the customer pays."""
        return round(self.subtotal - self.discount, 2)


class FakeShop:
    """The shop's state.

    `environments`: for the process that reads the catalogue.
    """

    def __init__(
        self,
        store: Store,
        desk_url: str,
        events_key: str,
        environments: ChildEnvironments,
        cache: Path,
    ) -> None:
        self._store, self._desk_url, self._events_key = store, desk_url, events_key
        self._environments, self._cache = environments, cache
        self._catalogue: dict[str, Any] | None = None
        self._reading, self._ordering = asyncio.Lock(), asyncio.Lock()
        self.discounts = Discounts()
        self._load()

    # ------------------------------------------------------------ catalogue

    async def catalogue(self) -> dict[str, Any]:
        """Return the products and categories; the first call reads the lake."""
        async with self._reading:
            if self._catalogue is None:
                if not self._cache.is_file():
                    await self._write_catalogue()
                self._catalogue = json.loads(self._cache.read_text("utf-8"))
                self.discounts.products = {
                    category: [f"gid://shopify/Product/{item}" for item in items]
                    for category, items in self._catalogue["categories"].items()
                }
        return self._catalogue

    async def _write_catalogue(self) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "bot.playground.shop.catalogue",
            stdout=asyncio.subprocess.PIPE,
            env=self._environments.of("worker"),
        )
        output, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError("the fake shop's catalogue could not be read")
        part = self._cache.with_suffix(".part")
        part.write_bytes(output)
        part.replace(self._cache)

    # ------------------------------------------------------------ discounts

    def _load(self) -> None:
        for node_id, body in self._store.all("shop_discount"):
            sets = {name: set(body["node"][name]) for name in _SETS}
            self.discounts.nodes[node_id] = body["node"] | sets
        for _, body in self._store.all("shop_number"):
            self.discounts.number = body["number"]

    def save_discounts(self) -> None:
        """Store the discounts, so that they are there after the next start."""
        stored = {node_id for node_id, _ in self._store.all("shop_discount")}
        for node_id in stored - self.discounts.nodes.keys():
            self._store.drop("shop_discount", node_id)
        for node_id, node in self.discounts.nodes.items():
            sets = {name: sorted(node[name]) for name in _SETS}
            self._store.put("shop_discount", node_id, {"node": node | sets})
        self._store.put("shop_number", "last", {"number": self.discounts.number})

    # ------------------------------------------------------------ orders

    async def order(
        self, customer: str, lines: Sequence[Line], code: str, checkout: str = ""
    ) -> Receipt:
        """Place an order and send it to the desk; a repeated checkout gives the first receipt.

        `code`: discount code, or an empty text.
        Raises `BadInput`: the basket or the code cannot be used. Nothing is ordered.
        """
        prices = {each["item_id"]: each["price"] for each in (await self.catalogue())["products"]}
        async with self._ordering:
            orders = dict(self._store.all("shop_order"))
            known = (body for body in orders.values() if body.get("checkout") == checkout)
            if checkout and (body := next(known, None)):
                return Receipt(**body["receipt"], is_sent=body["is_sent"])
            return await self._place(customer, lines, code, checkout, prices, len(orders) + 1)

    async def _place(
        self,
        customer: str,
        lines: Sequence[Line],
        code: str,
        checkout: str,
        prices: dict[str, float],
        number: int,
    ) -> Receipt:
        _check_lines(lines, prices)
        now = clock.now()
        amounts = {line.item_id: round(prices[line.item_id] * line.quantity, 2) for line in lines}
        subtotal = round(sum(amounts.values()), 2)
        discount = self._use(code, customer, amounts, subtotal, now) if code else 0.0
        order_id = f"{SHOP_ORDER}{number:05d}"
        common = {
            "customer_id": customer,
            "occurred_at": now.isoformat(),
            "order_id": order_id,
            "channel": "web",
            "source": "shop",
        }
        events = [
            {
                **common,
                "event_id": f"{order_id}-{line.item_id}",
                "event_type": "purchase",
                "item_id": line.item_id,
                "quantity": line.quantity,
                "amount": amounts[line.item_id],
            }
            for line in lines
        ]
        if code:
            used = {"event_id": f"{order_id}-code", "event_type": "coupon_redeem"}
            events.append({**common, **used, "query": code.upper(), "discount": discount})
        receipt: dict[str, Any] = {"order_id": order_id, "subtotal": subtotal}
        receipt |= {"discount": discount, "code": code}
        order = {"events": events, "is_sent": False, "checkout": checkout, "receipt": receipt}
        self._store.put("shop_order", order_id, order)
        sent = await self.send_orders()
        return Receipt(**receipt, is_sent=order_id in sent)

    def _use(
        self, code: str, customer: str, amounts: dict[str, float], subtotal: float, now: datetime
    ) -> float:
        """Use a code; return its discount."""
        reason = self.discounts.checkout(code, customer, subtotal, f"{now:%Y-%m-%dT%H:%M:%SZ}")
        if reason:
            raise BadInput(refusal_text(reason).format(code=code), field="code")
        node = self.discounts.node_of(code)
        assert node is not None  # as it was used just now
        covered = {each.rpartition("/")[2] for each in node["products"]}
        base = sum(each for item, each in amounts.items() if not covered or item in covered)
        self.save_discounts()
        return min(base, round(value_of(node, base), 2))

    async def send_orders(self) -> set[str]:
        """Send the orders that the desk does not have yet; return their ids.

        The events keep their ids, so a repeated one counts once.
        """
        sent: set[str] = set()
        waiting = [
            (key, body) for key, body in self._store.all("shop_order") if not body["is_sent"]
        ]
        if not waiting:
            return sent
        with suppress(httpx2.HTTPError):
            async with httpx2.AsyncClient(
                base_url=self._desk_url, timeout=10, trust_env=False
            ) as desk:
                for key, body in waiting:
                    content = json.dumps(body["events"]).encode()
                    headers = standard_webhooks.headers(
                        self._events_key, f"order-{key}", content, clock.wall()
                    )
                    answer = await desk.post("/events", content=content, headers=headers)
                    if answer.status_code != 202 or answer.json()["rejected"]:
                        log.warning("the desk did not take order %s: %s", key, answer.text[:300])
                        continue
                    self._store.put("shop_order", key, body | {"is_sent": True})
                    sent.add(key)
        return sent


def _check_lines(lines: Sequence[Line], prices: dict[str, float]) -> None:
    if not 0 < len(lines) <= MAX_LINES:
        raise BadInput(gettext("The basket is empty; add a product."), field="lines")
    for line in lines:
        if line.item_id not in prices:
            text = gettext("The shop does not sell {item!r}; remove it.")
            raise BadInput(text.format(item=line.item_id), field="lines")
        if not 1 <= line.quantity <= MAX_QUANTITY:
            sentence = gettext("The quantity is {quantity}; order 1 to {most}.")
            raise BadInput(
                sentence.format(quantity=line.quantity, most=MAX_QUANTITY), field="lines"
            )


def refusal_text(reason: str) -> str:
    """Return the sentence for a refusal of `Discounts.checkout`; it names ``{code}``."""
    return {
        "unknown": gettext("The shop has no code {code}; check its spelling."),
        "not active": gettext("Code {code} is not valid now; it has ended."),
        "not eligible": gettext("Code {code} is for other customers."),
        "used": gettext("Code {code} was used already."),
        "below the minimum": gettext("The basket is too small for code {code}; add products."),
    }[reason]


PATH, VERSION = "/shop", "2026-07"  # of the shop; of Shopify's Admin API
NAME = "fake-shop"


def connect(database: Database, token: str, *, channel: str, by: str) -> None:
    """Store the connection, with the address and token of this run."""
    from retention.connect import connections

    values = {
        "shop": f"http://127.0.0.1:{database.settings.playground_port}{PATH}",
        "token": token,
        "version": VERSION,
    }
    with database.transaction() as session:
        try:
            connection = connections.find(session, NAME)
        except BadInput:
            declared = Shopify.settings
            connections.add(session, NAME, Shopify.kind, declared, values, channel=channel, by=by)
            return
        secrets, connection.config = {"token": values.pop("token")}, values
        place = connections.place_of(connection)
        connection.secrets = connections.encrypt(database.settings.keys, secrets, place)
