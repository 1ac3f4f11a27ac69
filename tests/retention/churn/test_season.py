"""Tests of seasonality on simulated shops."""

from datetime import timedelta

import numpy as np
import pytest

from retention.churn import season
from retention.churn.evaluation.evaluate import Plan, evaluate
from retention.churn.snapshots import take_labelled_snapshots, take_snapshot
from retention.value import bgnbd
from retention.window import Window
from tests import readonly, shops

PLAIN = bgnbd.BgNbd(0.8, 40.0, 0.8, 4.0)
CUTOFF = shops.end(730) - timedelta(days=90)
WINDOW = Window(90, 180)


@pytest.fixture(scope="module")
def gifts(tmp_path_factory):
    lake = shops.lake(tmp_path_factory.mktemp("gifts"), shops.gifts(customers=1500))
    with readonly.protected(lake.root):
        yield lake


def _trade(days, speed, *, began=300.0):
    """Simulate customers from twelve weeks who order as BG/NBD expects, times ``speed``."""
    first = np.where(np.arange(len(speed)) < 84, began / 84, 0.0)
    return season.DailyOrders(first, season._expected_orders(first, PLAIN) * speed * 50, days)


def _fitted(trade, horizon):
    return season.fit_season(trade, horizon, PLAIN, *_people())


def test_fading_cohort_has_no_season():
    fitted = _fitted(_trade(500, np.ones(500)), 90)
    np.testing.assert_allclose(np.diff(fitted.clock), 1, atol=0.02)
    assert fitted.faster == pytest.approx(0, abs=0.02)
    assert fitted.ahead == pytest.approx(90, abs=2)


def test_forecast_repeats_last_years_season():
    speed = np.ones(640)
    speed[300:360] = speed[300 + 364 :] = 2.0
    trade = _trade(640, speed)
    fitted = _fitted(trade, 60)
    ahead = np.log(np.diff(fitted.clock)[276:336].mean() / np.diff(fitted.clock)[-60:].mean())
    daily = np.diff(fitted.clock)
    assert daily[320:340].mean() / daily[100:200].mean() == pytest.approx(2, rel=0.1)
    assert 0.6 * ahead < fitted.faster < ahead  # a little nearer to nothing than a year ago
    assert season.season_swing(trade, 60, PLAIN) == fitted.faster
    young = _fitted(_trade(380, speed[:380]), 60)
    assert young.ahead == 60  # thirteen months are needed to tell a season from a trend


@pytest.mark.parametrize(
    ("days", "unusual", "speed_then", "horizon", "limit"),
    [
        # Slow in its first four months, and not again a year later: carried forward it was -.6.
        (410, slice(120), 0.5, 60, 0.15),
        (480, slice(100, 160), 2.0, 40, 0.2),  # a peak; ordinary since day 464
    ],
)
def test_what_did_not_return_is_no_season(days, unusual, speed_then, horizon, limit):
    speed = np.ones(days)
    speed[unusual] = speed_then
    assert abs(season.season_swing(_trade(days, speed), horizon, PLAIN)) < limit


# The last weeks; a year ago.
@pytest.mark.parametrize("closed", [slice(486, 500), slice(479, 500), slice(136, 164)])
def test_empty_weeks_are_no_season(closed):
    """The shop was closed, or data is missing."""
    speed = np.ones(500)
    speed[closed] = 0
    fitted = _fitted(_trade(500, speed), 28)
    assert fitted.faster == pytest.approx(0, abs=0.1)
    assert fitted.ahead == pytest.approx(28, rel=0.1)


@pytest.mark.parametrize("low", [0.0, 0.05])
def test_yearly_closure_is_forecast(low):
    days = np.arange(606)  # the 607th would be its 61st day of rest
    due = 100 * np.ones(606)
    orders = due * np.where(days % 364 < 182, 2 - low, low)
    assert season.known_days(orders) == 606
    assert _forecast(orders, due, 28).mean() < 0.1


def test_collapsed_sales_are_no_gap():
    due = 100 * np.ones(560)
    orders = due * np.where(np.arange(560) < 500, 1, 0.05)
    assert _forecast(orders, due, 28).mean() < 0.15


def test_forecasts_a_three_week_holiday():
    days = np.arange(528) - 514  # the next one is in the middle of the horizon
    speed = 5 ** np.exp(-(((days + 182) % 364 - 182) ** 2) / (2 * 10**2))
    due = 50 * np.ones(500)
    ahead = _forecast(due * speed[:500], due, 28)
    assert np.log(ahead.mean() / speed[500:].mean()) == pytest.approx(0, abs=0.25)


@pytest.mark.parametrize(("promotion", "days"), [(480, 500), (430, 500), (400, 700)])
def test_promotion_is_neither_growth_nor_season(promotion, days):
    """It runs, has just ended, or was nearly a year ago."""
    speed, due = np.ones(days), 50 * np.ones(days)
    speed[promotion : promotion + 20] = 2.5
    ahead = _forecast(due * speed, due, 90)
    np.testing.assert_allclose(np.log(ahead), 0, atol=0.1)


def test_repeated_seasons_are_forecast_more_strongly():
    days = np.arange(1000)
    speed = np.exp(0.4 * np.sin(2 * np.pi * days / season.YEAR))
    once, twice = (season.season_swing(_trade(now, speed[:now]), 90, PLAIN) for now in (500, 864))
    came = np.log(speed[864:954].mean() / speed[774:864].mean())
    assert came < twice < once < 0
    assert twice == pytest.approx(came, rel=0.2)


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize("growth", [0.0, 0.5, 2.0])
def test_growth_is_told_from_the_season(growth):
    """Of a shop that grows, and of one that grows and has a season."""
    days = np.arange(864)
    wave, level = 0.4 * np.sin(2 * np.pi * days / season.YEAR), np.log1p(growth) * days / 364
    came = wave[500:590].mean() - wave[410:500].mean()
    grown, seasonal = (
        _fitted(_trade(500, np.exp(speed[:500])), 90).seasonal for speed in (level, level + wave)
    )
    assert grown == pytest.approx(0, abs=0.05)
    assert seasonal == pytest.approx(came, abs=0.15)
    ramp = np.where(days < 430, 1.0, np.exp((days - 430) / 28))  # ten times as fast at the end
    fitted = _fitted(_trade(500, ramp[:500]), 90)
    assert fitted.faster > 0.4
    assert abs(fitted.seasonal) < 0.5 * fitted.faster


def test_observed_season_matches_what_happened():
    speed = np.ones(500)
    speed[440:] = 1.5
    trade = _trade(440, speed)
    fitted = _fitted(trade, 60)
    ahead, faster = season.observed_season(trade, fitted, PLAIN)
    assert ahead / fitted.ahead == pytest.approx(1.5, rel=0.1)
    assert faster - fitted.faster == pytest.approx(np.log(1.5), rel=0.25)
    first = trade.first
    later = season.DailyOrders(first, trade.repeat * np.where(np.arange(500) < 440, 1, 3), 440)
    # What comes after the cutoff changes nothing before it
    again = _fitted(later, 60)
    np.testing.assert_array_equal(again.clock, fitted.clock)
    assert again.ahead == fitted.ahead


def test_even_clock_equals_plain_bgnbd():
    x, t_x, age = _people()
    even = season.Season(np.arange(501.0), 30.0, 0.0, 0.0, PLAIN)
    np.testing.assert_allclose(even.no_purchase(x, t_x, age), PLAIN.no_purchase(x, t_x, age, 30.0))
    assert (even.no_purchase(x, t_x, age, 60.0) < even.no_purchase(x, t_x, age)).all()


def _forecast(orders, due, horizon):
    return season._forecast(orders, due, horizon)[0]


def _people(customers=300):
    rng = np.random.default_rng(1)
    x = rng.integers(0, 6, customers).astype(float)
    age = rng.uniform(100, 380, customers)
    return x, np.where(x > 0, age * rng.uniform(0.2, 1, customers), 0.0), age


@pytest.mark.nightly
def test_beats_all_baselines_before_christmas(gifts):
    report, _ = evaluate(gifts, Plan(cutoff=CUTOFF, window=WINDOW, model="bg_logistic"))
    best = min(figures["log_loss"] for figures in report["baselines"].values())
    assert report["metrics"]["log_loss"] < best - 0.02
    assert report["metrics"]["ece"] < report["baselines"]["bg_nbd"]["ece"] / 1.5
    assert "season_no_purchase" in report["features"]


@pytest.mark.nightly
def test_future_events_change_no_season(gifts, tmp_path):
    """Season and features equal those of the shop as of the cutoff."""
    before = shops.gifts(customers=1500)
    truncated = shops.lake(tmp_path, before[before.occurred_at < CUTOFF])
    first, second = (
        take_snapshot(lake, CUTOFF, window=WINDOW, labelled=False) for lake in (gifts, truncated)
    )
    names = [name for name in first.frame.columns if name != "customer_id"]
    np.testing.assert_array_equal(first.matrix(names), second.matrix(names))
    assert first.season is not None
    np.testing.assert_array_equal(first.season.clock, second.season.clock)
    earlier = CUTOFF - timedelta(days=90)
    options = {"seasonal": True, "until": earlier, "unknown": ()}
    (first,), (second,) = (
        take_labelled_snapshots(lake, [earlier], WINDOW, **options) for lake in (gifts, truncated)
    )
    np.testing.assert_array_equal(
        first.matrix(names, observed_season=True), second.matrix(names, observed_season=True)
    )
