"""Test how the codes of a campaign reach a shop and leave it."""

import json
from collections import Counter

import pytest
from sqlalchemy import select, update

from retention.campaigns.codes import shop_code_queue
from retention.campaigns.codes.shop_code_check import Differences, compare
from retention.db import Database
from retention.db.tables import Audit, Campaign, Connection, Coupon, Send, ShopDiscount
from retention.outreach import sends
from retention.settings import Settings
from tests import world
from tests.databases import create_tables
from tests.postgres import postgres
from tests.standins import code_shops
from tests.standins.code_shops import NOW, books, states, sync
from tests.world import execute, one, read, scalar, scalars

CUSTOMERS = 20
pytestmark = pytest.mark.usefixtures("settings")


@pytest.fixture(params=["shopify", "woocommerce"])
def shop(request, database):
    """A stand-in with a connection; it counts codes that must not exist."""
    with code_shops.connected(database, request.param) as stand_in:
        yield stand_in


@pytest.fixture
def shopify(database):
    with code_shops.connected(database) as stand_in:
        yield stand_in


def _live(database, campaign_id="c1", **terms):
    code_shops.live_campaign(database, CUSTOMERS, campaign_id, **terms)


def _made(database, **terms):
    """A live campaign whose codes are at the shop."""
    _live(database, **terms)
    sync(database)


def _stopped(database):
    code_shops.stop(database)
    return sync(database)


def _issued(database) -> set[str]:
    return set(scalars(database, select(Coupon.code).where(Coupon.state == "issued")))


def _due(database) -> int:
    """Number of e-mails that may go out."""
    count = 0
    with database.transaction() as session:
        session.execute(update(Send).values(channel="email"))
        while sends.claim(session, "c1", "j1", NOW):
            count += 1
        session.rollback()
    return count


def test_no_code_reaches_the_shop_before_the_campaign_is_live(shop, database):
    code_shops.approved_campaign(database, CUSTOMERS)
    assert sync(database).made == 0
    assert not books(shop).codes()
    code_shops.go_live(database)
    assert not books(shop).codes()
    sync(database)
    assert books(shop).codes().keys() == _issued(database)
    assert not books(shop).unapproved


def test_without_a_shop_nothing_is_queued(database):
    _live(database)
    assert not states(database)
    assert read(database, shop_code_queue.progress, "c1") is None
    assert _due(database) == 18


def test_emails_wait_until_the_shop_has_all_codes(shop, database, settings):
    _live(database)
    assert _due(database) == 0
    waiting = read(database, shop_code_queue.progress, "c1")
    assert (waiting.made, waiting.is_waiting) == (0, True)
    assert read(database, shop_code_queue.due_campaigns, NOW)
    assert not read(database, sends.due_campaigns, settings.team_id, NOW)
    sync(database)
    assert _due(database) == 18
    assert not read(database, shop_code_queue.due_campaigns, NOW)


def test_codes_work_for_the_treatment_group_only(shopify, database):
    _made(database)
    rows = world.rows(database, select(Coupon.code, Coupon.customer_id))
    (code, customer), (other, _) = rows[:2]
    day = "2025-05-10T00:00:00Z"
    checkout = shopify.discounts.checkout
    assert checkout(code, "9999", 50, day) == "not eligible"
    assert checkout(code, customer, 29, day) == "below the minimum"
    assert checkout(code, customer, 50, "2026-05-10T00:00:00Z") == "not active"
    assert checkout(code, customer, 50, day) == ""
    assert checkout(other, customer, 50, day) == "used"  # once per customer


def test_code_of_a_guest_is_valid_once(shopify, database):
    _live(database, guests=7)
    assert sync(database).refused == 0
    assert set(shopify.discounts.codes()) == _issued(database)
    of_customer = dict(world.rows(database, select(Coupon.customer_id, Coupon.code)))
    guests = {each: code for each, code in of_customer.items() if "@" in each}
    assert guests
    assert len(scalars(database, select(ShopDiscount))) == 2
    day, checkout = "2025-05-10T00:00:00Z", shopify.discounts.checkout
    for guest, code in guests.items():
        assert checkout(code, guest, 50, day) == ""
        assert checkout(code, "another@example.com", 50, day) == "used"
    code = next(code for each, code in of_customer.items() if "@" not in each)
    assert checkout(code, "guest@example.com", 50, day) == "not eligible"
    _stopped(database)
    assert set(shopify.discounts.codes()) == set(guests.values())


def test_stop_deletes_unused_codes_and_used_ones_stay(shop, database):
    _made(database)
    used = sorted(books(shop).codes())[3]
    customer = scalar(database, select(Coupon.customer_id).where(Coupon.code == used))
    code_shops.use(shop, used, customer)
    code_shops.stop(database)
    assert read(database, shop_code_queue.due_campaigns, NOW)
    sync(database)
    assert set(books(shop).codes()) == {used}
    assert states(database).pop(used) == "used"
    assert not read(database, shop_code_queue.due_campaigns, NOW)
    assert read(database, shop_code_queue.used_codes, "c1") == 1


def test_audit_log_counts_codes_and_names_none(shop, database):
    _made(database)
    codes = set(states(database))
    sync(database)
    _stopped(database)
    rows = scalars(database, select(Audit).where(Audit.action.startswith("shop_codes.")))
    counts = Counter[str]()
    for row in rows:
        counts[row.action] += row.details["codes"]
        assert (row.subject, row.actor) == ("c1", "clock")
        assert not [code for code in codes if code in json.dumps(row.details)]
    assert counts == {"shop_codes.made": len(codes), "shop_codes.deleted": len(codes)}


def test_stop_before_the_first_job_leaves_nothing(shop, database):
    _live(database)
    _stopped(database)
    assert not books(shop).created
    assert set(states(database).values()) == {"deleted"}


def test_stopped_discount_is_deleted_at_shopify(shopify, database):
    _made(database)
    _stopped(database)
    assert not shopify.discounts.nodes


def test_plan_limit_removes_the_codes_and_sends_nothing(shopify, database):
    shopify.discounts.limit = 7
    _live(database)
    report = sync(database)
    assert report.is_blocked
    assert report.error.code == "plan_limit"
    assert not shopify.discounts.codes()
    assert set(states(database).values()) == {"wanted"}
    assert _due(database) == 0
    assert read(database, shop_code_queue.progress, "c1").is_blocked
    assert not read(database, shop_code_queue.due_campaigns, NOW)  # tomorrow
    shopify.discounts.limit = None
    assert sync(database).error is None
    assert shopify.discounts.codes().keys() == _issued(database)
    assert _due(database) == 18


def test_stop_does_not_wait_for_the_next_retry(shop, database):
    _live(database)
    shop.fail("rate_limited", times=1, value=3600)
    assert sync(database).error is not None
    assert not read(database, shop_code_queue.due_campaigns, NOW)
    code_shops.stop(database)
    assert read(database, shop_code_queue.due_campaigns, NOW)


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("unauthorized", "access_denied"),
        ("forbidden", "scope_missing"),
        ("rate_limited", "rate_limited"),
        ("server_error", "unavailable"),
        ("cut_after_effect", "unavailable"),
        ("not_json", "changed_schema"),
    ],
)
def test_fault_is_reported_and_the_next_job_continues(shop, database, fault, code):
    _live(database)
    shop.fail(fault, times=1, value=3600)
    report = sync(database)
    assert report.error.code == code
    assert read(database, shop_code_queue.progress, "c1").error_code == code
    assert not read(database, shop_code_queue.due_campaigns, NOW)  # it waits
    assert sync(database).error is None
    assert books(shop).codes().keys() == _issued(database)
    assert set(books(shop).created.values()) == {1}
    assert not read(database, shop_code_queue.progress, "c1").error_code


def test_customers_that_the_shop_does_not_know_get_no_email(database):
    with code_shops.connected(database, "woocommerce"):
        _live(database)
        code, customer = world.rows(database, select(Coupon.code, Coupon.customer_id))[0]
        emails = {f"{n + 1000}": f"k{n}@example.com" for n in range(CUSTOMERS)}
        emails[customer] = ""
        report = sync(database, emails=emails)
        assert report.refused == 1
        assert states(database)[code] == "refused"
        assert _due(database) == 17
        assert read(database, shop_code_queue.unmade_codes, "c1") == {code}


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize(
    ("terms", "kind"),
    [
        ({"discount": 0.0, "amount": 5.0}, "amount"),
        ({"action": "free_shipping", "discount": 0.0}, "free_shipping"),
        ({"category": "Tea"}, "percent"),
    ],
)
def test_each_kind_of_offer_reaches_the_shop(shop, database, terms, kind):
    if hasattr(shop, "discounts"):
        shop.discounts.products["Tea"] = [f"gid://shopify/Product/{n}" for n in range(300)]
    _live(database, **terms)
    assert sync(database).error is None
    assert books(shop).codes().keys() == _issued(database)
    if hasattr(shop, "discounts"):
        (node,) = shop.discounts.nodes.values()
        assert (node["__typename"] == "DiscountCodeFreeShipping") == (kind == "free_shipping")
        assert len(node["products"]) == (300 if "category" in terms else 0)
        if kind != "free_shipping":
            value = node["customerGets"]["value"]
            assert value.get("percentage") == (0.15 if kind == "percent" else None)
    else:
        row = next(iter(shop.coupons.rows.values()))
        assert row["free_shipping"] == (kind == "free_shipping")
        assert row["amount"] == {"amount": "5.00", "free_shipping": "0", "percent": "15.00"}[kind]
        assert row.get("product_categories") == ([3] if "category" in terms else None)


def test_code_of_a_gift_stays_here_and_no_email_waits_for_the_shop(shop, database):
    _live(database, action="gift", discount=0.0, amount=3.0, what="a mug")
    assert len(_issued(database)) == 18
    assert _due(database) == 18
    assert sync(database).made == 0
    assert not books(shop).codes()


def _check(database) -> Differences:
    connection = one(database, select(Connection))
    maker = code_shops.opened(database)
    return compare(code_shops.fenced(database), maker, connection.id, NOW)


def test_nightly_check_repairs_what_is_safe(shop, database):
    for number, campaign_id in enumerate(("c1", "c2")):
        _live(database, campaign_id, first=1000 + 100 * number)
        sync(database, campaign_id)
    assert _check(database).is_equal
    lost = sorted(states(database))[0]
    code_shops.stop(database, "c2")
    sync(database, "c2")
    code_shops.replace_code(shop, lost, "FRIENDS10")
    found = _check(database)
    assert (found.missing, found.foreign) == (1, 1)
    due = read(database, shop_code_queue.due_campaigns, NOW)
    assert "c1" in {campaign.id for campaign in due}
    sync(database)
    assert lost in books(shop).codes()
    assert "FRIENDS10" in books(shop).codes()
    after = _check(database)
    assert (after.missing, after.extra, after.foreign) == (0, 0, 1)


def test_code_that_must_not_exist_is_deleted(shop, database):
    _made(database)
    bring_back = code_shops.remembered(shop)
    _stopped(database)
    bring_back()  # a late request makes them again
    found = _check(database)
    assert found.extra == found.compared > 10
    sync(database)
    assert not books(shop).codes()


def test_discount_that_somebody_deleted_is_made_again(shopify, database):
    _made(database)
    codes = set(shopify.discounts.codes())
    shopify.discounts.nodes.clear()
    assert _check(database).missing == len(codes)
    sync(database)
    assert set(shopify.discounts.codes()) == codes


def test_paused_shop_is_left_alone(shop, database):
    _live(database)
    execute(database, update(Connection).values(state="paused"))
    assert not read(database, shop_code_queue.due_campaigns, NOW)


def test_large_batches_keep_to_the_limits_of_a_request(shopify, database):
    code_shops.live_campaign(database, 800)
    assert sync(database).error is None
    assert shopify.discounts.codes().keys() == _issued(database)
    adds = [call for call in shopify.calls if b"BulkAdd" in call.body]
    assert len(adds) == 3
    (node,) = shopify.discounts.nodes.values()
    assert len(node["customers"]) == len(_issued(database))
    assert scalar(database, select(ShopDiscount.state)) == "ready"
    assert scalar(database, select(Campaign.state)) == "live"


@pytest.mark.nightly
def test_codes_are_made_and_deleted_with_postgresql(tmp_path):
    with postgres() as url:
        options = {"database_url": url, "secret_key": "x" * 40, "_env_file": None}
        database = Database(url, Settings(home=tmp_path / "pg", **options))
        create_tables(database)
        with code_shops.connected(database) as stand_in:
            _live(database)
            assert read(database, shop_code_queue.due_campaigns, NOW)
            sync(database)
            assert stand_in.discounts.codes().keys() == _issued(database)
            assert _due(database) == 18
            code_shops.stop(database)
            assert sync(database).deleted == len(states(database))
            assert not stand_in.discounts.codes()
        database.dispose()
