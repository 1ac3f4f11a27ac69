"""Draft a campaign; its message replaces the job's."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from celery.exceptions import SoftTimeLimitExceeded

from retention.audiences.evaluate import members
from retention.audiences.parse import parse
from retention.campaigns.lifecycle.closing import uninformative_campaigns
from retention.campaigns.lifecycle.edits import Changes
from retention.campaigns.lifecycle.spec import Body, DraftedFor, Prior
from retention.campaigns.lifecycle.states import EDITABLE, StaleCampaign, Step, find_campaign
from retention.campaigns.message.text_message import channel_policy, sampled_terms, with_parts
from retention.campaigns.planning.draft import (
    DraftOptions,
    Learnt,
    Scored,
    concatenate,
    draft,
    store,
    with_changes,
)
from retention.campaigns.planning.everyone import everyone
from retention.campaigns.planning.programme_holdout import note_policy
from retention.campaigns.planning.requested_terms import with_terms
from retention.campaigns.planning.targeting import (
    campaigns_of_other_kinds,
    prior_from_campaigns,
    with_window,
)
from retention.campaigns.planning.tier_choice import LIST
from retention.db import Transaction
from retention.errors import BadInput, Refused
from retention.lake import Lake
from retention.outreach.adapter import require_text_channel
from retention.outreach.consent import require_consent
from retention.progress import part
from retention.recommend.bandit.assignment import ListAssigner, create_assigner
from retention.registry import champion, ensure_definition
from retention.registry.model_cache import churn_model, open_recommender
from retention.risk.policy import LAPSED, TIERS, load_policy
from retention.risk.strategy import WIN_BACK, KindName
from retention.risk.sweep import sweep
from retention.templating import tier as tier_name
from retention.text import gettext
from retention.uplift.past_campaigns import UpliftModel, fit_uplift
from workers.campaigns import decisions, messages
from workers.campaigns.job_requests import CampaignDraft, CampaignWiden
from workers.customers import audience_filter
from workers.tasks.interface import Context, Outcome, Post

if TYPE_CHECKING:
    from retention.campaigns.planning.draft import Draft
    from retention.campaigns.planning.offer_terms import SuggestedItem
    from retention.risk.policy import Policy
    from retention.uplift.past_campaigns import UpliftPrediction

log = logging.getLogger(__name__)
T = TypeVar("T")


def run(request: CampaignDraft, context: Context) -> Outcome:
    """Draft a campaign for a cohort or sweep."""
    settings = context.settings
    drafted = make_draft(request, context)

    def apply(session: Transaction) -> tuple[Post, ...]:
        note_policy(session, load_policy(settings), context.business_at)
        campaign = store(
            session,
            drafted,
            author=context.requested_by,
            channel=context.channel,
            post_key=f"job:{context.job_id}",
            now=context.business_at,
        )
        post = messages.card_post(session, campaign)
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
    settings, now = context.settings, context.business_at
    kind = request.campaign_kind
    installed, lake = load_policy(settings).for_kind(kind), Lake.open(settings)
    policy = with_terms(
        installed,
        discount=None if request.offer else request.discount,
        holdout=request.holdout,
        budget=request.budget,
        currency=lake.currency(settings),
    )
    policy.check_acts()  # before a long sweep
    channel = request.message_channel
    require_text_channel(settings, channel)
    policy = channel_policy(settings, policy, channel)
    with context.database.reading() as session:
        require_consent(lake, session, policy, channel=channel)
    scored = _scored(request, context, lake, policy)
    scores, listed = scored.frame, len(scored.frame) if scored.audience else None
    # As an audience counts: a lapsed customer and a prospect have no risk.
    at_risk = scores if kind == WIN_BACK else scores[scores["tier"].isin(TIERS)]
    with context.database.reading() as session:
        if request.audience or request.where:
            among = audience_filter.members_among(
                lake, session, request.audience, scored.as_of, at_risk, request.where
            )
            scores, listed = scores[scores["customer_id"].isin(among)], len(among)
        asked = len(scores)
        if kind != WIN_BACK and (condition := getattr(policy.kinds, kind).customers):
            of_kind = members(lake, session, parse(condition), scored.as_of, at_risk).customers
            scores = scores[scores["customer_id"].isin(of_kind)]
        if not scores.empty:
            require_consent(lake, session, policy, scores["customer_id"], channel)
    listed = listed if kind == WIN_BACK else None  # a lower risk leaves nobody out
    scored = replace(scored, frame=scores, listed=listed, not_of_kind=asked - len(scores))
    drafted_for = DraftedFor(
        tier=request.tier,
        listed=scored.tier == LIST,
        audience=request.audience,
        where=request.where,
        customer_id=request.customer_id,
        kind=kind,
    )
    # A list, a tier or a customer that a person chose stays; the card offers more.
    chosen = (request.cohort_id, request.tier, request.customer_id)
    options = DraftOptions(
        now,
        drafted_for,
        installed.campaign.budget,
        request.name,
        request.cohort_id,
        may_widen=chosen == (None, None, None) and not request.listed,
        channel=channel,
    )
    learnt = _learn(context, lake, policy, scored, after, kind)
    drafted = draft(lake, context.database, policy, scored, learnt, options, context.progress)
    if request.offer:
        changes = Changes(offer=request.offer, discount=request.discount)
        drafted = with_changes(drafted, changes, settings.zone, now)
        terms = sampled_terms(drafted.rows)
        drafted = replace(drafted, body=with_parts(settings, drafted.body, terms))
    limited_to = audience_filter.list_name(request.audience, request.where) or scored.audience
    if limited_to and request.name is None:
        name = gettext("{audience}: {name}").format(audience=limited_to, name=drafted.name)
        drafted = replace(drafted, name=name)
    if not (request.audience or request.where) or (wider := drafted.body.wider) is None:
        return drafted
    limited = wider.model_copy(update={"audience": request.audience, "where": request.where})
    return replace(drafted, body=drafted.body.model_copy(update={"wider": limited}))


def _learn(
    context: Context,
    lake: "Lake",
    policy: "Policy",
    scored: Scored,
    after: tuple[str, dict[str, Any]] | None,
    kind: KindName,
) -> Learnt:
    """Learn from past campaigns, and from the result of one that is not stored yet."""
    closing, further = ({after[0]}, [after[1]]) if after else (set(), [])
    now, days = context.business_at, policy.campaign.window_days
    with context.database.reading() as session:
        recommender = None if after else open_recommender(lake, session, policy)
        unmeasured = uninformative_campaigns(session) - closing
        unusable = unmeasured | campaigns_of_other_kinds(session, kind)
        prior = _attempt(lambda: prior_from_campaigns(session, policy, unusable, further))
        lists = _attempt(lambda: create_assigner(lake, session, policy, now, unmeasured))
    # As the prior does, learn from campaigns that are over by now, not by an old cohort's cutoff.
    known_until = max(scored.as_of, lake.as_of(None, days).at)

    def responses() -> "tuple[UpliftModel, UpliftPrediction | None]":
        model = fit_uplift(
            lake,
            known_until,
            window_days=days,
            excluded=unusable,
            progress=part(context.progress, 0, 4),
        )
        if model.learner is None or scored.frame.empty:
            return model, None
        return model, model.predict(lake, scored.frame["customer_id"], scored.as_of, days)

    uplift, predicted = _attempt(responses) or (UpliftModel("failed"), None)
    if prior is None or lists is None:
        uplift = replace(uplift, why="failed")
    assigner = lists or ListAssigner(policy)
    suggesting = part(context.progress, 2, 4)

    def suggest(ids: list[str]) -> "Mapping[str, Sequence[SuggestedItem]]":
        if recommender is None:
            return {}
        k = policy.offer.items
        return assigner.lists(recommender, lake, ids, k=k, as_of=now, progress=suggesting)

    return Learnt(
        prior or Prior(mean=policy.offer.uplift, sd=policy.offer.uplift_sd),
        uplift,
        predicted,
        suggest,
        assigner.decide if policy.offer.items else None,
        recommender.merger(lake) if recommender else concatenate,
        recommender.version if recommender else "none",
    )


def _attempt(learn: Callable[[], T]) -> T | None:
    """Learn something; an error is logged, and the draft goes on without it."""
    try:
        return learn()
    except (Refused, SoftTimeLimitExceeded):  # the policy asks for what is not possible yet
        raise
    except Exception:
        log.exception("learning from past campaigns failed; the draft goes on without it")
        return None


def _scored(request: CampaignDraft, context: Context, lake: "Lake", policy: "Policy") -> Scored:
    """Return all scores of the cohort's sweep, or of a new one."""
    window = policy.campaign.window_days
    if request.cohort_id is None:
        with context.database.reading() as session:
            row = champion(session, "churn")
        trained = churn_model(context.settings, row) if row else None
        definition = ensure_definition(lake, context.database)
        swept = sweep(
            lake,
            trained,
            policy,
            tier=LAPSED if request.tier == LAPSED else None,
            window=definition.window,
            progress=context.progress,
        )
        if request.campaign_kind != WIN_BACK:
            with context.database.reading() as session:
                frame = everyone(lake, session, swept, window)
            return Scored(frame, swept.as_of, swept.model_version, None)
        is_lapsed = request.tier == LAPSED or request.customer_id in set(swept.lapsed.customer_id)
        if is_lapsed:
            _require_rule_for_lapsed(policy)
        lowest = LAPSED if is_lapsed else "low" if request.customer_id else request.tier or "high"
        if request.listed:
            lowest = LIST
        own = swept.with_reasons(swept.lapsed if is_lapsed else swept.scores)
        scores = with_window(lake, own, swept.as_of, swept.window.horizon_days, window)
        return Scored(scores, swept.as_of, swept.model_version, lowest)
    with context.database.reading() as session:
        cohort = decisions.find_cohort(session, request.cohort_id)
    if cohort.tiers == [LAPSED] and request.tier in TIERS:
        problem = gettext(
            "List {cohort} has only lapsed customers, and none at {tier} risk; leave out "
            "--tier, or --cohort."
        )
        problem = problem.format(cohort=cohort.id, tier=tier_name(request.tier))
        raise BadInput(problem, field="tier")
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
    return Scored(scores, cohort.as_of, cohort.model_version, lowest, cohort.audience)


def _require_rule_for_lapsed(policy: "Policy") -> None:
    """Refuse a win-back draft that would be for nobody."""
    if LAPSED not in policy.acting_tiers:
        raise BadInput(
            gettext(
                "The policy has no offer for lapsed customers; add a rule with "
                'tiers = ["lapsed"] (RETENTION_POLICY names the file; docs/operator/policy.md '
                "explains it)."
            )
        )


def run_campaign_widen(request: CampaignWiden, context: Context) -> Outcome:
    """Draft the audience and store it as the campaign's next version."""
    with context.database.reading() as session:
        campaign = find_campaign(session, request.campaign_id)
    if campaign.version != request.version or campaign.state not in EDITABLE:
        raise StaleCampaign(campaign, request.version)
    wider = CampaignDraft(
        cohort_id=campaign.cohort_id,
        tier=request.tier,
        listed=request.listed,
        audience=request.audience,
        where=request.where,
        customer_id=request.customer_id,
        message_channel=request.message_channel or Body.of(campaign).message_channel,
        campaign_kind=Body.of(campaign).kind,
    )
    drafted = make_draft(wider, context)
    # The campaign is a draft itself, with some of the same customers.
    overlaps = tuple(one for one in drafted.body.overlaps if one.campaign_id != campaign.id)
    drafted = replace(drafted, body=drafted.body.model_copy(update={"overlaps": overlaps}))

    def apply(session: Transaction) -> None:
        step = Step(campaign.id, context.requested_by, request.version)
        decisions.widen(session, step, drafted)

    return Outcome({"campaign_id": campaign.id, "audience": drafted.body.audience}, apply=apply)
