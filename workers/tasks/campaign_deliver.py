"""Send what is due of a live campaign's copies; the next tick goes on where this stops."""

from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from workers import campaigns
from workers.requests import CampaignDeliver
from workers.tasks.contract import Context, Outcome, Post

if TYPE_CHECKING:
    from retention.outreach.dispatch import DeliveryReport

SECONDS = 240.0  # of one job; a job may take no more than 15 minutes


def run(request: CampaignDeliver, context: Context) -> Outcome:
    """Send for a while. Any number of these, one after the other or at once, send each copy once."""
    from retention.campaigns.states import find_campaign
    from retention.errors import BadInput
    from retention.outreach import sends
    from retention.outreach.dispatch import DeliveryReport

    settings, wanted = context.settings, request.campaign_id
    with (
        context.database.transaction() as session
    ):  # before a setting is asked for that is gone, perhaps
        over = sends.close_if_over(session, wanted)
    try:
        report = DeliveryReport() if over else _sent(request, context)
    except BadInput as refusal:  # of a setting: the thread says so, once, until it is mended
        report = DeliveryReport(stopped=str(refusal))

    def apply(session: Session) -> tuple[Post, ...]:
        return (
            campaigns.delivered(
                session, settings, find_campaign(session, settings, wanted), report.stopped
            ),
        )

    return Outcome(
        {"campaign_id": wanted, "tried": report.counts, "stopped": report.stopped}, apply=apply
    )


def _sent(request: CampaignDeliver, context: Context) -> "DeliveryReport":
    from retention import clock
    from retention.campaigns.compose import message_composer
    from retention.campaigns.sending import recipient_rows
    from retention.campaigns.spec import Body
    from retention.campaigns.states import find_campaign
    from retention.lake import Lake
    from retention.outreach import sends
    from retention.outreach.contacts import (
        customers_without_consent,
        find_contacts,
        queued_customers,
    )
    from retention.outreach.dispatch import configured_channel, deliver, open_adapter
    from retention.outreach.messages import Contact
    from retention.quiet_hours import customer_zone, next_allowed, parse_quiet_hours
    from retention.risk.policy import load_policy

    settings, database, wanted = context.settings, context.database, request.campaign_id
    lake, policy = Lake.open(settings), load_policy(settings)
    with database.reading() as session:
        campaign = find_campaign(session, settings, wanted)
        queued = queued_customers(session, wanted)
        offers = {row["customer_id"]: row for row in recipient_rows(session, campaign)}
        ids = [one for one in queued if one in offers]  # who was erased between the two has none
        no = customers_without_consent(
            lake, session, settings, policy, {one: offers[one]["offer"] for one in ids}
        )
    with database.transaction() as session:
        sends.cancel_sends_to(session, wanted, no, "no_consent")
    reach = find_contacts(lake, ids)
    body = Body.model_validate(campaign.body)
    quiet = parse_quiet_hours(body.quiet_hours)

    def awake(contact: Contact, at: datetime) -> datetime:
        return next_allowed(at, customer_zone(contact.timezone, settings.zone), quiet)

    return deliver(
        database,
        wanted,
        context.job_id,
        open_adapter(settings, configured_channel(settings)),
        {one: reach.get(one, Contact()) for one in ids},
        message_composer(settings, body, offers),
        allowed_from=awake,
        rate=settings.send_rate,
        seconds=SECONDS,
        now=clock.now,
        progress=context.progress,
    )
