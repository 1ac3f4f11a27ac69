"""The shop's clock: how fast its customers order at each time of the year, and BG/NBD told by it.

A shop whose customers order twice as often before Christmas has, as far as they are concerned, two days in one. On such
a clock (operational time) the closed form knows the season: it is fitted on histories in operational days and asked for
the operational days ahead, which last year's season and the drift of the level foretell (Bachmann, Meierer and Näf 2021
put the season into the rate of the Pareto/NBD model in the same way). It needs no label, so it knows the next season's base rate also where the
horizon is so long that nothing can be learned from past outcomes.

How fast the clock runs is the repeat orders of a day over those that BG/NBD expects of the customers there were: new
customers and customers who fade away are the model's business, not the season's.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np

from retention.value import bgnbd

KNOWN_FROM = (
    396  # thirteen months: before, a season has been seen once and cannot be told from a trend
)
_WIDTH = 10.0  # days, of the smoothing
_SPAN = 2 * np.sqrt(np.pi) * _WIDTH  # days that such a mean is worth
_BLOCK = 28  # days, over which the season's strength is measured
_MOST = 2.0  # log, of the clock's speed

YEAR = 364  # whole weeks: the same day of the week
_BIN = 14  # days that are counted together
_SWINGS = (0.05, 0.15, 0.3, 0.6)  # logs: standard deviations that season and drift may have
_SHARP = (12.0, 30.0)  # days within which a season is much the same: a feast, a time of the year
_RETURNS = 0.95  # correlation of one year's season with the next one's
_LASTS = 730.0  # days in which a level is forgotten by 1 - 1/e
_NOISE = 0.05  # log; of a fortnight, beyond chance
_MISSED = 5  # orders due, of which not one is no chance


@dataclass(frozen=True, slots=True)
class Season:
    """A shop's clock up to a moment and BG/NBD on it.

    Parameters
    ----------
    clock : numpy.ndarray
        (n + 1,) operational days since the shop's first day, at each midnight up to now.
    ahead : float
        Operational days in the horizon to come, as foretold.
    faster : float
        Log of the clock's mean speed in the horizon to come over that in as many days before now.
    purchases : BgNbd
        Fitted on the customers' histories in operational days.
    """

    clock: np.ndarray
    ahead: float
    faster: float
    purchases: bgnbd.BgNbd

    def no_purchase(
        self, x: np.ndarray, t_x: np.ndarray, age: np.ndarray, ahead: float | None = None
    ) -> np.ndarray:
        """P(no order in the horizon) of (n,) histories in calendar days; ``ahead`` replaces the forecast."""
        if not len(x):
            return np.empty(0)
        t_x, age = _on(self.clock, t_x, age)
        return self.purchases.no_purchase(x, t_x, age, self.ahead if ahead is None else ahead)


@dataclass(frozen=True, slots=True)
class Trade:
    """How many customers ordered for the first time, and how many again, on each day of the shop: (N,) each.

    The first ``days`` of them are before the cutoff; the rest, where there is any, is the horizon after it.
    """

    first: np.ndarray
    again: np.ndarray
    days: int

    @property
    def known(self) -> bool:
        """Whether the year before the horizon was seen."""
        return self.days >= KNOWN_FROM


def learn(
    trade: Trade,
    horizon_days: int,
    plain: bgnbd.BgNbd,
    x: np.ndarray,
    t_x: np.ndarray,
    age: np.ndarray,
) -> Season:
    """The clock and the model on it, from what was before the cutoff.

    Parameters
    ----------
    trade : Trade
    plain : BgNbd
        Fitted in calendar days: says how many repeat orders the customers of each day were good for.
    x, t_x, age : numpy.ndarray
        (n,) histories to fit on, in calendar days.
    """
    speed, ahead, faster = _speeds(trade, horizon_days, plain)
    clock = np.concatenate([[0.0], np.cumsum(speed)])
    fitted = bgnbd.fit(x, *_on(clock, t_x, age))
    return Season(clock, float(ahead.sum()), faster, fitted)


def swing(trade: Trade, horizon_days: int, plain: bgnbd.BgNbd) -> float:
    """``faster`` alone."""
    return _speeds(trade, horizon_days, plain)[2] if trade.known else 0.0


def _speeds(
    trade: Trade, horizon_days: int, plain: bgnbd.BgNbd
) -> tuple[np.ndarray, np.ndarray, float]:
    """(n,) the clock's speed on each day up to now, (H,) its forecast, and the log of how much faster that is than the last H days known."""
    first, past = trade.first[: trade.days], trade.again[: trade.days]
    expected = _expected(trade.first, plain)[: trade.days]
    speed = _speed(past, expected)
    if not trade.known or not expected.sum():
        ahead = np.ones(horizon_days)
        return speed, ahead, _faster(speed, ahead)
    due = expected * past.sum() / expected.sum()  # in the clock's own unit
    until = known_until(first + past)
    silent = trade.days - until
    ahead = coming(past[:until], due[:until], silent + horizon_days)[silent:]
    return speed, ahead, _faster(_speed(past[:until], expected[:until]), ahead)


def _faster(speed: np.ndarray, ahead: np.ndarray) -> float:
    return float(np.log(ahead.mean() / speed[-len(ahead) :].mean()))


def happened(trade: Trade, season: Season, plain: bgnbd.BgNbd) -> tuple[float, float]:
    """``ahead`` and ``faster`` as they turned out, for a horizon that is over: what learning is told."""
    days = trade.days
    speed = _speed(trade.again, _expected(trade.first, plain))
    scale = season.clock[-1] / max(float(speed[:days].sum()), 1e-9)  # the clock's own unit
    ahead = speed[days:] * scale
    return float(ahead.sum()), _faster(np.diff(season.clock), ahead)


def _on(clock: np.ndarray, t_x: np.ndarray, age: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Histories in operational days."""
    now, grid = len(clock) - 1, np.arange(len(clock))
    start = np.interp(now - np.asarray(age, dtype=float), grid, clock)
    last = np.interp(now - np.asarray(age, dtype=float) + np.asarray(t_x, dtype=float), grid, clock)
    return np.maximum(last - start, 0), np.maximum(clock[-1] - start, last - start)


def _expected(first: np.ndarray, plain: bgnbd.BgNbd) -> np.ndarray:
    """(N,) repeat orders a day that the customers who began on each day are good for."""
    new = np.zeros(1)
    since = [
        plain.expected(new, new, new, float(week * 7))[0] for week in range(len(first) // 7 + 2)
    ]
    daily = np.interp(np.arange(len(first) + 1), 7.0 * np.arange(len(since)), since)
    return np.maximum(np.convolve(first, np.diff(daily))[: len(first)], 0)


def _speed(again: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """(N,) how fast the clock runs on each day, 1 on average, drawn to 1 as far as the counts could be chance."""
    total = expected.sum()
    if not again.sum() or not total:
        return np.ones(len(again))
    expected = expected * again.sum() / total
    belief = 1 / _strength(again, expected)
    speed = (_smooth(again) * _SPAN + belief) / (_smooth(expected) * _SPAN + belief)
    speed = np.exp(np.clip(np.log(speed), -_MOST, _MOST))
    return speed * total / (speed * expected).sum() * again.sum() / total


def _strength(again: np.ndarray, expected: np.ndarray) -> float:
    """Variance of the speed between months, beyond what counts have by chance."""
    seen, due = (np.add.reduceat(one, np.arange(0, len(one), _BLOCK)) for one in (again, expected))
    beyond = ((seen - due) ** 2 - due).sum() / max((due**2).sum(), 1e-9)
    return float(np.clip(beyond, 1e-4, 1.0))


def _smooth(daily: np.ndarray) -> np.ndarray:
    reach = int(4 * _WIDTH)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / _WIDTH) ** 2)
    return np.convolve(np.pad(daily, reach), kernel / kernel.sum(), "valid")


def coming(seen: np.ndarray, due: np.ndarray, horizon_days: int) -> np.ndarray:
    """The speed on each day of the horizon, (H,).

    Parameters
    ----------
    seen, due : numpy.ndarray
        (n,) repeat orders of each day up to now, and those that there would have been at a speed of 1.
    """
    bins = len(seen) // _BIN
    had, was_due = (
        one[len(one) - bins * _BIN :].reshape(bins, _BIN).sum(axis=1) for one in (seen, due)
    )
    told = ~_once_empty((had == 0) & (was_due > _MISSED))
    had, was_due, at = had[told], was_due[told], _BIN * (np.arange(bins) - bins + 0.5)[told]
    log_speed = np.log((had + 0.5) / (was_due + 0.5))
    noise = np.diag(2 / (had + was_due + 1) + _NOISE**2)  # the variance of a count's logarithm
    past, ahead = at[:, None] - at, np.arange(horizon_days)[:, None] + 0.5 - at
    likely, means = [], []
    for parts in product(_SHARP, _SWINGS, _SWINGS):
        factor = np.linalg.cholesky(_alike(past, *parts) + noise)
        said = np.linalg.solve(factor, log_speed)
        likely.append(-said @ said / 2 - np.log(np.diag(factor)).sum())
        means.append(_alike(ahead, *parts) @ np.linalg.solve(factor.T, said))
    weights = np.exp(np.array(likely) - max(likely))
    return np.exp(weights @ np.array(means) / weights.sum())


def known_until(orders: np.ndarray) -> int:
    """How many of (n,) days are known: what is after the newest order is not, unless the shop was closed a year before, too."""
    end = int(np.flatnonzero(orders).max(initial=-1)) + 1
    before = orders[max(end - YEAR, 0) : max(len(orders) - YEAR, 0)]
    return len(orders) if len(before) == len(orders) - end and not before.any() else end


def _once_empty(empty: np.ndarray) -> np.ndarray:
    """Which of (bins,) empty fortnights were not empty a year before or after."""
    year = YEAR // _BIN
    apart = np.pad(empty, year)
    return empty & ~(apart[: len(empty)] | apart[2 * year :])


def _alike(apart: np.ndarray, sharp: float, season: float, drift: float) -> np.ndarray:
    """Covariance of the logarithms of speeds so many days apart."""
    days = np.abs(apart)
    turn = 2 * (YEAR / (2 * np.pi * sharp) * np.sin(np.pi * days / YEAR)) ** 2
    return season**2 * np.exp(-turn) * _RETURNS ** (days / YEAR) + drift**2 * np.exp(-days / _LASTS)
