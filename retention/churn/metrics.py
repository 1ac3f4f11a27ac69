"""How good churn probabilities are. Accuracy is not among them: everyone-stays would win it."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import beta as beta_distribution
from sklearn.metrics import average_precision_score, roc_auc_score

DECILES = tuple(tenth / 10 for tenth in range(1, 11))


def metrics(churned: np.ndarray, probability: np.ndarray) -> dict[str, float]:
    """The contract's seven, of (n,) labels and probabilities.

    Returns
    -------
    dict
        auc, pr_auc, top_decile_lift, brier, log_loss, ece (10 equal-count bins), empc (CLV 200, offer 10, contact 1).
    """
    churned, probability = np.asarray(churned, dtype=float), np.asarray(probability, dtype=float)
    clipped = np.clip(probability, 1e-15, 1 - 1e-15)
    return {
        "auc": float(roc_auc_score(churned, probability)),
        "pr_auc": float(average_precision_score(churned, probability)),
        "top_decile_lift": top_decile_lift(churned, probability),
        "brier": float(np.mean((probability - churned) ** 2)),
        "log_loss": float(-np.mean(churned * np.log(clipped) + (1 - churned) * np.log1p(-clipped))),
        "ece": ece(churned, probability),
        "empc": empc(churned, probability)[0],
    }


def top_decile_lift(churned: np.ndarray, probability: np.ndarray) -> float:
    """Churn rate among the tenth with the highest probability ÷ churn rate of all; ties are shared out evenly."""
    return lift_curve(churned, probability, (0.1,))[0]["lift"]


def lift_curve(
    churned: np.ndarray, probability: np.ndarray, shares: Sequence[float] = DECILES
) -> list[dict[str, float]]:
    """What targeting the riskiest share of the customers would find; ties are shared out evenly.

    Returns
    -------
    list of dict
        ``share`` of the customers, ``lift`` (their churn rate ÷ that of all) and ``captured`` (of all churners).
    """
    _, group, size = np.unique(-probability, return_inverse=True, return_counts=True)
    before = np.concatenate([[0], np.cumsum(size)[:-1]])
    rate = np.bincount(group, weights=churned) / size
    found = [float(np.clip(len(churned) * share - before, 0, size) @ rate) for share in shares]
    return [
        {
            "share": share,
            "lift": hits / len(churned) / share / float(churned.mean()),
            "captured": hits / float(churned.sum()),
        }
        for share, hits in zip(shares, found, strict=True)
    ]


def brier_decomposition(
    churned: np.ndarray, probability: np.ndarray, bins: int = 10
) -> dict[str, float]:
    """Brier = reliability − resolution + uncertainty + within_bins, over equal-count bins.

    Murphy (1973); ``within_bins`` is what binning continuous probabilities leaves over (Stephenson, Coelho, Jolliffe
    2008: variance within the bins less twice their covariance with the outcome).
    """
    parts = [
        part for part in np.array_split(np.argsort(probability, kind="stable"), bins) if len(part)
    ]
    weight = np.array([len(part) for part in parts]) / len(churned)
    said = np.array([probability[part].mean() for part in parts])
    seen = np.array([churned[part].mean() for part in parts])
    rate = float(churned.mean())
    terms = {
        "reliability": float(weight @ (said - seen) ** 2),
        "resolution": float(weight @ (seen - rate) ** 2),
        "uncertainty": rate * (1 - rate),
    }
    brier = float(np.mean((probability - churned) ** 2))
    return {
        **terms,
        "within_bins": brier - terms["reliability"] + terms["resolution"] - terms["uncertainty"],
    }


def ece(churned: np.ndarray, probability: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error over equal-count bins."""
    order = np.argsort(probability, kind="stable")
    parts = np.array_split(order, bins)
    gaps = [abs(churned[p].mean() - probability[p].mean()) * len(p) for p in parts if len(p)]
    return float(sum(gaps) / len(churned))


def ece_by_chance(probability: np.ndarray, bins: int = 10) -> float:
    """The ECE that these probabilities would show on average if every one of them were right, (n,) → one number.

    Few customers in a bin differ from what is expected of them by chance alone, so no model stays below this for long. The
    number who churn in a bin is nearly normal, and E|X| = σ √(2/π).
    """
    parts = np.array_split(np.sort(probability), bins)
    deviation = sum(float(np.sqrt((part * (1 - part)).sum())) for part in parts)
    return deviation * float(np.sqrt(2 / np.pi)) / len(probability)


def reliability(
    churned: np.ndarray, probability: np.ndarray, bins: int = 10
) -> list[dict[str, float]]:
    """The reliability curve: mean probability, churn rate and customers of each equal-count bin."""
    parts = np.array_split(np.argsort(probability, kind="stable"), bins)
    return [
        {
            "predicted": float(probability[p].mean()),
            "observed": float(churned[p].mean()),
            "customers": len(p),
        }
        for p in parts
        if len(p)
    ]


def empc(
    churned: np.ndarray,
    probability: np.ndarray,
    *,
    alpha: float = 6,
    beta: float = 14,
    clv: float = 200,
    offer: float = 10,
    contact: float = 1,
) -> tuple[float, float]:
    """Expected maximum profit of a retention campaign (Verbraken, Verbeke, Baesens 2013), and the share it targets.

    The chance γ that a churner accepts the offer is Beta(alpha, beta); for each γ the best vertex of the ROC hull is
    taken, and the profit is averaged over γ in closed form.

    Returns
    -------
    profit : float
        Money a customer.
    fraction : float
        Of the customers, the ones to target.
    """
    share = float(np.mean(churned))
    hits, alarms = _hull(churned, probability)
    d, f = offer / clv, contact / clv
    slope = ((d + f) * (1 - share) * np.diff(alarms)) / (share * np.maximum(np.diff(hits), 1e-300))
    edges = np.concatenate([[0.0], np.clip((slope + f) / (1 - d), 0, 1), [1.0]])
    mass = np.diff(beta_distribution.cdf(edges, alpha, beta))
    mean = np.diff(beta_distribution.cdf(edges, alpha + 1, beta)) * alpha / (alpha + beta)
    profit = clv * (
        (1 - d) * share * hits * mean - (f * share * hits + (d + f) * (1 - share) * alarms) * mass
    )
    return float(profit.sum()), float(((share * hits + (1 - share) * alarms) * mass).sum())


def _hull(churned: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices of the ROC's convex hull: shares of churners and of stayers targeted, from none to all."""
    _, group = np.unique(-probability, return_inverse=True)
    hit = np.bincount(group, weights=churned)
    alarm = np.bincount(group, weights=1 - churned)
    points = np.column_stack(
        [
            np.concatenate([[0], np.cumsum(alarm) / alarm.sum()]),
            np.concatenate([[0], np.cumsum(hit) / hit.sum()]),
        ]
    )
    hull: list[np.ndarray] = []
    for point in points:
        while len(hull) > 1 and _turns_up(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    kept = np.array(hull)
    return kept[:, 1], kept[:, 0]


def _turns_up(first: np.ndarray, second: np.ndarray, third: np.ndarray) -> bool:
    a, b = second - first, third - first
    return bool(a[0] * b[1] - a[1] * b[0] >= 0)
