"""Expected lost spend: what customers would spend at their own rate, less what is expected now.

Times the shop's margin it is the lost margin, by which a list is ordered. All figures are of one
horizon. Where no amounts are known, order days stand for the spend.
"""

from typing import TYPE_CHECKING

import numpy as np

from retention.churn.model_features import purchase_history
from retention.churn.population import spend_per_order_day

if TYPE_CHECKING:
    from retention.churn.population import Buyers
    from retention.churn.snapshots import Snapshot


def usual_spend(customers: "Snapshot | Buyers", horizon_days: int) -> np.ndarray:
    """Return the spend of one horizon at the customers' own past rate, (n,).

    A first order less than one horizon ago counts once: nobody knows of a second one yet.
    """
    frame = customers.frame
    spend = frame.order_days if customers.spend is None else frame.spend_all
    tenure = np.maximum(frame.tenure_days.to_numpy(dtype=float), horizon_days)
    return np.maximum(spend.to_numpy(dtype=float), 0) / tenure * horizon_days


def expected_spend_now(
    customers: "Snapshot | Buyers", chance: np.ndarray, horizon_days: int
) -> np.ndarray:
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


def return_chance(customers: "Snapshot | Buyers", horizon_days: int) -> np.ndarray:
    """Return the probability of an order within one horizon by the purchase process, (n,)."""
    return 1 - customers.purchases.no_purchase(*purchase_history(customers.frame), horizon_days)


def lost_spend(usual: np.ndarray, spend: np.ndarray) -> np.ndarray:
    """Return how much less than usual the spend is, (n,), not below zero.

    With the expected spend it orders a list. With what customers then spent it is the yardstick of
    a past list.
    """
    return np.maximum(usual - spend, 0)


def silence_ratio(customers: "Snapshot | Buyers") -> np.ndarray:
    """Return the silence as a multiple of the usual gap, (n,); 0 without a usual gap."""
    frame = customers.frame
    usual = frame.gap_median.to_numpy(dtype=float, na_value=np.nan)
    silence = frame.recency_days.to_numpy(dtype=float)
    return np.where(np.isnan(usual), 0.0, silence / np.maximum(np.nan_to_num(usual), 1))


def list_columns(
    customers: "Snapshot | Buyers", chance: np.ndarray, horizon_days: int
) -> dict[str, np.ndarray]:
    """Return the columns of a score table by which lists are ordered; ``chance`` is of an order."""
    expected = expected_spend_now(customers, chance, horizon_days)
    return {
        "lost_spend": lost_spend(usual_spend(customers, horizon_days), expected),
        "return_value": expected,
        "silence_ratio": silence_ratio(customers),
    }
