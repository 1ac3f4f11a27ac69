"""Test which customers an audience has, at a point in time."""

import json
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retention.audiences.breakdown import breakdown
from retention.audiences.evaluate import mask, members
from retention.audiences.expression import OPERATORS, TIERS, And, Comparison, Not, OneOf, Or
from retention.audiences.parse import parse
from retention.audiences.scores import members_at, scores_at
from retention.db.tables import ListMember, MessageEvent, Send, Suppression
from retention.errors import BadInput
from retention.lake.customer_directory import attribute_names, counted_values
from retention.lake.customer_lake import CustomerHistory, CustomerLake
from retention.registry.churn_definition import (
    change_definition,
    current_definition,
    resolve_definition,
)
from retention.risk.policy import load_policy
from retention.risk.sweep import sweep
from tests import shop as tiny
from tests.world import add, assignment, campaign

CITIES = ("Berlin", "Hamburg", None)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Fifty customers; a tenth of the values is unknown."""
    rng = np.random.default_rng(1)
    columns = {
        "risk": rng.choice(["low", "medium", "high", None], 50),
        "value": np.where(rng.random(50) < 0.1, np.nan, rng.gamma(2, 100, 50)),
        "city": rng.choice(CITIES, 50),
    }
    table = pd.DataFrame(columns)
    table.index = [f"c{number}" for number in range(50)]
    return table


operators = st.sampled_from(OPERATORS)
parts = st.one_of(
    st.builds(Comparison, st.just("risk"), operators, st.sampled_from(TIERS)),
    st.builds(Comparison, st.just("value"), operators, st.floats(0, 500)),
    st.builds(OneOf, st.just("city"), st.just(("berlin",)) | st.just(("Berlin", "Hamburg"))),
)


@pytest.mark.nightly
@given(parts, parts, parts)
@settings(max_examples=40)
def test_masks_obey_the_laws_of_and_or_and_not(frame, a, b, c):
    def same(one, other):
        return mask(one, frame).equals(mask(other, frame))

    assert same(Not(Not(a)), a)
    assert same(Not(And(a, b)), Or(Not(a), Not(b)))
    assert same(Not(Or(a, b)), And(Not(a), Not(b)))
    assert same(And(a, b), And(b, a))
    assert same(Or(a, Or(b, c)), Or(Or(a, b), c))
    assert same(And(a, Or(b, c)), Or(And(a, b), And(a, c)))
    assert not mask(And(a, Not(a)), frame).any()
    assert mask(Or(a, Not(a)), frame).all()


def test_comparison_with_an_unknown_value_is_false_and_unequal_is_its_opposite(frame):
    unknown = frame["city"].isna()
    assert unknown.any()
    assert not mask(parse("city = Berlin"), frame)[unknown].any()
    assert mask(parse("city != Berlin"), frame)[unknown].all()
    tiers = mask(parse("risk > low"), frame)
    assert set(frame["risk"][tiers]) == {"medium", "high"}


def add_customers(shop, rows) -> None:
    frame = pd.DataFrame(rows)
    frame["attributes"] = frame["attributes"].map(json.dumps)
    shop.lake.upsert("customers", frame)


@pytest.fixture
def people(shop_copy):
    """The tiny shop with cities, ages and a country for ten customers."""
    start = pd.Timestamp(shop_copy.begin)
    rows = [
        {
            "customer_id": f"c{number:04d}",
            "locale": "de-AT" if number == 0 else "en-GB",
            "created_at": start,
            "marketing_consent": number != 3,
            "attributes": {"city": "Berlin" if number < 4 else "Hamburg", "age": str(20 + number)}
            | ({"country": "DE"} if number == 1 else {}),
        }
        for number in range(10)
    ]
    add_customers(shop_copy, rows)
    return shop_copy


def found(shop, text, as_of=None) -> set[str]:
    with shop.database.reading() as session:
        return set(members(shop.lake, session, parse(text), as_of or shop.end).customers)


def unsubscribed(shop, customer, at) -> Suppression:
    team = shop.settings.team_id
    return Suppression(team_id=team, customer_id=customer, source="unsubscribe", at=at)


def test_attributes_city_country_and_consent_describe_customers(people):
    ten = {f"c{number:04d}" for number in range(10)}
    assert attribute_names(people.lake) == ["age", "city", "country"]
    assert found(people, "city = berlin") == {"c0000", "c0001", "c0002", "c0003"}
    assert found(people, "age >= 28") == {"c0008", "c0009"}
    assert found(people, "city in (Berlin, Hamburg)") == ten
    assert found(people, "country = AT") == {"c0000"}
    assert found(people, "country = DE") == {"c0001"}
    assert "c0003" in found(people, "consent = refused")
    assert "c0003" not in found(people, "consent = given")
    add(people.database, unsubscribed(people, "c0004", people.end - timedelta(days=5)))
    assert "c0004" in found(people, "consent = refused")
    assert "c0004" not in found(people, "consent = refused", people.end - timedelta(days=6))


def test_order_fields_agree_with_the_orders_before_the_moment(shop):
    as_of = shop.end - timedelta(days=40)
    events = shop.lake.table("events", before=as_of).execute()
    bought = events[events["event_type"] == "purchase"]
    per = bought.groupby("customer_id").agg(
        orders=("order_id", "nunique"), last=("occurred_at", "max"), spent=("amount", "sum")
    )
    silent = (pd.Timestamp(as_of).tz_localize(None) - per["last"]).dt.total_seconds() / 86_400
    assert found(shop, "orders >= 5", as_of) == set(per.index[per["orders"] >= 5])
    assert found(shop, "last_order > 30", as_of) == set(per.index[silent > 30])
    expected = set(per.index[(per["spent"] > 100) & (silent <= 30)])
    assert found(shop, "spent > 100 and last_order <= 30d", as_of) == expected
    assert found(shop, "channel = web", as_of) == set(per.index)
    items = shop.lake.table("items").execute().set_index("item_id")
    recent = bought[
        bought["occurred_at"] >= pd.Timestamp(as_of).tz_localize(None) - timedelta(days=30)
    ]
    coffee = set(recent["customer_id"][recent["item_id"].map(items["category"]) == "coffee"])
    assert coffee
    assert found(shop, "bought category Coffee in 30d", as_of) == coffee
    assert found(shop, "not bought category Coffee in 30d", as_of).isdisjoint(coffee)
    expected = set(recent["customer_id"][recent["item_id"].map(items["brand"]) == "brand 1"])
    assert found(shop, "bought brand 'brand 1'", as_of) >= expected
    expected = found(shop, f"bought item {items.loc['i001', 'title']!r}", as_of)
    assert found(shop, "bought item i001", as_of) == expected


def test_later_rows_change_nothing_about_an_earlier_moment(people):
    with people.database.transaction() as session:  # a derived definition follows the data
        fixed = resolve_definition(current_definition(session), 21, 42)
        change_definition(session, fixed, "U1")
    as_of = people.end - timedelta(days=30)
    texts = (
        "orders > 3",
        "last_order > 20",
        "spent > 50 or first_order < 100",
        "not bought category tea in 60d",
        "risk >= medium and value > 1",
        "consent != refused",
        "in campaign c1",
        "store = nord",
        "last_store = South",
        "bought category coffee in 60d at store Nord",
        "orders in 30d >= 1 and spent in 30d > 10",
        "last_event > 20",
        "viewed category coffee in 30d",
        "opened in 30d or clicked",
        "not in list staff",
    )

    def answers():
        return [
            members_at(people.lake, people.database, parse(text), as_of).customers for text in texts
        ]

    earlier = tiny.purchases(as_of - timedelta(days=2), ["c0001", "c0002"], 9.0)
    tiny.add(people, earlier.assign(item_id="i001", store="Nord"))
    before = answers()
    at, team = as_of + timedelta(hours=1), people.settings.team_id
    buyers = [*(f"c{number:04d}" for number in range(100)), "new"]
    later = tiny.purchases(at, buyers, 5_000.0)
    tiny.add(people, later.assign(item_id="i001", quantity=1, channel="store", store="Nord"))
    for kind in ("view", "email_open", "email_click"):
        tiny.add(people, later.assign(item_id="i001", event_type=kind, amount=None, order_id=None))
    member = {"team_id": team, "name": "staff", "customer_id": "c0001", "added_at": at}
    add(people.database, ListMember(**member))
    add(people.database, campaign("c1", team_id=team, state="live", sent_at=at))
    add(people.database, assignment("c1", "c0001", "control"), unsubscribed(people, "c0001", at))
    assert answers() == before
    assert found(people, "in campaign c1") == {"c0001"}
    assert any(before)


@pytest.mark.nightly
def test_stores_views_mails_and_lists_describe_customers(people):
    last = people.end - timedelta(days=3)
    bought = tiny.purchases(last, ["c0001", "c0002"]).assign(item_id="i001")
    tiny.add(people, bought.assign(store=["Nord", "Süd"]))
    again = tiny.purchases(last + timedelta(days=1), ["c0001"]).assign(item_id="i002")
    tiny.add(people, again.assign(store="Süd"))
    seen = bought.assign(amount=None, order_id=None)
    for kind, who in (("cart", "c0003"), ("email_open", "c0004"), ("email_click", "c0005")):
        tiny.add(people, seen[:1].assign(event_type=kind, customer_id=who))
    category = people.lake.table("items").execute().set_index("item_id").loc["i001", "category"]
    member = {"team_id": people.settings.team_id, "name": "staff", "added_at": people.begin}
    left = {"customer_id": "c0007", "removed_at": people.end - timedelta(days=9)}
    add(people.database, ListMember(**member, customer_id="c0006"), ListMember(**member, **left))
    assert found(people, "store = nord") == {"c0001"}
    assert found(people, "store in (Nord, Süd)") == {"c0001", "c0002"}
    assert "c0001" in found(people, "last_store = Süd")
    at_store = f"bought category {category} in 5d at store nord"
    assert found(people, at_store) == {"c0001"}
    assert "c0003" in found(people, f"viewed category {category} in 5d")
    own = {"team_id": people.settings.team_id, "campaign_id": "c1", "customer_id": "c0008"}
    add(people.database, campaign("c1", team_id=own["team_id"], state="live", sent_at=last))
    add(people.database, Send(id=1, **own, channel="email", state="sent"))
    add(people.database, MessageEvent(send_id=1, **own, kind="click", at=last))
    assert found(people, "opened in 5d") == {"c0004", "c0005", "c0008"}
    assert found(people, "clicked in 5d or opened in 2d") == {"c0005", "c0008"}
    assert {"c0001", "c0003", "c0004"} <= found(people, "last_event < 4d")
    assert "c0001" in found(people, "orders in 4d >= 2 and spent in 4d >= 100")
    assert found(people, "in list staff") == {"c0006"}
    assert found(people, "in list staff", people.end - timedelta(days=10)) == {"c0006", "c0007"}


def test_own_column_store_counts_before_the_store_of_orders(people):
    bought = tiny.purchases(people.end - timedelta(days=3), ["c0000", "c0001"])
    tiny.add(people, bought.assign(item_id="i001", store="Nord"))
    swept = sweep(people.lake, None, load_policy(people.settings), as_of=people.end, tier="medium")

    def groups():
        with people.database.reading() as session:
            return {row["value"] for row in breakdown(people.lake, session, swept, "store")}

    assert groups() >= {"Nord", None}
    rows = [{"customer_id": f"c{n:04d}", "attributes": {"Store": str(n)}} for n in range(1, 9)]
    add_customers(people, rows)
    assert groups() >= {"1", "8", None}
    assert "Nord" not in groups()
    assert found(people, "store = 1 or store in (2, 3)") == {"c0001", "c0002", "c0003"}
    assert found(people, "store > 6") == {"c0007", "c0008"}
    assert found(people, "store = Nord") == set()
    assert "c0001" in found(people, "last_store = Nord") & found(people, "store != Nord")
    counted = [row for row in counted_values(people.lake) if row[0] == "store"]
    assert counted == [("store", str(n), 1) for n in range(1, 9)]


def test_reading_few_customers_measures_the_time_range_of_all(people):
    newest = people.end - timedelta(seconds=1)
    tiny.add(people, tiny.purchases(newest, ["c0009"]).assign(item_id="i001"))
    member = {"team_id": people.settings.team_id, "name": "staff", "added_at": people.begin}
    add(people.database, ListMember(**member, customer_id="c0001"))
    with (
        people.database.reading() as session,
        CustomerLake(people.lake, CustomerHistory(people.lake), ["c0001"]) as few,
    ):
        assert members(few, session, parse("in list staff"), people.end).customers == {"c0001"}
    assert people.lake.newest_event() == newest


def test_warnings_name_the_nearest_known_value(people):
    with people.database.reading() as session:
        text = "city = Berlim and bought category cofee and not in list x"
        (city, category, named) = members(people.lake, session, parse(text), people.end).warnings
    assert "Berlin" in city
    assert "coffee" in category
    assert "list" in named


def test_risk_follows_the_scores_and_unscored_customers_have_none(shop):
    at, scores = scores_at(shop.lake, shop.database, shop.end)
    high = set(scores.customer_id[scores.tier == "high"])
    with shop.database.reading() as session:

        def scored(text):
            return members(shop.lake, session, parse(text), at, scores).customers

        assert scored("risk = high") == high
        assert scored("risk >= low") == set(scores.customer_id)
        expected = set(scores.customer_id[scores.churn_probability > 0.5])
        assert scored("probability > 0.5") == expected


def test_scores_of_active_customers_need_none_of_lapsed_ones(people, monkeypatch):
    at = people.end - timedelta(days=3)
    monkeypatch.setattr("retention.risk.rules.score_lapsed", None)
    _, scores = scores_at(people.lake, people.database, at)
    names = ["customer_id", "churn_probability", "tier", "expected_value"]
    assert scores[names].notna().all(axis=None)
    assert not scores.empty


@pytest.mark.parametrize("tier", ["medium", "lapsed"])
def test_breakdown_sums_to_the_sweep_and_names_the_nearest_field(people, tier):
    swept = sweep(people.lake, None, load_policy(people.settings), as_of=people.end, tier=tier)
    with people.database.reading() as session:
        rows = breakdown(people.lake, session, swept, "City")
        assert {row["value"] for row in rows} <= {"Berlin", "Hamburg", None}
        assert sum(row["customers"] for row in rows) == len(swept.group)
        assert sum(row["at_risk"] for row in rows) == len(swept.cohort)
        expected = pytest.approx(swept.revenue_at_risk, abs=0.02)
        assert sum(row["revenue_at_risk"] for row in rows) == expected
        with pytest.raises(BadInput, match="age"):
            breakdown(people.lake, session, swept, "agee")
        with pytest.raises(BadInput):
            breakdown(people.lake, session, swept, "value")


def test_scores_of_one_moment_are_computed_once_until_the_data_changes(people):
    def scored():
        return scores_at(people.lake, people.database, people.end)[1]

    first = scored()
    assert scored() is first
    tiny.add(people, tiny.purchases(people.end - timedelta(hours=1), ["c0001"], 500.0))
    assert scored() is not first
