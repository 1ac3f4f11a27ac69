"""Which kind of model the data can carry: rules, the closed form, logistic regression, the ensemble."""

from dataclasses import dataclass

import numpy as np

from retention.churn.estimators import BG_LOGISTIC, CLOSED_FORM, ENSEMBLE, RFM, SEASONAL
from retention.churn.snapshots import TrainingSet
from retention.errors import TooLittleData
from retention.text import gettext

MIN_BUYERS, MIN_BUYERS_TO_LEARN, MIN_DAYS_TO_LEARN = 100, 500, 180
MIN_CHURNERS, MIN_SNAPSHOTS = 100, 4
MIN_HORIZONS_TO_BLEND = (
    8  # of history: many snapshots of fewer look at the same weeks again and again
)
_CLOSED = (CLOSED_FORM, RFM, BG_LOGISTIC, "stacked")
_LEARNED = ("logistic", "boosting")
_LOGISTIC = (*_LEARNED, *_CLOSED)  # boosting has its say in the stack, on any number of churners
_ENSEMBLE = ("ensemble", *ENSEMBLE, *_CLOSED)
STRONG_SEASON = 0.2  # log of the speed of repeat orders from one horizon to the next, from which a season is reckoned with


@dataclass(frozen=True, slots=True)
class CandidateSet:
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


def select_candidates(training: TrainingSet) -> CandidateSet:
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
    if buyers < MIN_BUYERS:
        raise TooLittleData(
            gettext(
                "Only {buyers} customers had ordered by {day}; a model needs "
                "{buyers_for_a_model}. Import more history; until then sweeps go by the rules "
                "(RFM)."
            ).format(
                buyers=buyers,
                day=training.day(training.newest.cutoff),
                buyers_for_a_model=MIN_BUYERS,
            )
        )
    return _select(training, buyers, churners)


def _select(training: TrainingSet, buyers: int, churners: list[float]) -> CandidateSet:
    missing = _missing_data(
        (buyers, MIN_BUYERS_TO_LEARN, "buyers"),
        (int(training.history_days), MIN_DAYS_TO_LEARN, "days of history"),
        (int(sum(churners)), MIN_CHURNERS, "churners"),
    )
    if missing:
        return _closed_form_candidates(training, missing, sum(churners))
    missing = _missing_data(
        (int(sum(churners) / len(churners)), MIN_CHURNERS, "churners a snapshot"),
        (len(churners), MIN_SNAPSHOTS, "snapshots"),
    )
    if missing:
        text = f"The rung of logistic regression; the ensemble needs {missing}."
        return CandidateSet(_with_season(_LOGISTIC, training), text)
    if not training.has_season:
        have = int(training.history_days)
        return CandidateSet(
            _ENSEMBLE,
            f"The rung of the ensemble; calendar features need 13 months of history (have {have} days).",
        )
    candidates = _with_season(_ENSEMBLE, training)
    if abs(training.swing) < STRONG_SEASON:
        return CandidateSet(candidates, "The highest rung: the ensemble, with calendar features.")
    change = f"{100 * np.expm1(training.swing):+.0f} %"
    return CandidateSet(
        candidates,
        f"The highest rung: the ensemble, with calendar features. By last year's season repeat orders change by {change} "
        "into such a horizon, so what knows no season is not a candidate.",
    )


def _closed_form_candidates(training: TrainingSet, missing: str, churners: float) -> CandidateSet:
    """Few customers over many horizons are much to learn from, too little to leave the word to it alone (docs/accuracy.md)."""
    candidates = _with_season(_CLOSED, training)
    text = f"The rung of closed forms (BG/NBD, RFM, and what they give together); logistic regression needs {missing}"
    if (
        churners < MIN_CHURNERS
        or training.history_days < MIN_HORIZONS_TO_BLEND * training.horizon_days
    ):
        return CandidateSet(candidates, f"{text}.")
    return CandidateSet(
        candidates,
        f"{text}, and until then has a say in the blend, as has boosting.",
        heard=_LEARNED,
    )


def _with_season(candidates: tuple[str, ...], training: TrainingSet) -> tuple[str, ...]:
    """From thirteen months on there is a closed form by the shop's clock; what knows no season stays out of one."""
    if not training.has_season:
        return candidates
    if abs(training.swing) < STRONG_SEASON:
        return (
            (SEASONAL, *candidates)
            if candidates[0] == CLOSED_FORM
            else (*candidates[:-1], SEASONAL, candidates[-1])
        )
    return tuple(SEASONAL if name == CLOSED_FORM else name for name in candidates if name != RFM)


def _missing_data(*needs: tuple[int, int, str]) -> str:
    short = [f"{needed} {what} (have {have})" for have, needed, what in needs if have < needed]
    return ", ".join(short[:-1]) + (" and " if len(short) > 1 else "") + short[-1] if short else ""
