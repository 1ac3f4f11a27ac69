"""Score active customers and list those at risk."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from retention.churn.lost_margin import list_size
from retention.features.availability import has_amounts
from retention.progress import Progress, silent
from retention.risk import rules
from retention.risk.policy import LAPSED, TIERS, thresholds, tiers_of
from retention.risk.reasons import LISTED, listed_reasons, reasons_for_tier, with_clauses, with_fall
from retention.risk.sentence import sentence
from retention.text import gettext
from retention.window import DEFAULT, Window

if TYPE_CHECKING:
    from retention.churn.explaining.clauses import Evidence
    from retention.churn.model import TrainedChurn
    from retention.churn.score import ModelEvidence
    from retention.lake import Lake
    from retention.risk.policy import Policy
    from retention.risk.rules import RuleEvidence

Extreme = Literal["", "none", "all"]
OrderBy = Literal["lost_margin", "return_value", "rhythm", "spend"]
NEARLY_ALL, NEARLY_NONE = 0.9, 0.05  # of the active customers
# Of the average risk. Below it, customers come last: a good customer who just ordered spends a
# little less than usual by chance alone, and nobody should offer them a coupon for it.
SAFE = 0.5
ORDER_COLUMN: dict[OrderBy, str] = {
    "lost_margin": "lost_spend",  # also known where amounts are not: then it counts order days
    "return_value": "return_value",
    "rhythm": "silence_ratio",
    "spend": "expected_value",
}
STORED = (
    "customer_id",
    "as_of",
    "model_version",
    "churn_probability",
    "tier",
    "reasons",
    "expected_value",
    "next_order_at",
    "lost_margin",
    "list_rank",
)
STORED_ROWS = 16_384  # with their reasons in memory, about 70 MB
MAX_EVIDENCE = 100  # customers of a message and its thread


@dataclass(frozen=True, slots=True)
class Sweep:
    """Result of a sweep.

    ``scores`` holds every active customer, ``lapsed`` every other buyer, without reasons; see
    `with_reasons`. ``cohort`` holds the customers of the list, in its order, with the reasons that
    agree with their tier, or with their place on a list of any tier, and the ``sentence`` that sums
    them up. ``listed_reasons`` has all of their reasons, by id.
    ``cohort_tiers`` is empty for the list of `list_size` customers of any tier. Without
    ``has_amounts`` nothing is known of the revenue. ``note`` explains an unexpected date, ``rung``
    names the kind of model; ``selection_note`` is ``rung`` without the comparison of candidates.
    ``average`` is the mean probability of that group in the whole shop.
    """

    as_of: datetime
    note: str
    cohort_tiers: tuple[str, ...]
    chosen_by: OrderBy
    list_size: int
    average: float
    has_amounts: bool
    scores: "pd.DataFrame"
    lapsed: "pd.DataFrame"
    cohort: "pd.DataFrame"
    model_version: str
    rung: str
    selection_note: str
    seconds: float
    window: Window
    active_evidence: "ModelEvidence | RuleEvidence | None" = field(default=None, repr=False)
    lapsed_evidence: "RuleEvidence | None" = field(default=None, repr=False)
    listed_reasons: "Mapping[str, list[dict[str, Any]]]" = field(default_factory=dict, repr=False)
    is_restricted: bool = False  # to the customers of an audience
    is_by_spend: bool = False

    @property
    def tiers(self) -> dict[str, int]:
        """Active customers by tier."""
        return {name: int((self.scores.tier == name).sum()) for name in TIERS}

    @property
    def groups(self) -> dict[str, int]:
        """Everyone who ever ordered: active, lapsed, or away after a single order day."""
        one_time = int((self.lapsed.order_days == 1).sum())
        return {
            "active": len(self.scores),
            "lapsed": len(self.lapsed) - one_time,
            "one_time": one_time,
        }

    @property
    def order_by(self) -> OrderBy:
        """What orders the list; by spend, it has the same customers."""
        return "spend" if self.is_by_spend else self.chosen_by

    @property
    def is_of_lapsed(self) -> bool:
        """Whether the list is of customers who are no longer active."""
        return self.cohort_tiers == (LAPSED,)

    @property
    def revenue_at_risk(self) -> float:
        """Sum of churn probability × expected value; of a lapsed list, what returns may bring."""
        return self.at_risk_with(self.cohort)

    def at_risk_with(self, customers: "pd.DataFrame") -> float:
        """Return the `revenue_at_risk` of some customers of the group."""
        if self.is_of_lapsed:
            customers = customers.assign(churn_probability=1 - customers.churn_probability)
        return revenue_at_risk(customers)

    @property
    def evidence(self) -> "Mapping[str, Evidence]":
        """Return the evidence of the cohort's first `MAX_EVIDENCE` customers, by id."""
        if self.evidence_table is None:
            return {}
        return self.evidence_table.of(list(self.cohort.customer_id.head(MAX_EVIDENCE)))

    @property
    def extreme(self) -> Extreme:
        """Whether the list of a tier tells customers apart; empty if it does.

        ``none``: nobody is in the cohort. ``all``: nearly every active customer is.
        """
        if not len(self.scores) or not set(self.cohort_tiers) & set(TIERS):
            return ""
        if self.is_restricted and len(self.cohort):
            return ""
        share = len(self.cohort) / len(self.scores)
        if share == 0:
            return "none"
        return "all" if share > NEARLY_ALL and self.cohort_tiers != TIERS else ""

    @property
    def group(self) -> "pd.DataFrame":
        """All customers of the group that the list is chosen from."""
        return self.lapsed if self.is_of_lapsed else self.scores

    @property
    def evidence_table(self) -> "ModelEvidence | RuleEvidence | None":
        """The order patterns of the group that is listed."""
        return self.lapsed_evidence if self.is_of_lapsed else self.active_evidence

    def with_reasons(self, customers: "pd.DataFrame") -> "pd.DataFrame":
        """Add the reasons that are stored: all of each active customer and of the list."""
        active = customers.customer_id[customers.tier != LAPSED]
        known = dict(self.active_evidence.reasons_of(list(active))) if self.active_evidence else {}
        known.update(self.listed_reasons)
        return customers.assign(reasons=[known.get(one, []) for one in customers.customer_id])

    def stored_parts(self, progress: Progress = silent) -> "Iterator[pd.DataFrame]":
        """Yield the rows of the lake's ``scores``, of active and of lapsed customers."""
        done, total = 0, len(self.scores) + len(self.lapsed)
        for frame in (self.scores, self.lapsed):
            for start in range(0, len(frame), STORED_ROWS):
                progress(done, total, gettext("Keeping the scores"))
                part = frame.iloc[start : start + STORED_ROWS]
                yield self.with_reasons(part)[list(STORED)]
                done += len(part)

    def restricted_to(self, customers: Collection[str]) -> "Sweep":
        """Return the sweep of these customers only; the list is as long as that of all."""
        scores, lapsed = (
            frame[frame.customer_id.isin(customers)].reset_index(drop=True)
            for frame in (self.scores, self.lapsed)
        )
        return _listed(replace(self, scores=scores, lapsed=lapsed, is_restricted=True))

    def of_lapsed(self, policy: "Policy") -> "Sweep":
        """Return the sweep with the list of lapsed customers instead."""
        return _listed(
            replace(
                self,
                cohort_tiers=(LAPSED,),
                chosen_by="return_value",
                list_size=list_size(len(self.lapsed), policy.list.customers),
                average=_mean_risk(self.lapsed),
            )
        )

    def by_spend(self) -> "Sweep":
        """Return the sweep with the list in the order of expected spend."""
        return _listed(replace(self, is_by_spend=True))

    def as_dict(self, top: int = 100) -> dict[str, Any]:
        """Return the JSON object of the sweep.

        It lists the cohort's first ``top`` customers. What is not known is None: how a rank by
        rules, or a lapsed customer, compares with the average, and margins where orders have no
        amounts.
        """
        listed = self.cohort.head(top)
        is_compared = not self.is_of_lapsed and self.model_version != "rules"
        times = (listed.churn_probability / max(self.average, 1e-9)).round(2)
        listed = listed.assign(
            times_average=times if is_compared else None,
            lost_margin=listed.lost_margin.round(2) if self.has_amounts else None,
        )[
            [
                "customer_id",
                "churn_probability",
                "times_average",
                "tier",
                "expected_value",
                "lost_margin",
                "reasons",
                "sentence",
            ]
        ]
        return {
            "as_of": self.as_of.isoformat(),
            "customers": len(self.scores),
            "groups": self.groups,
            "tiers": self.tiers,
            "average": self.average if self.model_version != "rules" else None,
            "revenue_at_risk": self.revenue_at_risk,
            "has_amounts": self.has_amounts,
            "list_size": self.list_size,
            "order_by": self.order_by,
            "cohort": listed.to_dict("records"),
            "model_version": self.model_version,
            "seconds": round(self.seconds, 3),
            "note": self.note,
            "rung": self.rung,
            "cohort_size": len(self.cohort),
            "cohort_tiers": list(self.cohort_tiers),
            "extreme": self.extreme,
            "definition": self.window._asdict(),
        }


def sweep(
    lake: "Lake",
    trained: "TrainedChurn | None",
    policy: "Policy",
    *,
    as_of: datetime | None = None,
    tier: str | None = None,
    window: Window = DEFAULT,
    progress: Progress = silent,
) -> Sweep:
    """Score every buyer and choose the cohort.

    `trained`: none scores by rules (RFM) with the ``window``; a model brings its own.
    `tier`: lowest tier of the cohort: ``medium`` includes high and medium. ``lapsed`` lists
    customers who are no longer active. None lists the customers with most to lose, of any tier.
    """
    started = perf_counter()
    window = trained.window if trained else window
    moment = lake.as_of(as_of, window.horizon_days, trained.cutoff if trained else None)
    scores, version, rung, selection_note, evidence = score_active(
        lake, trained, policy, moment.at, window, progress
    )
    away, away_evidence = rules.score_lapsed(lake, moment.at, set(scores.customer_id), window)
    is_priced = has_amounts(lake, moment.at)
    scores, away = (
        frame.assign(
            as_of=moment.at,
            model_version=version,
            lost_margin=frame.lost_spend * (policy.offer.margin if is_priced else 0),
            list_rank=math.nan,
        )
        for frame in (scores, away)
    )
    is_of_lapsed = tier == LAPSED
    swept = Sweep(
        as_of=moment.at,
        note=moment.note,
        cohort_tiers=() if tier is None or is_of_lapsed else tiers_down_to(tier),
        chosen_by=order_of(scores),
        list_size=list_size(len(scores), policy.list.customers),
        average=_mean_risk(scores),
        has_amounts=is_priced,
        scores=scores.reset_index(drop=True),
        lapsed=away,
        cohort=scores.head(0),
        model_version=version,
        rung=rung,
        selection_note=selection_note,
        seconds=0.0,
        window=window,
        active_evidence=evidence,
        lapsed_evidence=away_evidence,
    )
    swept = swept.of_lapsed(policy) if is_of_lapsed else _listed(swept)
    return replace(swept, seconds=perf_counter() - started)


def tiers_down_to(tier: str) -> tuple[str, ...]:
    """Return a tier and those above it; lapsed customers are a group of their own."""
    return (LAPSED,) if tier == LAPSED else TIERS[: TIERS.index(tier) + 1]


def _mean_risk(scores: "pd.DataFrame") -> float:
    return float(scores.churn_probability.mean()) if len(scores) else 0.0


def order_of(scores: "pd.DataFrame") -> OrderBy:
    """Return what orders a list of active customers.

    Lost margin does not tell customers apart where nearly everybody leaves or stays.
    """
    mean = scores.churn_probability.mean()
    if mean >= NEARLY_ALL:
        return "return_value"
    return "rhythm" if mean <= NEARLY_NONE else "lost_margin"


def _listed(swept: Sweep) -> Sweep:
    """Choose the list's customers, and note their places and clauses in the scores."""
    tiers, pool = swept.cohort_tiers, swept.group
    chosen = pool[pool.tier.isin(tiers)] if tiers else pool
    safe_below = SAFE * swept.average if swept.chosen_by == "lost_margin" and not tiers else 0
    chosen = chosen.assign(is_safe=chosen.churn_probability < safe_below)
    chosen = _sorted(chosen, swept.chosen_by, ["is_safe"]).drop(columns="is_safe")
    if swept.is_of_lapsed or not tiers:
        chosen = chosen.head(swept.list_size)
    if swept.is_by_spend:
        chosen = _sorted(chosen, "spend")
    ids, evidence = list(chosen.customer_id), swept.evidence_table
    assert evidence is not None
    own_reasons = evidence.reasons_of(ids)
    chosen = chosen.assign(reasons=[own_reasons[customer] for customer in ids])
    known = {name: one.clauses for name, one in evidence.of(ids).items()}
    clauses = [known.get(customer, ()) for customer in ids]
    if not tiers and swept.chosen_by == "lost_margin":
        clauses = [
            with_fall(own, now + lost, now, swept.window.horizon_days, priced=swept.has_amounts)
            for own, now, lost in zip(clauses, chosen.return_value, chosen.lost_spend, strict=True)
        ]
    pairs = zip(ids, chosen.reasons, clauses, strict=True)
    stored = {customer: with_clauses(reasons, own) for customer, reasons, own in pairs}
    places = {customer: float(place) for place, customer in enumerate(ids, 1)}
    pool = pool.assign(list_rank=pool.customer_id.map(places))
    swept = replace(swept, listed_reasons=stored)
    cohort = _with_shown_reasons(chosen.assign(clauses=clauses), is_of_any_tier=not tiers)
    if swept.is_of_lapsed:
        return replace(swept, cohort=cohort, lapsed=pool)
    return replace(swept, cohort=cohort, scores=pool)


def _sorted(scores: "pd.DataFrame", order_by: OrderBy, first: Sequence[str] = ()) -> "pd.DataFrame":
    descending = [ORDER_COLUMN[order_by], "churn_probability"]
    ascending = [*(True for _ in first), False, False, True]
    return scores.sort_values(
        [*first, *descending, "customer_id"], ascending=ascending, ignore_index=True
    )


def revenue_at_risk(scores: "pd.DataFrame") -> float:
    """Return the sum of churn probability × expected value, in cents.

    Every message and file takes the figure from here. It does not depend on the order of rows.

    Examples
    --------
    >>> import pandas as pd
    >>> revenue_at_risk(pd.DataFrame({"churn_probability": [0.5, 0.1], "expected_value": [9, 8]}))
    5.3
    """
    return round(math.fsum(scores["churn_probability"] * scores["expected_value"]), 2)


def score_active(
    lake: "Lake",
    trained: "TrainedChurn | None",
    policy: "Policy",
    at: datetime,
    window: Window,
    progress: Progress,
) -> "tuple[pd.DataFrame, str, str, str, ModelEvidence | RuleEvidence]":
    """Score the active customers, with their tiers and without reasons.

    Returns also the version, kind of model (rung), selection note, and evidence.
    """
    evidence: ModelEvidence | RuleEvidence
    if trained is None:
        text = gettext("Scoring by the rules as of {at:%d %b %Y}")
        progress(0, 1, text.format(at=lake.local(at)))
        scores, buyers, evidence = rules.score(lake, at, window, with_reasons=False)
        version, rung = rules.VERSION, rules.describe_rules(buyers)
        selection_note = rung
    else:
        from retention.churn.score import score_numbers  # loads the libraries of models

        scores, evidence = score_numbers(trained, lake, at, progress)
        version, rung = trained.version, trained.rung
        selection_note = trained.selection_note
    tiers = tiers_of(scores.churn_probability.to_numpy(), thresholds(policy, trained))
    return scores.assign(tier=tiers), version, rung, selection_note, evidence


def _with_shown_reasons(cohort: "pd.DataFrame", *, is_of_any_tier: bool) -> "pd.DataFrame":
    """Keep the reasons that agree with each customer's tier or place, and add their sentence."""
    told_as = [LISTED] * len(cohort) if is_of_any_tier else list(cohort.tier)
    shown = [
        listed_reasons(reasons, clauses) if tier == LISTED else reasons_for_tier(reasons, tier)
        for reasons, clauses, tier in zip(cohort.reasons, cohort.clauses, told_as, strict=True)
    ]
    sentences = map(sentence, cohort.clauses, told_as)
    return cohort.assign(reasons=shown, sentence=list(sentences), told_as=told_as)


@dataclass(frozen=True, slots=True)
class Change:
    """What changed since an earlier list of the same tiers.

    `recovered`: customers of the earlier list who are off it, active and at a lower risk now. Of
    lapsed ones, those who ordered again.
    """

    since: datetime
    before: int
    new: int
    recovered: int
    lapsed: int
    same_model: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the change as a JSON object."""
        return {**asdict(self), "since": self.since.isoformat()}


def change_since(
    swept: Sweep, earlier: pd.DataFrame, *, as_of: datetime, model_version: str
) -> Change | None:
    """Compare a sweep with the scores of an earlier one.

    `earlier`: the earlier sweep's rows of the lake's ``scores``.
    """
    if earlier.empty:
        return None
    is_listed = earlier["tier"].isin(swept.cohort_tiers)
    if "list_rank" in earlier and earlier["list_rank"].notna().any():
        is_listed = earlier["list_rank"].notna()
    listed, present = set(earlier.loc[is_listed, "customer_id"]), set(swept.cohort["customer_id"])
    gone = listed - present
    active = swept.scores[swept.scores["customer_id"].isin(gone)]
    recovered = len(active)
    if not swept.cohort_tiers:  # others may have taken their places
        before = earlier.set_index("customer_id")["churn_probability"]
        lower = active["churn_probability"] < active["customer_id"].map(before)
        recovered = int(lower.sum())
    return Change(
        since=as_of,
        before=len(listed),
        new=len(present - listed),
        recovered=recovered,
        lapsed=0 if LAPSED in swept.cohort_tiers else len(gone) - len(active),
        same_model=model_version == swept.model_version,
    )
