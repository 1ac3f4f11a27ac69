"""A shop with a Christmas season: what last year's season says of this one's."""

from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pytest

from retention.churn import evaluate, season
from retention.churn.model_selection import select_candidates
from retention.churn.snapshots import take_snapshot
from retention.value import bgnbd
from tests import readonly, shops

PLAIN = bgnbd.BgNbd(0.8, 40.0, 0.8, 4.0)
CUTOFF = shops.end(730) - timedelta(days=90)
ARGS = {"horizon_days": 90, "active_within_days": 180}


@pytest.fixture(scope="module")
def gifts(tmp_path_factory):
    lake = shops.lake(tmp_path_factory.mktemp("gifts"), shops.gifts(customers=1500))
    with readonly.protected(lake.root):
        yield lake


def _trade(days, speed, *, began=300.0):
    """A shop whose customers all began within twelve weeks and order as BG/NBD expects, but ``speed`` times as often."""
    first = np.where(np.arange(len(speed)) < 84, began / 84, 0.0)
    return season.DailyOrders(first, season._expected_orders(first, PLAIN) * speed * 50, days)


def test_a_cohort_that_fades_has_no_season():
    found = season.fit_season(_trade(500, np.ones(500)), 90, PLAIN, *_people())
    np.testing.assert_allclose(np.diff(found.clock), 1, atol=0.02)
    assert found.faster == pytest.approx(0, abs=0.02)
    assert found.ahead == pytest.approx(90, abs=2)


def test_the_season_ahead_is_that_of_a_year_ago():
    speed = np.ones(640)
    speed[300:360] = speed[300 + 364 :] = 2.0
    trade = _trade(640, speed)
    found = season.fit_season(trade, 60, PLAIN, *_people())
    ahead = np.log(np.diff(found.clock)[276:336].mean() / np.diff(found.clock)[-60:].mean())
    assert np.diff(found.clock)[320:340].mean() / np.diff(found.clock)[
        100:200
    ].mean() == pytest.approx(2, rel=0.1)
    assert 0.6 * ahead < found.faster < ahead  # a little nearer to nothing than a year ago
    assert season.season_swing(trade, 60, PLAIN) == found.faster
    young = season.fit_season(_trade(380, speed[:380]), 60, PLAIN, *_people())
    assert young.ahead == 60  # thirteen months are needed to tell a season from a trend


def test_a_first_spring_is_no_season():
    """A shop that was slow in its first four months is not slow again a year later."""
    speed = np.where(np.arange(410) < 120, 0.5, 1.0)
    assert (
        abs(season.season_swing(_trade(410, speed), 60, PLAIN)) < 0.15
    )  # log; carried forward it was -.6


def test_a_spell_whose_return_is_overdue_was_no_season():
    speed = np.ones(480)
    speed[100:160] = 2.0
    assert abs(season.season_swing(_trade(480, speed), 40, PLAIN)) < 0.2  # ordinary since day 464


@pytest.mark.parametrize(
    "closed", [slice(486, 500), slice(479, 500), slice(136, 164)]
)  # the last weeks; a year ago
def test_weeks_without_any_order_are_no_season(closed):
    """The shop was closed, or what it sold has not come in yet: nobody has left, and nobody will stay away."""
    speed = np.ones(500)
    speed[closed] = 0
    found = season.fit_season(_trade(500, speed), 28, PLAIN, *_people())
    assert found.faster == pytest.approx(0, abs=0.1)
    assert found.ahead == pytest.approx(28, rel=0.1)


@pytest.mark.parametrize("low", [0.0, 0.05])
def test_a_shop_that_rests_half_of_each_year_rests_again(low):
    days = np.arange(606)  # the 607th would be its 61st day of rest
    due = 100 * np.ones(606)
    seen = due * np.where(days % 364 < 182, 2 - low, low)
    assert season.known_days(seen) == 606
    assert season.forecast_speed(seen, due, 28).mean() < 0.1


def test_trade_that_has_collapsed_is_no_gap():
    due = 100 * np.ones(560)
    assert (
        season.forecast_speed(due * np.where(np.arange(560) < 500, 1, 0.05), due, 28).mean() < 0.15
    )


def test_a_feast_of_three_weeks_is_foretold():
    days = np.arange(528) - 514  # the next one is in the middle of the horizon
    speed = 5 ** np.exp(-(((days + 182) % 364 - 182) ** 2) / (2 * 10**2))
    due = 50 * np.ones(500)
    ahead = season.forecast_speed(due * speed[:500], due, 28)
    assert np.log(ahead.mean() / speed[500:].mean()) == pytest.approx(0, abs=0.25)


def test_the_oftener_a_season_was_seen_the_more_of_it_is_foretold():
    days = np.arange(1000)
    speed = np.exp(0.4 * np.sin(2 * np.pi * days / season.YEAR))
    once, twice = (season.season_swing(_trade(now, speed[:now]), 90, PLAIN) for now in (500, 864))
    came = np.log(speed[864:954].mean() / speed[774:864].mean())
    assert came < twice < once < 0
    assert twice == pytest.approx(came, rel=0.2)


def test_what_is_told_afterwards_is_what_came():
    speed = np.ones(500)
    speed[440:] = 1.5
    trade = _trade(440, speed)
    found = season.fit_season(trade, 60, PLAIN, *_people())
    ahead, faster = season.observed_season(trade, found, PLAIN)
    assert ahead / found.ahead == pytest.approx(1.5, rel=0.1)
    assert faster - found.faster == pytest.approx(np.log(1.5), rel=0.25)
    later = season.DailyOrders(
        trade.first, trade.repeat * np.where(np.arange(500) < 440, 1, 3), 440
    )
    again = season.fit_season(
        later, 60, PLAIN, *_people()
    )  # what comes after the cutoff changes nothing before it
    np.testing.assert_array_equal(again.clock, found.clock)
    assert again.ahead == found.ahead


def test_on_an_even_clock_the_closed_form_is_the_plain_one():
    x, t_x, age = _people()
    even = season.Season(np.arange(501.0), 30.0, 0.0, PLAIN)
    np.testing.assert_allclose(even.no_purchase(x, t_x, age), PLAIN.no_purchase(x, t_x, age, 30.0))
    assert (even.no_purchase(x, t_x, age, 60.0) < even.no_purchase(x, t_x, age)).all()


def _people(customers=300):
    rng = np.random.default_rng(1)
    x = rng.integers(0, 6, customers).astype(float)
    age = rng.uniform(100, 380, customers)
    return x, np.where(x > 0, age * rng.uniform(0.2, 1, customers), 0.0), age


@pytest.mark.parametrize(
    ("days", "swing", "there", "gone"),
    [
        (300, 0.0, {"bg_nbd", "rfm_logistic"}, {"bg_season"}),
        (500, 0.1, {"bg_nbd", "rfm_logistic", "bg_season"}, set()),
        (500, -0.5, {"bg_season", "bg_logistic"}, {"bg_nbd", "rfm_logistic"}),
    ],
)
def test_what_knows_no_season_stays_out_of_one(days, swing, there, gone):
    newest = SimpleNamespace(buyers=2000, cutoff=CUTOFF)
    snapshots = [SimpleNamespace(churned=np.repeat([0.0, 1.0], 200))] * 6
    known = days >= season.MIN_DAYS
    shop = SimpleNamespace(
        newest=newest, snapshots=snapshots, history_days=days, has_season=known, swing=swing
    )
    candidates = set(select_candidates(shop).candidates)
    assert candidates >= there | {"ensemble", "stacked"}
    assert not candidates & gone


def test_before_christmas_every_baseline_is_beaten(gifts):
    found = evaluate(gifts, cutoff=CUTOFF, **ARGS, model="bg_logistic")
    best = min(one["log_loss"] for one in found["baselines"].values())
    assert found["metrics"]["log_loss"] < best - 0.02
    assert found["metrics"]["ece"] < found["baselines"]["bg_nbd"]["ece"] / 1.5
    assert "season_no_purchase" in found["features"]


def test_the_future_changes_nothing(gifts, tmp_path):
    """The same shop as it stood at the cutoff: the same season, the same features of every customer."""
    before = shops.gifts(customers=1500)
    known = shops.lake(tmp_path, before[before.occurred_at < CUTOFF])
    one, other = (take_snapshot(lake, CUTOFF, **ARGS, labelled=False) for lake in (gifts, known))
    names = [name for name in one.frame.columns if name != "customer_id"]
    np.testing.assert_array_equal(one.matrix(names), other.matrix(names))
    assert one.season is not None
    np.testing.assert_array_equal(one.season.clock, other.season.clock)
    earlier = CUTOFF - timedelta(days=90)
    one, other = (take_snapshot(lake, earlier, **ARGS, seasonal=True) for lake in (gifts, known))
    np.testing.assert_array_equal(
        one.matrix(names, observed_season=True), other.matrix(names, observed_season=True)
    )
