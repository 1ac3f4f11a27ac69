"""Expected lost spend: what customers would spend at their own rate, less what is expected now.

Times the shop's margin it is the lost margin, by which a list is ordered. All figures are of one
horizon. Where no amounts are known, order days stand for the spend.
"""

from typing import TYPE_CHECKING

import numpy as np

from retention.churn.model_features import purchase_history
from retention.churn.population import spend_per_order_day

if TYPE_CHECKING:
    from retention.churn.snapshots import Snapshot


def usual_spend(customers: "Snapshot", horizon_days: int) -> np.ndarray:
    """Return the spend of one horizon at the customers' own past rate, (n,).

    A first order less than one horizon ago counts once: nobody knows of a second one yet.
    """
    frame = customers.frame
    spend = frame.order_days if customers.spend is None else frame.spend_all
    tenure = np.maximum(frame.tenure_days.to_numpy(dtype=float), horizon_days)
    return np.maximum(spend.to_numpy(dtype=float), 0) / tenure * horizon_days


def expected_spend_now(customers: "Snapshot", chance: np.ndarray, horizon_days: int) -> np.ndarray:
    """Return the expected spend of one horizon, (n,).

    It is ``chance``, the probability of any order, times the order days of a customer who orders at
    all (BG/NBD), times the spend per order day (Gamma-Gamma).
    """
    x, t_x, age = purchase_history(customers.frame)
    process = customers.purchases
    none = process.no_purchase(x, t_x, age, horizon_days)
    days = process.expected(x, t_x, age, horizon_days) / np.maximum(1 - none, 1e-9)
    spend = 1 if customers.spend is None else spend_per_order_day(customers)
    return np.asarray(chance * np.maximum(days, 1) * spend)


def return_chance(customers: "Snapshot", horizon_days: int) -> np.ndarray:
    """Return the probability of an order within one horizon by the purchase process, (n,)."""
    return 1 - customers.purchases.no_purchase(*purchase_history(customers.frame), horizon_days)


def lost_spend(usual: np.ndarray, spend: np.ndarray) -> np.ndarray:
    """Return how much less than usual the spend is, (n,), not below zero.

    With the expected spend it orders a list. With what customers then spent it is the yardstick of
    a past list.
    """
    return np.maximum(usual - spend, 0)


def silence_ratio(customers: "Snapshot") -> np.ndarray:
    """Return the silence as a multiple of the usual gap, (n,); 0 without a usual gap."""
    frame = customers.frame
    usual = frame.gap_median.to_numpy(dtype=float, na_value=np.nan)
    silence = frame.recency_days.to_numpy(dtype=float)
    return np.where(np.isnan(usual), 0.0, silence / np.maximum(np.nan_to_num(usual), 1))


def list_columns(
    customers: "Snapshot", chance: np.ndarray, horizon_days: int
) -> dict[str, np.ndarray]:
    """Return the columns of a score table by which lists are ordered; ``chance`` is of an order."""
    expected = expected_spend_now(customers, chance, horizon_days)
    return {
        "lost_spend": lost_spend(usual_spend(customers, horizon_days), expected),
        "return_value": expected,
        "silence_ratio": silence_ratio(customers),
    }


SHARE, LEAST, MOST = 0.02, 50, 500  # of the scored customers, and customers
MOST_SHARE, TINY = 0.15, 10


def list_size(scored: int, customers: int | None = None) -> int:
    """Return how many of the scored customers a team's list has.

    ``customers`` is what a policy file states; it is at most all of them.

    Examples
    --------
    >>> [list_size(scored) for scored in (6, 40, 200, 1_000, 4_000, 90_000)]
    [6, 10, 30, 50, 80, 500]
    """
    if customers is None:
        most = max(int(MOST_SHARE * scored), TINY)
        customers = min(max(round(SHARE * scored), LEAST), MOST, most)
    return min(customers, scored)


def derived_tiers(probabilities: np.ndarray, customers: int | None = None) -> dict[str, float]:
    """Return the churn probabilities at which a shop's tiers begin.

    Medium begins at the mean, so it says "more than usual". High begins so far above it that as
    many customers are in it as a list has; ``customers`` is its stated size.
    """
    medium = float(np.clip(probabilities.mean(), 0.001, 0.998))
    above = np.sort(probabilities[probabilities > medium])[::-1]
    if not len(above):
        return {"high": round((1 + medium) / 2, 4), "medium": round(medium, 4)}
    last = above[min(list_size(len(probabilities), customers), len(above)) - 1]
    medium = round(medium, 4)
    high = float(np.floor(1e4 * last) / 1e4)  # rounded up, it would leave out the last one
    return {"high": max(high, round(medium + 1e-4, 4)), "medium": medium}
