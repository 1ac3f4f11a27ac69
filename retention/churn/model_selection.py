"""Select candidate models by the amount of data.

From little to much data: rules, closed forms, logistic regression, the ensemble. Where a season is
known, a stack that contains plain calendar models takes the ensemble's place.
"""

from dataclasses import dataclass

from retention.churn.estimators import BG_LOGISTIC, CALENDAR, CLOSED_FORM, ENSEMBLE, RFM, SEASONAL
from retention.churn.training_set import MIN_BUYERS, TrainingSet
from retention.errors import TooLittleData
from retention.text import gettext

MIN_BUYERS_TO_LEARN, MIN_DAYS_TO_LEARN = 500, 180
MIN_CHURNERS, MIN_SNAPSHOTS = 100, 4
MIN_HORIZONS_TO_BLEND = 8  # of history; more snapshots of fewer horizons repeat the same weeks
STRONG_SEASON = 0.2  # log change of the speed of repeat orders between two horizons
_CLOSED = (CLOSED_FORM, RFM, BG_LOGISTIC, "stacked")
_LEARNED = ("logistic", "boosting")
_LOGISTIC = (*_LEARNED, *_CLOSED)  # boosting is part of the stack for any number of churners
_ENSEMBLE = ("ensemble", *ENSEMBLE, *_CLOSED)
# Products of features gain nothing here (docs/data_scientist/estimators.md).
_CALENDAR = (*_LEARNED, *CALENDAR, *_CLOSED)


@dataclass(frozen=True, slots=True)
class CandidateSet:
    """Candidates that the data supports.

    `candidates`: choices of ``auto``; the first one is the default.
    `blend_only`: members of the blend that are never chosen alone.
    """

    candidates: tuple[str, ...]
    text: str
    blend_only: tuple[str, ...] = ()

    @property
    def members(self) -> tuple[str, ...]:
        """Members of all candidates."""
        return (
            *self.blend_only,
            *(name for name in self.candidates if name not in ("ensemble", "stacked")),
        )


def select_candidates(training: TrainingSet) -> CandidateSet:
    """Return the candidates for a training set.

    Raises `TooLittleData`: with fewer than 100 buyers; only rules remain.
    """
    buyers = training.newest.buyers
    snapshots = training.snapshots
    churners = [
        float(snapshot.churned.sum()) for snapshot in snapshots if snapshot.churned is not None
    ]
    if buyers < MIN_BUYERS:
        raise TooLittleData(
            gettext(
                "Only {buyers} customers had ordered by {day}; a model needs "
                "{min_buyers}. Import more history; until then sweeps go by the rules (RFM)."
            ).format(buyers=buyers, day=training.day(training.newest.cutoff), min_buyers=MIN_BUYERS)
        )
    return _select(training, buyers, churners)


def _select(training: TrainingSet, buyers: int, churners: list[float]) -> CandidateSet:
    missing = _missing_data(
        (buyers, MIN_BUYERS_TO_LEARN, gettext("buyers")),
        (int(training.history_days), MIN_DAYS_TO_LEARN, gettext("days of history")),
        (int(sum(churners)), MIN_CHURNERS, gettext("churners")),
    )
    if missing:
        return _closed_form_candidates(training, missing, sum(churners))
    missing = _missing_data(
        (int(sum(churners) / len(churners)), MIN_CHURNERS, gettext("churners a snapshot")),
        (len(churners), MIN_SNAPSHOTS, gettext("snapshots")),
    )
    if missing:
        text = gettext("The rung of logistic regression; the ensemble needs {missing}.")
        basis = _CALENDAR if training.has_season else _LOGISTIC
        return CandidateSet(_with_season(basis, training), text.format(missing=missing))
    if not training.has_season:
        text = gettext(
            "The rung of the ensemble; calendar features need 13 months of history (have {days} "
            "days)."
        )
        return CandidateSet(_ENSEMBLE, text.format(days=int(training.history_days)))
    candidates = _with_season(_CALENDAR, training)
    if abs(training.swing) < STRONG_SEASON:
        text = gettext("The highest rung: calendar models and features.")
        return CandidateSet(candidates, text)
    text = gettext(
        "The highest rung: calendar models and features. Repeat orders come much faster or slower "
        "in the next {days} days than in the last, by season or by trend, so BG/NBD that knows "
        "neither is not a candidate."
    )
    return CandidateSet(candidates, text.format(days=training.horizon_days))


def _closed_form_candidates(training: TrainingSet, missing: str, churners: float) -> CandidateSet:
    """Return candidates for little data.

    These are closed forms, with learned members in the blend if possible.

    Few customers over many horizons are enough to improve a blend, too few for a learned model
    alone (docs/data_scientist/auto.md).
    """
    candidates = _with_season(_CLOSED, training)
    if churners < MIN_CHURNERS or (
        training.history_days < MIN_HORIZONS_TO_BLEND * training.horizon_days
    ):
        text = gettext(
            "The rung of closed forms (BG/NBD, RFM, and what they give together); logistic "
            "regression needs {missing}."
        )
        return CandidateSet(candidates, text.format(missing=missing))
    text = gettext(
        "The rung of closed forms (BG/NBD, RFM, and what they give together); logistic regression "
        "needs {missing}, and until then has a say in the blend, as has boosting."
    )
    return CandidateSet(candidates, text.format(missing=missing), blend_only=_LEARNED)


def _with_season(candidates: tuple[str, ...], training: TrainingSet) -> tuple[str, ...]:
    """Add BG/NBD in operational time, from 13 months on.

    In a strong season, BG/NBD without a season is removed. The plain logistic regression stays: no
    choice may be worse.
    """
    if not training.has_season:
        return candidates
    if abs(training.swing) >= STRONG_SEASON:
        return tuple(SEASONAL if name == CLOSED_FORM else name for name in candidates)
    if candidates[0] == CLOSED_FORM:
        return SEASONAL, *candidates
    return *candidates[:-1], SEASONAL, candidates[-1]


def _missing_data(*needs: tuple[int, int, str]) -> str:
    """List the amounts of data that are missing."""
    text = gettext("{needed} {unit} (have {available})")
    missing = [
        text.format(needed=needed, unit=unit, available=available)
        for available, needed, unit in needs
        if available < needed
    ]
    if len(missing) < 2:
        return "".join(missing)
    return gettext("{first} and {last}").format(first=", ".join(missing[:-1]), last=missing[-1])
