"""Draft a campaign; its message becomes the job's own."""

from typing import Any

from sqlalchemy.orm import Session

from workers import campaigns, cohorts
from workers.requests import CampaignDraft
from workers.tasks.contract import Context, Outcome, Post


def run(request: CampaignDraft, context: Context) -> Outcome:
    """Draft for a cohort, or for a fresh sweep of a tier."""
    from retention.campaigns.closing import uninformative_campaigns
    from retention.campaigns.draft import draft, store
    from retention.campaigns.prior import prior_from_campaigns
    from retention.lake import Lake
    from retention.progress import part
    from retention.recommend.bandit.assignment import choosing
    from retention.registry.recommender_in_use import open_desk
    from retention.risk.policy import load_policy
    from retention.uplift.experiments import learn

    settings, now = context.settings, context.business_at
    policy, lake = load_policy(settings), Lake.open(settings)
    policy.check_acts()  # before a sweep is made for it
    with context.database.reading() as session:
        prior = prior_from_campaigns(session, settings, policy)
        desk = open_desk(lake, session, settings, policy)
        unknown = uninformative_campaigns(session, settings)
        chosen = choosing(lake, session, settings, policy, now, unknown)
    scores, as_of, model_version = _scored(request, context, lake, policy)
    uplift = learn(
        lake,
        as_of,
        window_days=policy.campaign.window_days,
        without=unknown,
        progress=part(context.progress, 0, 4),
    )
    suggesting = part(context.progress, 2, 4)
    drafted = draft(
        lake,
        context.database,
        settings,
        policy,
        scores,
        as_of=as_of,
        model_version=model_version,
        now=now,
        prior=prior,
        suggest=lambda ids: chosen.lists(
            desk, lake, ids, k=policy.offer.items, as_of=now, progress=suggesting
        ),
        decide=chosen.decide if policy.offer.items else None,
        merge_items=desk.together(lake),
        uplift=uplift,
        recommended_by=desk.version,
        name=request.name,
        cohort_id=request.cohort_id,
        progress=context.progress,
    )

    def apply(session: Session) -> tuple[Post, ...]:
        campaign = store(
            session,
            settings,
            drafted,
            author=context.requested_by,
            channel=context.channel,
            post_key=f"job:{context.job_id}",
            now=now,
        )
        shown = campaigns.card(settings, campaign)
        return (
            Post(shown.template, shown.values),
        )  # without a key: it takes the place of the job's progress bar

    return Outcome(drafted.as_dict(), apply=apply)


def _scored(
    request: CampaignDraft, context: Context, lake: Any, policy: Any
) -> tuple[Any, Any, str]:
    """Scores of the wanted tiers, what they know of, and the model: the cohort's, or those of a sweep made now."""
    if request.cohort_id is None:
        from retention.registry import champion
        from retention.registry.model_cache import churn_model
        from retention.risk.sweep import sweep

        with context.database.reading() as session:
            row = champion(session, context.settings, "churn")
        trained = churn_model(context.settings, row) if row else None
        found = sweep(lake, trained, policy, tier=request.tier, progress=context.progress)
        return found.cohort, found.as_of, found.model_version
    with context.database.reading() as session:
        cohort = cohorts.find(session, context.settings, request.cohort_id)
    scores = lake.scores(cohort.run_id).execute()
    return scores[scores["tier"].isin(cohort.tiers)], cohort.as_of, cohort.model_version
