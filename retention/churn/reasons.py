"""Explain scores by feature groups in words.

`contributions` explains the margin of the fitted model exactly, and a group's weight is the sum
over its features. Calibration is a monotone map of the margin, so it changes neither the order nor
the signs of the reasons. Weights are scaled by the slope of the calibration around the base. With
a sigmoid calibration, they add up to the calibrated log-odds minus those of the base.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from retention.churn.model_features import GROUP_OF
from retention.progress import Progress, silent
from retention.templating import count, percent
from retention.text import gettext

if TYPE_CHECKING:  # scoring by rules needs the sentences, not scikit-learn
    from sklearn.base import BaseEstimator

    from retention.churn.contributions import AdditiveExplanation
    from retention.churn.model import TrainedChurn

SEASON_GROUP = "season"
MAX_REASONS = 3  # per customer
MIN_SEASON_EFFECT = 0.05  # smallest reported change of the speed of repeat orders
MIN_WEIGHT = 0.02  # log-odds; smaller weights are noise
CHUNK_ROWS = 4096  # customers per chunk; bounds memory and the delay of a cancellation
SLOPE_RANGE = 2.0  # log-odds around the base, to measure the slope of the calibration


@dataclass(frozen=True, slots=True)
class GroupWeights:
    """Weights of feature groups in log-odds.

    Parameters
    ----------
    by_group : dict
        Group → (n,); positive values raise the risk.
    methods : tuple of str
    error : float
        Mean standard error; 0 for exact weights.
    """

    by_group: dict[str, np.ndarray]
    methods: tuple[str, ...]
    error: float


def groups_of(columns: tuple[str, ...]) -> dict[str, list[int]]:
    """Return the column indices of each feature group."""
    groups: dict[str, list[int]] = {}
    for place, column in enumerate(columns):
        groups.setdefault(GROUP_OF[column], []).append(place)
    return groups


def group_weights(
    trained: "TrainedChurn", X: np.ndarray, *, progress: Progress = silent
) -> GroupWeights:
    """Compute group weights with their method and error.

    If exact weights of all rows are too expensive, the first rows get them.

    Parameters
    ----------
    trained : TrainedChurn
    X : numpy.ndarray
        (n, k) features.
    progress : Progress
    """
    from retention.churn.contributions import MAX_LEAF_ROWS, contributions

    groups = groups_of(trained.columns)
    places, slope = list(groups.values()), calibration_slope(trained.model)
    explanations: list[AdditiveExplanation] = []
    for start in range(0, len(X), CHUNK_ROWS):
        progress(start, len(X), gettext("Finding the reasons"))
        rows, exact = X[start : start + CHUNK_ROWS], MAX_LEAF_ROWS if start == 0 else 0
        explanations.append(
            contributions(
                uncalibrated(trained.model), rows, trained.reference, places, leaf_rows=exact
            )
        )
    phi = (
        np.concatenate([explanation.phi for explanation in explanations])
        if explanations
        else np.zeros(X.shape)
    )
    by_group = {group: slope * phi[:, indices].sum(axis=1) for group, indices in groups.items()}
    methods = tuple(
        dict.fromkeys(method for explanation in explanations for method in explanation.methods)
    )
    return GroupWeights(
        by_group,
        methods,
        slope * float(np.mean([explanation.error for explanation in explanations] or [0.0])),
    )


def weights_by_group(
    trained: "TrainedChurn", X: np.ndarray, *, progress: Progress = silent
) -> dict[str, np.ndarray]:
    """Compute group weights, group → (n,) log-odds.

    Positive weights raise the risk.

    Parameters
    ----------
    trained : TrainedChurn
    X : numpy.ndarray
        (n, k) features.
    progress : Progress
    """
    return group_weights(trained, X, progress=progress).by_group


def uncalibrated(model: "BaseEstimator") -> "BaseEstimator":
    """Return the fitted model without its calibration."""
    from retention.churn.calibration import Calibrated

    return model.estimator if isinstance(model, Calibrated) else model


def calibration_slope(model: "BaseEstimator") -> float:
    """Return the slope of the calibration in log-odds around even odds.

    1 without a calibration.
    """
    from retention.churn.calibration import Calibrated

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
    """Return the strongest reasons per customer.

    Groups that raise the risk come first. The season is last, because it affects all customers and
    policies use the first reason.

    Parameters
    ----------
    frame : pandas.DataFrame
        (n,) customers with their features.
    weight : mapping
        Group → (n,) log-odds.
    typical : mapping
        Feature of the model → value of the median customer.
    horizon_days : int

    Returns
    -------
    list of list of dict
        ``{"feature", "text", "weight"}`` per reason.
    """
    names = [group for group in weight if group in GROUPS]
    table = (
        np.column_stack([weight[name] for name in names]) if names else np.zeros((len(frame), 0))
    )
    order = np.argsort(-table, axis=1, kind="stable")
    reasons_by_customer = []
    for number, row in enumerate(frame.to_dict("records")):
        heaviest = [
            place for place in order[number][:MAX_REASONS] if table[number, place] >= MIN_WEIGHT
        ]
        if not heaviest:  # no group raises the risk: use those that lower it
            heaviest = [
                place
                for place in order[number][::-1][:MAX_REASONS]
                if table[number, place] <= -MIN_WEIGHT
            ]
        heaviest.sort(key=lambda place: names[place] == SEASON_GROUP)
        reasons_by_customer.append(
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
    return reasons_by_customer


@dataclass(frozen=True, slots=True)
class Amount:
    """Text of a reason from the value of one feature.

    Parameters
    ----------
    column : str
        The feature.
    number : callable
        Value → text.
    noun : str
        Counted things; empty for values with their own unit.
    sentence : callable
        Translated template with the fields amount, one_h, two_h and four_h.
    """

    column: str
    number: Callable[[float], str]
    noun: str
    sentence: Callable[[], str]

    def text(self, own: float, typical: float | None, horizon_days: int) -> str:
        """Describe a value next to the typical one.

        An example is ``1 order in the last 28 days (typical: 3)``.

        Parameters
        ----------
        own : float
            Value of the customer.
        typical : float or None
            Value of the median customer.
        horizon_days : int
        """
        value, usual = (
            None if number is None or np.isnan(number) else self.number(number)
            for number in (own, typical)
        )
        if value is None:
            amount = gettext("an unknown share")
        else:
            amount = count(own, self.noun) if self.noun else value
        days = {"one_h": horizon_days, "two_h": 2 * horizon_days, "four_h": 4 * horizon_days}
        sentence = self.sentence().format(amount=amount, **days)
        if value is None or usual is None or usual == value:
            return sentence
        return gettext("{sentence} (typical: {usual})").format(sentence=sentence, usual=usual)


def _reason_text(
    group: str,
    row: Mapping[str, Any],
    typical: Mapping[str, float],
    weight: float,
    horizon_days: int,
) -> str:
    """Describe a feature group of a customer.

    Of several amounts, the one with the largest change is used: fewer orders raise the risk.
    """
    if group == SEASON_GROUP:
        return _season(row, weight, horizon_days)
    if group in _TEXTS:
        return _TEXTS[group](row, horizon_days)

    def relative(amount: Amount) -> float:
        return (row[amount.column] + 1) / (typical[amount.column] + 1)

    available = [amount for amount in _AMOUNTS[group] if amount.column in typical]
    best = (
        (min if weight > 0 else max)(available, key=relative) if available else _AMOUNTS[group][0]
    )
    return best.text(row[best.column], typical.get(best.column), horizon_days)


def _days(value: float) -> str:
    return gettext("less than a day") if value < 1 else count(np.floor(value), "day")


def _every(gap: float) -> str:
    """Describe a gap: ``every day``, ``every 6 days``."""
    if gap < 1.5:
        return gettext("every day")
    return gettext("every {days}").format(days=count(gap, "day"))


def silence_text(row: Mapping[str, Any], horizon_days: int) -> str:
    """Describe the current silence and the usual gap.

    An example is ``no order for 31 days, usually every 6 days``.

    Parameters
    ----------
    row : mapping
        Features of the customer.
    horizon_days : int
        Not used.
    """
    usual, days = row["gap_median"], row["recency_days"]
    if np.isnan(usual):
        if days < 1:
            return gettext("the only order is of today")
        return gettext("no order for {silence} since the only one").format(silence=_days(days))
    if days >= usual:
        return gettext("no order for {silence}, usually {rhythm}").format(
            silence=_days(days), rhythm=_every(usual)
        )
    if days < 1:
        return gettext("last order today, usually {rhythm}").format(rhythm=_every(usual))
    return gettext("last order {silence} ago, usually {rhythm}").format(
        silence=_days(days), rhythm=_every(usual)
    )


def _rhythm(row: Mapping[str, Any], horizon_days: int) -> str:
    if np.isnan(row["gap_median"]):
        return gettext("ordered on one day only, so there is no rhythm yet")
    usual, longest = row["gap_median"], row["gap_max"]
    if round(longest) > round(usual):
        return gettext("usually orders {rhythm}, but has paused for up to {longest:.0f}").format(
            rhythm=_every(usual), longest=longest
        )
    return gettext("usually orders {rhythm}, and never paused for longer before").format(
        rhythm=_every(usual)
    )


def _trend(row: Mapping[str, Any], horizon_days: int) -> str:
    return gettext("{orders} in the last {days} days, {before:.0f} in the {days} before").format(
        orders=count(row["orders_1h"], "order"),
        days=horizon_days,
        before=row["orders_2h"] - row["orders_1h"],
    )


def _spend(row: Mapping[str, Any], horizon_days: int) -> str:
    return gettext(
        "spent {spend:,.0f} in the last {days} days, {basket:,.0f} per order overall"
    ).format(spend=row["spend_2h"], days=2 * horizon_days, basket=row["basket_mean"])


def _intent(row: Mapping[str, Any], horizon_days: int) -> str:
    return gettext("{views} and {items} put into the cart in the last {days} days").format(
        views=count(row["views_1h"], "page view"),
        items=count(row["carts_1h"], "item"),
        days=horizon_days,
    )


def _replenishment(row: Mapping[str, Any], horizon_days: int) -> str:
    if np.isnan(row["overdue_share"]):
        return gettext("no item bought regularly in the last {days} days").format(
            days=4 * horizon_days
        )
    return gettext(
        "{overdue:.0f} of {items} bought regularly should have been bought again by now"
    ).format(
        overdue=round(row["overdue_share"] * row["regular_items"]),
        items=count(row["regular_items"], "item"),
    )


def _opinion(row: Mapping[str, Any], horizon_days: int) -> str:
    contacts = count(row["support_4h"], "contact")
    if np.isnan(row["rating_mean"]):
        return gettext("{contacts} with support in the last {days} days, no ratings").format(
            contacts=contacts, days=4 * horizon_days
        )
    return gettext("rates {mean:.1f} on average, last {last:.1f}; {contacts} with support").format(
        mean=row["rating_mean"], last=row["rating_last"], contacts=contacts
    )


def _season(row: Mapping[str, Any], weight: float, horizon_days: int) -> str:
    """Describe the forecast change of repeat orders.

    The change is given only if it explains the weight.
    """
    change = np.expm1(row["season_ahead"])
    if abs(change) < MIN_SEASON_EFFECT or (change < 0) != (weight > 0):
        return gettext("the time of the year")
    if change < 0:
        sentence = gettext(
            "the time of the year: repeat orders come {change} slower than in the {days} days "
            "before"
        )
    else:
        sentence = gettext(
            "the time of the year: repeat orders come {change} faster than in the {days} days "
            "before"
        )
    return sentence.format(change=percent(abs(change)), days=horizon_days)


_TEXTS: dict[str, Callable[[Mapping[str, Any], int], str]] = {
    "recency": silence_text,
    "rhythm": _rhythm,
    "trend": _trend,
    "spend": _spend,
    "intent": _intent,
    "replenishment": _replenishment,
    "opinion": _opinion,
}


def _in_last_h() -> str:
    return gettext("{amount} in the last {one_h} days")


def _in_last_two_h() -> str:
    return gettext("{amount} in the last {two_h} days")


def _in_last_four_h() -> str:
    return gettext("{amount} in the last {four_h} days")


_AMOUNTS: dict[str, tuple[Amount, ...]] = {
    "frequency": (
        Amount("orders_1h", count, "order", _in_last_h),
        Amount("orders_2h", count, "order", _in_last_two_h),
        Amount("orders_4h", count, "order", _in_last_four_h),
    ),
    "discounts": (
        Amount(
            "discount_share",
            percent,
            "",
            lambda: gettext("{amount} off on average in the last {four_h} days"),
        ),
    ),
    "breadth": (Amount("items_4h", count, "different item", _in_last_four_h),),
    "habits": (
        Amount("weekend_share", percent, "", lambda: gettext("{amount} of the orders at weekends")),
    ),
    "tenure": (Amount("tenure_days", _days, "", lambda: gettext("a customer for {amount}")),),
    "returns": (Amount("returns_4h", count, "return", _in_last_four_h),),
    "channel": (
        Amount("online_share", percent, "", lambda: gettext("{amount} of the orders online")),
    ),
    "response": (
        Amount(
            "emails_1h",
            count,
            "e-mail",
            lambda: gettext("{amount} opened or clicked in the last {one_h} days"),
        ),
    ),
}
GROUPS = frozenset({*_TEXTS, *_AMOUNTS, SEASON_GROUP})
