"""Why this customer: what each group of features adds to the log-odds, and a sentence a person understands.

The weight of a group is the log-odds of churn minus the log-odds with that group's features set to those of the
median customer (occlusion). For a linear model this is exactly Σ w·(x − reference) over the group, and the groups
add up; for trees it is what the model itself says of that group, interactions included, and need not add up.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logit

from retention.churn.model import TrainedChurn
from retention.churn.snapshots import GROUP_OF
from retention.progress import Progress, silent
from retention.templating import count

MOST = 3  # reasons a customer
LEAST = 0.02  # of log-odds; less is noise
ROWS = 4096  # customers at a time: bounds memory, and a cancelled job stops soon


def weights(trained: TrainedChurn, X: np.ndarray, *, progress: Progress = silent) -> dict[str, np.ndarray]:
    """Each group's weight in log-odds for (n, k) features: group → (n,); positive raises the risk."""
    groups: dict[str, list[int]] = {}
    for place, column in enumerate(trained.columns):
        groups.setdefault(GROUP_OF[column], []).append(place)
    found = {group: np.zeros(len(X)) for group in groups}
    for start in range(0, len(X), ROWS):
        rows = X[start : start + ROWS]
        full = logit(trained.probability(rows))
        for number, (group, places) in enumerate(groups.items()):
            done = start + len(rows) * number // len(groups)
            progress(done, len(X), "Finding the reasons")
            differs = _differs(rows[:, places], trained.reference[places])
            if differs.any():
                typical = rows[differs].copy()
                typical[:, places] = trained.reference[places]
                without = logit(trained.probability(typical))
                found[group][start : start + ROWS][differs] = full[differs] - without
    return found


def _differs(X: np.ndarray, reference: np.ndarray) -> np.ndarray:
    return ~((reference == X) | (np.isnan(X) & np.isnan(reference))).all(axis=1)


def reasons(
    frame: pd.DataFrame, weight: Mapping[str, np.ndarray], *, horizon_days: int
) -> list[list[dict[str, Any]]]:
    """For each customer the heaviest groups, those that raise the risk first: ``{"feature", "text", "weight"}``."""
    names = [group for group in weight if group in _TEXTS]
    table = np.column_stack([weight[name] for name in names]) if names else np.zeros((len(frame), 0))
    order = np.argsort(-table, axis=1, kind="stable")
    told = []
    for number, row in enumerate(frame.to_dict("records")):
        heaviest = [place for place in order[number][:MOST] if table[number, place] >= LEAST]
        if not heaviest:  # nothing speaks for churn: say what speaks against it
            heaviest = [place for place in order[number][::-1][:MOST] if table[number, place] <= -LEAST]
        told.append(
            [
                {
                    "feature": names[place],
                    "text": _TEXTS[names[place]](row, horizon_days),
                    "weight": round(float(table[number, place]), 3),
                }
                for place in heaviest
            ]
        )
    return told


def _days(value: float) -> str:
    return "less than a day" if value < 1 else count(np.floor(value), "day")


def silence(row: Mapping[str, Any], horizon_days: int) -> str:
    """``no order for 31 days, usually every 6``."""
    usual, days = row["gap_median"], row["recency_days"]
    if np.isnan(usual):
        return "the only order is of today" if days < 1 else f"no order for {_days(days)} since the only one"
    if days < usual:
        return f"last order {'today' if days < 1 else _days(days) + ' ago'}, usually every {usual:.0f}"
    return f"no order for {_days(days)}, usually every {usual:.0f}"


def _frequency(row: Mapping[str, Any], horizon_days: int) -> str:
    return f"{count(row['orders_2h'], 'order')} in the last {2 * horizon_days} days"


def _rhythm(row: Mapping[str, Any], horizon_days: int) -> str:
    if np.isnan(row["gap_median"]):
        return "ordered on one day only, so there is no rhythm yet"
    return f"usually orders every {count(row['gap_median'], 'day')}, but has paused for up to {row['gap_max']:.0f}"


def _trend(row: Mapping[str, Any], horizon_days: int) -> str:
    before = row["orders_2h"] - row["orders_1h"]
    return f"{count(row['orders_1h'], 'order')} in the last {horizon_days} days, {before:.0f} in the {horizon_days} before"


def _spend(row: Mapping[str, Any], horizon_days: int) -> str:
    return f"spent {row['spend_2h']:,.0f} in the last {2 * horizon_days} days, {row['basket_mean']:,.0f} per order overall"


def _discounts(row: Mapping[str, Any], horizon_days: int) -> str:
    return f"{100 * row['discount_share']:.0f} % off on average in the last {4 * horizon_days} days"


def _breadth(row: Mapping[str, Any], horizon_days: int) -> str:
    return f"{count(row['items_4h'], 'different item')} in the last {4 * horizon_days} days"


def _habits(row: Mapping[str, Any], horizon_days: int) -> str:
    return f"{100 * row['weekend_share']:.0f} % of the orders at weekends"


def _tenure(row: Mapping[str, Any], horizon_days: int) -> str:
    return f"a customer for {_days(row['tenure_days'])}"


def _returns(row: Mapping[str, Any], horizon_days: int) -> str:
    return f"{count(row['returns_4h'], 'return')} in the last {4 * horizon_days} days"


def _intent(row: Mapping[str, Any], horizon_days: int) -> str:
    seen, carts = count(row["views_1h"], "page view"), count(row["carts_1h"], "item")
    return f"{seen} and {carts} put into the cart in the last {horizon_days} days"


def _replenishment(row: Mapping[str, Any], horizon_days: int) -> str:
    if np.isnan(row["overdue_share"]):
        return f"no item bought regularly in the last {4 * horizon_days} days"
    overdue = round(row["overdue_share"] * row["regular_items"])
    return f"{overdue:.0f} of {count(row['regular_items'], 'item')} bought regularly should have been bought again by now"


def _channel(row: Mapping[str, Any], horizon_days: int) -> str:
    return f"{100 * row['online_share']:.0f} % of the orders online"


def _response(row: Mapping[str, Any], horizon_days: int) -> str:
    return f"{count(row['emails_1h'], 'e-mail')} opened or clicked in the last {horizon_days} days"


def _opinion(row: Mapping[str, Any], horizon_days: int) -> str:
    contacts = count(row["support_4h"], "contact")
    if np.isnan(row["rating_mean"]):
        return f"{contacts} with support in the last {4 * horizon_days} days, no ratings"
    return (
        f"rates {row['rating_mean']:.1f} on average, last {row['rating_last']:.1f}; {contacts} with support"
    )


def _season(row: Mapping[str, Any], horizon_days: int) -> str:
    return "the time of the year"


_TEXTS: dict[str, Callable[[Mapping[str, Any], int], str]] = {
    "recency": silence, "frequency": _frequency, "rhythm": _rhythm, "trend": _trend, "spend": _spend,
    "discounts": _discounts, "breadth": _breadth, "habits": _habits, "tenure": _tenure, "returns": _returns,
    "intent": _intent, "season": _season, "replenishment": _replenishment, "channel": _channel,
    "response": _response, "opinion": _opinion,
}  # fmt: skip
