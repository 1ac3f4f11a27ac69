"""Test that alerts fire once, on entry, and what they would have done before."""

from datetime import datetime, timedelta

import pytest

from retention import clock
from retention.alerts import backtest, checks
from retention.alerts.backtest import would_have_fired
from retention.alerts.checks import Watch, check
from retention.alerts.condition import PHRASES, Condition, parse_condition
from retention.audiences.parse import parse
from retention.campaigns.measurement import interim as interim_module
from retention.campaigns.measurement.effects import SampleRatio
from retention.campaigns.measurement.sequential import InterimResult, RunningEffect
from retention.db.tables import Campaign, ModelHealth
from retention.errors import BadInput
from tests.retention.campaigns.samples import a_body
from tests.world import add, campaign, model_version

DAY = timedelta(days=1)


def checked(shop, text, state, at, audience=None):
    clock.configure(fixed=at)
    return check(watch(shop, text, at, audience), state)


def watch(shop, text, at, audience=None):
    narrowing = parse(audience) if audience else None
    return Watch(parse_condition(text), narrowing, at, shop.lake, shop.database)


@pytest.mark.parametrize("phrase", PHRASES)
def test_printed_condition_parses_to_the_same(phrase):
    condition = parse_condition(phrase.upper())
    assert parse_condition(str(condition)) == condition


def test_conditions_are_phrases_or_expressions():
    assert parse_condition("data late > 3 days") == Condition("data late", days=3)
    assert parse_condition("risk >= high").kind == "customers"
    assert parse_condition("campaign harms").kind == "campaign harm"
    with pytest.raises(BadInput, match="lapses rise"):
        parse_condition("lapses rose")
    with pytest.raises(BadInput, match="position 9"):
        parse_condition("risk >= hihg")
    with pytest.raises(BadInput, match="data late > 2d"):
        parse_condition("data late > soon")


def test_customers_fire_once_when_they_begin_to_meet_the_condition(shop):
    text, start = "last_order > 20", shop.end - 20 * DAY
    first = checked(shop, text, {}, start)
    assert not first.has_fired  # the first check only notes who is inside already
    again = checked(shop, text, first.state, start)
    assert not again.has_fired
    second = checked(shop, text, first.state, start + 2 * DAY)
    assert second.has_fired
    assert 0 < second.customers < second.facts["total"]
    assert len(second.named) == min(second.customers, checks.MAX_NAMED)
    third = checked(shop, text, second.state, start + 2 * DAY)
    assert not third.has_fired
    assert set(second.state) == {"as_of"}  # no customer is stored


def test_customer_alert_is_limited_to_its_audience(shop):
    start = shop.end - 20 * DAY
    state = checked(shop, "last_order > 20", {}, start, "orders >= 9").state
    limited = checked(shop, "last_order > 20", state, start + 7 * DAY, "orders >= 9")
    everybody = checked(shop, "last_order > 20", state, start + 7 * DAY)
    assert 0 < limited.customers < everybody.customers


def test_risk_alert_compares_both_moments_with_one_model(shop):
    start = shop.end - 15 * DAY
    state = checked(shop, "risk >= medium and value > 1", {}, start).state
    later = checked(shop, "risk >= medium and value > 1", state, start + 7 * DAY)
    assert later.customers == later.facts["entered"] <= later.facts["total"]


def test_late_data_fires_once_until_new_data_comes(shop):
    newest = shop.lake.newest_event()
    early = checked(shop, "data late > 3d", {}, newest + DAY)
    late = checked(shop, "data late > 3d", early.state, newest + 4 * DAY)
    later = checked(shop, "data late > 3d", late.state, newest + 5 * DAY)
    assert [one.has_fired for one in (early, late, later)] == [False, True, False]
    assert late.facts["newest"] == newest.isoformat()


def test_decayed_model_fires_once_per_version(shop_copy):
    shop = shop_copy
    add(shop.database, model_version(shop.settings, state="champion", promoted_at=shop.end))
    assert not checked(shop, "model decayed", {}, shop.end).has_fired
    health = {"state": "decayed", "reasons": [{"check": "auc", "text": "AUC fell"}]}
    health |= {"team_id": shop.settings.team_id, "version": "v"}
    add(shop.database, ModelHealth(at=shop.end, **health))
    first = checked(shop, "model decayed", {}, shop.end)
    assert first.has_fired
    assert first.facts["reasons"] == ["AUC fell"]
    assert not checked(shop, "model decayed", first.state, shop.end).has_fired
    (fired,), _ = would_have_fired(watch(shop, "model decayed", shop.end))
    assert fired["at"] == shop.end.isoformat()


@pytest.fixture
def live(shop_copy):
    """A live campaign of the tiny shop."""
    sent = shop_copy.end - 10 * DAY
    row = campaign(
        "c1",
        team_id=shop_copy.settings.team_id,
        state="live",
        body=a_body(currency="EUR").model_dump(mode="json"),
        sent_at=sent,
        window_ends_at=sent + 28 * DAY,
    )
    add(shop_copy.database, row)
    return shop_copy


def interim_of(high, believable=True):
    """An interim result whose profit has this upper bound."""
    ratio = SampleRatio(400, 80, 0.85, 0.5, believable)
    effect = RunningEffect(1.0, per_customer=high - 1, low=high - 2, high=high, p_value=0.01)
    return InterimResult(5, 28, {"profit": effect}, ratio, 3), None


def interim_with(monkeypatch, high, believable=True):
    monkeypatch.setattr(interim_module, "interim", lambda *_: interim_of(high, believable))


def test_harmful_campaign_fires_once_with_its_false_alarm_rate(live, monkeypatch):
    interim_with(monkeypatch, high=0.2)
    assert not checked(live, "campaign harm", {}, live.end).has_fired
    interim_with(monkeypatch, high=-0.5, believable=False)
    assert not checked(live, "campaign harm", {}, live.end).has_fired
    interim_with(monkeypatch, high=-0.5)
    fired = checked(live, "campaign harm", {}, live.end)
    assert fired.has_fired
    assert fired.facts["false_alarms"] == 0.05
    (harmful,) = fired.facts["campaigns"]
    assert (harmful["id"], harmful["currency"], harmful["high"]) == ("c1", "EUR", -200.0)
    assert not checked(live, "campaign harm", fired.state, live.end).has_fired


def test_lapses_are_tested_once_a_week(shop):
    monday = shop.lake.local(shop.end)
    first = checked(shop, "lapses rise", {}, shop.end)
    assert datetime.fromisoformat(first.state["week"]) <= monday - 7 * DAY
    again = checked(shop, "lapses rise", first.state, shop.end)
    assert (again.has_fired, again.facts) == (False, {})
    assert first.facts["lapsed"] > 0
    assert first.facts["active"] > first.facts["lapsed"]


def test_trial_counts_the_entries_of_each_day(shop, monkeypatch):
    monkeypatch.setattr(backtest, "DAYS", 12)
    clock.configure(fixed=shop.end)
    fired, step = would_have_fired(watch(shop, "last_order > 20", shop.end))
    assert step == 1
    events = shop.lake.table("events").execute()
    at = events["occurred_at"].max()
    total = sum(one["customers"] for one in fired)
    lapsed = (
        events[events["event_type"] == "purchase"]
        .groupby("customer_id")["occurred_at"]
        .max()
        .between(at - 31 * DAY, at - 21 * DAY)
        .sum()
    )
    assert total >= lapsed > 0  # those who came back count as well
    assert [one["at"] for one in fired] == sorted(one["at"] for one in fired)
    first = datetime.fromisoformat(fired[0]["at"])
    assert shop.end - 13 * DAY <= first <= shop.end


def test_trial_of_late_data_finds_the_gaps(shop):
    newest = shop.lake.newest_event()
    fired, _ = would_have_fired(watch(shop, "data late > 4d", newest + 10 * DAY))
    moments = [datetime.fromisoformat(one["at"]) for one in fired]
    assert moments
    assert abs(moments[-1] - (newest + 4 * DAY)) < timedelta(hours=2)


def test_trial_of_harm_finds_the_first_day(live, monkeypatch):
    def harmful_from_day_four(_lake, _session, campaign, at):
        return interim_of(-0.5 if at - campaign.sent_at >= 4 * DAY else 0.5)

    monkeypatch.setattr("retention.alerts.backtest.interim", harmful_from_day_four)
    clock.configure(fixed=live.end)
    (fired,), step = would_have_fired(watch(live, "campaign harm", live.end))
    with live.database.reading() as session:
        sent = session.get_one(Campaign, "c1").sent_at
    assert step == 1
    assert datetime.fromisoformat(fired["at"]) == sent + 4 * DAY
