"""Preview the first five messages of a campaign: e-mails and call scripts.

Names are masked in a channel. The requester gets them in full.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from retention.db.tables import Job
from retention.text import gettext
from workers.requests import CampaignPreview
from workers.tasks.interface import Attachment, Context, Outcome, Post

COPIES = 5


def run(request: CampaignPreview, context: Context) -> Outcome:
    """Preview the messages without side effects.

    Unissued codes are not shown.

    Parameters
    ----------
    request : CampaignPreview
        The validated request.
    context : Context
        The running attempt.

    Returns
    -------
    Outcome
        The messages, masked for a channel.
    """
    from retention.campaigns.brand import lacks_address
    from retention.campaigns.preview import (
        EMAIL,
        masked_messages,
        preview_messages,
        preview_rows,
        send_time,
    )
    from retention.campaigns.products import find_products, offered_items
    from retention.campaigns.spec import Body
    from retention.campaigns.states import find_campaign
    from retention.campaigns.text_placeholders import validate_text
    from retention.lake import Lake
    from retention.outreach.dispatch import configured_channel

    settings, user = context.settings, context.requested_by
    with context.database.reading() as session:
        campaign = find_campaign(session, settings, request.campaign_id)
        body = Body.model_validate(campaign.body)
        # Only customers with this kind of offer get the typed text.
        action = body.copy_action if request.copy_text is not None else None
        first = preview_rows(session, campaign, COPIES, action)
    if request.copy_text is not None:
        body = body.model_copy(update={"copy_text": validate_text(request.copy_text)})
    sent_at = send_time(campaign, context.business_at)
    hidden_copies = masked_messages(settings, body, first, sent_at)
    written = [row for row, copy in zip(first, hidden_copies, strict=True) if copy["kind"] == EMAIL]
    common: dict[str, Any] = {
        "campaign_id": campaign.id,
        "name": campaign.name,
        "by": configured_channel(settings),
        "no_address": bool(written) and lacks_address(settings),
        "assumed_send": None if campaign.sent_at else sent_at.isoformat(),
    }
    hidden = {**common, "copies": hidden_copies, "masked": True}
    is_private = context.channel is None or context.channel == user
    lake = Lake.open(settings)
    products = find_products(lake, offered_items([row["offer"] for row in written[:1]]))
    contact_of: dict[str, Any] = {}
    if is_private or request.to_me or not request.picture:
        contact_of = _contacts(lake, settings, body, [row["customer_id"] for row in first])
    first_email = _FirstEmail(settings, campaign, body, written, sent_at, products)
    reader = contact_of if request.picture and is_private and not request.to_me else {}
    image, unknown = first_email.picture(reader)
    shown = {**hidden, "picture": bool(image), "unknown": unknown}
    full = {
        **common,
        "copies": preview_messages(settings, body, first, contact_of, sent_at),
        "masked": False,
    }
    if request.to_me:
        trial = first_email.send_trial(request, context, contact_of)
        private = {**hidden, "picture": bool(image), "unknown": unknown, "trial": trial}
        posts = (Post("campaign/preview", private, images=image),)
        return Outcome(private, posts, apply=lambda session: _forget_person(session, context))
    if request.view_id:
        values = {**full, "picture": bool(image), "unknown": unknown}
        window = Post(
            "campaign/preview_window",
            values,
            key=f"view:{context.job_id}",
            channel=user,
            images=image,
            view_id=request.view_id,
        )
        return Outcome(hidden, (window,))
    if request.picture and is_private:
        private = {**full, "picture": bool(image), "unknown": unknown}
        return Outcome(hidden, (Post("campaign/preview", private, images=image),))
    if request.picture:
        key = f"campaign:{campaign.id}:preview:{campaign.version}"
        post = Post("campaign/preview", shown, key, thread_key=campaign.post_key, images=image)
        return Outcome(hidden, (post,))
    if is_private:
        return Outcome(full, (Post("campaign/preview", full),))
    to_person = Post("campaign/preview", full, key=f"preview:{context.job_id}", channel=user)
    return Outcome(hidden, (Post("campaign/preview", shown, images=image), to_person))


def _contacts(lake: Any, settings: Any, body: Any, customer_ids: list[str]) -> dict[str, Any]:
    """Look up the customers; those of a short text have the number that it goes to, or none."""
    from retention.outreach.channels import is_text
    from retention.outreach.contacts import find_contacts, with_numbers
    from retention.risk.policy import load_policy

    contact_of = find_contacts(lake, customer_ids)
    if not is_text(body.message_channel):
        return contact_of
    return with_numbers(contact_of, load_policy(settings))


def _forget_person(session: Session, context: Context) -> None:
    """Blank the person's name and address in the job: they are kept no longer than needed."""
    job = session.get_one(Job, context.job_id)
    job.args = (job.args or {}) | {"address": "", "person": ""}


@dataclass(frozen=True, slots=True)
class _FirstEmail:
    """The e-mail to the first recipient, if the campaign sends any."""

    settings: Any
    campaign: Any
    body: Any
    rows: list[dict[str, Any]]
    sent_at: datetime
    products: Any

    def send_trial(
        self, request: CampaignPreview, context: Context, contact_of: dict[str, Any]
    ) -> dict[str, str]:
        """Send it to the person, and say where it went or why it was not sent."""
        from retention.campaigns.preview import trial_email
        from retention.connect.mail import open_channel
        from retention.errors import BadInput
        from retention.outreach.adapter import Contact, ServerUnavailable, as_sentence
        from workers.campaign_requests import require_trial_channel

        settings, problem = self.settings, ""
        try:
            if not self.rows:
                raise BadInput(gettext("This campaign sends no e-mail."))
            channel = require_trial_channel(settings, request.address)
            recipient = contact_of.get(self.rows[0]["customer_id"], Contact())
            to = Contact(request.address, request.person, locale=recipient.locale)
            email = trial_email(
                settings,
                self.campaign.id,
                self.body,
                self.rows[0],
                self.sent_at,
                to,
                str(context.job_id),
                self.products,
            )
            with context.database.reading() as session:
                adapter = open_channel(session, settings, channel)
            try:
                adapter.open()
                verdict = adapter.send(email)
            finally:
                adapter.close()
            if verdict.state != "sent":
                problem = as_sentence(verdict.detail)
        except (BadInput, ServerUnavailable) as error:
            problem = str(error)
        return {"to": request.address, "problem": problem}

    def picture(self, contact_of: dict[str, Any]) -> tuple[dict[str, Attachment], list[str]]:
        """Draw it, or return the characters that cannot be drawn."""
        from retention.campaigns.email_picture import draw_email, undrawable
        from retention.campaigns.preview import preview_content

        if not self.rows:
            return {}, []
        campaign, contact = self.campaign, contact_of.get(self.rows[0]["customer_id"])
        content = preview_content(
            self.settings,
            campaign.id,
            self.body,
            self.rows[0],
            self.sent_at,
            contact,
            self.products,
        )
        if unknown := undrawable(content):
            return {}, unknown
        name = f"{campaign.id}-v{campaign.version}-e-mail.png"
        alt_text = gettext("E-mail with the subject {subject}").format(subject=content.subject)
        # Only the person's own picture shows a name.
        is_sensitive = contact is not None
        image = Attachment(name, "image/png", draw_email(content), alt_text, sensitive=is_sensitive)
        return {"email": image}, []
