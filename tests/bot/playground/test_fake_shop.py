"""Test the fake shop's checkout, its Admin API, and what it sends to the desk."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import httpx2
import pytest
from pydantic import SecretStr
from pytest_httpserver import HTTPServer
from sqlalchemy import select
from starlette.applications import Starlette

from bot.playground.shop.routes import ShopRoutes
from bot.playground.shop.store import NAME, FakeShop, connect
from bot.playground.workspace import Store
from retention import clock
from retention.campaigns.codes.coupons import normalize_code, valid_until
from retention.connect import connections
from retention.connect.registry import active_shop
from retention.db.tables import Coupon, DirectoryEntry, ShopCode, ShopDiscount
from retention.demo.graphql import parse
from retention.privacy import standard_webhooks
from tests.retention.outreach import live_campaigns
from tests.world import add, read
from workers.queue.child_environments import ChildEnvironments

KEY, TOKEN = "key-of-events-with-32-characters", "token"
CODE = "5B8T-Q59H-MYZ7"
ADMIN = "/shop/admin/api/2026-07/graphql.json"
CREATE = """mutation ($input: DiscountCodeBasicInput!) {
  discountCodeBasicCreate(basicCodeDiscount: $input) {
    codeDiscountNode { id } userErrors { message } } }"""


class Client:
    """Calls the shop's routes."""

    def __init__(self, shop: FakeShop, routes: ShopRoutes) -> None:
        self.shop = shop
        self._app = Starlette(routes=routes.routes())

    def call(self, method: str, path: str, **options: Any) -> httpx2.Response:
        async def send() -> httpx2.Response:
            transport = httpx2.ASGITransport(self._app)
            async with httpx2.AsyncClient(transport=transport, base_url="http://shop") as client:
                return await client.request(method, path, **options)

        return asyncio.run(send())

    def order(self, customer: str = "7", code: str = "", quantity: int = 2, **more: Any) -> Any:
        lines = [{"item_id": "1", "quantity": quantity}]
        body = {"customer_id": customer, "lines": lines, "code": code, **more}
        return self.call("POST", "/shop/orders", json=body)

    def admin(self, query: str, variables: Any = None, token: str = TOKEN) -> httpx2.Response:
        headers = {"X-Shopify-Access-Token": token}
        body = {"query": query, "variables": variables}
        return self.call("POST", ADMIN, json=body, headers=headers)

    def make_code(self) -> None:
        values = {
            "title": "Win back",
            "code": CODE,
            "startsAt": "2000-01-01T00:00:00Z",
            "endsAt": "2999-01-01T00:00:00Z",
            "usageLimit": 1,
            "context": {"customers": {"add": ["gid://shopify/Customer/7"]}},
            "customerGets": {"value": {"percentage": 0.15}, "items": {"all": True}},
        }
        assert self.admin(CREATE, {"input": values}).json()["data"]


def accept(desk: HTTPServer) -> HTTPServer:
    answer = {"accepted": 1, "duplicate": 0, "rejected": []}
    desk.expect_request("/events", method="POST").respond_with_json(answer, status=202)
    return desk


@pytest.fixture
def desk(httpserver: HTTPServer) -> HTTPServer:
    return accept(httpserver)


@pytest.fixture
def open_shop(desk, settings, database, tmp_path) -> Any:
    products = [{"item_id": "1", "title": "Tea", "category": "Drinks", "price": 2.5}]
    cache = tmp_path / "catalogue.json"
    cache.write_text(json.dumps({"products": products, "categories": {"Drinks": ["1"]}}))
    for customer in ("7", "8"):
        add(database, DirectoryEntry(customer_id=customer, pseudonym=f"p{customer}"))

    def opened(**changes: Any) -> Client:
        store = Store(tmp_path / "playground.db")
        own = settings.model_copy(update=changes)
        environments = ChildEnvironments(settings)
        shop = FakeShop(store, desk.url_for("").rstrip("/"), KEY, environments, cache)
        return Client(shop, ShopRoutes(shop, database.using(own), TOKEN))

    return opened


def test_order_with_a_code_is_signed_and_names_the_code(open_shop, desk) -> None:
    shop = open_shop()
    shop.make_code()
    receipt = shop.order(code=CODE.lower()).json()
    assert (receipt["subtotal"], receipt["discount"], receipt["total"]) == (5.0, 0.75, 4.25)
    assert receipt["is_sent"]
    request = desk.log[0][0]
    headers = {name.lower(): value for name, value in request.headers.items()}
    assert standard_webhooks.fault(KEY, headers, request.data, clock.wall()) == ""
    purchase, redemption = json.loads(request.data)
    assert (purchase["event_type"], purchase["amount"]) == ("purchase", 5.0)
    assert normalize_code(redemption["query"]) == normalize_code(CODE)
    assert redemption["order_id"] == purchase["order_id"] == receipt["order_id"]


@pytest.mark.parametrize(
    ("order", "status", "says"),
    [
        ({"code": "NOPE"}, 422, "no code NOPE"),
        ({"code": CODE, "customer": "8"}, 422, "for other customers"),
        ({"customer": "9"}, 404, "no household '9'"),
        ({"quantity": 100}, 422, "order 1 to 99"),
    ],
)
def test_refused_order_says_why_and_sends_nothing(open_shop, desk, order, status, says) -> None:
    shop = open_shop()
    shop.make_code()
    answer = shop.order(**order)
    assert answer.status_code == status
    assert says in answer.json()["error"]
    assert not desk.log


def test_repeated_checkout_is_one_order(open_shop, desk) -> None:
    """A double click placed two orders, and the desk quarantined the second."""
    shop = open_shop()
    shop.make_code()
    first = shop.order(code=CODE, checkout="b1").json()
    assert shop.order(code=CODE, checkout="b1").json() == first
    assert open_shop().order(code=CODE, checkout="b1").json() == first  # after a restart
    assert len(desk.log) == 1
    assert shop.order(checkout="b2").json()["order_id"] != first["order_id"]


def test_used_code_stays_used_after_a_restart(open_shop) -> None:
    shop = open_shop()
    shop.make_code()
    assert shop.order(code=CODE).status_code == 200
    again = open_shop()
    assert "used already" in again.order(code=CODE).json()["error"]


def test_last_day_of_a_code_is_that_of_its_email(open_shop, database, settings) -> None:
    """A browser in Europe called it the next day."""
    sent_at = datetime(2017, 10, 3, 17, tzinfo=UTC)
    expires_at = valid_until(sent_at, 28, ZoneInfo("America/New_York"))
    assert expires_at.day == 1  # of November, in UTC
    campaign = live_campaigns.start_campaign(database, settings, 2)
    keyed = settings.model_copy(update={"secret_key": SecretStr("k" * 64)})
    connect(database.using(keyed), TOKEN, channel="C0CRM", by="U0ADMIN")
    with database.transaction() as session:
        coupon = session.scalars(select(Coupon).limit(1)).one()
        coupon.customer_id, coupon.expires_at = "7", expires_at
        of = {"campaign_id": campaign.id, "connection_id": connections.find(session, NAME).id}
        made = ShopDiscount(**of, reference="r1", title="May", terms={}, first_code=coupon.code)
        made.ends_at = expires_at
        session.add(made)
        session.flush()
        session.add(ShopCode(code=coupon.code, discount_id=made.id, state="made"))
    shop = open_shop(timezone="America/New_York")
    (code,) = shop.call("GET", "/shop/households/7").json()["codes"]
    assert code["last_day"] == "Oct 31, 2017"


def test_order_is_sent_again_when_the_desk_answers(open_shop, desk) -> None:
    shop = open_shop()
    desk.clear()
    assert not shop.order().json()["is_sent"]
    desk.clear()
    accept(desk)
    assert asyncio.run(shop.shop.send_orders()) == {"shop-00001"}
    assert asyncio.run(shop.shop.send_orders()) == set()


def test_admin_api_needs_its_token_and_names_unknown_fields(open_shop) -> None:
    shop = open_shop()
    assert shop.admin("{ codeDiscountNode(id: 1) { id } }", token="other").status_code == 401
    errors = shop.admin("{ unheard { id } }").json()["errors"]
    assert errors[0]["extensions"]["code"] == "undefinedField"
    assert parse("{ shop { name } }")[0] == "query"


def test_each_start_renews_the_connection(settings, database) -> None:
    for token in ("first", "second"):
        connect(database, token, channel="C0CRM", by="U0ADMIN")
    (connection,) = read(database, connections.connections)
    assert read(database, active_shop).name == connection.name == NAME
    assert connections.access(settings, connection)["token"] == "second"
