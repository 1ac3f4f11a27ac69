"""Which kind of model the data can carry: rules, the closed form, logistic regression, the ensemble."""

from dataclasses import dataclass

import numpy as np

from retention.churn.estimators import BG_LOGISTIC, CLOSED_FORM, ENSEMBLE, RFM, SEASONAL
from retention.churn.snapshots import TrainingSet
from retention.errors import TooLittleData
from retention.text import gettext

BUYERS_FOR_A_MODEL, BUYERS_FOR_LEARNING, DAYS_FOR_LEARNING = 100, 500, 180
CHURNERS, SNAPSHOTS_FOR_ENSEMBLE = 100, 4
HORIZONS_TO_BE_HEARD = (
    8  # of history: many snapshots of fewer look at the same weeks again and again
)
_CLOSED = (CLOSED_FORM, RFM, BG_LOGISTIC, "stacked")
_LEARNED = ("logistic", "boosting")
_LOGISTIC = (*_LEARNED, *_CLOSED)  # boosting has its say in the stack, on any number of churners
_ENSEMBLE = ("ensemble", *ENSEMBLE, *_CLOSED)
SWING = 0.2  # log of the speed of repeat orders from one horizon to the next, from which a season is reckoned with


@dataclass(frozen=True, slots=True)
class Rung:
    """Where the data stands: what ``auto`` may choose from, by default the first, and what the next rung needs.

    ``heard`` are members that have a say in the blend and are never chosen alone.
    """

    candidates: tuple[str, ...]
    text: str
    heard: tuple[str, ...] = ()

    @property
    def members(self) -> tuple[str, ...]:
        """What the candidates are made of."""
        return (
            *self.heard,
            *(name for name in self.candidates if name not in ("ensemble", "stacked")),
        )


def stand(training: TrainingSet) -> Rung:
    """The rung on which this history stands.

    Raises
    ------
    TooLittleData
        Below 100 buyers: rules are all that can be had.
    """
    buyers = training.newest.buyers
    churners = [
        float(snapshot.churned.sum())
        for snapshot in training.snapshots
        if snapshot.churned is not None
    ]
    if buyers < BUYERS_FOR_A_MODEL:
        raise TooLittleData(
            gettext(
                "Only {buyers} customers had ordered by {day}; a model needs "
                "{buyers_for_a_model}. Import more history; until then sweeps go by the rules "
                "(RFM)."
            ).format(
                buyers=buyers,
                day=training.day(training.newest.cutoff),
                buyers_for_a_model=BUYERS_FOR_A_MODEL,
            )
        )
    return _carried(training, buyers, churners)


def _carried(training: TrainingSet, buyers: int, churners: list[float]) -> Rung:
    missing = _missing(
        (buyers, BUYERS_FOR_LEARNING, "buyers"),
        (int(training.history_days), DAYS_FOR_LEARNING, "days of history"),
        (int(sum(churners)), CHURNERS, "churners"),
    )
    if missing:
        return _closed(training, missing, sum(churners))
    missing = _missing(
        (int(sum(churners) / len(churners)), CHURNERS, "churners a snapshot"),
        (len(churners), SNAPSHOTS_FOR_ENSEMBLE, "snapshots"),
    )
    if missing:
        text = f"The rung of logistic regression; the ensemble needs {missing}."
        return Rung(_by_season(_LOGISTIC, training), text)
    if not training.season:
        have = int(training.history_days)
        return Rung(
            _ENSEMBLE,
            f"The rung of the ensemble; calendar features need 13 months of history (have {have} days).",
        )
    candidates = _by_season(_ENSEMBLE, training)
    if abs(training.swing) < SWING:
        return Rung(candidates, "The highest rung: the ensemble, with calendar features.")
    change = f"{100 * np.expm1(training.swing):+.0f} %"
    return Rung(
        candidates,
        f"The highest rung: the ensemble, with calendar features. By last year's season repeat orders change by {change} "
        "into such a horizon, so what knows no season is not a candidate.",
    )


def _closed(training: TrainingSet, missing: str, churners: float) -> Rung:
    """Few customers over many horizons are much to learn from, too little to leave the word to it alone (docs/accuracy.md)."""
    candidates = _by_season(_CLOSED, training)
    text = f"The rung of closed forms (BG/NBD, RFM, and what they give together); logistic regression needs {missing}"
    if churners < CHURNERS or training.history_days < HORIZONS_TO_BE_HEARD * training.horizon_days:
        return Rung(candidates, f"{text}.")
    return Rung(
        candidates,
        f"{text}, and until then has a say in the blend, as has boosting.",
        heard=_LEARNED,
    )


def _by_season(candidates: tuple[str, ...], training: TrainingSet) -> tuple[str, ...]:
    """From thirteen months on there is a closed form by the shop's clock; what knows no season stays out of one."""
    if not training.season:
        return candidates
    if abs(training.swing) < SWING:
        return (
            (SEASONAL, *candidates)
            if candidates[0] == CLOSED_FORM
            else (*candidates[:-1], SEASONAL, candidates[-1])
        )
    return tuple(SEASONAL if name == CLOSED_FORM else name for name in candidates if name != RFM)


def _missing(*needs: tuple[int, int, str]) -> str:
    short = [f"{needed} {what} (have {have})" for have, needed, what in needs if have < needed]
    return ", ".join(short[:-1]) + (" and " if len(short) > 1 else "") + short[-1] if short else ""
