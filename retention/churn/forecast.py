"""What of a shop's speed comes again: a season that returns and a level that drifts, told apart by what was seen.

A spell of many orders that was seen once may have been a season, or a first spring, a promotion, a new price. Both are
curves that some amount of swing explains; the logarithm of the speed is their sum, a Gaussian process (Rasmussen,
Williams 2006, chapter 5): one part is alike a year apart, the other the more alike the nearer in time. How much each
swings is not chosen but averaged over, by how likely it makes what was seen: months that agree with those of a year
ago speak for the season, months that do not, and a level that only goes one way, for the drift.

Fortnights with hardly anything of what was due say nothing of either: the shop was closed, or they were not recorded.
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
_CLOSED = -2.5  # log; no speed is so low


def coming(seen: np.ndarray, due: np.ndarray, horizon_days: int) -> np.ndarray:
    """The speed on each day of the horizon, (H,).

    Parameters
    ----------
    seen, due : numpy.ndarray
        (n,) repeat orders of each day up to now, and those that there would have been at a speed of 1.
    """
    end = int(np.flatnonzero(seen).max(initial=-1)) + 1  # what is after the newest order is not known yet
    bins = end // _BIN
    had, was_due = (one[end - bins * _BIN : end].reshape(bins, _BIN).sum(axis=1) for one in (seen, due))
    at = _BIN * (np.arange(bins) - bins + 0.5) - (len(seen) - end)
    log_speed = np.log((had + 0.5) / (was_due + 0.5))
    told = log_speed > _CLOSED
    at, log_speed = at[told], log_speed[told]
    noise = np.diag(2 / (had + was_due + 1)[told] + _NOISE**2)  # the variance of a count's logarithm
    past, ahead = at[:, None] - at, np.arange(horizon_days)[:, None] + 0.5 - at
    likely, means = [], []
    for parts in product(_SHARP, _SWINGS, _SWINGS):
        factor = np.linalg.cholesky(_alike(past, *parts) + noise)
        said = np.linalg.solve(factor, log_speed)
        likely.append(-said @ said / 2 - np.log(np.diag(factor)).sum())
        means.append(_alike(ahead, *parts) @ np.linalg.solve(factor.T, said))
    weights = np.exp(np.array(likely) - max(likely))
    return np.exp(weights @ np.array(means) / weights.sum())


def _alike(apart: np.ndarray, sharp: float, season: float, drift: float) -> np.ndarray:
    """Covariance of the logarithms of speeds so many days apart."""
    days = np.abs(apart)
    turn = 2 * (YEAR / (2 * np.pi * sharp) * np.sin(np.pi * days / YEAR)) ** 2
    return season**2 * np.exp(-turn) * _RETURNS ** (days / YEAR) + drift**2 * np.exp(-days / _LASTS)
