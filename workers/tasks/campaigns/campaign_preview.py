"""Preview five messages of a campaign, in turn from each offer group: e-mails and call scripts.

Names are masked in a channel. The requester gets them in full.
"""

from typing import Any

from retention.campaigns.lifecycle.message_edits import ALL, changed_messages, require_group
from retention.campaigns.lifecycle.spec import Body
from retention.campaigns.lifecycle.states import find_campaign
from retention.campaigns.message.brand import lacks_address, load_brand
from retention.campaigns.message.email_picture import draw_email, undrawable
from retention.campaigns.message.merged_message import parts_of
from retention.campaigns.message.preview import (
    EMAIL,
    EmailPreview,
    Wanted,
    masked_messages,
    preview_messages,
    preview_rows,
    send_time,
)
from retention.campaigns.message.wording import validate_text
from retention.campaigns.planning.block_products import pictured_items, with_products
from retention.campaigns.planning.product_details import find_products
from retention.connect.platforms.mail import open_channel
from retention.db import Transaction
from retention.db.tables import Campaign, Job
from retention.errors import BadInput
from retention.lake import Lake
from retention.outreach.adapter import Contact, ServerUnavailable, as_sentence, is_text
from retention.outreach.contacts import find_contacts, with_numbers
from retention.outreach.dispatch import configured_channel
from retention.risk.policy import load_policy
from retention.text import gettext
from workers.campaigns.job_requests import CampaignPreview, require_trial_channel
from workers.tasks.interface import Attachment, Context, Outcome, Post

COPIES = 5


def run(request: CampaignPreview, context: Context) -> Outcome:
    """Preview the messages without side effects. Unissued codes are not shown."""
    settings, user = context.settings, context.requested_by
    with context.database.reading() as session:
        campaign = find_campaign(session, request.campaign_id)
        body = Body.of(campaign)
        # Only customers with this kind of offer get the typed text.
        action = body.copy_action if request.copy_text is not None else None
        if request.group is not None:
            require_group(body, request.group)
        wanted = Wanted(action, request.group, request.customer_id, request.variant)
        first = preview_rows(session, campaign, COPIES, wanted)
    if request.typed is not None:
        body = changed_messages(body, body, {request.group or ALL: request.typed})
    if request.copy_text is not None:
        body = body.model_copy(update={"copy_text": validate_text(request.copy_text)})
    sent_at = send_time(campaign, context.business_at)
    lake = Lake.open(settings)
    first = with_products(lake, settings, body, first, context.business_at)
    hidden_copies = masked_messages(settings, body, first, sent_at)
    written = [row for row, copy in zip(first, hidden_copies, strict=True) if copy["kind"] == EMAIL]
    common: dict[str, Any] = {
        "campaign_id": campaign.id,
        "name": campaign.name,
        "by": configured_channel(settings),
        "no_address": bool(written) and lacks_address(settings),
        "sender_name": next((copy["sender"] for copy in hidden_copies if "sender" in copy), ""),
        "reply_to": load_brand(settings).reply_to if written else "",
        "without_products": sum(
            not row["offer"]["items"]
            for row in first
            if (block := parts_of(body, row["offer"]).products) and block.source != "recommended"
        ),
        "groups": len({copy["group"] for copy in hidden_copies}),
        "assumed_send": None if campaign.sent_at else sent_at.isoformat(),
    }
    hidden = {**common, "copies": hidden_copies, "masked": True}
    is_private = context.channel is None or context.channel == user
    products = find_products(lake, pictured_items(body, written[:1]))
    contact_of: dict[str, Any] = {}
    if is_private or request.to_me or not request.picture:
        contact_of = _contacts(lake, settings, body, [row["customer_id"] for row in first])
    email = None
    if written:
        email = EmailPreview(settings, campaign.id, body, written[0], sent_at, products)
    reader = contact_of if request.picture and is_private and not request.to_me else {}
    image, unknown = _picture(email, campaign, reader)
    drawn = {"picture": bool(image), "unknown": unknown}
    copies = preview_messages(settings, body, first, contact_of, sent_at)
    full = {**common, "copies": copies, "masked": False}
    if request.to_me:
        private = {**hidden, **drawn, "trial": _send_trial(email, request, context, contact_of)}
        posts = (Post("campaign/preview", private, images=image),)
        return Outcome(private, posts, apply=lambda session: _forget_person(session, context))
    if request.view_id:
        window = Post(
            "campaign/preview_window",
            {**full, **drawn},
            key=f"view:{context.job_id}",
            channel=user,
            images=image,
            view_id=request.view_id,
        )
        return Outcome(hidden, (window,))
    if request.picture and is_private:
        return Outcome(hidden, (Post("campaign/preview", {**full, **drawn}, images=image),))
    if request.picture:
        key = f"campaign:{campaign.id}:preview:{campaign.version}"
        shown = {**hidden, **drawn}
        post = Post("campaign/preview", shown, key, thread_key=campaign.post_key, images=image)
        return Outcome(hidden, (post,))
    if is_private:
        return Outcome(full, (Post("campaign/preview", full),))
    to_person = Post("campaign/preview", full, key=f"preview:{context.job_id}", channel=user)
    in_channel = Post("campaign/preview", {**hidden, **drawn}, images=image)
    return Outcome(hidden, (in_channel, to_person))


def _contacts(lake: Any, settings: Any, body: Any, customer_ids: list[str]) -> dict[str, Any]:
    """Look up the customers; those of a short text have the number that it goes to, or none."""
    contact_of = find_contacts(lake, customer_ids)
    if not is_text(body.message_channel):
        return contact_of
    return with_numbers(contact_of, load_policy(settings))


def _forget_person(session: Transaction, context: Context) -> None:
    """Blank the person's name and address in the job: they are kept no longer than needed."""
    job = session.get_one(Job, context.job_id)
    job.args = (job.args or {}) | {"address": "", "person": ""}


def _send_trial(
    preview: EmailPreview | None,
    request: CampaignPreview,
    context: Context,
    contact_of: dict[str, Any],
) -> dict[str, str]:
    """Send the e-mail to the person, and say where it went or why it was not sent."""
    problem = ""
    try:
        if preview is None:
            raise BadInput(gettext("This campaign sends no e-mail."))
        channel = require_trial_channel(context.settings, request.address)
        recipient = contact_of.get(preview.row["customer_id"], Contact())
        to = Contact(request.address, request.person, locale=recipient.locale)
        email = preview.trial(to, str(context.job_id))
        with context.database.reading() as session:
            adapter = open_channel(session, channel)
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


def _picture(
    preview: EmailPreview | None, campaign: Campaign, contact_of: dict[str, Any]
) -> tuple[dict[str, Attachment], list[str]]:
    """Draw the e-mail, or return the characters that cannot be drawn."""
    if preview is None:
        return {}, []
    contact = contact_of.get(preview.row["customer_id"])
    content = preview.content(contact)
    if unknown := undrawable(content):
        return {}, unknown
    name = f"{campaign.id}-v{campaign.version}-e-mail.png"
    alt_text = gettext("E-mail with the subject {subject}").format(subject=content.subject)
    # Only the person's own picture shows a name.
    is_sensitive = contact is not None
    image = Attachment(name, "image/png", draw_email(content), alt_text, sensitive=is_sensitive)
    return {"email": image}, []
