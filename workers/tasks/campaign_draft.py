"""Draft a campaign; its message replaces the job's."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from celery.exceptions import SoftTimeLimitExceeded
from sqlalchemy.orm import Session

from retention.errors import BadInput, Refused
from retention.templating import tier as tier_name
from retention.text import gettext
from workers import audiences, campaign_messages, campaigns
from workers.requests import CampaignDraft
from workers.tasks.interface import Context, Outcome, Post

if TYPE_CHECKING:
    from retention.campaigns.draft import Draft
    from retention.campaigns.offers import SuggestedItem
    from retention.lake import Lake
    from retention.risk.policy import Policy
    from retention.uplift.past_campaigns import UpliftModel, UpliftPrediction

log = logging.getLogger(__name__)
T = TypeVar("T")


def run(request: CampaignDraft, context: Context) -> Outcome:
    """Draft a campaign for a cohort or sweep.

    Parameters
    ----------
    request : CampaignDraft
        The validated request.
    context : Context
        The running attempt.

    Returns
    -------
    Outcome
        The draft and its card.
    """
    from retention.campaigns.draft import store
    from retention.campaigns.programme import note_policy
    from retention.risk.policy import load_policy

    settings = context.settings
    drafted = make_draft(request, context)

    def apply(session: Session) -> tuple[Post, ...]:
        note_policy(session, settings, load_policy(settings), context.business_at)
        campaign = store(
            session,
            settings,
            drafted,
            author=context.requested_by,
            channel=context.channel,
            post_key=f"job:{context.job_id}",
            now=context.business_at,
        )
        post = campaign_messages.card_post(settings, campaign, session)
        # Without a key it replaces the progress bar.
        return (Post(post.template, post.values, images=post.images),)

    return Outcome(drafted.as_dict(), apply=apply)


def make_draft(
    request: CampaignDraft, context: Context, *, after: tuple[str, dict[str, Any]] | None = None
) -> "Draft":
    """Draft a campaign without storing it.

    With the result of a campaign ``after``, which is not stored yet, it is an estimate without
    items that has learnt from this campaign, too.
    """
    from retention.campaigns.closing import uninformative_campaigns
    from retention.campaigns.draft import draft, with_changes
    from retention.campaigns.draft_options import LIST
    from retention.campaigns.edits import Changes
    from retention.campaigns.prior import prior_from_campaigns
    from retention.campaigns.spec import DraftedFor, Prior
    from retention.campaigns.terms import with_terms
    from retention.campaigns.text_message import channel_policy, sampled_terms, with_parts
    from retention.lake import Lake
    from retention.outreach.channels import require_text_channel
    from retention.outreach.consent import require_consent
    from retention.progress import part
    from retention.recommend.bandit.assignment import ListAssigner, create_assigner
    from retention.registry.model_cache import open_recommender
    from retention.risk.policy import load_policy
    from retention.uplift.past_campaigns import UpliftModel, fit_uplift

    settings, now = context.settings, context.business_at
    installed, lake = load_policy(settings), Lake.open(settings)
    policy = with_terms(
        installed,
        discount=None if request.offer else request.discount,
        holdout=request.holdout,
        budget=request.budget,
        currency=lake.currency(settings),
    )
    policy.check_acts()  # before a long sweep
    closing, further = ({after[0]}, [after[1]]) if after else (set(), [])
    channel = request.message_channel
    require_text_channel(settings, channel)
    policy = channel_policy(settings, policy, channel)
    with context.database.reading() as session:
        require_consent(lake, session, settings, policy, channel=channel)
    scores, as_of, model_version, tier, listed_audience = _scored(request, context, lake, policy)
    with context.database.reading() as session:
        listed = len(scores) if listed_audience else None
        if request.audience or request.where:
            among = audiences.members_among(
                lake, session, settings, request.audience, as_of, scores, request.where
            )
            scores, listed = scores[scores["customer_id"].isin(among)], len(among)
        if not scores.empty:
            require_consent(lake, session, settings, policy, scores["customer_id"], channel)
        recommender = None if after else open_recommender(lake, session, settings, policy)
        unmeasured = uninformative_campaigns(session, settings) - closing
        prior = _learnt(lambda: prior_from_campaigns(session, settings, policy, further))
        lists = _learnt(lambda: create_assigner(lake, session, settings, policy, now, unmeasured))
    # As the prior does, learn from campaigns that are over by now, not by an old cohort's cutoff.
    known_until = max(as_of, lake.as_of(None, policy.campaign.window_days).at)

    def responses() -> "tuple[UpliftModel, UpliftPrediction | None]":
        days = policy.campaign.window_days
        model = fit_uplift(
            lake,
            known_until,
            window_days=days,
            excluded=unmeasured,
            progress=part(context.progress, 0, 4),
        )
        if model.learner is None or scores.empty:
            return model, None
        return model, model.predict(lake, scores["customer_id"], as_of, days)

    uplift, predicted = _learnt(responses) or (UpliftModel("failed"), None)
    if prior is None or lists is None:
        uplift = replace(uplift, why="failed")
    prior = prior or Prior(mean=policy.offer.uplift, sd=policy.offer.uplift_sd)
    assigner = lists or ListAssigner(policy)
    suggesting = part(context.progress, 2, 4)

    def suggest(ids: list[str]) -> "Mapping[str, Sequence[SuggestedItem]]":
        if recommender is None:
            return {}
        k = policy.offer.items
        return assigner.lists(recommender, lake, ids, k=k, as_of=now, progress=suggesting)

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
        suggest_items=suggest,
        assign_recommender=assigner.decide if policy.offer.items else None,
        merge_items=recommender.merger(lake) if recommender else None,
        uplift=uplift,
        predicted=predicted,
        recommended_by=recommender.version if recommender else "none",
        name=request.name,
        cohort_id=request.cohort_id,
        tier=tier,
        # A list, a tier or a customer that a person chose stays; the card offers more.
        may_widen=request.cohort_id is None
        and request.tier is None
        and not request.listed
        and request.customer_id is None,
        only=None if request.customer_id is None else (request.customer_id,),
        listed=listed,
        drafted_for=DraftedFor(
            tier=request.tier,
            listed=tier == LIST,
            audience=request.audience,
            where=request.where,
            customer_id=request.customer_id,
        ),
        channel=channel,
        progress=context.progress,
    )
    update = {"most_budget": installed.campaign.budget}  # for later edits
    drafted = replace(drafted, body=drafted.body.model_copy(update=update))
    if request.offer:
        changes = Changes(offer=request.offer, discount=request.discount)
        drafted = with_changes(drafted, changes, settings.zone, now)
        terms = sampled_terms(drafted.rows)
        drafted = replace(drafted, body=with_parts(settings, drafted.body, terms))
    limited_to = audiences.list_name(request.audience, request.where) or listed_audience
    if limited_to and request.name is None:
        name = gettext("{audience}: {name}").format(audience=limited_to, name=drafted.name)
        drafted = replace(drafted, name=name)
    if not (request.audience or request.where) or (wider := drafted.body.wider) is None:
        return drafted
    limited = wider.model_copy(update={"audience": request.audience, "where": request.where})
    return replace(drafted, body=drafted.body.model_copy(update={"wider": limited}))


def _learnt(learn: Callable[[], T]) -> T | None:
    """Learn from past campaigns; an error is logged, and the draft goes on without it."""
    try:
        return learn()
    except (Refused, SoftTimeLimitExceeded):  # the policy asks for what is not possible yet
        raise
    except Exception:
        log.exception("learning from past campaigns failed; the draft goes on without it")
        return None


def _scored(
    request: CampaignDraft, context: Context, lake: "Lake", policy: Any
) -> tuple[Any, Any, str, str, str | None]:
    """Return all scores, their time, the model, the lowest tier asked for and the list's audience.

    They are those of the cohort's sweep, or of a new one.
    """
    from retention.campaigns.draft_options import LIST
    from retention.campaigns.window_orders import with_window
    from retention.risk.lapsed import LAPSED
    from retention.risk.policy import TIERS

    window = policy.campaign.window_days

    if request.cohort_id is None:
        from retention.registry import champion, ensure_definition
        from retention.registry.model_cache import churn_model
        from retention.risk.sweep import sweep

        with context.database.reading() as session:
            row = champion(session, context.settings, "churn")
        trained = churn_model(context.settings, row) if row else None
        definition = ensure_definition(lake, context.database, context.settings)
        swept = sweep(
            lake,
            trained,
            policy,
            tier=LAPSED if request.tier == LAPSED else None,
            horizon_days=definition.horizon_days,
            active_within_days=definition.active_within_days,
            progress=context.progress,
        )
        is_lapsed = request.tier == LAPSED or request.customer_id in set(swept.lapsed.customer_id)
        if is_lapsed:
            _require_rule_for_lapsed(policy)
        lowest = LAPSED if is_lapsed else "low" if request.customer_id else request.tier or "high"
        if request.listed:
            lowest = LIST
        own = swept.lapsed if is_lapsed else swept.scores
        scores = with_window(lake, own, swept.as_of, swept.horizon_days, window)
        return scores, swept.as_of, swept.model_version, lowest, None
    with context.database.reading() as session:
        cohort = campaigns.find_cohort(session, context.settings, request.cohort_id)
    if cohort.tiers == [LAPSED] and request.tier in TIERS:
        raise BadInput(
            gettext(
                "List {cohort} has only lapsed customers, and none at {tier} risk; leave out "
                "--tier, or --cohort."
            ).format(cohort=cohort.id, tier=tier_name(request.tier)),
            field="tier",
        )
    if LAPSED in (request.tier, *cohort.tiers):
        _require_rule_for_lapsed(policy)
        every = lake.all_scores(cohort.run_id)
        scores = every.filter(every.tier == LAPSED).execute()
    else:
        scores = lake.scores(cohort.run_id).execute()
    is_whole = cohort.tiers and cohort.tiers != [LAPSED]
    if is_whole:  # everyone of its tiers, so nobody was chosen for the list's rule
        scores = scores.assign(list_rank=float("nan"))
    if request.customer_id:
        lowest = LAPSED if LAPSED in cohort.tiers else "low"
    else:
        lowest = request.tier or (cohort.tiers[-1] if is_whole else LIST)
    # None: of a list that was stored before the definition of churn was
    scores = with_window(lake, scores, cohort.as_of, cohort.horizon_days or window, window)
    return scores, cohort.as_of, cohort.model_version, lowest, cohort.audience


def _require_rule_for_lapsed(policy: "Policy") -> None:
    """Refuse a win-back draft that would be for nobody."""
    from retention.risk.lapsed import LAPSED

    if LAPSED not in policy.acting_tiers:
        raise BadInput(
            gettext(
                "The policy has no offer for lapsed customers; add a rule with "
                'tiers = ["lapsed"] (RETENTION_POLICY names the file; docs/operator/policy.md '
                "explains it)."
            )
        )
