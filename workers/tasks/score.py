"""Show one customer in full by direct message."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from retention.errors import BadInput
from retention.features.availability import has_amounts
from retention.progress import Progress
from retention.risk.reasons import policy_features, reasons_for_tier
from retention.risk.sentence import sentence
from retention.text import gettext
from workers import customer_cards
from workers.customer_cards import trend_text
from workers.requests import Score
from workers.tasks.interface import Attachment, Context, Outcome, Post
from workers.tasks.recommend import impression_writer

if TYPE_CHECKING:
    import pandas as pd

    from retention.churn.model import TrainedChurn
    from retention.lake import Lake
    from retention.registry import ChurnDefinition
    from retention.risk.policy import Policy, Tiers

ITEMS = 5


def run(request: Score, context: Context) -> Outcome:
    """Show risk, reasons, value, recommendations and the policy's action.

    Counterfactuals and an optional second opinion are included.

    Parameters
    ----------
    request : Score
        The validated request.
    context : Context
        The running attempt.

    Returns
    -------
    Outcome
        The customer as a direct message.

    Raises
    ------
    BadInput
        The customer has no order before the cutoff.
    """
    from retention.lake import Lake, customer_directory
    from retention.recommend.preference_profile import preference_profile
    from retention.registry import champion, definition_in_force
    from retention.registry.model_cache import churn_model, open_recommender
    from retention.risk import rules
    from retention.risk.lapsed import LAPSED
    from retention.risk.policy import load_policy, thresholds, tier_of

    settings = context.settings
    lake, policy = Lake.open(settings), load_policy(settings)
    with context.database.reading() as session:
        identity = customer_directory.find_match(session, settings, request.customer_id)
        row, recommender = (
            champion(session, settings, "churn"),
            open_recommender(lake, session, settings, policy),
        )
    customer = identity.customer_id
    definition = definition_in_force(lake, context.database, settings)
    moment = lake.as_of(request.as_of, definition.horizon_days, row.cutoff if row else None)
    trained = churn_model(settings, row) if row else None
    limits = thresholds(policy, trained)
    score, explained = _scored(
        trained,
        lake,
        moment.at,
        customer,
        limits,
        definition,
        request.explain,
        context.progress,
    )
    if score is None:
        raise BadInput(
            gettext(
                "Customer {customer} has no order before {local:%Y-%m-%d}, so there is nothing "
                "to go by; take a later --as-of, or see `/retention recommend` for what others "
                "like."
            ).format(customer=customer, local=lake.local(moment.at))
        )
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
        "action": _action(lake, context, policy, customer, tier, score.reasons, moment.at),
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
    return Outcome(
        data,
        _posts(request, context, data, limits),
        apply=impression_writer(
            context, "score", customer, data["recommendations"], recommender.version
        ),
    )


def _history(
    lake: "Lake", context: Context, customer: str, at: datetime, version: str
) -> dict[str, Any]:
    """Return past risk, last orders, and campaigns with their outcome."""
    from retention.erasure import merged_ids
    from retention.reports import customer_history
    from retention.risk import rules

    settings = context.settings
    with context.database.reading() as session:
        trend = customer_history.risk_trend(
            lake, session, settings, customer, before=at, by_rules=version == rules.VERSION
        )
        campaigns = customer_history.campaigns_of(
            lake, session, settings, merged_ids(lake, customer), context.business_at
        )
    return {
        "trend": trend,
        "last_orders": customer_history.last_orders(lake, customer, at),
        "campaigns": campaigns,
    }


def _posts(
    request: Score, context: Context, data: dict[str, Any], limits: "Tiers"
) -> tuple[Post, ...]:
    """Return the card: a direct message, or the open modal that asked for it."""
    view_id = getattr(request, "view_id", None)
    if context.channel is None and view_id is None:
        return ()  # the terminal
    from retention.reports.customer_history import trend_chart

    points = [*data["trend"], {"at": data["as_of"], "risk": data["churn_probability"]}]
    images = {}
    if len(points) > 1:
        picture = trend_chart(points, (limits.medium, limits.high))
        images["trend"] = Attachment("risk.png", "image/png", picture, trend_text(points))
    with context.database.reading() as session:
        return (
            customer_cards.card_post(
                session,
                context.settings,
                context.job_id,
                data,
                context.requested_by,
                view_id=view_id,
                images=images,
            ),
        )


def _scored(
    trained: "TrainedChurn | None",
    lake: "Lake",
    at: datetime,
    customer: str,
    limits: "Tiers",
    definition: "ChurnDefinition",
    opinion: bool,
    progress: Progress,
) -> "tuple[pd.Series | None, dict[str, Any]]":
    """Return a customer's score and its explanation; with their tier if they lapsed.

    The score is None before the first order.
    """
    from retention.churn.explain import explain
    from retention.churn.population import population
    from retention.churn.targets import predict_targets
    from retention.risk import rules
    from retention.risk.policy import tier_of

    within = trained.active_within_days if trained else definition.active_within_days
    if trained is None:
        horizon = definition.horizon_days
        scores, _, evidence = rules.score_with_evidence(
            lake,
            at,
            horizon_days=horizon,
            active_within_days=within,
            customer_ids=[customer],
        )
        if scores.empty:
            return None, {}
        people = population(lake, at, horizon_days=horizon, active_within_days=None)
        snapshot = people.rows((people.frame.customer_id == customer).to_numpy())
        target_values = predict_targets(
            None, snapshot, history_days=float(people.frame.tenure_days.max())
        )
        targets = target_values.of(0, at)
        if within and float(snapshot.frame.recency_days.iloc[0]) > within:
            return _lapsed(lake, at, customer, horizon, within, targets)
        return scores.iloc[0], {
            "counterfactuals": [],
            "second_opinion": None,
            "average": None,
            "clauses": evidence.of([customer])[customer].clauses,
            **targets,
        }
    explanation = explain(
        trained,
        lake,
        at,
        customer,
        tier_of=lambda chance: tier_of(chance, limits),
        opinion=opinion,
        progress=progress,
    )
    if explanation is None:
        return None, {}
    targets = explanation.targets.of(0, at)
    if within and explanation.average is None:
        return _lapsed(lake, at, customer, trained.horizon_days, within, targets)
    return (
        explanation.score,
        {**explanation.as_dict(), **targets, "clauses": explanation.evidence.clauses},
    )


def _lapsed(
    lake: "Lake",
    at: datetime,
    customer: str,
    horizon_days: int,
    within: int,
    targets: dict[str, Any],
) -> "tuple[pd.Series, dict[str, Any]]":
    """Return the score of a customer who is no longer active, as the list of lapsed ones has it."""
    from retention.churn.population import buyers
    from retention.risk.lapsed import LAPSED, score_lapsed

    everyone = buyers(lake, at, horizon_days=horizon_days, active_within_days=None).frame
    active = set(everyone.customer_id[everyone.recency_days <= within])
    scores, evidence = score_lapsed(
        lake, at, active, horizon_days=horizon_days, active_within_days=within
    )
    own = scores[scores.customer_id == customer]
    return own.assign(reasons=[evidence.reasons([customer])[customer]]).iloc[0], {
        "tier": LAPSED,
        "counterfactuals": [],
        "second_opinion": None,
        "average": None,
        "clauses": evidence.of([customer])[customer].clauses,
        **targets,
    }


def _isoformat(moment: "pd.Timestamp") -> str | None:
    return moment.isoformat() if moment == moment else None  # NaT equals nothing


def _consent(lake: "Lake", context: Context, customer: str) -> str:
    import pandas as pd

    from retention.outreach.consent import consent_states

    with context.database.reading() as session:
        states = consent_states(lake, session, context.settings, pd.Series([customer]))
    return str(states.iloc[0])


def _action(
    lake: "Lake",
    context: Context,
    policy: "Policy",
    customer: str,
    tier: str,
    reasons: list[dict[str, Any]],
    at: datetime,
) -> str:
    """Describe the action of the policy, or say why there is none."""
    from retention.campaigns.offers import describe_rule, next_step
    from retention.reports.customer_history import is_listed

    consent = _consent(lake, context, customer)
    if consent == "refused":
        return next_step(None, consent=consent)
    with context.database.reading() as session:
        listed = is_listed(lake, session, context.settings, customer, at)
    rule = policy.rule_for(tier, policy_features(reasons), is_listed=listed)
    if rule is None or rule.action == "nothing":
        return gettext("no offer: the policy has none for such customers")

    return gettext("{action} (rule: {rule})").format(action=describe_rule(rule), rule=rule.name)
