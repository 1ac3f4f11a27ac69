"""Score active customers and list those at risk."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

from retention.features.availability import has_amounts
from retention.progress import Progress, silent
from retention.risk.policy import TIERS
from retention.risk.reasons import reasons_for_tier, with_clauses
from retention.risk.sentence import sentence
from retention.text import gettext

if TYPE_CHECKING:
    import pandas as pd

    from retention.churn.clauses import Clause, Evidence, EvidenceTable
    from retention.churn.model import TrainedChurn
    from retention.lake import Lake
    from retention.risk.policy import Policy
    from retention.risk.rules import RuleEvidence

Extreme = Literal["", "none", "all"]
NEARLY_ALL = 0.9  # of the active customers
MAX_EVIDENCE = 100  # customers of a message and its thread


@dataclass(frozen=True, slots=True)
class Sweep:
    """Result of a sweep.

    ``scores`` holds every scored customer (the columns of the lake's ``scores``, without run id).
    ``cohort`` holds those of ``cohort_tiers``, most at stake first (churn probability × expected
    value; ties by probability), with the reasons that agree with their tier and the ``sentence``
    that sums them up. Without ``has_amounts`` nothing is known of the revenue. ``note`` explains an
    unexpected date, ``rung`` names the kind of model; ``selection_note`` is ``rung`` without the
    comparison of candidates.
    Churn is no order for ``horizon_days``, among customers with an order within
    ``active_within_days``. ``evidence_table`` has the order patterns from which `evidence` is made.
    """

    as_of: datetime
    note: str
    tiers: dict[str, int]
    cohort_tiers: tuple[str, ...]
    revenue_at_risk: float
    has_amounts: bool
    scores: "pd.DataFrame"
    cohort: "pd.DataFrame"
    top: int
    model_version: str
    rung: str
    selection_note: str
    seconds: float
    horizon_days: int
    active_within_days: int | None
    evidence_table: "EvidenceTable | RuleEvidence | None" = field(default=None, repr=False)
    is_restricted: bool = False  # to the customers of an audience

    @property
    def evidence(self) -> "Mapping[str, Evidence]":
        """Return the evidence of the cohort's first `MAX_EVIDENCE` customers, by id."""
        if self.evidence_table is None:
            return {}
        return self.evidence_table.of(list(self.cohort.customer_id.head(MAX_EVIDENCE)))

    @property
    def extreme(self) -> Extreme:
        """Whether the list tells customers apart; empty if it does.

        ``none``: nobody is in the cohort. ``all``: nearly every active customer is.
        """
        if not len(self.scores) or (self.is_restricted and len(self.cohort)):
            return ""
        share = len(self.cohort) / len(self.scores)
        if share == 0:
            return "none"
        return "all" if share > NEARLY_ALL and self.cohort_tiers != TIERS else ""

    def restricted_to(self, customers: Collection[str]) -> "Sweep":
        """Return the sweep of these customers only."""
        scores = self.scores[self.scores.customer_id.isin(customers)].reset_index(drop=True)
        cohort = self.cohort[self.cohort.customer_id.isin(customers)].reset_index(drop=True)
        return replace(
            self,
            tiers={name: int((scores.tier == name).sum()) for name in TIERS},
            revenue_at_risk=revenue_at_risk(cohort),
            scores=scores,
            cohort=cohort,
            is_restricted=True,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON object of the sweep.

        It lists the cohort's ``top`` customers.
        """
        listed = self.cohort.head(self.top)[
            ["customer_id", "churn_probability", "tier", "expected_value", "reasons", "sentence"]
        ]
        return {
            "as_of": self.as_of.isoformat(),
            "customers": len(self.scores),
            "tiers": self.tiers,
            "revenue_at_risk": self.revenue_at_risk,
            "has_amounts": self.has_amounts,
            "cohort": listed.to_dict("records"),
            "model_version": self.model_version,
            "seconds": round(self.seconds, 3),
            "note": self.note,
            "rung": self.rung,
            "cohort_size": len(self.cohort),
            "cohort_tiers": list(self.cohort_tiers),
            "extreme": self.extreme,
            "definition": {
                "horizon_days": self.horizon_days,
                "active_within_days": self.active_within_days,
            },
        }


def sweep(
    lake: "Lake",
    trained: "TrainedChurn | None",
    policy: "Policy",
    *,
    as_of: datetime | None = None,
    tier: str = "high",
    top: int = 100,
    horizon_days: int = 28,
    active_within_days: int | None = 56,
    progress: Progress = silent,
) -> Sweep:
    """Score every active customer and choose the cohort.

    Parameters
    ----------
    lake : Lake
        Customer data.
    trained : TrainedChurn or None
        None scores by rules (RFM) with ``horizon_days`` and ``active_within_days``; a model brings
        its own.
    policy : Policy
        Thresholds of the tiers.
    as_of : datetime or None
        Cutoff; by default that of `Lake.as_of`.
    tier : str
        Lowest tier of the cohort: ``medium`` includes high and medium.
    top : int
        Number of customers that `Sweep.as_dict` lists.

    Raises
    ------
    TooLittleData
        If no customer was active.
    """
    started = perf_counter()
    horizon = trained.horizon_days if trained else horizon_days
    moment = lake.as_of(as_of, horizon, trained.cutoff if trained else None)
    scores, version, rung, selection_note, evidence = _score(
        lake, trained, moment.at, horizon_days, active_within_days, progress
    )
    scores = _assign_tiers(scores, policy).assign(as_of=moment.at, model_version=version)
    chosen = TIERS[: TIERS.index(tier) + 1]
    staked = scores.assign(at_stake=scores.churn_probability * scores.expected_value)
    # Without prices nothing is at stake, so probability alone ranks customers.
    cohort = staked[staked.tier.isin(chosen)].sort_values(
        ["at_stake", "churn_probability"], ascending=False
    )
    cohort = cohort.drop(columns="at_stake").reset_index(drop=True)
    clauses = {name: known.clauses for name, known in evidence.of(list(cohort.customer_id)).items()}
    return Sweep(
        as_of=moment.at,
        note=moment.note,
        tiers={name: int((scores.tier == name).sum()) for name in TIERS},
        cohort_tiers=chosen,
        revenue_at_risk=revenue_at_risk(cohort),
        has_amounts=has_amounts(lake, moment.at),
        scores=_with_clauses(scores.reset_index(drop=True), clauses),
        cohort=_with_reasons_of_tier(cohort, clauses),
        top=top,
        model_version=version,
        rung=rung,
        selection_note=selection_note,
        seconds=perf_counter() - started,
        horizon_days=horizon,
        active_within_days=trained.active_within_days if trained else active_within_days,
        evidence_table=evidence,
    )


def revenue_at_risk(scores: "pd.DataFrame") -> float:
    """Return the sum of churn probability × expected value, in cents.

    Every message and file takes the figure from here. It does not depend on the order of rows.

    Parameters
    ----------
    scores : pandas.DataFrame
        ``churn_probability`` and ``expected_value`` of each customer.

    Examples
    --------
    >>> import pandas as pd
    >>> revenue_at_risk(pd.DataFrame({"churn_probability": [0.5, 0.1], "expected_value": [9, 8]}))
    5.3
    """
    return round(math.fsum(scores["churn_probability"] * scores["expected_value"]), 2)


def _score(
    lake: "Lake",
    trained: "TrainedChurn | None",
    at: datetime,
    horizon_days: int,
    active_within_days: int | None,
    progress: Progress,
) -> "tuple[pd.DataFrame, str, str, str, EvidenceTable | RuleEvidence]":
    if trained is None:
        from retention.risk import rules

        progress(
            0, 1, gettext("Scoring by the rules as of {at:%d %b %Y}").format(at=lake.local(at))
        )
        scores, buyers, rule_evidence = rules.score_with_evidence(
            lake, at, horizon_days=horizon_days, active_within_days=active_within_days
        )
        note = rules.describe_rules(buyers)
        return scores, rules.VERSION, note, note, rule_evidence
    from retention.churn.score import score_with_evidence

    scores, evidence = score_with_evidence(trained, lake, at, progress=progress)
    return scores, trained.version, trained.rung, trained.selection_note, evidence


def _with_clauses(
    scores: "pd.DataFrame", clauses: "Mapping[str, Sequence[Clause]]"
) -> "pd.DataFrame":
    """Store the clauses of the cohort beside its reasons, for files that are made later."""
    stored = [
        with_clauses(reasons, clauses.get(customer, ()))
        for reasons, customer in zip(scores.reasons, scores.customer_id, strict=True)
    ]
    return scores.assign(reasons=stored)


def _with_reasons_of_tier(
    cohort: "pd.DataFrame", clauses: "Mapping[str, Sequence[Clause]]"
) -> "pd.DataFrame":
    """Keep the reasons that agree with each customer's tier, and add their sentence."""
    shown = [
        reasons_for_tier(reasons, tier)
        for reasons, tier in zip(cohort.reasons, cohort.tier, strict=True)
    ]
    sentences = [
        sentence(clauses.get(customer, ()), tier)
        for customer, tier in zip(cohort.customer_id, cohort.tier, strict=True)
    ]
    return cohort.assign(reasons=shown, sentence=sentences)


def _assign_tiers(scores: "pd.DataFrame", policy: "Policy") -> "pd.DataFrame":
    from retention.risk.policy import tiers_of

    return scores.assign(tier=tiers_of(scores.churn_probability.to_numpy(), policy))
