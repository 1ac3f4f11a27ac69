"""Test that webhooks reach the lake: once, in any order, and after a crash anywhere."""

import errno
import json
import secrets
from datetime import timedelta
from itertools import permutations

import pandas as pd
import pytest
from celery.exceptions import SoftTimeLimitExceeded
from deltalake.exceptions import CommitFailedError
from sqlalchemy import delete, select, update

from retention import clock, erasure
from retention.connect import connections, registry
from retention.connect.contract import Page
from retention.connect.live import inbox
from retention.connect.shops import loading, shopify_records, webhook_inbox
from retention.connect.shops.loading import version
from retention.connect.shops.orders import Order, guests
from retention.db.tables import (
    CancelledOrder,
    Connection,
    DirectoryEntry,
    Erasure,
    EventKey,
    File,
    Job,
    Outbox,
    Webhook,
)
from retention.errors import BadInput
from retention.lake import Lake
from retention.lake.importing.import_files import import_files
from tests.retention.connect.shops import SHOPS, connected
from tests.standins.shopify_data import BEGIN, stamp
from tests.workers.harness import ADMIN, CHANNEL, ask
from tests.world import change, scalars
from workers.live.live_path import Drain
from workers.requests import ShopInbox
from workers.shops import shop_checks
from workers.tasks.runner import run_job
from workers.tasks.shops import shop_inbox as task


@pytest.fixture
def shop():
    """A connector of Shopify and its stand-in."""
    with connected("shopify") as (_, stand_in):
        yield stand_in


@pytest.fixture
def connection(database, shop) -> Connection:
    return connect(database, "shopify", shop)


def connect(database, kind, stand_in, name="shop") -> Connection:
    declared = registry.connector_class(kind).settings
    values = SHOPS[kind].values(stand_in)
    return change(
        database, connections.add, name, kind, declared, values, channel=CHANNEL, by=ADMIN
    )


def receive(database, connection, delivery) -> None:
    headers, body = delivery
    name = "X-Shopify-Topic" if "X-Shopify-Topic" in headers else "X-WC-Webhook-Topic"
    assert change(
        database, webhook_inbox.store, connection, secrets.token_hex(8), headers[name], body
    )


def run(database) -> Job:
    job = ask(database, ShopInbox(), secrets.token_hex(8), channel=None)
    run_job(database, job.id, "test")
    with database.reading() as session:
        return session.get_one(Job, job.id)


def rows(settings, table) -> list[dict]:
    lake = Lake.open(settings)
    frame = lake.table(table, identity="stored").execute()
    key = {"events": "event_id", "customers": "customer_id", "items": "item_id"}[table]
    return frame.sort_values(key).to_dict("records")


def sums(settings) -> dict[str, float]:
    events = rows(settings, "events")
    assert len({row["event_id"] for row in events}) == len(events)
    # The lake calls the purchases of an order that was returned as a whole "cancelled".
    sold = [row["amount"] for row in events if row["event_type"] in ("purchase", "cancelled")]
    back = [row["amount"] for row in events if row["event_type"] == "return"]
    return {"purchase": round(sum(sold), 2), "return": round(sum(back), 2)}


def states(database) -> list[str]:
    return scalars(database, select(Webhook.state).order_by(Webhook.id))


def messages(database) -> list[str]:
    return [json.dumps(payload) for payload in scalars(database, select(Outbox.payload))]


def test_deliveries_reach_the_lake_and_lose_their_content(settings, database, connection, shop):
    records = shop.records
    receive(database, connection, shop.delivery("orders/create", records.orders[5]))
    receive(database, connection, shop.delivery("customers/update", records.customers[1]))
    receive(database, connection, shop.delivery("products/update", records.products[1]))
    job = run(database)
    assert (job.state, job.result) == ("done", {"done": 3, "set_aside": 0, "later": 0})
    assert sums(settings) == {"purchase": 9.0, "return": 0}
    (customer,) = rows(settings, "customers")
    assert (customer["email"], customer["marketing_consent"]) == ("ada1@example.com", True)
    assert rows(settings, "items")[0]["price"] == 5.0
    assert set(scalars(database, select(Webhook.body))) == {b""}
    assert run(database).result["done"] == 0


@pytest.mark.nightly_after(2)
@pytest.mark.parametrize("order", permutations(range(3)))
def test_order_of_deliveries_does_not_matter(settings, database, connection, shop, order):
    placed = shop.records.add_order(99, at=BEGIN)
    deliveries = [shop.delivery("orders/create", placed)]
    shop.records.refund(placed, BEGIN + timedelta(days=1))
    deliveries.append(shop.delivery("orders/updated", placed))
    shop.records.cancel(placed, BEGIN + timedelta(days=2))
    deliveries.append(shop.delivery("orders/updated", placed))
    for number in order:
        receive(database, connection, deliveries[number])
        run(database)
    assert sums(settings) == {"purchase": 9.0, "return": -9.0}


def test_cancellation_at_woocommerce_keeps_its_first_time(settings, database):
    """The last change of the order moves on, and a later refund looked like an earlier one."""
    with connected("woocommerce") as (_, stand_in):
        connection = connect(database, "woocommerce", stand_in)
        order = stand_in.add_order(99, at=BEGIN)
        for day, status in ((0, "processing"), (1, "cancelled"), (2, "cancelled")):
            order |= {"status": status, "date_modified_gmt": stamp(BEGIN + timedelta(days=day))}
            receive(database, connection, stand_in.delivery("order.updated", order))
            run(database)
        refund = {"id": 7, "date_created_gmt": stamp(BEGIN + timedelta(days=3)), "amount": "9.00"}
        stand_in.refunds[99] = [refund | {"line_items": []}]
        order["refunds"] = [{"id": 7, "total": "-9.00"}]
        order["date_modified_gmt"] = stamp(BEGIN + timedelta(days=4))
        receive(database, connection, stand_in.delivery("order.updated", order))
        run(database)
    assert sums(settings) == {"purchase": 9.0, "return": -9.0}
    returned = {row["occurred_at"] for row in rows(settings, "events") if row["amount"] < 0}
    assert {at.to_pydatetime().replace(tzinfo=None) for at in returned} == {
        (BEGIN + timedelta(days=1)).replace(tzinfo=None)
    }
    (stored,) = scalars(database, select(CancelledOrder))
    assert (stored.order_id, stored.at) == ("99", BEGIN + timedelta(days=1))


def test_older_record_does_not_overwrite_a_newer_one(settings, database, connection, shop):
    product, customer = shop.records.products[1], shop.records.customers[1]
    old = shop.delivery("products/update", product), shop.delivery("customers/update", customer)
    product["updatedAt"] = customer["updatedAt"] = stamp(BEGIN + timedelta(days=1))
    product["variants"][0]["price"], customer["lastName"] = "6.00", "Lovelace"
    receive(database, connection, shop.delivery("products/update", product))
    receive(database, connection, shop.delivery("customers/update", customer))
    run(database)
    for delivery in old:
        receive(database, connection, delivery)
    run(database)
    assert rows(settings, "items")[0]["price"] == 6.0
    assert rows(settings, "customers")[0]["name"] == "Ada 1 Lovelace"


def test_late_delivery_does_not_rename_a_guest(settings, database, connection, shop):
    guest = {"customer_id": None, "currency": "GBP", "lines": [], "email": "ada@example.com"}
    new = Order("2", "#2", at=BEGIN + timedelta(days=1), name="Ada Byron", **guest)
    old = Order("1", "#1", at=BEGIN, name="Ada B.", **guest)
    for order in (new, old):
        page = Page("customers", guests([order]), {})
        loading.import_page(Lake.open(settings), database, page, name="shop")
    assert [row["name"] for row in rows(settings, "customers")] == ["Ada Byron"]


def test_late_consent_without_a_time_does_not_count(settings, database, connection, shop):
    for state in ("subscribed", "unsubscribed", "subscribed"):
        content = {"customer_id": 1, "email_marketing_consent": {"state": state}}
        delivery = shop.delivery("customers_email_marketing_consent/update", content)
        receive(database, connection, delivery)
        run(database)
    (row,) = rows(settings, "customers")
    assert row["marketing_consent"] is False


def test_consent_counts_by_its_own_time(settings, database, connection, shop):
    customer = shop.records.customers[1]

    def consent(state, day):
        content = {
            "customer_id": 1,
            "email_marketing_consent": {
                "state": state,
                "consent_updated_at": stamp(BEGIN + timedelta(days=day)),
            },
        }
        return shop.delivery("customers_email_marketing_consent/update", content)

    customer["updatedAt"] = stamp(BEGIN + timedelta(days=9))
    customer["defaultEmailAddress"]["marketingState"] = None
    receive(database, connection, shop.delivery("customers/update", customer))
    run(database)
    for delivery in (consent("unsubscribed", 5), consent("subscribed", 4)):
        receive(database, connection, delivery)
        run(database)
    (row,) = rows(settings, "customers")
    assert (row["marketing_consent"], row["email"]) == (False, "ada1@example.com")


def test_consents_to_email_and_sms_count_apart(settings, database, connection, shop):
    customer = shop.records.customers[1]
    customer["defaultPhoneNumber"] = {
        "phoneNumber": "+447400123456",
        "marketingState": "SUBSCRIBED",
    }
    page = Page("customers", [shopify_records.customer_row(customer)], {})
    loading.import_page(Lake.open(settings), database, page, name="shop")
    (row,) = rows(settings, "customers")
    assert (row["sms_consent"], row["phone"]) == (True, "+447400123456")
    email_consent = row["marketing_consent"]
    content = {
        "customer_id": 1,
        "sms_marketing_consent": {
            "state": "unsubscribed",
            "consent_updated_at": stamp(BEGIN + timedelta(days=5)),
        },
    }
    receive(database, connection, shop.delivery("customers_marketing_consent/update", content))
    run(database)
    (row,) = rows(settings, "customers")
    assert (row["sms_consent"], row["marketing_consent"]) == (False, email_consent)
    customer["updatedAt"] = stamp(BEGIN + timedelta(days=4))  # older than the STOP
    page = Page("customers", [shopify_records.customer_row(customer)], {})
    loading.import_page(Lake.open(settings), database, page, name="shop")
    (row,) = rows(settings, "customers")
    assert row["sms_consent"] is False


def test_page_older_than_an_unsubscription_leaves_the_consent_alone(
    settings, database, connection, shop
):
    content = {
        "customer_id": 1,
        "email_marketing_consent": {
            "state": "unsubscribed",
            "consent_updated_at": stamp(BEGIN + timedelta(days=5)),
        },
    }
    receive(
        database, connection, shop.delivery("customers_email_marketing_consent/update", content)
    )
    run(database)

    def pull(day):
        """Import a page of a pull, in which the customer is subscribed."""
        at = version(BEGIN + timedelta(days=day))
        given = [
            {"customer_id": identity, "name": "Ada", "marketing_consent": True}
            | {"attributes": {loading.UPDATED_AT: at}}
            for identity in ("1", "2")
        ]
        page = Page("customers", given, {})
        loading.import_page(Lake.open(settings), database, page, name="shop")
        stored = rows(settings, "customers")
        return [(row["name"], row["marketing_consent"]) for row in stored]

    assert pull(4) == [("Ada", False), ("Ada", True)]
    assert pull(6) == [("Ada", True), ("Ada", True)]


def test_unreadable_delivery_is_set_aside_and_the_others_are_taken(
    settings, database, connection, shop
):
    orders = shop.records.orders
    headers, body = shop.delivery("orders/create", orders[5])
    receive(database, connection, (headers, body.replace(b"line_items", b"lines")))
    receive(database, connection, (headers, b"[]"))
    receive(database, connection, (headers, body.replace(b'"quantity": 2', b'"quantity": "many"')))
    receive(database, connection, shop.delivery("orders/create", orders[4]))
    run(database)
    assert states(database) == ["set_aside"] * 3 + ["done"]
    assert sums(settings)["purchase"] == 9.0
    assert len(messages(database)) == 1


def poison(shop, kind) -> tuple[dict, bytes]:
    """Return a signed delivery that broke the job, so that no webhook of the shop was imported."""
    headers, body = shop.delivery("orders/create", shop.records.add_order(96))
    if kind == "brackets":
        return headers, b'{"id":%s}' % (b"[" * 200_000 + b"]" * 200_000)
    content = json.loads(body)
    for line in content["line_items"]:
        line["sku"] = "\ud800"
    return headers, json.dumps(content).encode()


def run_later(database) -> Job:
    with database.transaction() as session:
        session.execute(update(Webhook).values(retry_at=None))
    return run(database)


@pytest.mark.parametrize("kind", ["brackets", "surrogate"])
def test_poisoned_delivery_is_quarantined_and_never_holds_up_others(
    database, connection, shop, kind
):
    receive(database, connection, poison(shop, kind))
    for number in (3, 4, 5):
        receive(database, connection, shop.delivery("orders/create", shop.records.orders[number]))
    assert run(database).result == {"done": 3, "set_aside": 0, "later": 1}
    assert messages(database) == []
    assert run_later(database).result["later"] == 1
    assert run_later(database).result == {"done": 0, "set_aside": 1, "later": 0}
    assert states(database) == ["set_aside", "done", "done", "done"]
    (message,) = messages(database)
    assert "source quarantine" in message
    with database.transaction() as session:
        ((row, name),) = webhook_inbox.not_imported(session)
        assert (name, row.reason.partition(":")[0], bool(row.body)) == ("shop", "unreadable", True)
        assert webhook_inbox.try_again(session, str(row.id)) == 1
    assert run(database).result == {"done": 0, "set_aside": 0, "later": 1}


def test_poisoned_delivery_of_a_shop_without_a_channel_reaches_an_admin(database, connection, shop):
    with database.transaction() as session:
        session.execute(update(Connection).values(channel=None))
    receive(database, connection, poison(shop, "brackets"))
    for _ in range(3):
        run_later(database)
    assert scalars(database, select(Outbox.channel)) == [ADMIN]


def test_poisoned_privacy_request_is_set_aside(database, connection, shop):
    content = shop.privacy_request("redact", shop.records.customers[1])
    content["customer"]["id"] = "\ud800"
    receive(database, connection, shop.delivery("customers/redact", content))
    run(database)
    assert states(database) == ["set_aside"]


def test_full_disk_is_no_fault_of_a_delivery(database, connection, shop, monkeypatch):
    def fail(*_args, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    receive(database, connection, shop.delivery("orders/create", shop.records.orders[5]))
    with monkeypatch.context() as patch:
        patch.setattr(task, "_import_pages", fail)
        assert run(database).state == "failed"
    assert states(database) == ["waiting"]


@pytest.mark.parametrize("step", ["read", "import"])
def test_time_limit_ends_the_job_and_is_no_fault_of_a_delivery(
    database, connection, shop, monkeypatch, step
):
    def stop(*_args, **_options):
        raise SoftTimeLimitExceeded

    receive(database, connection, shop.delivery("orders/create", shop.records.orders[5]))
    with monkeypatch.context() as patch:
        if step == "read":
            patch.setattr(registry.connector_class("shopify"), "read", stop)
        else:
            patch.setattr(task, "_import_pages", stop)
        assert run(database).state == "failed"
    assert scalars(database, select(Webhook.attempts)) == [0]


def test_fault_of_every_delivery_fails_the_job_and_quarantines_none(
    database, connection, shop, monkeypatch
):
    def fail(*_args, **_options):
        raise CommitFailedError("another commit came first")  # no known fault of the machine

    for number in (3, 4, 5):
        receive(database, connection, shop.delivery("orders/create", shop.records.orders[number]))
    with monkeypatch.context() as patch:
        patch.setattr(task, "_import_pages", fail)
        assert [run_later(database).state for _ in range(4)] == ["failed"] * 4
    assert states(database) == ["waiting"] * 3
    assert run_later(database).result == {"done": 3, "set_aside": 0, "later": 0}


def test_erasure_empties_quarantined_deliveries(database, connection, shop):
    receive(database, connection, poison(shop, "brackets"))
    for _ in range(3):
        run_later(database)
    change(database, erasure.erase_from_sql, ["anyone"])
    with database.transaction() as session:
        ((row, _),) = webhook_inbox.not_imported(session)
        assert row.body == b""
        with pytest.raises(BadInput):
            webhook_inbox.try_again(session, str(row.id))
        assert webhook_inbox.discard(session, webhook_inbox.ALL) == 1
    assert states(database) == []


def test_another_currency_is_refused_and_the_rest_is_taken(settings, database, connection, shop):
    receive(database, connection, shop.delivery("orders/create", shop.records.orders[1]))
    run(database)
    foreign = shop.records.add_order(98, currency="USD")
    receive(database, connection, shop.delivery("orders/create", foreign))
    receive(database, connection, shop.delivery("orders/create", shop.records.orders[2]))
    run(database)
    assert states(database) == ["done", "set_aside", "done"]
    assert sums(settings)["purchase"] == 18.0
    (message,) = messages(database)
    assert "USD" in message
    assert "GBP" in message


def test_customers_of_new_orders_are_scored_by_the_live_path(settings, database, connection, shop):
    new = shop.records.add_order(97, at=clock.now() - timedelta(minutes=1))
    receive(database, connection, shop.delivery("orders/create", new))
    receive(database, connection, shop.delivery("orders/create", shop.records.orders[5]))
    run(database)
    with database.reading() as session:
        assert inbox.waiting(session) == 1  # the other one is old
    assert Drain(database).round() == 1
    assert len(rows(settings, "events")) == 2
    assert sums(settings)["purchase"] == 18.0
    with database.reading() as session:
        assert inbox.waiting(session) == 0
        assert session.get(DirectoryEntry, ("local", new["customer"]["id"].rpartition("/")[2]))


def test_return_whose_time_moves_counts_once_through_the_live_path(
    settings, database, connection, shop
):
    """An expired order has no time of its end but that of its last change."""
    placed = shop.records.add_order(96, at=clock.now() - timedelta(days=9))
    placed["displayFinancialStatus"] = "EXPIRED"
    for minutes in (90, 30):
        placed["updatedAt"] = stamp(clock.now() - timedelta(minutes=minutes))
        receive(database, connection, shop.delivery("orders/updated", placed))
        run(database)
        with database.transaction() as session:
            session.execute(delete(EventKey))  # as if the first one came with a pull
        Drain(database).round()
        assert sums(settings) == {"purchase": 9.0, "return": -9.0}


class Kill(BaseException):
    """Ends the worker as ``kill -9`` does: nothing after it runs."""


@pytest.mark.nightly_after(4)
@pytest.mark.parametrize("step", range(1, 7))
def test_nothing_is_lost_or_doubled_after_a_kill(
    settings, database, connection, shop, monkeypatch, step
):
    """A step is a call of the import or of the transaction, before or after its effect."""
    for number in (5, 6):
        receive(database, connection, shop.delivery("orders/create", shop.records.orders[number]))
    receive(database, connection, shop.delivery("customers/update", shop.records.customers[1]))
    steps = iter(range(1, 100))

    def failing(call):
        def wrapper(*arguments, **options):
            if next(steps) == step:
                raise Kill
            result = call(*arguments, **options)
            if next(steps) == step:
                raise Kill
            return result

        return wrapper

    with monkeypatch.context() as patch:
        patch.setattr(task, "import_page", failing(loading.import_page))
        patch.setattr(task, "publish_part", failing(task.publish_part))
        job = ask(database, ShopInbox(), "first", channel=None)
        with pytest.raises(Kill):
            run_job(database, job.id, "test")
    with database.transaction() as session:  # the report of the failure is lost, too
        session.execute(update(Job).values(state="cancelled"))
    run(database)
    assert states(database) == ["done"] * 3
    assert sums(settings) == {"purchase": 18.0, "return": -4.5}
    assert len(rows(settings, "customers")) == 1


def test_redacted_customer_is_erased(settings, database, connection, shop):
    for number in (11, 12, 1):
        receive(database, connection, shop.delivery("orders/create", shop.records.orders[number]))
    run(database)
    content = shop.privacy_request("redact", shop.records.customers[1])
    receive(database, connection, shop.delivery("customers/redact", content))
    run(database)
    erase(database)
    assert {row["customer_id"] for row in rows(settings, "events")} == {"12", "2"}
    # A late delivery does not bring the customer back.
    receive(database, connection, shop.delivery("orders/create", shop.records.orders[12]))
    run(database)
    assert len(rows(settings, "events")) == 2
    assert states(database)[-1] == "done"


def erase(database) -> None:
    with database.reading() as session:
        open_jobs = session.scalars(
            select(Job.id).where(Job.kind == "forget", Job.state == "queued")
        )
        ids = open_jobs.all()
    assert ids
    for job_id in ids:
        run_job(database, job_id, "test")


def test_redacted_shop_is_erased_as_a_whole(settings, database, connection, shop):
    for number in (1, 2, 3):
        receive(database, connection, shop.delivery("orders/create", shop.records.orders[number]))
    run(database)
    receive(database, connection, shop.delivery("shop/redact", shop.privacy_request("shop")))
    run(database)
    erase(database)
    assert rows(settings, "events") == []
    assert len(scalars(database, select(Erasure))) == 3


def test_redacted_shop_includes_customers_without_orders(settings, database, connection, shop):
    """They stayed with name and e-mail address."""
    receive(database, connection, shop.delivery("orders/create", shop.records.orders[1]))
    for customer in shop.records.customers.values():
        receive(database, connection, shop.delivery("customers/update", customer))
    run(database)
    lake = Lake.open(settings)
    own = pd.DataFrame({"customer_id": ["till-1"], "email": ["a@till.example"], "name": ["Bo"]})
    own.to_csv(settings.home / "till.csv", index=False)
    import_files(lake, database, settings, "customers", [str(settings.home / "till.csv")])
    receive(database, connection, shop.delivery("shop/redact", shop.privacy_request("shop")))
    run(database)
    erase(database)
    assert [row["customer_id"] for row in rows(settings, "customers")] == ["till-1"]


def test_shop_is_not_erased_while_another_of_its_kind_is_connected(database, connection, shop):
    other = connect(database, "shopify", shop, name="outlet")
    receive(database, other, shop.delivery("orders/create", shop.records.orders[1]))
    receive(database, connection, shop.delivery("shop/redact", shop.privacy_request("shop")))
    run(database)
    assert states(database) == ["done", "set_aside"]
    assert not scalars(database, select(Job).where(Job.kind == "forget"))
    (message,) = messages(database)
    assert "outlet" in message


def test_signed_order_cannot_be_sent_again_as_a_request_to_erase(database, connection, shop):
    """The signature covers the body alone, and not the topic."""
    _, body = shop.delivery("orders/create", shop.records.orders[5])
    export = json.dumps(shop.privacy_request("data_request", shop.records.customers[1])).encode()
    for topic, content in (
        ("customers/redact", body),
        ("customers/redact", export),
        ("shop/redact", export),
        ("shop/redact", body),
    ):
        receive(database, connection, ({"X-Shopify-Topic": topic}, content))
    run(database)
    assert states(database) == ["set_aside"] * 4
    assert not scalars(database, select(Job).where(Job.kind == "forget"))


def test_requested_data_goes_to_an_admin_only(database, connection, shop):
    receive(database, connection, shop.delivery("orders/create", shop.records.orders[12]))
    receive(database, connection, shop.delivery("customers/update", shop.records.customers[1]))
    content = shop.privacy_request("data_request", shop.records.customers[1])
    receive(database, connection, shop.delivery("customers/data_request", content))
    run(database)
    with database.reading() as session:
        (post,) = session.scalars(select(Outbox).where(Outbox.kind == "file"))
        (file,) = session.scalars(select(File))
    assert post.channel == ADMIN
    exported = json.loads(file.content)
    assert exported["customers"][0]["email"] == "ada1@example.com"
    assert {row["event_type"] for row in exported["events"]} == {"purchase", "return"}


def test_delivery_that_needs_an_answer_of_the_shop_waits_for_it(settings, database):
    with connected("woocommerce") as (_, stand_in):
        connection = connect(database, "woocommerce", stand_in)
        receive(database, connection, stand_in.delivery("order.updated", stand_in.orders[6]))
        receive(database, connection, stand_in.delivery("order.updated", stand_in.orders[5]))
        stand_in.fail("server_error", path="/refunds")
        assert run(database).result == {"done": 1, "set_aside": 0, "later": 1}
        assert states(database) == ["waiting", "done"]
        assert not shop_checks.submit_due(database)
        with database.transaction() as session:
            session.execute(update(Webhook).values(retry_at=clock.wall() - timedelta(seconds=1)))
        assert run(database).result["done"] == 1
    assert sums(settings) == {"purchase": 18.0, "return": -4.5}


def test_one_job_at_a_time_is_submitted_for_waiting_deliveries(database, connection, shop):
    assert shop_checks.submit_due(database) is None
    receive(database, connection, shop.delivery("orders/create", shop.records.orders[5]))
    job_id = shop_checks.submit_due(database)
    assert shop_checks.submit_due(database) is None
    run_job(database, job_id, "test")
    assert states(database) == ["done"]
    assert shop_checks.submit_due(database) is None
