"""One customer, in full: to the direct message of who asked, for it names them."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from retention.errors import BadInput
from retention.progress import Progress
from retention.text import gettext
from workers.requests import Score
from workers.tasks.contract import Context, Outcome, Post
from workers.tasks.recommend import seen

if TYPE_CHECKING:
    import pandas as pd

    from retention.churn import TrainedChurn
    from retention.lake import Lake
    from retention.risk.policy import Policy

HORIZON_DAYS, ITEMS = 28, 5


def run(request: Score, context: Context) -> Outcome:
    """Risk, reasons, value, what they would like, what would have made the difference, and what the policy would do."""
    from retention.lake import Lake, directory
    from retention.privacy import pseudonym
    from retention.recommend.preference_profile import portrait
    from retention.registry import champion
    from retention.registry.model_cache import churn_model
    from retention.registry.recommender_in_use import open_desk
    from retention.risk import rules
    from retention.risk.policy import load_policy
    from retention.risk.tiers import tier_of

    settings = context.settings
    lake, policy = Lake.open(settings), load_policy(settings)
    with context.database.reading() as session:
        asked = directory.found(session, settings, request.customer_id)
        row, desk = champion(session, settings, "churn"), open_desk(lake, session, settings, policy)
    customer = asked.customer_id
    moment = lake.as_of(
        request.as_of, row.horizon_days if row else HORIZON_DAYS, row.cutoff if row else None
    )
    trained = churn_model(settings, row) if row else None
    found, explained = _scored(
        trained, lake, moment.at, customer, policy, request.explain, context.progress
    )
    if found is None:
        raise BadInput(
            gettext(
                "Customer {customer} has no order before {local:%Y-%m-%d}, so there is nothing "
                "to go by; take a later --as-of, or see `/retention recommend` for what others "
                "like."
            ).format(customer=customer, local=lake.local(moment.at))
        )
    tier = tier_of(float(found.churn_probability), policy)
    data = {
        "customer_id": customer,
        "churn_probability": float(found.churn_probability),
        "tier": tier,
        "reasons": found.reasons,
        "expected_value": float(found.expected_value),
        "next_order_at": explained.pop("next_order_at") or _told(found.next_order_at),
        "recommendations": [
            item.as_dict()
            for item in desk.lists(lake, [customer], k=ITEMS, as_of=moment.at)[customer]
        ],
        "preferences": portrait(lake, customer, moment.at, settings.timezone),
        "action": _action(policy, tier, found.reasons),
        "as_of": moment.at.isoformat(),
        "note": " ".join(filter(None, (moment.note, explained.pop("note", "")))),
        "merged": request.merged or asked.merged,
        "model_version": row.version if row else rules.VERSION,
        "currency": lake.currency(settings),
        **explained,
    }
    told = {**data, "pseudonym": pseudonym(settings.key, customer), "shown_in": context.job_id}
    return Outcome(
        data,
        (Post("score/customer", told, channel=context.channel and context.requested_by),),
        apply=seen(context, "score", customer, data["recommendations"], desk.version),
    )


def _scored(
    trained: "TrainedChurn | None",
    lake: "Lake",
    at: datetime,
    customer: str,
    policy: "Policy",
    opinion: bool,
    progress: Progress,
) -> "tuple[pd.Series | None, dict[str, Any]]":
    """The customer's row and what explains it; None where they had not ordered yet."""
    from retention.churn.explain import explain
    from retention.churn.score import population
    from retention.churn.targets import targets
    from retention.risk import rules
    from retention.risk.tiers import tier_of

    if trained is None:
        scores, _ = rules.score(lake, at, customer_ids=[customer])
        if scores.empty:
            return None, {}
        people = population(lake, at, horizon_days=HORIZON_DAYS, active_within_days=None)
        asked = people.rows((people.frame.customer_id == customer).to_numpy())
        aims = targets(None, asked, history_days=float(people.frame.tenure_days.max()))
        return scores.iloc[0], {"counterfactuals": [], "second_opinion": None, **aims.of(0, at)}
    found = explain(
        trained,
        lake,
        at,
        customer,
        tier_of=lambda chance: tier_of(chance, policy),
        opinion=opinion,
        progress=progress,
    )
    return (found.score, {**found.as_dict(), **found.targets.of(0, at)}) if found else (None, {})


def _told(moment: "pd.Timestamp") -> str | None:
    return moment.isoformat() if moment == moment else None  # a missing one is not itself


def _action(policy: "Policy", tier: str, reasons: list[dict[str, Any]]) -> str:
    """What the policy would do, in words."""
    rule = policy.rule_for(tier, [reason["feature"] for reason in reasons])
    if rule is None or rule.action == "nothing":
        return "nothing"
    from retention.campaigns.offers import describe_rule

    return f"{describe_rule(rule)} (rule: {rule.name})"
