"""What a campaign really earned, by its hold-out, into its own thread."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from workers import campaigns
from workers.requests import CampaignMeasure
from workers.tasks.contract import Attachment, Context, Outcome, Post


def run(request: CampaignMeasure, context: Context) -> Outcome:
    """Measure a campaign whose window is over, once its orders are there; where they never come, close it without."""
    from retention.campaigns import closing
    from retention.campaigns.chart import draw_chart
    from retention.campaigns.measurement import measure
    from retention.campaigns.outcomes import METRICS, SEGMENTS, collect_outcomes
    from retention.campaigns.states import find_campaign
    from retention.lake import Lake
    from retention.lake.watermark import newest_order

    settings, database, who, now = (
        context.settings,
        context.database,
        context.requested_by,
        context.business_at,
    )
    with database.transaction() as session:
        was = find_campaign(session, settings, request.campaign_id).state
        begun = closing.begin_measurement(session, settings, request.campaign_id, who, now)
        if begun.state != was:
            campaigns.recount(session, settings, begun)
    lake = Lake.open(settings)
    with database.reading() as session:
        campaign = find_campaign(session, settings, request.campaign_id)
    newest = newest_order(lake, now)
    if closing.is_waiting_for_orders(campaign, newest, now):
        return _without_orders(campaign, newest, context)
    context.progress(1, 4, "Counting what both arms did")
    with database.reading() as session:
        counted = collect_outcomes(lake, session, campaign)
        beside = _beside(lake, session, campaign, counted)
    context.progress(2, 4, "Comparing them")
    measured = measure(
        counted, planned_share=1 - campaign.body["holdout"], metrics=METRICS, segmented=SEGMENTS
    )
    result = {**measured.as_dict(), "simulated": _stated_effect(settings.demo), **beside}
    context.progress(3, 4, "Drawing the chart")
    chart = draw_chart(counted, measured, simulated=settings.demo)
    return _posted(campaign, result, chart, context)


def _beside(lake: Any, session: Session, campaign: Any, counted: Any) -> dict[str, Any]:
    """What has to be known to read a result: days without orders, who got no copy, who was erased since."""
    from retention.campaigns.late_orders import count_orders, missing_days
    from retention.erasure import NOBODY
    from retention.outreach import send_summary

    left_out, untaken = (
        send_summary.uncontacted_reasons(session, campaign.id),
        send_summary.untaken_files(session, campaign.id),
    )
    missing = missing_days(lake, campaign.sent_at, campaign.window_ends_at)
    people = counted.customers
    erased = people.loc[people["customer_id"].str.startswith(NOBODY), "arm"].value_counts()
    return {
        "missing_days": [day.isoformat() for day in missing],
        "left_out": sum(left_out.values()),
        "why_left_out": left_out,
        "untaken": untaken["csv"],
        "uncalled": untaken["call"],
        "erased": {arm: int(number) for arm, number in erased.items()},
        "orders_here": count_orders(counted),
    }


def _posted(campaign: Any, result: dict[str, Any], chart: bytes, context: Context) -> Outcome:
    """The end of the campaign, and its result in its thread."""
    from retention.campaigns import closing

    settings, who, now = context.settings, context.requested_by, context.business_at
    values = {
        "measured": result,
        "with_chart": True,
        "treated": result["sample_ratio"]["treated"],
        "control": result["sample_ratio"]["control"],
    }
    told_of = "Extra orders of the treated, and extra buyers by segment"
    images = {"chart": Attachment(f"{campaign.id}.png", "image/png", chart, told_of)}

    def apply(session: Session) -> tuple[Post, ...]:
        closed = closing.close_campaign(session, settings, campaign.id, result, who, now)
        told = campaigns.line(settings, closed, "result", who, **values)
        return (
            campaigns.card(settings, closed),
            Post("campaign/result", told.values, told.key, told.channel, told.thread_key, images),
        )

    return Outcome({"campaign_id": campaign.id, "name": campaign.name, **result}, apply=apply)


def _without_orders(campaign: Any, newest: datetime | None, context: Context) -> Outcome:
    """Its thread says what is missing, from a day after the window's end until it is closed without a result."""
    from retention.campaigns import closing

    settings, who, now = context.settings, context.requested_by, context.business_at
    named = {"campaign_id": campaign.id, "name": campaign.name}
    if not closing.has_waited_enough(campaign, now):
        late = now >= campaign.window_ends_at + closing.IMPORT_DELAY
        waits = (campaigns.line(settings, campaign, "waits", who, newest=newest),) if late else ()
        return Outcome({**named, "waits": True}, (campaigns.card(settings, campaign), *waits))
    result = closing.result_without_orders(newest)

    def apply(session: Session) -> tuple[Post, ...]:
        closed = closing.close_campaign(session, settings, campaign.id, result, who, now)
        return campaigns.card(settings, closed), campaigns.line(settings, closed, "unmeasured", who)

    return Outcome({**named, **result}, apply=apply)


def _stated_effect(demo: bool) -> dict[str, Any] | None:
    """In the demo: the effect of the simulated response; None where customers really answered."""
    if not demo:
        return None
    from retention.demo.response import EFFECT

    return asdict(EFFECT)
