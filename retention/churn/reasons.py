"""Why this customer: what each group of features adds to the log-odds, and a sentence a person understands.

`contributions` explains the fitted model's margin exactly; a group's weight is the sum over its features. Calibration
is a monotone map of the margin: it changes neither the order of the reasons nor their signs, so that the weights are
the margin's × one positive number, the slope of the calibration around the base. Where the calibration is a sigmoid
the weights add up to the calibrated log-odds minus those of the base, exactly.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from sklearn.base import BaseEstimator

from retention.churn.calibration import Calibrated
from retention.churn.contributions import MAX_LEAF_ROWS, AdditiveExplanation, contributions
from retention.churn.model import TrainedChurn
from retention.churn.model_features import GROUP_OF
from retention.progress import Progress, silent
from retention.templating import count, percent

SEASON_GROUP = "season"  # the group of features of it
MAX_REASONS = 3  # reasons a customer
MIN_SEASON_EFFECT = 0.05  # of the speed of repeat orders; what is less is not told as one
MIN_WEIGHT = 0.02  # of log-odds; less is noise
CHUNK_ROWS = 4096  # customers at a time: bounds memory, and a cancelled job stops soon
SLOPE_RANGE = 2.0  # log-odds on both sides of the base, over which the calibration's slope is taken


@dataclass(frozen=True, slots=True)
class GroupWeights:
    """Each group's weight in log-odds, group → (n,); positive raises the risk.

    ``methods`` says how they were found, ``error`` their mean standard error (0 where they are exact).
    """

    by_group: dict[str, np.ndarray]
    methods: tuple[str, ...]
    error: float


def groups_of(columns: tuple[str, ...]) -> dict[str, list[int]]:
    """The columns of each group of features: group → places."""
    groups: dict[str, list[int]] = {}
    for place, column in enumerate(columns):
        groups.setdefault(GROUP_OF[column], []).append(place)
    return groups


def group_weights(
    trained: TrainedChurn, X: np.ndarray, *, progress: Progress = silent
) -> GroupWeights:
    """The weights of (n, k) features. Where the exact ones cost too much for all, the first rows get them."""
    groups = groups_of(trained.columns)
    places, slope = list(groups.values()), calibration_slope(trained.model)
    found: list[AdditiveExplanation] = []
    for start in range(0, len(X), CHUNK_ROWS):
        progress(start, len(X), "Finding the reasons")
        rows, exact = X[start : start + CHUNK_ROWS], MAX_LEAF_ROWS if start == 0 else 0
        found.append(
            contributions(
                uncalibrated(trained.model), rows, trained.reference, places, leaf_rows=exact
            )
        )
    phi = np.concatenate([one.phi for one in found]) if found else np.zeros(X.shape)
    by_group = {group: slope * phi[:, where].sum(axis=1) for group, where in groups.items()}
    methods = tuple(dict.fromkeys(method for one in found for method in one.methods))
    return GroupWeights(
        by_group, methods, slope * float(np.mean([one.error for one in found] or [0.0]))
    )


def weights_by_group(
    trained: TrainedChurn, X: np.ndarray, *, progress: Progress = silent
) -> dict[str, np.ndarray]:
    """Each group's weight in log-odds for (n, k) features: group → (n,); positive raises the risk."""
    return group_weights(trained, X, progress=progress).by_group


def uncalibrated(model: BaseEstimator) -> BaseEstimator:
    """The fitted model below its calibration."""
    return model.estimator if isinstance(model, Calibrated) else model


def calibration_slope(model: BaseEstimator) -> float:
    """Calibrated log-odds for each of the margin, around even odds' neighbourhood; 1 without a calibration."""
    if not isinstance(model, Calibrated):
        return 1.0
    ends = np.clip(model.map(expit(np.array([-SLOPE_RANGE, SLOPE_RANGE]))), 1e-3, 1 - 1e-3)
    slope = (
        model.slope if model.steps is None else float(np.diff(logit(ends))[0] / (2 * SLOPE_RANGE))
    )
    return slope if slope > 0 else 1.0


def reasons(
    frame: pd.DataFrame,
    weight: Mapping[str, np.ndarray],
    *,
    typical: Mapping[str, float],
    horizon_days: int,
) -> list[list[dict[str, Any]]]:
    """For each customer the heaviest groups, those that raise the risk first: ``{"feature", "text", "weight"}``.

    The season stands last of them whatever it weighs: it is everybody's, and what a policy does goes by the first.
    ``typical`` has the features of the customer that weights are told against, as far as the model knows them.
    """
    names = [group for group in weight if group in GROUPS]
    table = (
        np.column_stack([weight[name] for name in names]) if names else np.zeros((len(frame), 0))
    )
    order = np.argsort(-table, axis=1, kind="stable")
    told = []
    for number, row in enumerate(frame.to_dict("records")):
        heaviest = [
            place for place in order[number][:MAX_REASONS] if table[number, place] >= MIN_WEIGHT
        ]
        if not heaviest:  # nothing speaks for churn: say what speaks against it
            heaviest = [
                place
                for place in order[number][::-1][:MAX_REASONS]
                if table[number, place] <= -MIN_WEIGHT
            ]
        heaviest.sort(key=lambda place: names[place] == SEASON_GROUP)
        told.append(
            [
                {
                    "feature": names[place],
                    "text": _reason_text(
                        names[place], row, typical, table[number, place], horizon_days
                    ),
                    "weight": round(float(table[number, place]), 3),
                }
                for place in heaviest
            ]
        )
    return told


@dataclass(frozen=True, slots=True)
class Amount:
    """A feature that can stand for its group: how its number is written, of what, and in which sentence."""

    column: str
    number: Callable[[float], str]
    noun: str
    sentence: str

    def told(self, own: float, typical: float | None, horizon_days: int) -> str:
        """``1 order in the last 28 days (typical: 3)``: alone nobody knows whether it is much."""
        amount, usual = (
            None if one is None or np.isnan(one) else self.number(one) for one in (own, typical)
        )
        beside = "" if None in (amount, usual) or usual == amount else f" (typical: {usual})"
        what = (
            "an unknown share" if amount is None else count(own, self.noun) if self.noun else amount
        )
        days = {"one": horizon_days, "two": 2 * horizon_days, "four": 4 * horizon_days}
        return self.sentence.format(what, **days) + beside


def _reason_text(
    group: str,
    row: Mapping[str, Any],
    typical: Mapping[str, float],
    weight: float,
    horizon_days: int,
) -> str:
    """The sentence of a group; of several amounts the one that shows most why it weighs: fewer orders, more risk."""
    if group == SEASON_GROUP:
        return _season(row, weight, horizon_days)
    if group in _TEXTS:
        return _TEXTS[group](row, horizon_days)

    def little(one: Amount) -> float:
        return (row[one.column] + 1) / (typical[one.column] + 1)

    known = [one for one in _AMOUNTS[group] if one.column in typical]
    telling = (min if weight > 0 else max)(known, key=little) if known else _AMOUNTS[group][0]
    return telling.told(row[telling.column], typical.get(telling.column), horizon_days)


def _days(value: float) -> str:
    return "less than a day" if value < 1 else count(np.floor(value), "day")


def _every(gap: float) -> str:
    """``every day``, ``every 6 days``."""
    return "every day" if gap < 1.5 else f"every {count(gap, 'day')}"


def silence_text(row: Mapping[str, Any], horizon_days: int) -> str:
    """``no order for 31 days, usually every 6 days``."""
    usual, days = row["gap_median"], row["recency_days"]
    if np.isnan(usual):
        return (
            "the only order is of today"
            if days < 1
            else f"no order for {_days(days)} since the only one"
        )
    if days < usual:
        return (
            f"last order {'today' if days < 1 else _days(days) + ' ago'}, usually {_every(usual)}"
        )
    return f"no order for {_days(days)}, usually {_every(usual)}"


def _rhythm(row: Mapping[str, Any], horizon_days: int) -> str:
    if np.isnan(row["gap_median"]):
        return "ordered on one day only, so there is no rhythm yet"
    usual, longest = row["gap_median"], row["gap_max"]
    pause = (
        f"but has paused for up to {longest:.0f}"
        if round(longest) > round(usual)
        else "and never paused for longer before"
    )
    return f"usually orders {_every(usual)}, {pause}"


def _trend(row: Mapping[str, Any], horizon_days: int) -> str:
    before = row["orders_2h"] - row["orders_1h"]
    return f"{count(row['orders_1h'], 'order')} in the last {horizon_days} days, {before:.0f} in the {horizon_days} before"


def _spend(row: Mapping[str, Any], horizon_days: int) -> str:
    return f"spent {row['spend_2h']:,.0f} in the last {2 * horizon_days} days, {row['basket_mean']:,.0f} per order overall"


def _intent(row: Mapping[str, Any], horizon_days: int) -> str:
    seen, carts = count(row["views_1h"], "page view"), count(row["carts_1h"], "item")
    return f"{seen} and {carts} put into the cart in the last {horizon_days} days"


def _replenishment(row: Mapping[str, Any], horizon_days: int) -> str:
    if np.isnan(row["overdue_share"]):
        return f"no item bought regularly in the last {4 * horizon_days} days"
    overdue = round(row["overdue_share"] * row["regular_items"])
    return f"{overdue:.0f} of {count(row['regular_items'], 'item')} bought regularly should have been bought again by now"


def _opinion(row: Mapping[str, Any], horizon_days: int) -> str:
    contacts = count(row["support_4h"], "contact")
    if np.isnan(row["rating_mean"]):
        return f"{contacts} with support in the last {4 * horizon_days} days, no ratings"
    return f"rates {row['rating_mean']:.1f} on average, last {row['rating_last']:.1f}; {contacts} with support"


def _season(row: Mapping[str, Any], weight: float, horizon_days: int) -> str:
    """By how much repeat orders come slower or faster, where that is why: it is foretold of the shop, for everybody."""
    faster = np.expm1(row["season_ahead"])
    if abs(faster) < MIN_SEASON_EFFECT or (faster < 0) != (weight > 0):
        return "the time of the year"
    how = "slower" if faster < 0 else "faster"
    return f"the time of the year: repeat orders come {percent(abs(faster))} {how} than in the {horizon_days} days before"


_TEXTS: dict[str, Callable[[Mapping[str, Any], int], str]] = {
    "recency": silence_text,
    "rhythm": _rhythm,
    "trend": _trend,
    "spend": _spend,
    "intent": _intent,
    "replenishment": _replenishment,
    "opinion": _opinion,
}
_AMOUNTS: dict[str, tuple[Amount, ...]] = {
    "frequency": (
        Amount("orders_1h", count, "order", "{} in the last {one} days"),
        Amount("orders_2h", count, "order", "{} in the last {two} days"),
        Amount("orders_4h", count, "order", "{} in the last {four} days"),
    ),
    "discounts": (
        Amount("discount_share", percent, "", "{} off on average in the last {four} days"),
    ),
    "breadth": (Amount("items_4h", count, "different item", "{} in the last {four} days"),),
    "habits": (Amount("weekend_share", percent, "", "{} of the orders at weekends"),),
    "tenure": (Amount("tenure_days", _days, "", "a customer for {}"),),
    "returns": (Amount("returns_4h", count, "return", "{} in the last {four} days"),),
    "channel": (Amount("online_share", percent, "", "{} of the orders online"),),
    "response": (
        Amount("emails_1h", count, "e-mail", "{} opened or clicked in the last {one} days"),
    ),
}
GROUPS = frozenset({*_TEXTS, *_AMOUNTS, SEASON_GROUP})
