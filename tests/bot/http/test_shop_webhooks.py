"""Test ``POST /hooks/NAME``: signature, duplicates and what the channel hears."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from bot.http import server, shop_webhooks
from bot.http.requests import Request, json_reply
from bot.http.server import Gateway
from bot.http.web import Route, Site
from retention.connect import connections
from retention.connect.shops.shopify import Shopify
from retention.db.tables import Outbox, Webhook
from retention.settings import Settings
from tests.bot.http.test_server import ask
from tests.bot.wire import ADMIN, CHANNEL
from tests.standins import shopify, woocommerce
from tests.world import change, one, scalar, scalars

FORGED = {"x-shopify-hmac-sha256": "A" * 43 + "="}


@pytest.fixture(scope="module")
def shop():
    """A shop at Shopify; its deliveries need no request."""
    with shopify.Shopify.start() as stand_in:
        stand_in.records.fill()
        yield stand_in


@pytest.fixture
def site(settings, database, shop) -> Site:
    connect(settings, database, "shop", shop)
    return Site(Settings(home=settings.home, _env_file=None), database)


def connect(settings, database, name, stand_in):
    values = {"shop": stand_in.url, "token": shopify.TOKEN, "client_secret": shopify.SECRET}
    place = {"channel": CHANNEL, "by": ADMIN}
    change(database, connections.add, name, "shopify", Shopify.settings, values, **place)


def deliver(site, headers, body, name="shop") -> int:
    status, _, answer = ask(site, "POST", f"/hooks/{name}", body, headers)
    assert status == 200 or answer == b'{"error": "unauthorized"}'
    return status


def stored(site) -> int:
    return scalar(site.database, select(func.count()).select_from(Webhook))


def posted(site) -> list[str]:
    return [str(payload) for payload in scalars(site.database, select(Outbox.payload))]


def test_signed_delivery_is_stored_once(site, shop):
    headers, body = shop.delivery("orders/create", shop.records.orders[5])
    assert [deliver(site, headers, body) for _ in range(3)] == [200] * 3
    row = one(site.database, select(Webhook))
    assert (row.topic, row.body, row.state) == ("orders/create", body, "waiting")


def test_two_shops_may_use_the_same_delivery_id(site, shop, settings, database):
    connect(settings, database, "other", shop)
    headers, body = shop.delivery("orders/create", shop.records.orders[5])
    assert deliver(site, headers, body) == deliver(site, headers, body, "other") == 200
    assert stored(site) == 2


@pytest.mark.parametrize("wrong", ["secret", "body", "name", "no name"])
def test_refused_delivery_gets_no_detail_and_stores_nothing(site, shop, wrong):
    secret = "another" if wrong == "secret" else None
    headers, body = shop.delivery("orders/create", shop.records.orders[5], secret=secret)
    body += b" " if wrong == "body" else b""
    name = {"name": "unknown", "no name": ""}.get(wrong, "shop")
    assert deliver(site, headers, body, name) == 401
    assert stored(site) == 0


@pytest.mark.parametrize("topic", ["orders/create", "customers/redact"])
@pytest.mark.parametrize("minutes", [5, 180])
def test_delivery_that_shopify_repeats_after_an_outage_is_stored_once(site, shop, topic, minutes):
    """It has the time of the first attempt, and only its signature is trusted."""
    first = datetime.now(UTC) - timedelta(minutes=minutes, seconds=1)
    redact = shop.privacy_request("redact", shop.records.customers[1])
    content = shop.records.orders[5] if topic == "orders/create" else redact
    headers, body = shop.delivery(topic, content, sent_at=first)
    assert [deliver(site, headers, body) for _ in range(2)] == [200, 200]
    assert stored(site) == 1
    assert deliver(site, headers, body + b" ") == 401


def test_channel_hears_once_a_day_of_a_wrong_signature(site, shop):
    headers, body = shop.delivery("orders/create", shop.records.orders[5], secret="another")
    for _ in range(3):
        deliver(site, headers, body)
    (message,) = posted(site)
    assert "signature" in message
    again = Request("POST", "/hooks/shop", body=body)
    Site(site.settings, site.database).shop_webhooks.handle(again)  # another process
    assert len(posted(site)) == 1


def test_new_secret_counts_at_once(site, shop, settings):
    headers, body = shop.delivery("orders/create", shop.records.orders[5], secret="another")
    assert deliver(site, headers, body) == 401

    with site.database.transaction() as session:
        connection = connections.find(session, "shop")
        place = connections.place_of(connection)
        known = connections.decrypt(settings.keys, connection.secrets, place)
        changed = known | {"client_secret": "another"}
        connection.secrets = connections.encrypt(settings.keys, changed, place)
    assert deliver(site, headers, body) == 200


def test_unsigned_delivery_is_refused_before_its_body_is_read(site, shop):
    for forged in ({}, {"x-shopify-hmac-sha256": "forged"}):
        assert site.early_refusal(Request("POST", "/hooks/shop", headers=forged)).status == 401
    with woocommerce.WooCommerce.start() as other:
        other.fill()
        deliveries = [
            shop.delivery("orders/create", shop.records.orders[5]),
            other.delivery("order.updated", other.orders[5]),
        ]
    for headers, _ in deliveries:
        named = {name.lower(): value for name, value in headers.items()}
        assert site.early_refusal(Request("POST", "/hooks/shop", headers=named)) is None


async def through(gateway, method, path, body=b"", **headers) -> int:
    """Send one request to the gateway; return the status."""
    statuses = []
    named = {"content-length": str(len(body)), **headers}

    async def receive():
        return {"type": "http.request", "body": body}

    async def send(message):
        statuses.append(message.get("status"))

    headers = [(name.encode(), value.encode()) for name, value in named.items()]
    scope = {"method": method, "path": path, "query_string": b"", "headers": headers}
    await gateway(scope, receive, send)
    return statuses[0]


def test_flood_of_webhooks_is_bounded_and_delays_no_other_request(site, monkeypatch):
    may_answer = threading.Event()

    def handle(_request):
        may_answer.wait(20)
        return json_reply(200, {})

    site.routes["POST", "/hooks/"] = Route(handle, shop_webhooks.MAX_BODY_BYTES)
    gateway = Gateway(site)
    body = b" " * 100_000

    async def flood() -> None:
        try:
            waiting = [
                asyncio.create_task(through(gateway, "POST", "/hooks/shop", body, **FORGED))
                for _ in range(server.MAX_WAITING_LARGE)
            ]
            await asyncio.sleep(0)  # each waits for a thread then
            assert gateway._buffered == len(waiting) * len(body)
            assert await through(gateway, "POST", "/hooks/shop", body, **FORGED) == 503
            assert await through(gateway, "GET", "/unsubscribe/unknown") == 404
        finally:
            may_answer.set()
        assert set(await asyncio.gather(*waiting)) == {200}

    asyncio.run(flood())
    assert gateway._buffered == 0


def test_forged_webhooks_are_read_up_to_a_limit_and_leave_room_for_others(site, monkeypatch):
    monkeypatch.setattr(server, "MAX_BUFFERED_HOOK_BYTES", 100_000)
    gateway = Gateway(site)

    async def flood() -> None:
        large = b" " * (shop_webhooks.MAX_BODY_BYTES + 1)
        assert await through(gateway, "POST", "/hooks/shop", large, **FORGED) == 413
        body = b" " * 100_001
        assert await through(gateway, "POST", "/hooks/shop", body, **FORGED) == 503
        assert await through(gateway, "POST", "/hooks/shop", b" " * 100_000, **FORGED) == 401

    asyncio.run(flood())
    assert gateway._buffered == gateway._buffered_hooks == 0
