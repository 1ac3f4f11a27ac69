"""Add a customer's phone number, and what to say, to the open window of a call."""

from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from workers import call_lists
from workers.requests import CallWindow
from workers.tasks.interface import Context, Outcome, Post

if TYPE_CHECKING:
    from retention.outreach.adapter import Contact
    from retention.settings import Settings


def run(request: CallWindow, context: Context) -> Outcome:
    """Look up the customer in the lake and fill the window.

    Parameters
    ----------
    request : CallWindow
        The validated request.
    context : Context
        The running attempt.

    Returns
    -------
    Outcome
        The window with the number. The job's result does not have it.
    """
    from retention.lake import Lake
    from retention.outreach.adapter import Contact
    from retention.outreach.contacts import find_contacts

    settings, customer_id = context.settings, request.customer_id
    contacts = find_contacts(Lake.open(settings), [customer_id])
    contact = contacts.get(customer_id, Contact())
    with context.database.reading() as session:
        values = call_lists.window_values(
            session,
            settings,
            campaign_id=request.campaign_id,
            customer_id=customer_id,
            card=request.card,
            owner=context.requested_by,
        )
        talk = _talk(session, settings, request, contact)
    found = {"is_looking_up": False, "phone": contact.phone or "", "talk": talk}
    post = Post(
        "campaign/call",
        {**values, **found},
        key=f"view:{context.job_id}",
        channel=context.requested_by,
        view_id=request.view_id,
    )
    return Outcome({"customer_id": customer_id}, (post,))


def _talk(session: Session, settings: "Settings", request: CallWindow, contact: "Contact") -> str:
    """Return what the campaign's text says to this customer; empty without a campaign."""
    from retention.campaigns import launch
    from retention.campaigns.email_content import email_content
    from retention.campaigns.spec import Body
    from retention.db.tables import Campaign

    campaign = session.get(Campaign, request.campaign_id) if request.campaign_id else None
    if campaign is None:
        return ""
    rows = launch.recipient_rows(session, campaign, request.customer_id)
    if not rows:
        return ""
    body = Body.model_validate(campaign.body)
    content = email_content(settings, body, rows[0], name=contact.name, locale=contact.locale)
    return content.text
