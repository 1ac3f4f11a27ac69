"""Model a shop's season as operational time.

If customers order twice as often before Christmas, a day there counts for two. On such a clock
(operational time) the closed form knows the season: it is fitted on histories in operational days
and evaluated for the operational days ahead. Last year's season and the drift of the level
forecast them. No labels are needed, so the base rate of the next season is known even if the
horizon is too long to learn from past outcomes.

The speed of the clock is the number of repeat orders per day, divided by the number that BG/NBD
expects from the customers at that time. New and inactive customers are thus part of the model, not
of the season.

The log speed is the sum of a yearly season and a drifting level, a Gaussian process. Values a year
apart correlate in the season, nearby values in the level. The amplitudes are averaged, weighted by
their likelihood: months that agree with those of a year ago speak for the season, other changes
for the drift. Weeks without orders are ignored, unless they were also empty a year before or after:
otherwise the shop was closed once, or data is missing.

A promotion is a third part: one to four weeks of higher speed that do not come again. Its weeks
must not be taken for season or drift. Each possible window is weighted by how much better it
explains the orders than season and drift alone. The same weeks a year before must be known,
otherwise a first Christmas would count as passing.

References
----------
Bachmann, Meierer, Näf (2021), The Role of Time-Varying Contextual Factors in Latent Attrition
Models, Marketing Science 40 (a season in the rate of Pareto/NBD).

Box, Tiao (1975), Intervention Analysis, Journal of the American Statistical Association 70 (a
passing event in a time series).

Rasmussen, Williams (2006), Gaussian Processes for Machine Learning, chapter 5.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.special import log_ndtr

from retention.value import bgnbd

MIN_DAYS = 396  # 13 months; with less, a season looks like a trend
_KERNEL_DAYS = 10.0  # of the smoothing
_EFFECTIVE_DAYS = 2 * np.sqrt(np.pi) * _KERNEL_DAYS  # of a smoothed value
_BLOCK_DAYS = 28  # to measure the variance of the speed
_MAX_LOG_SPEED = 2.0

YEAR = 364  # whole weeks: the same day of the week
_BIN_DAYS = 7
_AMPLITUDES = (0.05, 0.15, 0.3, 0.6)  # standard deviations of season and drift, in logs
_LENGTH_SCALES = (12.0, 30.0)  # days: a holiday; a time of the year
_YEARLY_CORRELATION = 0.95
_DRIFT_DAYS = 730.0  # correlation time of the level
_NOISE = 0.07  # log, per week, beyond chance
_MAX_MISSED_ORDERS = 5  # more expected orders in an empty week are not chance
_EVENT_WEEKS = (1, 2, 3, 4)
_EVENT_SIZE = 0.7  # scale of the half-normal effect, log
_EVENT_PROBABILITY = 0.5  # that a history holds one


@dataclass(frozen=True, slots=True)
class Season:
    """The clock up to a cutoff and its BG/NBD.

    `clock`: (n + 1,) operational days since the shop's first day, at each midnight up to the
    cutoff.
    `ahead`: forecast operational days in the next horizon.
    `faster`: log of the mean speed in the next horizon over that in as many days before the cutoff.
    `seasonal`: the part of ``faster`` that comes again every year; the rest is growth or decline.
    `purchases`: fitted on histories in operational days.
    """

    clock: np.ndarray
    ahead: float
    faster: float
    seasonal: float
    purchases: bgnbd.BgNbd

    def no_purchase(
        self, x: np.ndarray, t_x: np.ndarray, age: np.ndarray, ahead: float | None = None
    ) -> np.ndarray:
        """Return P(no order in the horizon), (n,).

        `x`, `t_x`, `age`: (n,) histories in calendar days.
        `ahead`: operational days of the horizon; the forecast by default.
        """
        if not len(x):
            return np.empty(0)
        t_x, age = _to_operational_days(self.clock, t_x, age)
        return self.purchases.no_purchase(x, t_x, age, self.ahead if ahead is None else ahead)


@dataclass(frozen=True, slots=True)
class DailyOrders:
    """First and repeat orders of a shop per day.

    `first`, `repeat`: (N,) customers with their first order, and with a repeat order, on each day.
    `days`: days before the cutoff. Further days are the horizon after it.
    """

    first: np.ndarray
    repeat: np.ndarray
    days: int

    @property
    def has_full_year(self) -> bool:
        """Whether the year before the horizon is known."""
        return self.days >= MIN_DAYS


def fit_season(
    orders: DailyOrders,
    horizon_days: int,
    plain: bgnbd.BgNbd,
    x: np.ndarray,
    t_x: np.ndarray,
    age: np.ndarray,
) -> Season:
    """Fit the clock and BG/NBD on it.

    Orders after the cutoff are not used.

    `plain`: fitted in calendar days. It gives the expected repeat orders.
    `x`, `t_x`, `age`: (n,) histories to fit on, in calendar days.
    """
    speed, ahead, faster, seasonal = _speeds(orders, horizon_days, plain)
    clock = np.concatenate([[0.0], np.cumsum(speed)])
    fitted = bgnbd.fit(x, *_to_operational_days(clock, t_x, age))
    return Season(clock, float(ahead.sum()), faster, seasonal, fitted)


def season_swing(orders: DailyOrders, horizon_days: int, plain: bgnbd.BgNbd) -> float:
    """Return ``faster`` alone; 0 without a full year.

    `plain`: fitted in calendar days.
    """
    return _speeds(orders, horizon_days, plain)[2] if orders.has_full_year else 0.0


def _speeds(
    orders: DailyOrders, horizon_days: int, plain: bgnbd.BgNbd
) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Return the speed per day, its forecast, the log change, and the seasonal part of it.

    Returns: log of the mean forecast over the mean of the last H known days.
    """
    first, past = orders.first[: orders.days], orders.repeat[: orders.days]
    expected = _expected_orders(orders.first, plain)[: orders.days]
    speed = _speed(past, expected)
    if not orders.has_full_year or not expected.sum():
        ahead = np.ones(horizon_days)
        return speed, ahead, _log_speed_ratio(speed, ahead), 0.0
    expected_scaled = expected * past.sum() / expected.sum()  # in operational time
    known = known_days(first + past)
    silent = orders.days - known
    days = silent + horizon_days
    forecast, season = _forecast(past[:known], expected_scaled[:known], days)
    ahead, recent = forecast[silent:], season[:days][-horizon_days:]
    faster = _log_speed_ratio(_speed(past[:known], expected[:known]), ahead)
    return speed, ahead, faster, float(season[days + silent :].mean() - recent.mean())


def _log_speed_ratio(speed: np.ndarray, ahead: np.ndarray) -> float:
    """Return the log of the speed ahead over the latest speed."""
    return float(np.log(ahead.mean() / speed[-len(ahead) :].mean()))


def observed_season(orders: DailyOrders, season: Season, plain: bgnbd.BgNbd) -> tuple[float, float]:
    """Return ``ahead`` and ``faster`` of a past horizon.

    Training uses them instead of the forecast.

    `plain`: fitted in calendar days.
    """
    days = orders.days
    speed = _speed(orders.repeat, _expected_orders(orders.first, plain))
    scale = season.clock[-1] / max(float(speed[:days].sum()), 1e-9)  # to operational time
    ahead = speed[days:] * scale
    return float(ahead.sum()), _log_speed_ratio(np.diff(season.clock), ahead)


def _to_operational_days(
    clock: np.ndarray, t_x: np.ndarray, age: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Convert t_x and T from calendar to operational days."""
    now, grid = len(clock) - 1, np.arange(len(clock))
    start = np.interp(now - np.asarray(age, dtype=float), grid, clock)
    last = np.interp(now - np.asarray(age, dtype=float) + np.asarray(t_x, dtype=float), grid, clock)
    return np.maximum(last - start, 0), np.maximum(clock[-1] - start, last - start)


def _expected_orders(first: np.ndarray, plain: bgnbd.BgNbd) -> np.ndarray:
    """Return the expected repeat orders per day, (N,)."""
    new = np.zeros(1)
    since = [
        plain.expected(new, new, new, float(week * 7))[0] for week in range(len(first) // 7 + 2)
    ]
    daily = np.interp(np.arange(len(first) + 1), 7.0 * np.arange(len(since)), since)
    return np.maximum(np.convolve(first, np.diff(daily))[: len(first)], 0)


def _speed(repeat: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return the speed of the clock per day, (N,).

    The mean is 1. Values are shrunk to 1 as far as the counts may be chance.
    """
    total = expected.sum()
    if not repeat.sum() or not total:
        return np.ones(len(repeat))
    expected = expected * repeat.sum() / total
    belief = 1 / _speed_variance(repeat, expected)
    speed = (_smooth(repeat) * _EFFECTIVE_DAYS + belief) / (
        _smooth(expected) * _EFFECTIVE_DAYS + belief
    )
    speed = np.exp(np.clip(np.log(speed), -_MAX_LOG_SPEED, _MAX_LOG_SPEED))
    return speed * total / (speed * expected).sum() * repeat.sum() / total


def _speed_variance(repeat: np.ndarray, expected: np.ndarray) -> float:
    """Return the variance of monthly speeds beyond chance."""
    orders, expected_orders = (
        np.add.reduceat(values, np.arange(0, len(values), _BLOCK_DAYS))
        for values in (repeat, expected)
    )
    beyond = ((orders - expected_orders) ** 2 - expected_orders).sum() / max(
        (expected_orders**2).sum(), 1e-9
    )
    return float(np.clip(beyond, 1e-4, 1.0))


def _smooth(daily: np.ndarray) -> np.ndarray:
    reach = int(4 * _KERNEL_DAYS)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / _KERNEL_DAYS) ** 2)
    return np.convolve(np.pad(daily, reach), kernel / kernel.sum(), "valid")


def _forecast(
    orders: np.ndarray, expected: np.ndarray, horizon_days: int
) -> tuple[np.ndarray, np.ndarray]:
    """Forecast the speed, (H,), and estimate its season in logs, (2H,), from H days before now."""
    bins = len(orders) // _BIN_DAYS
    bin_orders, bin_expected = (
        values[len(values) - bins * _BIN_DAYS :].reshape(bins, _BIN_DAYS).sum(axis=1)
        for values in (orders, expected)
    )
    is_valid = ~_single_gaps((bin_orders == 0) & (bin_expected > _MAX_MISSED_ORDERS))
    bin_orders, bin_expected, at = (
        bin_orders[is_valid],
        bin_expected[is_valid],
        _BIN_DAYS * (np.arange(bins) - bins + 0.5)[is_valid],
    )
    log_speed = np.log((bin_orders + 0.5) / (bin_expected + 0.5))
    variance = 2 / (bin_orders + bin_expected + 1) + _NOISE**2  # of the log of a count
    noise = np.diag(variance)
    past = at[:, None] - at
    around = np.arange(-horizon_days, horizon_days)[:, None] + 0.5 - at
    second_year = int((at < at[0] + YEAR).sum())  # a peak of the first year may come again
    log_likelihoods, means, seasons = [], [], []
    for parts in product(_LENGTH_SCALES, _AMPLITUDES, _AMPLITUDES):
        precision = np.linalg.inv(_covariance(past, *parts) + noise)
        event, gain = _passing_event(precision, log_speed, second_year)
        log_likelihoods.append(
            (np.linalg.slogdet(precision)[1] - log_speed @ precision @ log_speed) / 2 + gain
        )
        residual = precision @ (log_speed - event)
        means.append(_covariance(around[horizon_days:], *parts) @ residual)
        seasons.append(_season_covariance(around, *parts[:2]) @ residual)
    weights = np.exp(np.array(log_likelihoods) - max(log_likelihoods))
    weights /= weights.sum()
    return np.exp(weights @ np.array(means)), weights @ np.array(seasons)


def _passing_event(
    precision: np.ndarray, log_speed: np.ndarray, since: int
) -> tuple[np.ndarray, float]:
    """Return the expected effect of a passing event and its gain in log-likelihood.

    An event adds a positive, half-normal effect to the log speed of some consecutive weeks. The
    likelihood of each window follows from that without an event by a rank-one update.

    `precision`: (n, n) inverse covariance of the log speeds without an event.
    `since`: first week that an event may contain.
    Returns: (n,) on the log speed, averaged over the windows.
    Returns: log-likelihood with a possible event less that without.
    """
    starts = [np.arange(since, len(log_speed) - weeks + 1) for weeks in _EVENT_WEEKS]
    start = np.concatenate(starts)
    if not len(start):
        return np.zeros(len(log_speed)), 0.0
    end = start + np.repeat(_EVENT_WEEKS, [len(windows) for windows in starts])
    sums = np.pad(precision.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    residual = np.r_[0.0, (precision @ log_speed).cumsum()]
    information = sums[end, end] - sums[start, end] - sums[end, start] + sums[start, start]
    information += _EVENT_SIZE**-2
    z = (residual[end] - residual[start]) / np.sqrt(information)
    gains = (
        np.log(2 * _EVENT_PROBABILITY / len(start))
        - np.log(_EVENT_SIZE**2 * information) / 2
        + z**2 / 2
        + log_ndtr(z)
    )
    # mean of the effect's posterior, a normal distribution above 0
    effect = (z + np.exp(-(z**2) / 2 - log_ndtr(z)) / np.sqrt(2 * np.pi)) / np.sqrt(information)
    gain = float(np.logaddexp.reduce([np.log(1 - _EVENT_PROBABILITY), *gains]))
    expected = np.exp(gains - gain) * effect
    changes = np.bincount(start, expected, len(log_speed) + 1)
    changes -= np.bincount(end, expected, len(log_speed) + 1)
    return changes.cumsum()[:-1], gain


def known_days(orders: np.ndarray) -> int:
    """Count the days with complete data.

    Days after the newest order are unknown, unless the shop was closed at that time a year before.
    """
    end = int(np.flatnonzero(orders).max(initial=-1)) + 1
    before = orders[max(end - YEAR, 0) : max(len(orders) - YEAR, 0)]
    return len(orders) if len(before) == len(orders) - end and not before.any() else end


def _single_gaps(empty: np.ndarray) -> np.ndarray:
    """Mark weeks that were empty only once. They were not empty a year before or after."""
    year = YEAR // _BIN_DAYS
    apart = np.pad(empty, year)
    return empty & ~(apart[: len(empty)] | apart[2 * year :])


def _covariance(apart: np.ndarray, length_scale: float, season: float, drift: float) -> np.ndarray:
    """Return the covariance of log speeds by distance."""
    level = drift**2 * np.exp(-np.abs(apart) / _DRIFT_DAYS)
    return _season_covariance(apart, length_scale, season) + level


def _season_covariance(apart: np.ndarray, length_scale: float, season: float) -> np.ndarray:
    days = np.abs(apart)
    turn = 2 * (YEAR / (2 * np.pi * length_scale) * np.sin(np.pi * days / YEAR)) ** 2
    return season**2 * np.exp(-turn) * _YEARLY_CORRELATION ** (days / YEAR)
