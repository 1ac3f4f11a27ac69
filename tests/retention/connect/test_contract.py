"""Run the same tests on every connector (`tests.retention.connect.shops`)."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from retention import clock
from retention.connect import web
from retention.connect.connections import Access, check_values
from retention.connect.contract import ConnectedShop, ConnectorError
from retention.lake.schema import TABLES
from tests.retention.connect.failures import failure
from tests.retention.connect.shops import SHOPS, connected, orders_of, records_of

EVERY = pytest.mark.parametrize("kind", SHOPS)


@pytest.fixture(params=SHOPS)
def shop(request):
    """A connector and its stand-in."""
    with connected(request.param) as pair:
        yield pair


def rows_of(pages):
    """Return the imported rows by table and key; the last one counts."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for page in pages:
        key = TABLES[page.table].key[0]
        rows |= {(page.table, row[key]): row for row in page.rows}
    return rows


def pulled(connector):
    """Return the pages of a pull, and what ended it early."""
    pages = []
    try:
        pages.extend(connector.pull({}))
    except ConnectorError as error:
        return pages, error
    return pages, None


def refusal(connector) -> ConnectorError:
    return failure(lambda: list(connector.pull({})))


def pause(error) -> timedelta:
    return error.retry_at - clock.wall()


def test_connector_declares_its_settings_capabilities_and_currency(shop):
    connector, stand_in = shop
    check_values(connector.settings, SHOPS[connector.kind].values(stand_in))
    assert any(setting.is_secret for setting in connector.settings)
    assert isinstance(connector, ConnectedShop)
    assert connector.check()["currency"] in ("GBP", "EUR")
    assert not connector.read("themes/publish", b"{}", "1").pages  # an unknown topic


@EVERY
def test_wrong_key_is_denied_without_showing_it(kind):
    secrets = {"token": "wrong-secret", "key": "wrong-secret"}
    with connected(kind, **secrets) as (connector, _):
        error = failure(connector.check)
        assert error.code == "access_denied"
        assert "wrong-secret" not in f"{error}{error.detail}"
        assert refusal(connector).code == "access_denied"
    assert "wrong-secret" not in repr(Access(secrets))


def test_pull_reads_canonical_rows_with_all_parts_of_a_shop(shop):
    connector, _ = shop
    pages = list(connector.pull({}))
    for page in pages:
        table = TABLES[page.table]
        for row in page.rows:
            assert set(row) <= set(table.names)
            assert all(row[name] is not None for name in table.required)
            assert all(value.tzinfo for value in row.values() if isinstance(value, datetime))
    rows = rows_of(pages)
    kinds = [row["event_type"] for row in rows.values() if "event_type" in row]
    assert (kinds.count("purchase"), kinds.count("return")) == (40, 6)
    customers = [row for (table, _), row in rows.items() if table == "customers"]
    assert len(customers) == 12
    assert {row["marketing_consent"] for row in customers} == {True, False}
    item = rows["items", "SKU-1"]
    assert (float(item["price"]), round(item["margin"], 2), item["in_stock"]) == (5.0, 0.6, True)
    assert item["attributes"]["image"].startswith("https://")


def test_pull_continues_from_any_page(shop):
    connector, _ = shop
    pages = list(connector.pull({}))
    for number, page in enumerate(pages, 1):
        rest = connector.pull(page.watermark)
        assert rows_of([*pages[:number], *rest]) == rows_of(pages)


def test_second_pull_reads_only_what_changed(shop):
    connector, stand_in = shop
    watermark = list(connector.pull({}))[-1].watermark
    assert len(rows_of(connector.pull(watermark))) < 10
    later = datetime.now(UTC) + timedelta(hours=1)
    records_of(stand_in).add_order(77, at=later)
    events = [
        row for (table, _), row in rows_of(connector.pull(watermark)).items() if table == "events"
    ]
    assert any("77" in row["order_id"] for row in events)


def test_short_retry_after_is_waited_for_or_reported(shop):
    connector, stand_in = shop
    stand_in.fail("rate_limited", value=0.1)
    _, error = pulled(connector)
    if error is not None:
        assert error.code == "rate_limited"
        assert pause(error) <= timedelta(seconds=0.1)


def test_long_retry_after_ends_the_pull_with_its_time(shop):
    connector, stand_in = shop
    stand_in.fail("rate_limited", times=99, value=3600)
    error = refusal(connector)
    assert error.code == "rate_limited"
    assert error.is_temporary
    assert timedelta(minutes=59) < pause(error) <= timedelta(hours=1)


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("server_error", "unavailable"),
        ("cut_after_effect", "unavailable"),
        ("forbidden", "scope_missing"),
        ("unauthorized", "access_denied"),
        ("not_json", "changed_schema"),
    ],
)
def test_fault_ends_the_pull_with_its_code_and_the_next_completes_it(shop, fault, code):
    connector, stand_in = shop
    complete = rows_of(connector.pull({}))
    stand_in.fail(fault, path="orders")
    pages, error = pulled(connector)
    assert error.code == code
    rest = connector.pull(pages[-1].watermark if pages else {})
    assert rows_of([*pages, *rest]) == complete


def test_hanging_platform_is_unavailable(shop, monkeypatch):
    monkeypatch.setattr(web, "TIMEOUT", httpx2.Timeout(0.2))
    connector, stand_in = shop
    impatient = type(connector)(Access(SHOPS[connector.kind].values(stand_in)))
    stand_in.fail("hang", value=0.6)
    assert refusal(impatient).code == "unavailable"
    impatient.close()


def test_renamed_field_is_named_and_the_watermark_stays(shop):
    connector, stand_in = shop
    old, new = SHOPS[connector.kind].renamed
    stand_in.renamed[old] = new
    pages, error = pulled(connector)
    assert error.code == "changed_schema"
    assert old in error.detail
    assert not [page for page in pages if page.table == "events" and page.rows]


def test_missing_page_is_no_end(shop):
    connector, stand_in = shop
    for number in range(100, 320):
        records_of(stand_in).add_order(number)
    watermark = {}
    if connector.kind == "shopify":  # its first load has no pages
        at = {"updated_at": "2026-01-01T00:00:00+00:00"}
        watermark = {"orders": at, "customers": at, "products": at}
    stand_in.fail("missing_page", path="orders")
    error = failure(lambda: list(connector.pull(watermark)))
    assert error.code == "changed_schema"
    assert "missing" in error.detail


# ---------------------------------------------------------------- webhooks


def test_signed_webhook_says_the_same_as_the_pull(shop):
    connector, stand_in = shop
    known = rows_of(connector.pull({}))
    topic = SHOPS[connector.kind].topic
    for number in (5, 6):  # the second one has a refund
        headers, body = stand_in.delivery(topic, orders_of(stand_in)[number])
        lower = {name.lower(): value for name, value in headers.items()}
        delivery_id = connector.verify(lower, body)
        notice = connector.read(connector.topic(lower), body, delivery_id)
        assert (notice.topic, notice.delivery_id) == (topic, delivery_id)
        rows = rows_of(notice.pages)
        assert rows
        assert all(known[key] == row for key, row in rows.items())


@pytest.mark.parametrize("change", ["secret", "body", "no signature", "no secret"])
def test_webhook_that_the_shop_did_not_sign_is_denied(shop, change):
    connector, stand_in = shop
    topic, order = SHOPS[connector.kind].topic, orders_of(stand_in)[5]
    secret = "another" if change == "secret" else None
    headers, body = stand_in.delivery(topic, order, secret=secret)
    lower = {name.lower(): value for name, value in headers.items()}
    if change == "body":
        body = body.replace(b"SKU-1", b"SKU-2")
    if change == "no signature":
        signed = [name for name in lower if "sha256" in name or "signature" in name]
        lower = {name: value for name, value in lower.items() if name not in signed}
    if change == "no secret":
        connector._secret = ""
    assert failure(lambda: connector.verify(lower, body)).code == "access_denied"


def test_webhook_with_a_renamed_field_is_a_changed_schema(shop):
    connector, stand_in = shop
    _, body = stand_in.delivery(SHOPS[connector.kind].topic, orders_of(stand_in)[5])
    topic, other = SHOPS[connector.kind].topic, body.replace(b"line_items", b"lines")
    error = failure(lambda: connector.read(topic, other, "1"))
    assert (error.code, error.detail) == ("changed_schema", "line_items")


def test_webhooks_are_added_once(shop):
    connector, stand_in = shop
    address = "https://desk.example/hooks/shop"
    first, second = connector.add_webhooks(address), connector.add_webhooks(address)
    assert first["added"] == second["present"] > 0 == second["added"]
    assert first["present"] == 0
    stand_in.fail("cut_after_effect")
    with pytest.raises(ConnectorError):
        connector.add_webhooks("https://desk.example/hooks/other")
    connector.add_webhooks("https://desk.example/hooks/other")
    hooks = getattr(stand_in, "subscriptions", None) or stand_in.webhooks
    assert len(hooks) == 2 * first["added"]
