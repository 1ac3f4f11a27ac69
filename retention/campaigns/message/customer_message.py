"""Compose a customer's message: an e-mail as text and HTML, or a short text."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from retention import templating
from retention.campaigns.lifecycle.spec import Body
from retention.campaigns.message.brand import load_brand
from retention.campaigns.message.email_content import (
    EmailContent,
    Offer,
    email_content,
    shown_titles,
)
from retention.campaigns.message.text_message import text_content
from retention.campaigns.planning.offer_terms import public_terms
from retention.campaigns.planning.product_details import Product
from retention.db.tables import Send
from retention.keys import Keys
from retention.outreach import consent
from retention.outreach.adapter import Contact, Message, is_text
from retention.outreach.consent import public_url
from retention.settings import Settings
from retention.text import DEFAULT, PSEUDO, bracket_html, use_language


def message_composer(
    settings: Settings,
    body: Body,
    offers: Mapping[str, Offer],
    products: Mapping[str, Product] | None = None,
) -> Callable[[Send, Contact], Message]:
    """Return a function that composes the campaign's messages.

    `offers`: row of `recipient_rows` by customer id.
    Raises `BadInput`: ``RETENTION_PUBLIC_URL`` is not set, so customers could not unsubscribe, or
    the brand file cannot be used.
    """
    base, keys = public_url(settings), settings.keys
    load_brand(settings)  # refused before the first e-mail

    def make(send: Send, contact: Contact) -> Message:
        link = unsubscribe_url(base, keys, send.id)
        offer = offers[send.customer_id]
        return compose_message(settings, body, send, contact, offer, link, products)

    return make


def unsubscribe_url(base: str, keys: Keys, send_id: int) -> str:
    """Return the unsubscribe link of a send."""
    return f"{base}/unsubscribe/{consent.unsubscribe_token(keys, send_id)}"


def compose_message(
    settings: Settings,
    body: Body,
    send: Send,
    contact: Contact,
    offer: Offer,
    unsubscribe: str,
    products: Mapping[str, Product] | None = None,
) -> Message:
    """Compose one message in the customer's language: an e-mail, an SMS or a WhatsApp message.

    HTML values are escaped. The e-mail's plain text has the same content.

    `offer`: row of `recipient_rows`.
    """
    if is_text(body.message_channel):  # the platform learns the number and no name
        short = text_content(settings, body, offer, contact)
        names = ("text", "link", "opt_out", "parts")
        shown = {name: getattr(short, name) for name in names}
        shown |= {"subject": "", "html": "", "channel": body.message_channel}
    else:
        content = email_content(
            settings,
            body,
            offer,
            contact,
            campaign_id=send.campaign_id,
            unsubscribe_url=unsubscribe,
            products=products,
        )
        shown = {"subject": content.subject, "text": render_text(content)}
        shown["html"] = render_html(content)
        shown |= {"sender_name": content.sender_name, "reply_to": content.brand.reply_to}
    return Message(
        key=f"{send.campaign_id}:{send.id}",
        campaign_id=send.campaign_id,
        customer_id=send.customer_id,
        to=contact,
        unsubscribe_url=unsubscribe,
        offer=_offer_values(settings, offer),
        **shown,
    )


def _offer_values(settings: Settings, offer: Offer) -> dict[str, Any]:
    """Return the terms of the offer as values of the message."""
    terms, public = offer["offer"], public_terms(offer["offer"])
    expires_at, titles = offer["expires_at"], shown_titles(terms)
    return {
        **public,
        "amount": public["amount"] or 0.0,
        "min_order": public["min_order"] or 0.0,
        "code": offer["code"],
        "expires_at": expires_at.astimezone(settings.zone).isoformat() if expires_at else None,
        "items": [
            {**item, "title": title} for item, title in zip(terms["items"], titles, strict=True)
        ],
    }


_NOT_IN_XML = re.compile("[\ufffe\uffff\ud800-\udfff]")  # MJML with such a character is refused


def render_html(content: EmailContent) -> str:
    """Return the e-mail as HTML.

    Mail programs drop most of CSS, so MJML's tables and inline styles are used. No font and no
    style sheet is loaded from elsewhere.
    """
    import mrml

    # The pseudo-locale would put brackets into the styles.
    with use_language(DEFAULT):
        source = templating.html("campaigns/email.mjml.j2", c=content)
    html = str(mrml.to_html(_NOT_IN_XML.sub("", source)).content)
    return bracket_html(html) if content.language == PSEUDO else html


def render_text(content: EmailContent) -> str:
    """Return the same content as plain text."""
    with use_language(content.language):
        return templating.text("campaigns/email.txt.j2", c=content)
