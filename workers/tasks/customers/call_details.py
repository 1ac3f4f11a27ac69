"""Add a customer's phone number, and what to say, to the open window of a call."""

from retention.campaigns.lifecycle import launch
from retention.campaigns.lifecycle.spec import Body
from retention.campaigns.message.email_content import email_content
from retention.db import Transaction
from retention.db.tables import Campaign
from retention.lake import Lake
from retention.outreach.adapter import Contact
from retention.outreach.contacts import find_contacts
from workers.campaigns import call_messages
from workers.job_requests import CallWindow
from workers.tasks.interface import Context, Outcome, Post


def run_call_window(request: CallWindow, context: Context) -> Outcome:
    """Look up the customer in the lake and fill the window."""
    settings, customer_id = context.settings, request.customer_id
    contacts = find_contacts(Lake.open(settings), [customer_id])
    contact = contacts.get(customer_id, Contact())
    with context.database.reading() as session:
        values = call_messages.window_values(
            session,
            campaign_id=request.campaign_id,
            customer_id=customer_id,
            card=request.card,
            owner=context.requested_by,
        )
        talk = _talk(session, request, contact)
    found = {"is_looking_up": False, "phone": contact.phone or "", "talk": talk}
    post = Post(
        "campaign/call",
        {**values, **found},
        key=f"view:{context.job_id}",
        channel=context.requested_by,
        view_id=request.view_id,
    )
    return Outcome({"customer_id": customer_id}, (post,))


def _talk(session: Transaction, request: CallWindow, contact: "Contact") -> str:
    """Return what the campaign's text says to this customer; empty without a campaign."""
    campaign = session.get(Campaign, request.campaign_id) if request.campaign_id else None
    if campaign is None:
        return ""
    rows = launch.recipient_rows(session, campaign, request.customer_id)
    if not rows:
        return ""
    return email_content(session.settings, Body.of(campaign), rows[0], contact).text
