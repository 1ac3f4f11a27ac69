"""Show one customer in full by direct message."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pandas as pd

from retention.campaigns.planning.offer_terms import describe_rule, next_step
from retention.churn.explaining.explain import explain
from retention.churn.population import buyers, population
from retention.churn.targets import predict_targets
from retention.erasure import merged_ids
from retention.errors import BadInput
from retention.features.availability import has_amounts
from retention.lake import Lake, customer_directory
from retention.outreach import tracking
from retention.outreach.consent import consent_states
from retention.progress import Progress
from retention.recommend.preference_profile import preference_profile
from retention.registry import champion, definition_in_force
from retention.registry.model_cache import churn_model, open_recommender
from retention.reports import charts, customer_history
from retention.reports.customer_history import is_listed
from retention.reports.last_text import last_text
from retention.risk import rules
from retention.risk.policy import LAPSED, load_policy, thresholds, tier_of
from retention.risk.reasons import policy_features, reasons_for_tier
from retention.risk.sentence import sentence
from retention.text import gettext
from retention.window import Window
from workers.customers import customer_cards
from workers.customers.customer_cards import trend_text
from workers.job_requests import Score
from workers.tasks.customers.recommend import impression_writer
from workers.tasks.interface import Attachment, Context, Outcome, Post

if TYPE_CHECKING:
    from retention.churn.model import TrainedChurn
    from retention.registry import ChurnDefinition
    from retention.risk.policy import Policy, Tiers

ITEMS = 5
NOT_EXPLAINED: dict[str, Any] = {"counterfactuals": [], "second_opinion": None, "average": None}


@dataclass(frozen=True, slots=True)
class _Case:
    """A customer at a moment, and what they are judged by."""

    lake: Lake
    customer: str
    at: datetime
    trained: "TrainedChurn | None"
    definition: "ChurnDefinition"
    limits: "Tiers"

    @property
    def window(self) -> Window:
        return (self.trained or self.definition).window

    @property
    def everyone(self) -> Window:
        """The window of all who ever ordered."""
        return Window(self.window.horizon_days, None)


def run(request: Score, context: Context) -> Outcome:
    """Show risk, reasons, value, recommendations and the policy's action.

    Counterfactuals and an optional second opinion are included.

    Raises `BadInput`: the customer has no order before the cutoff.
    """
    settings = context.settings
    lake, policy = Lake.open(settings), load_policy(settings)
    with context.database.reading() as session:
        identity = customer_directory.find_match(session, request.customer_id)
        row, recommender = (champion(session, "churn"), open_recommender(lake, session, policy))
    customer = identity.customer_id
    definition = definition_in_force(lake, context.database)
    moment = lake.as_of(request.as_of, definition.horizon_days, row.cutoff if row else None)
    trained = churn_model(settings, row) if row else None
    limits = thresholds(policy, trained)
    case = _Case(lake, customer, moment.at, trained, definition, limits)
    score, explained = _scored(case, request.explain, context.progress)
    if score is None:
        message = gettext(
            "Customer {customer} has no order before {local:%Y-%m-%d}, so there is nothing to go "
            "by; take a later --as-of, or see `/retention recommend` for what others like."
        )
        raise BadInput(message.format(customer=customer, local=lake.local(moment.at)))
    tier = explained.pop("tier", None) or tier_of(float(score.churn_probability), limits)
    data = {
        "customer_id": customer,
        "churn_probability": float(score.churn_probability),
        "tier": tier,
        "reasons": reasons_for_tier(score.reasons, tier),
        "sentence": sentence(explained.pop("clauses"), tier),
        "expected_value": float(score.expected_value),
        "has_amounts": has_amounts(lake, moment.at),
        "next_order_at": explained.pop("next_order_at") or _isoformat(score.next_order_at),
        "recommendations": [
            item.as_dict()
            for item in recommender.lists(lake, [customer], k=ITEMS, as_of=moment.at)[customer]
        ],
        "preferences": preference_profile(lake, customer, moment.at, settings.timezone),
        "action": _action(case, context, policy, tier, score.reasons),
        "as_of": moment.at.isoformat(),
        "note": " ".join(filter(None, (moment.note, explained.pop("note", "")))),
        "merged": request.merged or identity.merged,
        "model_version": row.version if row else rules.VERSION,
        "currency": lake.currency(settings),
        "definition": definition.as_dict(),
        **explained,
    }
    data |= _history(lake, context, customer, moment.at, data["model_version"])
    if tier == LAPSED:  # their chance is of another model than that of past lists
        data["trend"] = []
    shown = impression_writer(
        context, "score", customer, data["recommendations"], recommender.version
    )
    return Outcome(data, _posts(request, context, data, limits), apply=shown)


def _history(
    lake: "Lake", context: Context, customer: str, at: datetime, version: str
) -> dict[str, Any]:
    """Return past risk, last orders, and campaigns with their outcome."""
    with context.database.reading() as session:
        trend = customer_history.risk_trend(
            lake, session, customer, before=at, by_rules=version == rules.VERSION
        )
        ids = merged_ids(lake, customer)
        campaigns = customer_history.campaigns_of(lake, session, ids, context.business_at)
        reactions = tracking.latest(session, ids, at)
        text = last_text(lake, session, customer, at)
    return {
        "trend": trend,
        "last_orders": customer_history.last_orders(lake, customer, at),
        "campaigns": campaigns,
        "last_text": text,
        "reactions": {kind: moment.isoformat() for kind, moment in reactions.items()},
    }


def _posts(
    request: Score, context: Context, data: dict[str, Any], limits: "Tiers"
) -> tuple[Post, ...]:
    """Return the card: a direct message, or the open modal that asked for it."""
    view_id = getattr(request, "view_id", None)
    if context.channel is None and view_id is None:
        return ()  # the terminal

    points = [*data["trend"], {"at": data["as_of"], "risk": data["churn_probability"]}]
    images = {}
    if len(points) > 1:
        picture = charts.risk_trend(points, (limits.medium, limits.high))
        images["trend"] = Attachment("risk.png", "image/png", picture, trend_text(points))
    with context.database.reading() as session:
        card = customer_cards.card_post(
            session, context.job_id, data, context.requested_by, view_id=view_id, images=images
        )
    return (card,)


def _scored(
    case: _Case, opinion: bool, progress: Progress
) -> "tuple[pd.Series | None, dict[str, Any]]":
    """Return the customer's score and its explanation; with their tier if they lapsed.

    The score is None before the first order.
    """
    if case.trained is None:
        return _scored_by_rules(case)
    explanation = explain(
        case.trained,
        case.lake,
        case.at,
        case.customer,
        tier_of=lambda chance: tier_of(chance, case.limits),
        opinion=opinion,
        progress=progress,
    )
    if explanation is None:
        return None, {}
    targets = explanation.targets.of(0, case.at)
    if case.window.active_within_days and explanation.average is None:
        return _lapsed(case, targets)
    clauses = explanation.evidence.clauses
    return explanation.score, {**explanation.as_dict(), **targets, "clauses": clauses}


def _scored_by_rules(case: _Case) -> "tuple[pd.Series | None, dict[str, Any]]":
    lake, at, customer, within = case.lake, case.at, case.customer, case.window.active_within_days
    scores, _, evidence = rules.score(lake, at, case.window, customer_ids=[customer])
    if scores.empty:
        return None, {}
    people = population(lake, at, case.everyone)
    snapshot = people.rows((people.frame.customer_id == customer).to_numpy())
    history_days = float(people.frame.tenure_days.max())
    targets = predict_targets(None, snapshot, history_days=history_days).of(0, at)
    if within and float(snapshot.frame.recency_days.iloc[0]) > within:
        return _lapsed(case, targets)
    clauses = evidence.of([customer])[customer].clauses
    return scores.iloc[0], {**NOT_EXPLAINED, "clauses": clauses, **targets}


def _lapsed(case: _Case, targets: dict[str, Any]) -> "tuple[pd.Series, dict[str, Any]]":
    """Return the score of a customer who is no longer active, as the list of lapsed ones has it."""
    customer, within = case.customer, case.window.active_within_days
    everyone = buyers(case.lake, case.at, case.everyone).frame
    active = set(everyone.customer_id[everyone.recency_days <= within])
    scores, evidence = rules.score_lapsed(case.lake, case.at, active, case.window)
    own = scores[scores.customer_id == customer]
    clauses = evidence.of([customer])[customer].clauses
    return own.assign(reasons=[evidence.reasons_of([customer])[customer]]).iloc[0], {
        "tier": LAPSED,
        **NOT_EXPLAINED,
        "clauses": clauses,
        **targets,
    }


def _isoformat(moment: "pd.Timestamp") -> str | None:
    return moment.isoformat() if moment == moment else None  # NaT equals nothing


def _action(
    case: _Case, context: Context, policy: "Policy", tier: str, reasons: list[dict[str, Any]]
) -> str:
    """Describe the action of the policy, or say why there is none."""
    with context.database.reading() as session:
        consent = str(consent_states(case.lake, session, pd.Series([case.customer])).iloc[0])
        if consent == "refused":
            return next_step(None, consent=consent)
        listed = is_listed(case.lake, session, case.customer, case.at)
    rule = policy.rule_for(tier, policy_features(reasons), is_listed=listed)
    if rule is None or rule.action == "nothing":
        return gettext("no offer: the policy has none for such customers")

    return gettext("{action} (rule: {rule})").format(action=describe_rule(rule), rule=rule.name)
