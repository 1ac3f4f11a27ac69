"""Test the audience: tier × value × reason × consent, and counts of exclusions."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from retention.campaigns.planning import audience, due_and_new_items
from retention.campaigns.planning.audience import Selection, select_audience, value_bands
from retention.lake import Lake
from retention.risk.policy import read_policy
from tests.retention.recommend.small_shop import SmallShop, add_events, bring

POLICY = """
[values]
high = 0.1
middle = 0.4
[campaign]
max_calls = 3
frequency_cap_days = 0
[[rules]]
name = "Call"
tiers = ["high"]
values = ["high"]
action = "call"
[[rules]]
name = "Coupon"
tiers = ["high"]
action = "coupon"
discount = 0.1
[[rules]]
name = "Unasked"
tiers = ["high"]
consent = ["unknown"]
action = "reminder"
"""


@pytest.fixture
def policy(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text(POLICY)
    return read_policy(path)


def _scores(ids) -> pd.DataFrame:
    frame = pd.DataFrame({"customer_id": ids, "expected_value": range(len(ids), 0, -1)})
    return frame.assign(churn_probability=0.6, tier="high", reasons="[]")


def _chosen(shop, policy, ids):
    selection = Selection(shop.end, shop.end + timedelta(hours=1))
    with shop.database.reading() as session:
        return select_audience(shop.lake, session, policy, _scores(ids), selection)


@pytest.fixture(scope="module")
def everyone(shop) -> list[str]:
    return sorted(shop.lake.table("customers").customer_id.execute())


def test_value_bands_are_shares_by_value():
    bands = value_bands(pd.Series([5.0, None, 9.0, 1.0, 7.0, 3.0, 2.0, 8.0, 6.0, 4.0]), 0.1, 0.4)
    assert "".join(bands.str[0]) == "mlhlmllmml"
    equal = value_bands(pd.Series([1.0] * 10), 0.2, 0.3)
    assert "".join(equal.str[0]) == "hhmmmlllll"


def test_calls_go_to_valuable_customers_with_a_phone_others_get_next_rule(
    shop, policy, everyone, monkeypatch
):
    ids = everyone[:200]
    nobody = _chosen(shop, policy, ids)
    assert set(nobody.customers["rule"]) == {"Coupon"}
    monkeypatch.setattr(audience, "customers_with_phone", lambda lake: set(ids) - {ids[0]})
    called = _chosen(shop, policy, ids)
    calls = called.customers[called.customers["rule"] == "Call"]
    agreed = sorted(called.customers["customer_id"])
    assert sorted(calls["customer_id"]) == [each for each in agreed if each != ids[0]][:3]
    assert len(called.customers) == len(nobody.customers)
    assert called.excluded == nobody.excluded == {"no_consent": 200 - len(agreed)}


def test_unknown_consent_uses_its_own_rule_and_refusal_excludes(
    shop, policy, everyone, monkeypatch
):
    ids = everyone[:30]
    states = pd.Series(["given", "unknown", "refused"] * 10)
    monkeypatch.setattr(audience, "consent_states", lambda *_: states)
    chosen = _chosen(shop, policy, ids)
    assert chosen.customers["rule"].value_counts().to_dict() == {"Coupon": 10, "Unasked": 10}
    assert chosen.excluded == {"no_consent": 10}
    strict = policy.model_copy(update={"rules": policy.rules[:2]})
    assert _chosen(shop, strict, ids).excluded == {"no_consent": 20}


def test_customers_erased_since_the_sweep_are_excluded_and_counted(shop, policy, everyone):
    ids = [*everyone[:20], "gone-1", "gone-2"]
    chosen = _chosen(shop, policy, ids)
    assert chosen.excluded["erased"] == 2
    assert not {"gone-1", "gone-2"} & set(chosen.customers["customer_id"])


def test_limited_gift_goes_to_valuable_customers_others_get_next_rule(
    shop, tmp_path, everyone, monkeypatch
):
    gift = """
[[rules]]
name = "Gift"
tiers = ["high"]
values = ["middle"]
action = "gift"
what = "a mug"
cost = 2.0
min_order = 30.0
most = 5
"""
    path = tmp_path / "limited.toml"
    path.write_text(POLICY + gift)
    ids = everyone[:200]
    monkeypatch.setattr(audience, "customers_with_phone", lambda lake: set(ids))
    chosen = _chosen(shop, read_policy(path), ids).customers.set_index("customer_id")
    gifts = sorted(chosen.index[chosen["rule"] == "Gift"])
    assert len(gifts) == 5
    assert (chosen["rule"] == "Call").sum() == 3
    middle = [each for each in ids[20:100] if each in chosen.index]
    assert gifts == middle[:5]
    assert set(chosen.loc[middle[5:], "rule"]) == {"Coupon"}


def test_bounced_customers_are_excluded_unless_called(shop, policy, everyone, monkeypatch):
    """Repeated bounces make mail servers refuse more and more e-mails."""
    ids = everyone[:40]
    monkeypatch.setattr(audience, "customers_with_phone", lambda lake: set(ids))
    before = _chosen(shop, policy, ids).customers
    called, *_ = before.loc[before["rule"] == "Call", "customer_id"]
    first, two, *_ = before.loc[before["rule"] == "Coupon", "customer_id"]
    bounced = {first, two, called}
    monkeypatch.setattr(audience.bounces, "customers_with_bounced_address", lambda *_: bounced)
    chosen = _chosen(shop, policy, ids)
    assert chosen.excluded["bounced"] == 2
    rules = dict(chosen.customers[["customer_id", "rule"]].itertuples(index=False))
    assert {first, two} & set(rules) == set()
    assert rules[called] == "Call"


def _bought(shop, before) -> pd.DataFrame:
    events = shop.lake.table("events", before=before).execute()
    return events[events["event_type"] == "purchase"]


def test_due_items_have_a_usual_gap_and_are_neither_early_nor_given_up(shop, everyone):
    at = shop.end - timedelta(days=30)
    due = due_and_new_items.due_again(shop.lake, everyone, at, 3)
    assert due
    events = _bought(shop, at)
    for customer_id, chosen in list(due.items())[:20]:
        assert len(chosen) <= 3
        for pick in chosen:
            mine = events["customer_id"].eq(customer_id) & events["item_id"].eq(pick.item_id)
            days = events.loc[mine, "occurred_at"]
            days = sorted(days.groupby(days.dt.date).min())
            assert len(days) >= 3
            gap = (days[-1] - days[0]) / (len(days) - 1)
            assert 0.75 <= (pd.Timestamp(at).tz_localize(None) - days[-1]) / gap <= 3.1
    assert due_and_new_items.due_again(shop.lake, ["nobody"], at, 3) == {}


def test_new_arrivals_are_new_items_of_the_favourite_category(shop, everyone):
    at = shop.end
    # The lake itself is too young to say
    assert due_and_new_items.new_arrivals(shop.lake, everyone, at, 3, days=150) == {}
    first = _bought(shop, at).groupby("item_id")["occurred_at"].min().sort_values()
    newest = first.index[-1]
    days = (pd.Timestamp(at).tz_localize(None) - first[newest]).days + 1
    arrivals = due_and_new_items.new_arrivals(shop.lake, everyone, at, 3, days=min(days, 99))
    if days <= 99:
        assert {pick.item_id for chosen in arrivals.values() for pick in chosen} >= {newest}
    category = shop.lake.table("items").execute().set_index("item_id")["category"]
    events = _bought(shop, at)
    for customer_id, chosen in arrivals.items():
        mine = events[events["customer_id"] == customer_id]
        counted = mine.assign(c=mine["item_id"].map(category), d=mine["occurred_at"].dt.date)
        best = counted.groupby("c")["d"].nunique().max()
        for pick in chosen:
            assert counted.groupby("c")["d"].nunique()[category[pick.item_id]] == best
            assert pick.item_id not in set(mine["item_id"])


def test_old_opens_do_not_make_every_item_new(database, settings):
    small = SmallShop(settings, database, Lake.open(settings))
    titles = {"item_id": ["i", "j"], "title": ["Tea", "Green tea"], "category": "tea"}
    bring(small, "items", pd.DataFrame(titles))
    at, day = datetime(2025, 3, 1, tzinfo=UTC), timedelta(days=1)
    bought = [("a", "purchase", at - 9 * day, "i", {}), ("b", "purchase", at - 9 * day, "j", {})]
    add_events(small, [*bought, ("a", "email_open", at - 200 * day, None, {})])
    assert due_and_new_items.new_arrivals(small.lake, ["a"], at, 3, days=30) == {}
    add_events(small, [("a", "view", at - 200 * day, "i", {})])
    assert due_and_new_items.new_arrivals(small.lake, ["a"], at, 3, days=30).keys() == {"a"}


def test_listed_items_use_no_later_data(shop, everyone):
    """The list for one moment is the same after 60 more days of data."""
    at, ids = shop.end - timedelta(days=60), everyone[:100]

    class Past:
        """The shop as it was then: a lake that has no later event at all."""

        own_titles = dict

        def table(self, name, before=None, since=None):
            table = shop.lake.table(name, before, since)
            is_past = table.occurred_at < at.replace(tzinfo=None) if name == "events" else True
            return table.filter(is_past)

    due, new = due_and_new_items.due_again, due_and_new_items.new_arrivals
    assert due(shop.lake, ids, at, 3) == due(Past(), ids, at, 3)
    assert new(shop.lake, ids, at, 3, 40) == new(Past(), ids, at, 3, 40)
