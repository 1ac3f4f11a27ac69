"""Send the due messages of a live campaign.

The next tick continues after the time limit.
"""

from datetime import datetime, timedelta

from retention import clock
from retention.campaigns.lifecycle.launch import recipient_rows
from retention.campaigns.lifecycle.spec import Body
from retention.campaigns.lifecycle.states import find_campaign
from retention.campaigns.message.customer_message import message_composer
from retention.campaigns.planning.block_products import pictured_items, with_products
from retention.campaigns.planning.product_details import find_products
from retention.clock import customer_zone, next_allowed, parse_quiet_hours
from retention.connect.platforms.mail import open_channel
from retention.db import Transaction
from retention.errors import BadInput
from retention.lake import Lake
from retention.outreach import sends, tracking
from retention.outreach.adapter import Contact, is_text
from retention.outreach.consent import customers_without_consent
from retention.outreach.contacts import (
    find_contacts,
    queued_customers,
    repeated_in_campaign,
    with_numbers,
)
from retention.outreach.dispatch import DeliveryReport, Mailing, deliver, sending_channel
from retention.risk.policy import load_policy
from workers.campaigns import messages
from workers.campaigns.job_requests import CampaignDeliver
from workers.tasks.interface import Context, Outcome, Post

SECONDS = 240.0  # of sending per job; a job may take 15 minutes


def run(request: CampaignDeliver, context: Context) -> Outcome:
    """Send due e-mails for a limited time.

    Any number of these jobs, also at once, send each e-mail once.
    """
    campaign_id = request.campaign_id
    with context.database.transaction() as session:  # needs no setting for sending
        is_over = sends.close_if_over(session, campaign_id)
    try:
        report = DeliveryReport() if is_over else _sent(request, context)
    except BadInput as refusal:  # a wrong setting is reported in the thread, once
        report = DeliveryReport(stopped=str(refusal))

    def apply(session: Transaction) -> tuple[Post, ...]:
        campaign = find_campaign(session, campaign_id)
        return (
            messages.delivery_post(session, campaign, report.stopped),
            messages.card_post(session, campaign),
        )

    return Outcome(
        {"campaign_id": campaign_id, "tried": report.counts, "stopped": report.stopped}, apply=apply
    )


def _sent(request: CampaignDeliver, context: Context) -> "DeliveryReport":
    settings, database, campaign_id = context.settings, context.database, request.campaign_id
    lake = Lake.open(settings)
    with database.reading() as session:
        campaign = find_campaign(session, campaign_id)
        body = Body.of(campaign)
        policy = load_policy(settings).for_kind(body.kind, body.offers[0].rule)
        channel = body.message_channel
        adapter = open_channel(session, sending_channel(settings, channel))
        queued = queued_customers(session, campaign_id)
        offers = {row["customer_id"]: row for row in recipient_rows(session, campaign)}
        # A customer who was erased between the two queries has no offer.
        ids = [customer for customer in queued if customer in offers]
        chosen = {customer: offers[customer]["offer"] for customer in ids}
        unsubscribed = customers_without_consent(lake, session, policy, chosen, channel)
        repeated: set[str] = set()
        if is_text(channel) and queued:
            repeated = repeated_in_campaign(lake, session, policy, campaign_id)
    tracked = tracking.consenting(lake, policy, () if is_text(channel) else ids)
    with database.transaction() as session:
        sends.cancel_sends_to(session, campaign_id, repeated - unsubscribed, "same_number")
        sends.cancel_sends_to(session, campaign_id, unsubscribed, "no_consent")
        tracking.mark_tracked(session, campaign_id, tracked)
    contact_of = find_contacts(lake, ids)
    if is_text(channel):
        contact_of = with_numbers(contact_of, policy)
    rows = with_products(
        lake, settings, body, (offers[customer] for customer in ids), _business_time(request)
    )
    shown = {row["customer_id"]: row for row in rows}
    products = find_products(lake, pictured_items(body, rows))
    quiet_hours = parse_quiet_hours(body.quiet_hours)

    def allowed_at(contact: Contact, at: datetime) -> datetime:
        return next_allowed(at, customer_zone(contact.timezone, settings.zone), quiet_hours)

    mailing = Mailing(
        adapter,
        {customer: contact_of.get(customer, Contact()) for customer in ids},
        tracking.tracked_composer(database, message_composer(settings, body, shown, products)),
        allowed_at,
        settings.send_rate,
    )
    return deliver(
        database,
        campaign_id,
        context.job_id,
        mailing,
        seconds=SECONDS,
        now=lambda: _business_time(request),
        progress=context.progress,
    )


def _business_time(request: CampaignDeliver) -> datetime:
    """Return the business time of the e-mails, which passes as real time does."""
    if request.clock_offset is None:
        return clock.now()
    return clock.wall() + timedelta(seconds=request.clock_offset)
