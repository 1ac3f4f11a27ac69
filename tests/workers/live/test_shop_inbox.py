"""Test that webhooks reach the lake: once, in any order, and after a crash anywhere."""

import errno
import json
import secrets
from datetime import timedelta
from itertools import permutations, product

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
from retention.lake.schema import TABLES
from tests.retention.connect.shops import SHOPS, connected
from tests.standins.shopify_data import BEGIN, stamp
from tests.workers.harness import ADMIN, CHANNEL, ask
from tests.world import change, scalars
from workers.job_requests import ShopInbox
from workers.live.live_events import Drain
from workers.schedule import due_shop_checks
from workers.tasks.runner import run_job
from workers.tasks.shops import shop_inbox as task


class Desk:
    """An installation with a connected shop."""

    def __init__(self, settings, database, kind, stand_in) -> None:
        self.settings, self.database, self.shop = settings, database, stand_in
        self.kind = kind
        self.connection = self.connect("shop")

    def connect(self, name) -> Connection:
        declared = registry.connector_class(self.kind).settings
        values = SHOPS[self.kind].values(self.shop)
        of = {"channel": CHANNEL, "by": ADMIN}
        return change(self.database, connections.add, name, self.kind, declared, values, **of)

    def receive(self, topic, *records) -> None:
        for record in records:
            self.store(topic, self.shop.delivery(topic, record)[1])

    def store(self, topic, body, connection=None) -> None:
        of = connection or self.connection, secrets.token_hex(8)
        assert change(self.database, webhook_inbox.store, *of, topic, body)

    def order(self, *numbers) -> None:
        """Receive new orders of the stand-in."""
        self.receive("orders/create", *(self.shop.records.orders[number] for number in numbers))

    def run(self) -> Job:
        job = ask(self.database, ShopInbox(), secrets.token_hex(8), channel=None)
        run_job(self.database, job.id, "test")
        with self.database.reading() as session:
            return session.get_one(Job, job.id)

    def run_later(self) -> Job:
        with self.database.transaction() as session:
            session.execute(update(Webhook).values(retry_at=None))
        return self.run()

    def pull_customers(self, *given) -> None:
        page = Page("customers", given, {})
        loading.import_page(Lake.open(self.settings), self.database, page, name="shop")

    def rows(self, table) -> list[dict]:
        frame = Lake.open(self.settings).table(table, identity="stored").execute()
        return frame.sort_values(TABLES[table].key[0]).to_dict("records")

    def sums(self) -> dict[str, float]:
        events = self.rows("events")
        assert len({row["event_id"] for row in events}) == len(events)
        # The lake calls the purchases of an order that was returned as a whole "cancelled".
        sold = [row["amount"] for row in events if row["event_type"] in ("purchase", "cancelled")]
        back = [row["amount"] for row in events if row["event_type"] == "return"]
        return {"purchase": round(sum(sold), 2), "return": round(sum(back), 2)}

    def states(self) -> list[str]:
        return scalars(self.database, select(Webhook.state).order_by(Webhook.id))

    def messages(self) -> list[str]:
        return [json.dumps(payload) for payload in scalars(self.database, select(Outbox.payload))]

    def erase(self) -> None:
        """Run the jobs that erase customers."""
        waiting = select(Job.id).where(Job.kind == "forget", Job.state == "queued")
        ids = scalars(self.database, waiting)
        assert ids
        for job_id in ids:
            run_job(self.database, job_id, "test")


@pytest.fixture
def desk(settings, database):
    """A desk with a connection to Shopify."""
    with connected("shopify") as (_, stand_in):
        yield Desk(settings, database, "shopify", stand_in)


@pytest.fixture
def woocommerce(settings, database):
    """A desk with a connection to WooCommerce."""
    with connected("woocommerce") as (_, stand_in):
        yield Desk(settings, database, "woocommerce", stand_in)


def consent(state, day=None, channel="email") -> dict:
    """Return the content of a webhook about a consent of the first customer."""
    at = {} if day is None else {"consent_updated_at": stamp(BEGIN + timedelta(days=day))}
    return {"customer_id": 1, f"{channel}_marketing_consent": {"state": state, **at}}


CONSENT = "customers_email_marketing_consent/update"


def test_deliveries_reach_the_lake_and_lose_their_content(desk):
    records = desk.shop.records
    desk.receive("orders/create", records.orders[5])
    desk.receive("customers/update", records.customers[1])
    desk.receive("products/update", records.products[1])
    job = desk.run()
    assert (job.state, job.result) == ("done", {"done": 3, "set_aside": 0, "later": 0})
    assert desk.sums() == {"purchase": 9.0, "return": 0}
    (customer,) = desk.rows("customers")
    assert (customer["email"], customer["marketing_consent"]) == ("ada1@example.com", True)
    assert desk.rows("items")[0]["price"] == 5.0
    assert set(scalars(desk.database, select(Webhook.body))) == {b""}
    assert desk.run().result["done"] == 0


@pytest.mark.nightly_after(2)
@pytest.mark.parametrize("order", permutations(range(3)))
def test_order_of_deliveries_does_not_matter(desk, order):
    records = desk.shop.records
    placed = records.add_order(99, at=BEGIN)
    deliveries = [("orders/create", desk.shop.delivery("orders/create", placed)[1])]
    for change_order, days in ((records.refund, 1), (records.cancel, 2)):
        change_order(placed, BEGIN + timedelta(days=days))
        deliveries.append(("orders/updated", desk.shop.delivery("orders/updated", placed)[1]))
    for number in order:
        desk.store(*deliveries[number])
        desk.run()
    assert desk.sums() == {"purchase": 9.0, "return": -9.0}


def test_cancellation_at_woocommerce_keeps_its_first_time(woocommerce):
    """The last change of the order moves on, and a later refund looked like an earlier one."""
    shop = woocommerce.shop
    order = shop.add_order(99, at=BEGIN)
    for day, status in ((0, "processing"), (1, "cancelled"), (2, "cancelled")):
        order |= {"status": status, "date_modified_gmt": stamp(BEGIN + timedelta(days=day))}
        woocommerce.receive("order.updated", order)
        woocommerce.run()
    refund = {"id": 7, "date_created_gmt": stamp(BEGIN + timedelta(days=3)), "amount": "9.00"}
    shop.refunds[99] = [refund | {"line_items": []}]
    order["refunds"] = [{"id": 7, "total": "-9.00"}]
    order["date_modified_gmt"] = stamp(BEGIN + timedelta(days=4))
    woocommerce.receive("order.updated", order)
    woocommerce.run()
    assert woocommerce.sums() == {"purchase": 9.0, "return": -9.0}
    cancelled_at = BEGIN + timedelta(days=1)
    returned = {row["occurred_at"] for row in woocommerce.rows("events") if row["amount"] < 0}
    assert {at.to_pydatetime().timestamp() for at in returned} == {cancelled_at.timestamp()}
    (stored,) = scalars(woocommerce.database, select(CancelledOrder))
    assert (stored.order_id, stored.at) == ("99", cancelled_at)


def test_older_record_does_not_overwrite_a_newer_one(desk):
    product, customer = desk.shop.records.products[1], desk.shop.records.customers[1]
    records = {"products/update": product, "customers/update": customer}
    old = [(topic, desk.shop.delivery(topic, record)[1]) for topic, record in records.items()]
    product["updatedAt"] = customer["updatedAt"] = stamp(BEGIN + timedelta(days=1))
    product["variants"][0]["price"], customer["lastName"] = "6.00", "Lovelace"
    for topic, record in records.items():
        desk.receive(topic, record)
    desk.run()
    for delivery in old:
        desk.store(*delivery)
    desk.run()
    assert desk.rows("items")[0]["price"] == 6.0
    assert desk.rows("customers")[0]["name"] == "Ada 1 Lovelace"


def test_late_delivery_does_not_rename_a_guest(desk):
    guest = {"customer_id": None, "currency": "GBP", "lines": [], "email": "ada@example.com"}
    new = Order("2", "#2", at=BEGIN + timedelta(days=1), name="Ada Byron", **guest)
    old = Order("1", "#1", at=BEGIN, name="Ada B.", **guest)
    for order in (new, old):
        desk.pull_customers(*guests([order]))
    assert [row["name"] for row in desk.rows("customers")] == ["Ada Byron"]


def test_late_consent_without_a_time_does_not_count(desk):
    for state in ("subscribed", "unsubscribed", "subscribed"):
        desk.receive(CONSENT, consent(state))
        desk.run()
    (row,) = desk.rows("customers")
    assert row["marketing_consent"] is False


def test_consent_counts_by_its_own_time(desk):
    customer = desk.shop.records.customers[1]
    customer["updatedAt"] = stamp(BEGIN + timedelta(days=9))
    customer["defaultEmailAddress"]["marketingState"] = None
    desk.receive("customers/update", customer)
    desk.run()
    for given in (consent("unsubscribed", 5), consent("subscribed", 4)):
        desk.receive(CONSENT, given)
        desk.run()
    (row,) = desk.rows("customers")
    assert (row["marketing_consent"], row["email"]) == (False, "ada1@example.com")


def test_consents_to_email_and_sms_count_apart(desk):
    customer = desk.shop.records.customers[1]
    phone = {"phoneNumber": "+447400123456", "marketingState": "SUBSCRIBED"}
    customer["defaultPhoneNumber"] = phone
    desk.pull_customers(shopify_records.customer_row(customer))
    (row,) = desk.rows("customers")
    assert (row["sms_consent"], row["phone"]) == (True, "+447400123456")
    email_consent = row["marketing_consent"]
    content = consent("unsubscribed", 5, channel="sms")
    desk.receive("customers_marketing_consent/update", content)
    desk.run()
    (row,) = desk.rows("customers")
    assert (row["sms_consent"], row["marketing_consent"]) == (False, email_consent)
    customer["updatedAt"] = stamp(BEGIN + timedelta(days=4))  # older than the STOP
    desk.pull_customers(shopify_records.customer_row(customer))
    (row,) = desk.rows("customers")
    assert row["sms_consent"] is False


def test_page_older_than_an_unsubscription_leaves_the_consent_alone(desk):
    desk.receive(CONSENT, consent("unsubscribed", 5))
    desk.run()

    def pull(day):
        """Import a page of a pull, in which the customers are subscribed."""
        given = {"name": "Ada", "marketing_consent": True}
        given["attributes"] = {loading.UPDATED_AT: version(BEGIN + timedelta(days=day))}
        desk.pull_customers(*({"customer_id": identity} | given for identity in ("1", "2")))
        return [(row["name"], row["marketing_consent"]) for row in desk.rows("customers")]

    assert pull(4) == [("Ada", False), ("Ada", True)]
    assert pull(6) == [("Ada", True), ("Ada", True)]


def test_unreadable_delivery_is_set_aside_and_the_others_are_taken(desk):
    _, body = desk.shop.delivery("orders/create", desk.shop.records.orders[5])
    many = body.replace(b'"quantity": 2', b'"quantity": "many"')
    for unreadable in (body.replace(b"line_items", b"lines"), b"[]", many):
        desk.store("orders/create", unreadable)
    desk.order(4)
    desk.run()
    assert desk.states() == ["set_aside"] * 3 + ["done"]
    assert desk.sums()["purchase"] == 9.0
    assert len(desk.messages()) == 1


def poison(desk, kind="brackets") -> None:
    """Receive a signed delivery that broke the job, so that no webhook of the shop was imported."""
    _, body = desk.shop.delivery("orders/create", desk.shop.records.add_order(96))
    if kind == "brackets":
        body = b'{"id":%s}' % (b"[" * 200_000 + b"]" * 200_000)
    else:
        content = json.loads(body)
        for line in content["line_items"]:
            line["sku"] = "\ud800"
        body = json.dumps(content).encode()
    desk.store("orders/create", body)


@pytest.mark.parametrize("kind", ["brackets", "surrogate"])
def test_poisoned_delivery_is_quarantined_and_never_holds_up_others(desk, kind):
    poison(desk, kind)
    desk.order(3, 4, 5)
    assert desk.run().result == {"done": 3, "set_aside": 0, "later": 1}
    assert desk.messages() == []
    assert desk.run_later().result["later"] == 1
    assert desk.run_later().result == {"done": 0, "set_aside": 1, "later": 0}
    assert desk.states() == ["set_aside", "done", "done", "done"]
    (message,) = desk.messages()
    assert "source quarantine" in message
    with desk.database.transaction() as session:
        ((row, name),) = webhook_inbox.not_imported(session)
        assert (name, row.reason.partition(":")[0], bool(row.body)) == ("shop", "unreadable", True)
        assert webhook_inbox.try_again(session, str(row.id)) == 1
    assert desk.run().result == {"done": 0, "set_aside": 0, "later": 1}


def test_poisoned_privacy_request_is_set_aside(desk):
    content = desk.shop.privacy_request("redact", desk.shop.records.customers[1])
    content["customer"]["id"] = "\ud800"
    desk.receive("customers/redact", content)
    desk.run()
    assert desk.states() == ["set_aside"]


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("read", SoftTimeLimitExceeded()),
        ("import", SoftTimeLimitExceeded()),
        ("import", OSError(errno.ENOSPC, "No space left on device")),
    ],
    ids=["time limit", "time limit of the import", "full disk"],
)
def test_fault_of_the_machine_is_no_fault_of_a_delivery(desk, monkeypatch, step, error):
    def fail(*_args, **_options):
        raise error

    desk.order(5)
    with monkeypatch.context() as patch:
        if step == "read":
            patch.setattr(registry.connector_class("shopify"), "read", fail)
        else:
            patch.setattr(task, "_import_pages", fail)
        assert desk.run().state == "failed"
    (delivery,) = scalars(desk.database, select(Webhook))
    assert (delivery.state, delivery.attempts) == ("waiting", 0)


def test_fault_of_every_delivery_fails_the_job_and_quarantines_none(desk, monkeypatch):
    def fail(*_args, **_options):
        raise CommitFailedError("another commit came first")  # no known fault of the machine

    desk.order(3, 4, 5)
    with monkeypatch.context() as patch:
        patch.setattr(task, "_import_pages", fail)
        assert [desk.run_later().state for _ in range(4)] == ["failed"] * 4
    assert desk.states() == ["waiting"] * 3
    assert desk.run_later().result == {"done": 3, "set_aside": 0, "later": 0}


def test_quarantined_delivery_without_a_channel_reaches_an_admin_and_can_be_erased(desk):
    with desk.database.transaction() as session:
        session.execute(update(Connection).values(channel=None))
    poison(desk)
    for _ in range(3):
        desk.run_later()
    assert scalars(desk.database, select(Outbox.channel)) == [ADMIN]
    change(desk.database, erasure.erase_from_sql, ["anyone"])
    with desk.database.transaction() as session:
        ((row, _),) = webhook_inbox.not_imported(session)
        assert row.body == b""
        with pytest.raises(BadInput):
            webhook_inbox.try_again(session, str(row.id))
        assert webhook_inbox.discard(session, webhook_inbox.ALL) == 1
    assert desk.states() == []


def test_another_currency_is_refused_and_the_rest_is_taken(desk):
    desk.order(1)
    desk.run()
    foreign = desk.shop.records.add_order(98, currency="USD")
    desk.receive("orders/create", foreign)
    desk.order(2)
    desk.run()
    assert desk.states() == ["done", "set_aside", "done"]
    assert desk.sums()["purchase"] == 18.0
    (message,) = desk.messages()
    assert "USD" in message
    assert "GBP" in message


def test_customers_of_new_orders_are_scored_by_the_live_path(desk):
    new = desk.shop.records.add_order(97, at=clock.now() - timedelta(minutes=1))
    desk.receive("orders/create", new)
    desk.order(5)
    desk.run()
    with desk.database.reading() as session:
        assert inbox.waiting(session) == 1  # the other one is old
    assert Drain(desk.database).round() == 1
    assert len(desk.rows("events")) == 2
    assert desk.sums()["purchase"] == 18.0
    with desk.database.reading() as session:
        assert inbox.waiting(session) == 0
        assert session.get(DirectoryEntry, ("local", new["customer"]["id"].rpartition("/")[2]))


def test_return_whose_time_moves_counts_once_through_the_live_path(desk):
    """An expired order has no time of its end but that of its last change."""
    placed = desk.shop.records.add_order(96, at=clock.now() - timedelta(days=9))
    placed["displayFinancialStatus"] = "EXPIRED"
    for minutes in (90, 30):
        placed["updatedAt"] = stamp(clock.now() - timedelta(minutes=minutes))
        desk.receive("orders/updated", placed)
        desk.run()
        with desk.database.transaction() as session:
            session.execute(delete(EventKey))  # as if the first one came with a pull
        Drain(desk.database).round()
        assert desk.sums() == {"purchase": 9.0, "return": -9.0}


class Kill(BaseException):
    """Ends the worker as ``kill -9`` does: nothing after it runs."""


@pytest.mark.nightly_after(4)
@pytest.mark.parametrize("step", range(1, 7))
def test_nothing_is_lost_or_doubled_after_a_kill(desk, monkeypatch, step):
    """A step is a call of the import or of the transaction, before or after its effect."""
    desk.order(5, 6)
    desk.receive("customers/update", desk.shop.records.customers[1])
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
        job = ask(desk.database, ShopInbox(), "first", channel=None)
        with pytest.raises(Kill):
            run_job(desk.database, job.id, "test")
    with desk.database.transaction() as session:  # the report of the failure is lost, too
        session.execute(update(Job).values(state="cancelled"))
    desk.run()
    assert desk.states() == ["done"] * 3
    assert desk.sums() == {"purchase": 18.0, "return": -4.5}
    assert len(desk.rows("customers")) == 1


def test_redacted_customer_is_erased(desk):
    desk.order(11, 12, 1)
    desk.run()
    content = desk.shop.privacy_request("redact", desk.shop.records.customers[1])
    desk.receive("customers/redact", content)
    desk.run()
    desk.erase()
    assert {row["customer_id"] for row in desk.rows("events")} == {"12", "2"}
    # A late delivery does not bring the customer back.
    desk.order(12)
    desk.run()
    assert len(desk.rows("events")) == 2
    assert desk.states()[-1] == "done"


@pytest.mark.nightly
def test_redacted_shop_is_erased_with_its_customers_without_orders(desk):
    """They stayed with name and e-mail address."""
    desk.order(1, 2, 3)
    for customer in desk.shop.records.customers.values():
        desk.receive("customers/update", customer)
    desk.run()
    people = {row["customer_id"] for table in ("customers", "events") for row in desk.rows(table)}
    own = pd.DataFrame({"customer_id": ["till-1"], "email": ["a@till.example"], "name": ["Bo"]})
    own.to_csv(till := desk.settings.home / "till.csv", index=False)
    lake = Lake.open(desk.settings)
    import_files(lake, desk.database, desk.settings, "customers", [str(till)])
    desk.receive("shop/redact", desk.shop.privacy_request("shop"))
    desk.run()
    desk.erase()
    assert desk.rows("events") == []
    assert [row["customer_id"] for row in desk.rows("customers")] == ["till-1"]
    assert len(scalars(desk.database, select(Erasure))) == len(people)


def test_shop_is_not_erased_while_another_of_its_kind_is_connected(desk):
    order = desk.shop.delivery("orders/create", desk.shop.records.orders[1])[1]
    desk.store("orders/create", order, desk.connect("outlet"))
    desk.receive("shop/redact", desk.shop.privacy_request("shop"))
    desk.run()
    assert desk.states() == ["done", "set_aside"]
    assert not scalars(desk.database, select(Job).where(Job.kind == "forget"))
    (message,) = desk.messages()
    assert "outlet" in message


def test_signed_order_cannot_be_sent_again_as_a_request_to_erase(desk):
    """The signature covers the body alone, and not the topic."""
    shop = desk.shop
    _, order = shop.delivery("orders/create", shop.records.orders[5])
    export = json.dumps(shop.privacy_request("data_request", shop.records.customers[1])).encode()
    for topic, content in product(("customers/redact", "shop/redact"), (order, export)):
        desk.store(topic, content)
    desk.run()
    assert desk.states() == ["set_aside"] * 4
    assert not scalars(desk.database, select(Job).where(Job.kind == "forget"))


def test_requested_data_goes_to_an_admin_only(desk):
    desk.order(12)
    desk.receive("customers/update", desk.shop.records.customers[1])
    content = desk.shop.privacy_request("data_request", desk.shop.records.customers[1])
    desk.receive("customers/data_request", content)
    desk.run()
    with desk.database.reading() as session:
        (post,) = session.scalars(select(Outbox).where(Outbox.kind == "file"))
        (file,) = session.scalars(select(File))
    assert post.channel == ADMIN
    exported = json.loads(file.content)
    assert exported["customers"][0]["email"] == "ada1@example.com"
    assert {row["event_type"] for row in exported["events"]} == {"purchase", "return"}


def test_delivery_that_needs_an_answer_of_the_shop_waits_for_it(woocommerce):
    shop = woocommerce.shop
    woocommerce.receive("order.updated", shop.orders[6], shop.orders[5])
    shop.fail("server_error", path="/refunds")
    assert woocommerce.run().result == {"done": 1, "set_aside": 0, "later": 1}
    assert woocommerce.states() == ["waiting", "done"]
    assert not due_shop_checks.submit_due(woocommerce.database)
    assert woocommerce.run_later().result["done"] == 1
    assert woocommerce.sums() == {"purchase": 18.0, "return": -4.5}


def test_one_job_at_a_time_is_submitted_for_waiting_deliveries(desk):
    assert due_shop_checks.submit_due(desk.database) is None
    desk.order(5)
    job_id = due_shop_checks.submit_due(desk.database)
    assert due_shop_checks.submit_due(desk.database) is None
    run_job(desk.database, job_id, "test")
    assert desk.states() == ["done"]
    assert due_shop_checks.submit_due(desk.database) is None
