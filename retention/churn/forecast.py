"""What of a shop's speed comes again: a season that returns and a level that drifts, told apart by what was seen.

A spell of many orders that was seen once may have been a season, or a first spring, a promotion, a new price. Both are
curves that some amount of swing explains; the logarithm of the speed is their sum, a Gaussian process (Rasmussen,
Williams 2006, chapter 5): one part is alike a year apart, the other the more alike the nearer in time. How much each
swings is not chosen but averaged over, by how likely it makes what was seen: months that agree with those of a year
ago speak for the season, months that do not, and a level that only goes one way, for the drift.

Fortnights without anything say nothing of either, unless they were empty a year before or after as well: else the shop
was closed for once, or they were not recorded.
"""

from itertools import product

import numpy as np

YEAR = 364  # whole weeks: the same day of the week
_BIN = 14  # days that are counted together
_SWINGS = (0.05, 0.15, 0.3, 0.6)  # logs: standard deviations that season and drift may have
_SHARP = (12.0, 30.0)  # days within which a season is much the same: a feast, a time of the year
_RETURNS = 0.95  # correlation of one year's season with the next one's
_LASTS = 730.0  # days in which a level is forgotten by 1 - 1/e
_NOISE = 0.05  # log; of a fortnight, beyond chance
_MISSED = 5  # orders due, of which not one is no chance


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
