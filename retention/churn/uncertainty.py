"""How sure a figure is: bootstrap intervals that draw customers, with everything known of them, not rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

_DRAWS, _BLOCKS = 1000, 4000
_METRIC_DRAWS, _METRIC_ROWS = (
    (100, 500),
    1_500_000,
)  # fewer resamples of many rows: their intervals are narrow anyway


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.4f} (95 % {self.low:+.4f} to {self.high:+.4f})"


def log_losses(churned: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Each customer's log-loss, (n,)."""
    p = np.clip(probability, 1e-15, 1 - 1e-15)
    return -(churned * np.log(p) + (1 - churned) * np.log1p(-p))


def paired_interval(difference: np.ndarray, customers: np.ndarray, seed: int = 0) -> Interval:
    """Mean of (n,) differences and its interval, drawing customers (n,), with all their rows, with replacement.

    Beyond a few thousand customers whole blocks of them are drawn: as wide an interval, in bounded time.
    """
    _, block = np.unique(np.asarray(customers, dtype=str), return_inverse=True)
    block = block % _BLOCKS
    total = np.bincount(block, weights=difference)
    rows = np.bincount(block)
    total, rows = total[rows > 0], rows[rows > 0]
    drawn = np.random.default_rng(seed).multinomial(
        len(rows), np.full(len(rows), 1 / len(rows)), _DRAWS
    )
    means = (drawn @ total) / (drawn @ rows)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(difference.mean()), float(low), float(high))


def metric_intervals(
    measure: Callable[[np.ndarray, np.ndarray], dict[str, float]],
    origins: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
    *,
    seed: int = 0,
) -> dict[str, list[float]]:
    """95 % intervals of metrics, by customer (Efron 1979; the cluster bootstrap over several origins).

    They are percentiles of the draws less what the draws exceed the figure by on average: a measure of unevenness, like
    the ECE, is larger on every draw than it is of the customers themselves, so that its percentiles lay above it.

    Parameters
    ----------
    measure : callable
        Labels (n,) and probabilities (n,) → metrics by name.
    origins : sequence of (customers, churned, probability)
        Each (n,), one triple a moment; a metric of several is their mean. A customer drawn is drawn at all of them.

    Returns
    -------
    dict
        Metric → [low, high].
    """
    names, codes = np.unique(
        np.concatenate([one[0] for one in origins]).astype(str), return_inverse=True
    )
    rows = np.split(codes, np.cumsum([len(one[0]) for one in origins])[:-1])
    draws = int(np.clip(_METRIC_ROWS // len(codes), *_METRIC_DRAWS))
    random = np.random.default_rng(seed)
    found: list[dict[str, float]] = []
    while len(found) < draws:
        times = np.bincount(random.integers(0, len(names), len(names)), minlength=len(names))
        drawn = [np.repeat(np.arange(len(codes)), times[codes]) for codes in rows]
        labels = [one[1][keep] for one, keep in zip(origins, drawn, strict=True)]
        if any(not 0 < y.sum() < len(y) for y in labels):
            draws -= 1  # one class only: nothing can be measured on such a draw
            continue
        told = [
            measure(y, one[2][keep]) for y, one, keep in zip(labels, origins, drawn, strict=True)
        ]
        found.append({name: float(np.mean([one[name] for one in told])) for name in told[0]})
    if not found:
        return {}
    own = [measure(churned, said) for _, churned, said in origins]
    return {
        name: _bias_corrected(
            float(np.mean([one[name] for one in own])), np.array([one[name] for one in found])
        )
        for name in found[0]
    }


def _bias_corrected(figure: float, drawn: np.ndarray) -> list[float]:
    low, high = np.quantile(drawn, [0.025, 0.975]) - (drawn.mean() - figure)
    return [float(max(low, 0.0)), float(min(high, max(drawn.max(), figure)))]
