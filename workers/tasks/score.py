"""Show one customer in full by direct message."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from retention.errors import BadInput
from retention.features.availability import has_amounts
from retention.progress import Progress
from retention.risk.reasons import policy_features, reasons_for_tier
from retention.text import gettext
from workers.requests import Score
from workers.tasks.interface import Context, Outcome, Post
from workers.tasks.recommend import impression_writer

if TYPE_CHECKING:
    import pandas as pd

    from retention.churn.model import TrainedChurn
    from retention.lake import Lake
    from retention.registry import ChurnDefinition
    from retention.risk.policy import Policy

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
    from retention.privacy import pseudonym
    from retention.recommend.preference_profile import preference_profile
    from retention.registry import champion, definition_in_force
    from retention.registry.model_cache import churn_model, open_recommender
    from retention.risk import rules
    from retention.risk.policy import load_policy, tier_of

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
    score, explained = _scored(
        trained,
        lake,
        moment.at,
        customer,
        policy,
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
    tier = tier_of(float(score.churn_probability), policy)
    data = {
        "customer_id": customer,
        "churn_probability": float(score.churn_probability),
        "tier": tier,
        "reasons": reasons_for_tier(score.reasons, tier),
        "expected_value": float(score.expected_value),
        "has_amounts": has_amounts(lake, moment.at),
        "next_order_at": explained.pop("next_order_at") or _isoformat(score.next_order_at),
        "recommendations": [
            item.as_dict()
            for item in recommender.lists(lake, [customer], k=ITEMS, as_of=moment.at)[customer]
        ],
        "preferences": preference_profile(lake, customer, moment.at, settings.timezone),
        "action": _action(policy, tier, score.reasons),
        "as_of": moment.at.isoformat(),
        "note": " ".join(filter(None, (moment.note, explained.pop("note", "")))),
        "merged": request.merged or identity.merged,
        "model_version": row.version if row else rules.VERSION,
        "currency": lake.currency(settings),
        "definition": definition.as_dict(),
        **explained,
    }
    shown = {**data, "pseudonym": pseudonym(settings.key, customer), "shown_in": context.job_id}
    return Outcome(
        data,
        (Post("score/customer", shown, channel=context.channel and context.requested_by),),
        apply=impression_writer(
            context, "score", customer, data["recommendations"], recommender.version
        ),
    )


def _scored(
    trained: "TrainedChurn | None",
    lake: "Lake",
    at: datetime,
    customer: str,
    policy: "Policy",
    definition: "ChurnDefinition",
    opinion: bool,
    progress: Progress,
) -> "tuple[pd.Series | None, dict[str, Any]]":
    """Return a customer's score and its explanation.

    The score is None before the first order.
    """
    from retention.churn.explain import explain
    from retention.churn.population import population
    from retention.churn.targets import predict_targets
    from retention.risk import rules
    from retention.risk.policy import tier_of

    if trained is None:
        horizon = definition.horizon_days
        scores, _ = rules.score(
            lake,
            at,
            horizon_days=horizon,
            active_within_days=definition.active_within_days,
            customer_ids=[customer],
        )
        if scores.empty:
            return None, {}
        people = population(lake, at, horizon_days=horizon, active_within_days=None)
        snapshot = people.rows((people.frame.customer_id == customer).to_numpy())
        target_values = predict_targets(
            None, snapshot, history_days=float(people.frame.tenure_days.max())
        )
        return scores.iloc[0], {
            "counterfactuals": [],
            "second_opinion": None,
            **target_values.of(0, at),
        }
    explanation = explain(
        trained,
        lake,
        at,
        customer,
        tier_of=lambda chance: tier_of(chance, policy),
        opinion=opinion,
        progress=progress,
    )
    return (
        (explanation.score, {**explanation.as_dict(), **explanation.targets.of(0, at)})
        if explanation
        else (None, {})
    )


def _isoformat(moment: "pd.Timestamp") -> str | None:
    return moment.isoformat() if moment == moment else None  # NaT equals nothing


def _action(policy: "Policy", tier: str, reasons: list[dict[str, Any]]) -> str:
    """Describe the action of the policy."""
    rule = policy.rule_for(tier, policy_features(reasons))
    if rule is None or rule.action == "nothing":
        return "nothing"
    from retention.campaigns.offers import describe_rule

    return gettext("{action} (rule: {rule})").format(action=describe_rule(rule), rule=rule.name)
