"""Compose a customer's message: an e-mail as text and HTML, or a short text."""

from collections.abc import Callable, Mapping
from typing import Any

from retention.campaigns.brand import load_brand
from retention.campaigns.email_content import Offer, email_content, shown_titles
from retention.campaigns.email_layout import render_html, render_text
from retention.campaigns.offers import public_terms
from retention.campaigns.products import Product
from retention.campaigns.spec import Body
from retention.campaigns.text_message import text_content
from retention.db.tables import Send
from retention.keys import Keys
from retention.outreach import consent
from retention.outreach.adapter import Contact, Message
from retention.outreach.channels import is_text
from retention.outreach.consent import public_url
from retention.settings import Settings


def message_composer(
    settings: Settings,
    body: Body,
    offers: Mapping[str, Offer],
    products: Mapping[str, Product] | None = None,
) -> Callable[[Send, Contact], Message]:
    """Return a function that composes the campaign's messages.

    Parameters
    ----------
    settings : Settings
        Settings of the installation.
    body : Body
        The campaign's version.
    offers : mapping
        Row of `recipient_rows` by customer id.
    products : mapping, optional
        Product by item id.

    Returns
    -------
    callable

    Raises
    ------
    BadInput
        ``RETENTION_PUBLIC_URL`` is not set, so customers could not unsubscribe, or the brand file
        cannot be used.
    """
    base, keys = public_url(settings), settings.keys
    load_brand(settings)  # refused before the first e-mail

    def make(send: Send, contact: Contact) -> Message:
        link = unsubscribe_url(base, keys, send.id)
        offer = offers[send.customer_id]
        return compose_message(settings, body, send, contact, offer, link, products)

    return make


def unsubscribe_url(base: str, keys: Keys, send_id: int) -> str:
    """Return the unsubscribe link of a send.

    Parameters
    ----------
    base : str
        Public URL of the installation.
    keys : Keys
        Signing keys.
    send_id : int
        Id of the send.

    Returns
    -------
    str
    """
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
    """Compose one message in the customer's language.

    HTML values are escaped. The e-mail's plain text has the same content.

    Parameters
    ----------
    settings : Settings
        Settings of the installation.
    body : Body
        The campaign's version.
    send : Send
        The send.
    contact : Contact
        Address, name and locale of the customer.
    offer : Offer
        Row of `recipient_rows`.
    unsubscribe : str
        Unsubscribe link.
    products : mapping, optional
        Product by item id.

    Returns
    -------
    Message
    """
    if is_text(body.message_channel):
        return _compose_text(settings, body, send, contact, offer, unsubscribe)
    content = email_content(
        settings,
        body,
        offer,
        name=contact.name,
        locale=contact.locale,
        campaign_id=send.campaign_id,
        unsubscribe_url=unsubscribe,
        products=products,
    )
    return Message(
        key=f"{send.campaign_id}:{send.id}",
        campaign_id=send.campaign_id,
        customer_id=send.customer_id,
        to=contact,
        subject=content.subject,
        text=render_text(content),
        html=render_html(content),
        unsubscribe_url=unsubscribe,
        offer=_offer_values(settings, offer),
    )


def _compose_text(
    settings: Settings, body: Body, send: Send, contact: Contact, offer: Offer, unsubscribe: str
) -> Message:
    """Compose an SMS or WhatsApp message. The platform learns the number and no name."""
    content = text_content(settings, body, offer, name=contact.name, locale=contact.locale)
    return Message(
        key=f"{send.campaign_id}:{send.id}",
        campaign_id=send.campaign_id,
        customer_id=send.customer_id,
        to=contact,
        subject="",
        text=content.text,
        html="",
        unsubscribe_url=unsubscribe,
        offer=_offer_values(settings, offer),
        channel=body.message_channel,
        link=content.link,
        opt_out=content.opt_out,
        parts=content.parts,
    )


def _offer_values(settings: Settings, offer: Offer) -> dict[str, Any]:
    """Return the terms of the offer as values of the message."""
    terms, public_offer = offer["offer"], public_terms(offer["offer"])
    return {
        **public_offer,
        "amount": public_offer["amount"] or 0.0,
        "min_order": public_offer["min_order"] or 0.0,
        "code": offer["code"],
        "expires_at": offer["expires_at"].astimezone(settings.zone).isoformat()
        if offer["expires_at"]
        else None,
        "items": [
            {**item, "title": title}
            for item, title in zip(terms["items"], shown_titles(terms), strict=True)
        ],
    }
