"""Bootstrap intervals by customer.

Draws contain all rows of a customer, because these are not independent.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from retention.number_format import signed

_DRAWS, _BLOCKS = 1000, 4000
_METRIC_DRAWS = 100, 500
_METRIC_ROWS = 1_500_000  # draws × rows; large data needs fewer draws


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its 95% interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        mean, low, high = (signed(value, 4) for value in (self.mean, self.low, self.high))
        return f"{mean} (95% {low} to {high})"


def log_losses(churned: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Return each customer's log-loss, (n,)."""
    p = np.clip(probability, 1e-15, 1 - 1e-15)
    return -(churned * np.log(p) + (1 - churned) * np.log1p(-p))


def paired_interval(difference: np.ndarray, customers: np.ndarray) -> Interval:
    """Return the mean of paired differences and its interval.

    Customers are drawn with replacement, in blocks beyond a few thousand. The interval has the
    same width then, in bounded time.
    """
    _, block = np.unique(np.asarray(customers, dtype=str), return_inverse=True)
    block = block % _BLOCKS
    total = np.bincount(block, weights=difference)
    rows = np.bincount(block)
    total, rows = total[rows > 0], rows[rows > 0]
    drawn = np.random.default_rng(0).multinomial(
        len(rows), np.full(len(rows), 1 / len(rows)), _DRAWS
    )
    means = (drawn @ total) / (drawn @ rows)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(difference.mean()), float(low), float(high))


def metric_intervals(
    measure: Callable[[np.ndarray, np.ndarray], dict[str, float]],
    origins: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
) -> dict[str, list[float]]:
    """Return 95% intervals of metrics.

    A cluster bootstrap by customer. The percentiles are corrected for bias: measures of
    unevenness, like the ECE, are larger on draws than on the customers themselves.

    `measure`: labels (n,) and probabilities (n,) → metrics by name.

    References
    ----------
    Efron (1979), Bootstrap Methods: Another Look at the Jackknife.
    """
    customers = [origin[0] for origin in origins]
    names, codes = np.unique(np.concatenate(customers).astype(str), return_inverse=True)
    rows = np.split(codes, np.cumsum([len(origin[0]) for origin in origins])[:-1])
    draws = int(np.clip(_METRIC_ROWS // len(codes), *_METRIC_DRAWS))
    random = np.random.default_rng(0)
    resamples: list[dict[str, float]] = []
    while len(resamples) < draws:
        times = np.bincount(random.integers(0, len(names), len(names)), minlength=len(names))
        drawn = [np.repeat(np.arange(len(codes)), times[codes]) for codes in rows]
        labels = [origin[1][rows_drawn] for origin, rows_drawn in zip(origins, drawn, strict=True)]
        if any(not 0 < y.sum() < len(y) for y in labels):
            draws -= 1  # a draw with one class has no metrics
            continue
        pairs = zip(labels, origins, drawn, strict=True)
        by_origin = [measure(y, origin[2][rows_drawn]) for y, origin, rows_drawn in pairs]
        resamples.append(
            {name: float(np.mean([origin[name] for origin in by_origin])) for name in by_origin[0]}
        )
    if not resamples:
        return {}
    estimates = [measure(churned, probabilities) for _, churned, probabilities in origins]
    return {
        name: _bias_corrected(
            float(np.mean([origin[name] for origin in estimates])),
            np.array([origin[name] for origin in resamples]),
        )
        for name in resamples[0]
    }


def _bias_corrected(figure: float, drawn: np.ndarray) -> list[float]:
    low, high = np.quantile(drawn, [0.025, 0.975]) - (drawn.mean() - figure)
    return [float(max(low, 0.0)), float(min(high, max(drawn.max(), figure)))]
