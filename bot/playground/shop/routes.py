"""Serve the fake shop's page, and the part of Shopify's Admin API that makes codes."""

import hmac
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import select
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from bot.http import service_api
from bot.http.event_api import SCRIPT
from bot.playground.guard import CSP
from bot.playground.page import file_route
from bot.playground.shop.store import PATH, VERSION, FakeShop, Line
from retention import clock
from retention.campaigns.message.wording import load_wording
from retention.db import Database
from retention.db.tables import Coupon, DirectoryEntry, ShopCode
from retention.demo import graphql
from retention.demo.graphql import GraphqlError
from retention.errors import BadInput
from retention.service.identity import sign
from retention.text import gettext

FOLDER = Path(__file__).parent / "page"
LOCALE = "en-US"  # of all households
SIGNED_SECONDS = 3600  # of a household in the chat
MAX_HOUSEHOLDS = 20  # suggested ones


class _Order(BaseModel):
    model_config = ConfigDict(extra="forbid")
    customer_id: str = Field(min_length=1, max_length=255)
    lines: list[Line]
    code: str = Field("", max_length=64)
    checkout: str = Field("", max_length=64)  # equal in a repeated request


class ShopRoutes:
    """The request handlers of the fake shop."""

    def __init__(self, shop: FakeShop, database: Database, token: str) -> None:
        self._shop, self._settings, self._database = shop, database.settings, database
        self._token = token
        self._desk = f"http://127.0.0.1:{database.settings.port}"

    def routes(self) -> list[Route]:
        return [
            Route(PATH, self._page),
            Route(f"{PATH}/state", self._state),
            Route(f"{PATH}/households/{{customer}}", self._household),
            Route(f"{PATH}/orders", self._order, methods=["POST"]),
            Route(f"{PATH}/admin/api/{VERSION}/graphql.json", self._admin, methods=["POST"]),
            file_route(FOLDER, f"{PATH}/page"),
        ]

    # ------------------------------------------------------------ page

    async def _page(self, request: Request) -> Response:
        """Return the page, which may load the desk's script and send it events."""
        policy = CSP.replace("script-src 'self'", f"script-src 'self' {self._desk}")
        policy = policy.replace("connect-src 'self'", f"connect-src 'self' {self._desk}")
        headers = {"content-security-policy": policy}
        return FileResponse(FOLDER / "index.html", media_type="text/html", headers=headers)

    async def _state(self, request: Request) -> Response:
        """Return the products and what `events.js` needs."""
        await self._shop.send_orders()
        catalogue = await self._shop.catalogue()
        return JSONResponse(
            {
                "now": clock.now().isoformat(),
                "script": f"{self._desk}{SCRIPT}",
                "chat": f"{self._desk}{service_api.SCRIPT}",
                "key": self._settings.events_public_key,
                "products": catalogue["products"],
                "households": self._households(),
            }
        )

    def _households(self) -> list[str]:
        """Return households to suggest: first those with a code that works."""
        settings = self._settings
        with self._database.reading() as session:
            with_code = session.scalars(
                select(Coupon.customer_id)
                .join(ShopCode, ShopCode.code == Coupon.code)
                .where(Coupon.team_id == settings.team_id, Coupon.state == "issued")
                .where(ShopCode.state == "made", Coupon.expires_at > clock.now())
                .order_by(Coupon.customer_id)
                .limit(MAX_HOUSEHOLDS)
            ).all()
            others = session.scalars(
                select(DirectoryEntry.customer_id)
                .where(DirectoryEntry.team_id == settings.team_id)
                .order_by(DirectoryEntry.customer_id)
                .limit(MAX_HOUSEHOLDS)
            ).all()
        return [*dict.fromkeys([*with_code, *others])][:MAX_HOUSEHOLDS]

    async def _household(self, request: Request) -> Response:
        """Return a household's codes, as its e-mails have them."""
        customer, settings = request.path_params["customer"], self._settings
        wording = load_wording(settings, LOCALE)
        if not self._is_known(customer):
            return JSONResponse({"error": _no_household(customer)}, 404)
        with self._database.reading() as session:
            codes = session.execute(
                select(Coupon.code, Coupon.expires_at)
                .join(ShopCode, ShopCode.code == Coupon.code)
                .where(Coupon.team_id == settings.team_id, Coupon.customer_id == customer)
                .where(Coupon.state == "issued", ShopCode.state == "made")
                .order_by(Coupon.expires_at)
            ).all()
        shown = [
            {"code": code, "last_day": wording.day(expires_at, settings.timezone)}
            for code, expires_at in codes
        ]
        return JSONResponse(
            {"customer_id": customer, "codes": shown, "identity": self._sign(customer)}
        )

    def _sign(self, customer: str) -> list[Any]:
        """Sign who is in the shop, as the server of a real shop does after the sign-in."""
        key, expires = self._settings.service_key, int(clock.wall().timestamp()) + SIGNED_SECONDS
        secret = key.get_secret_value() if key else ""
        return [customer, expires, sign(secret, customer, expires)]

    def _is_known(self, customer: str) -> bool:
        with self._database.reading() as session:
            return session.get(DirectoryEntry, (self._settings.team_id, customer)) is not None

    async def _order(self, request: Request) -> Response:
        """Place an order."""
        try:
            order = _Order.model_validate_json(await request.body())
        except ValidationError:
            text = gettext("The order cannot be read; load the page again.")
            return JSONResponse({"error": text, "field": ""}, 400)
        if not self._is_known(order.customer_id):
            error = {"error": _no_household(order.customer_id), "field": "customer_id"}
            return JSONResponse(error, 404)
        try:
            receipt = await self._shop.order(
                order.customer_id, order.lines, order.code.strip(), order.checkout
            )
        except BadInput as problem:
            return JSONResponse({"error": str(problem), "field": problem.field or ""}, 422)
        return JSONResponse({**asdict(receipt), "total": receipt.total})

    # ------------------------------------------------------------ Admin API

    async def _admin(self, request: Request) -> Response:
        """Answer Shopify's Admin API: discounts and the ids of products."""
        given = request.headers.get("x-shopify-access-token", "")
        if not hmac.compare_digest(given.encode(), self._token.encode()):
            text = "[API] Invalid API key or access token (unrecognized login)"
            return JSONResponse({"errors": text}, 401)
        await self._shop.catalogue()
        try:
            data = self._answered(await request.json())
        except GraphqlError as error:
            problem = {"message": str(error), "extensions": {"code": error.code}}
            return JSONResponse({"errors": [problem]})
        return JSONResponse({"data": data})

    def _answered(self, body: dict[str, Any]) -> dict[str, Any]:
        discounts = self._shop.discounts
        kind, fields = graphql.parse(str(body.get("query") or ""), body.get("variables") or {})
        data = {}
        for field in fields:
            if field.name not in discounts.fields():
                raise GraphqlError(
                    "undefinedField", f"Field '{field.name}' doesn't exist on type 'QueryRoot'"
                )
            data[field.name] = discounts.answer(field)
        if kind == "mutation":
            discounts.work()
            self._shop.save_discounts()
        return data


def _no_household(customer: str) -> str:
    text = gettext("There is no household {customer!r}; choose a number from the list.")
    return text.format(customer=customer)
