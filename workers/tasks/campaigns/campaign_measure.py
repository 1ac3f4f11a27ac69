"""Measure a campaign with its hold-out group.

The result goes into the campaign's thread.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from retention.campaigns.codes.redemptions import list_misuses
from retention.campaigns.learning.proposals import propose
from retention.campaigns.learning.results import learn_from_result
from retention.campaigns.lifecycle import closing, launch
from retention.campaigns.lifecycle.copy_test import decide_test, waiting_customers
from retention.campaigns.lifecycle.spec import Body
from retention.campaigns.lifecycle.states import Step, find_campaign
from retention.campaigns.lifecycle.view import campaign_data
from retention.campaigns.measurement.chart import draw_chart
from retention.campaigns.measurement.effects import measure
from retention.campaigns.measurement.interim import compare_variants, interim
from retention.campaigns.measurement.late_orders import count_orders, missing_days
from retention.campaigns.measurement.outcomes import METRICS, SEGMENTS, collect_outcomes, leak_check
from retention.campaigns.planning.audience import bounced_customers
from retention.db import Transaction
from retention.demo import EFFECT
from retention.errors import Conflict
from retention.lake import Lake
from retention.lake.coverage import newest_order
from retention.outreach import calls, pauses, send_summary, tracking
from retention.outreach.adapter import CancelCode
from retention.outreach.dispatch import sending_channel
from retention.privacy.erased import ERASED_PREFIX
from retention.risk.policy import load_policy
from retention.text import gettext
from workers.campaigns import messages
from workers.campaigns.follow_ups import find_follow_up
from workers.campaigns.job_requests import (
    CampaignDecide,
    CampaignLook,
    CampaignMeasure,
    CampaignMisuse,
)
from workers.campaigns.policy_proposals import proposal_post
from workers.tasks.interface import Attachment, Context, Outcome, Post


def run(request: CampaignMeasure, context: Context) -> Outcome:
    """Measure a campaign after its window.

    If they never arrive, the campaign is closed without a result.
    """
    settings, database = context.settings, context.database
    user, now = context.requested_by, context.business_at
    with database.transaction() as session:
        old_state = find_campaign(session, request.campaign_id).state
        measuring = closing.begin_measurement(session, Step(request.campaign_id, user, at=now))
        if measuring.state != old_state:
            messages.refresh_counts(session, measuring)
    lake = Lake.open(settings)
    with database.reading() as session:
        campaign = find_campaign(session, request.campaign_id)
    newest = newest_order(lake, now)
    if closing.is_waiting_for_orders(campaign, newest, now):
        return _without_orders(campaign, newest, context)
    context.progress(1, 4, gettext("Counting what both arms did"))
    ends_at = campaign.window_ends_at
    assert ends_at is not None  # it was live
    with database.reading() as session:
        counted = collect_outcomes(lake, session, campaign)
        limits = _limits(lake, session, campaign, counted)
        variants = compare_variants(session, campaign, counted, ends_at)
    context.progress(2, 4, gettext("Comparing them"))
    body = Body.of(campaign)
    planned_share = 1 - body.holdout
    measured = measure(counted, planned_share=planned_share, metrics=METRICS, segmented=SEGMENTS)
    offers = None
    with database.reading() as session:
        if closing.can_teach(session, campaign, measured.advice):
            unusable = closing.uninformative_campaigns(session)
            policy = load_policy(settings)
            offers = learn_from_result(lake, session, campaign, counted, policy, unusable)
    result = {
        **measured.as_dict(),
        "expected_cost": body.plan().cost,
        "simulated": asdict(EFFECT) if settings.demo else None,
        **limits,
        "variants": variants,
        "offers": offers,
    }
    result["follow"] = find_follow_up(campaign, result, context)
    context.progress(3, 4, gettext("Drawing the chart"))
    chart = draw_chart(counted, measured, simulated=settings.demo)
    return _result_outcome(campaign, result, chart, context)


def _limits(lake: "Lake", session: Transaction, campaign: Any, counted: Any) -> dict[str, Any]:
    """Return the limits of a result.

    They are days without orders, customers without an e-mail, erased customers, and hold-out
    customers who got an e-mail anyway. The outcomes of the calls say how many were reached.
    """
    left_out = send_summary.uncontacted_reasons(session, campaign.id)
    untaken = send_summary.waiting_in_files(session, campaign.id)
    missing = missing_days(lake, campaign.sent_at, campaign.window_ends_at)
    people = counted.customers
    erased = people.loc[people["customer_id"].str.startswith(ERASED_PREFIX), "arm"].value_counts()
    return {
        "missing_days": [day.isoformat() for day in missing],
        "left_out": sum(left_out.values()),
        "why_left_out": left_out,
        "untaken": untaken["csv"],
        "uncalled": untaken["call"],
        "calls": _calls(session, campaign, people),
        "erased": {arm: int(number) for arm, number in erased.items()},
        "orders_here": count_orders(counted),
        "leaks": leak_check(lake, session, campaign),
        "reach": _reach(session, campaign, people),
    }


def _reach(session: Transaction, campaign: Any, people: Any) -> dict[str, int] | None:
    """Count opened and clicked e-mails, and the customers with the offer who ordered."""
    reach = tracking.reach(session, campaign.id)
    ordered = int(people.loc[people["arm"] == "treatment", "buyers"].sum())
    return reach and {**reach, "ordered": ordered}


def _calls(session: Transaction, campaign: Any, people: Any) -> dict[str, Any]:
    """Count the calls by outcome, and the reached customers who bought within the window."""
    counts = calls.count_outcomes(session, campaign.id)
    entries = calls.entries(session, campaign.id)
    reached = [entry.customer_id for entry in entries if entry.outcome in calls.REACHED]
    bought = people.loc[people["customer_id"].isin(reached), "buyers"]
    return {**counts, "bought": int(bought.sum())}


def _result_outcome(
    campaign: Any, result: dict[str, Any], chart: bytes, context: Context
) -> Outcome:
    """Close the campaign with its result."""
    settings, user, now = context.settings, context.requested_by, context.business_at
    ratio = result["sample_ratio"]
    sizes = {"treated": ratio["treated"], "control": ratio["control"]}
    values = {"measured": result, "with_chart": True, **sizes}
    alt_text = gettext("Extra orders of the treated, and extra buyers by segment")
    images = {"chart": Attachment(f"{campaign.id}.png", "image/png", chart, alt_text)}

    def apply(session: Transaction) -> tuple[Post, ...]:
        closed = closing.close_campaign(session, Step(campaign.id, user, at=now), result)
        post = messages.thread_post(settings, closed, "result", user, **values)
        proposal, offers = propose(session, closed, result, now), result["offers"]
        learned = messages.thread_post(settings, closed, "offers", user, measured=offers)
        return (
            messages.card_post(session, closed),
            replace(post, template="campaign/result", images=images),
            *messages.measured_posts(settings, closed, result),
            *([replace(learned, template="campaign/offers")] if offers else []),
            *([proposal_post(session, proposal)] if proposal else []),
        )

    return Outcome({"campaign_id": campaign.id, "name": campaign.name, **result}, apply=apply)


def _without_orders(campaign: Any, newest: datetime | None, context: Context) -> Outcome:
    """Report missing orders, and finally close without a result.

    The report starts a day after the window's end.
    """
    settings, user, now = context.settings, context.requested_by, context.business_at
    names = {"campaign_id": campaign.id, "name": campaign.name}
    if not closing.has_waited_enough(campaign, now):
        is_late = now >= campaign.window_ends_at + closing.IMPORT_DELAY
        line = messages.thread_post(settings, campaign, "waits", user, newest=newest)

        def show(session: Transaction) -> tuple[Post, ...]:
            return messages.card_post(session, campaign), *([line] if is_late else [])

        return Outcome({**names, "waits": True}, apply=show)
    result = closing.result_without_orders(newest)

    def apply(session: Transaction) -> tuple[Post, ...]:
        closed = closing.close_campaign(session, Step(campaign.id, user, at=now), result)
        return (
            messages.card_post(session, closed),
            messages.thread_post(settings, closed, "unmeasured", user),
        )

    return Outcome({**names, **result}, apply=apply)


def run_campaign_decide(request: CampaignDecide, context: Context) -> Outcome:
    """Decide a test of variants once the orders of its days are imported.

    `MAX_SILENCE` after its end, it is decided with the orders that are there.
    """
    settings, now, lake = context.settings, context.business_at, Lake.open(context.settings)
    with context.database.reading() as session:
        campaign = find_campaign(session, request.campaign_id)
        ends_at = campaign.test_ends_at
        assert ends_at is not None  # it was due
        newest = newest_order(lake, now)
        is_complete = newest is not None and newest >= ends_at
        if not is_complete and now < ends_at + closing.MAX_SILENCE:
            return Outcome({"campaign_id": campaign.id, "waits": True})
        counted = collect_outcomes(lake, session, campaign, ends_at)
        data = compare_variants(session, campaign, counted, ends_at)
        assert data is not None
    step = Step(campaign.id, context.requested_by, at=now)
    channel = sending_channel(settings, Body.of(campaign).message_channel)
    skipped = _skipped(campaign, lake, context)

    def apply(session: Transaction) -> tuple[Post, ...]:
        decided, released = decide_test(session, step, data, channel, skipped)
        values = {"comparison": data, "released": released}
        return (
            messages.card_post(session, decided),
            messages.thread_post(settings, decided, "test", step.actor, **values),
        )

    return Outcome({"campaign_id": campaign.id, "name": campaign.name, **data}, apply=apply)


def _skipped(
    campaign: Any, lake: "Lake", context: Context
) -> "Mapping[CancelCode, Collection[str]]":
    """Return the customers of the rest who must not be written to any more, as at the sending."""
    database, now = context.database, context.business_at
    policy = load_policy(context.settings)
    gone = launch.gone_since_draft(database, lake, policy, campaign.id, now)
    returned, excluded = gone["returned"], gone["doubles"] | gone["programme"]
    with database.reading() as session:
        waiting = waiting_customers(session, campaign.id)
        excluded |= lake.identities.resolved(pauses.paused_customers(session, now))
        excluded |= bounced_customers(lake, session, policy, now)
    return {"returned": waiting & returned, "excluded": waiting & (excluded - returned)}


def run_campaign_look(request: CampaignLook, context: Context) -> Outcome:
    """Compute always-valid figures; decide and store nothing."""
    settings, now, lake = context.settings, context.business_at, Lake.open(context.settings)
    with context.database.reading() as session:
        campaign = find_campaign(session, request.campaign_id)
        if campaign.sent_at is None or campaign.window_ends_at is None:
            text = gettext("Campaign {name!r} is {state}; there are figures once it is live.")
            raise Conflict(text.format(name=campaign.name, state=campaign.state))
        context.progress(0, 1, gettext("comparing both groups so far"))
        result, late = interim(lake, session, campaign, now)
        reach = tracking.reach(session, campaign.id)
    body, figures = Body.of(campaign), result.as_dict()
    figures["reach"] = reach and {**reach, "ordered": result.ordered}
    shown = {
        "campaign": campaign_data(campaign, settings),
        "simulated": settings.demo,
        "newest": late,
    }
    names = {"campaign_id": campaign.id, "name": campaign.name, "state": campaign.state}
    return Outcome(
        {**names, "currency": body.currency, "simulated": settings.demo, **figures},
        (Post("campaign/look", {**shown, "look": figures}),),
    )


MAX_SHOWN = 30  # uses in a message


def run_campaign_misuse(request: CampaignMisuse, context: Context) -> Outcome:
    """List misused codes, the newest first."""
    with context.database.reading() as session:
        campaign = find_campaign(session, request.campaign_id)
        uses = list_misuses(session, campaign.id)
    data = {"campaign_id": campaign.id, "name": campaign.name, "uses": uses}
    shown = {**data, "uses": uses[:MAX_SHOWN], "more": max(len(uses) - MAX_SHOWN, 0)}
    return Outcome(data, (Post("campaign/misuse", shown),))
