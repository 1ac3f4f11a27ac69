"""Compose a customer's message as text and HTML."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import css_inline

from retention import templating
from retention.campaigns import text_placeholders
from retention.campaigns.item_selection import NEW_ARRIVAL
from retention.campaigns.offers import conditions_text, discount_text, public_terms
from retention.campaigns.spec import Body
from retention.db.tables import Send
from retention.keys import Keys
from retention.outreach import consent
from retention.outreach.adapter import Contact, Message
from retention.outreach.consent import public_url
from retention.settings import Settings
from retention.text import use_shop_language

MAX_TITLE = 120  # characters
Offer = Mapping[str, Any]  # a row of `launch.recipient_rows`


def message_composer(
    settings: Settings, body: Body, offers: Mapping[str, Offer]
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

    Returns
    -------
    callable

    Raises
    ------
    BadInput
        ``RETENTION_PUBLIC_URL`` is not set, so customers could not unsubscribe.
    """
    base, keys = public_url(settings), settings.keys

    def make(send: Send, contact: Contact) -> Message:
        link = unsubscribe_url(base, keys, send.id)
        return compose_message(settings, body, send, contact, offers[send.customer_id], link)

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


@use_shop_language()
def compose_message(
    settings: Settings, body: Body, send: Send, contact: Contact, offer: Offer, unsubscribe: str
) -> Message:
    """Compose one message.

    HTML values are escaped. The text has the same content.

    Parameters
    ----------
    settings : Settings
        Settings of the installation.
    body : Body
        The campaign's version.
    send : Send
        The send.
    contact : Contact
        Address and name of the customer.
    offer : Offer
        Row of `recipient_rows`.
    unsubscribe : str
        Unsubscribe link.

    Returns
    -------
    Message
    """
    terms, public_offer = offer["offer"], public_terms(offer["offer"])
    values = placeholder_values(settings, contact.name, offer)
    text = text_placeholders.fill_text(message_text(body, terms), values).strip()
    subject = templating.text(
        "campaigns/subject.txt.j2", action=wording_action(terms), **values
    ).strip()
    context = {
        **values,
        "subject": subject,
        "unsubscribe_url": unsubscribe,
        "action": terms["action"],
    }
    context["agreed"] = "unknown" not in (terms.get("consent") or ())
    html = templating.html(
        "campaigns/email.html.j2",
        paragraphs=[part for part in text.split("\n\n") if part.strip()],
        titles=_shown_titles(terms),
        **context,
    )
    return Message(
        key=f"{send.campaign_id}:{send.id}",
        campaign_id=send.campaign_id,
        customer_id=send.customer_id,
        to=contact,
        subject=subject,
        text=templating.text("campaigns/email.txt.j2", text=text, **context),
        html=_inliner().inline(html),
        unsubscribe_url=unsubscribe,
        offer={
            **public_offer,
            "amount": public_offer["amount"] or 0.0,
            "min_order": public_offer["min_order"] or 0.0,
            "code": offer["code"],
            "expires_at": offer["expires_at"].astimezone(settings.zone).isoformat()
            if offer["expires_at"]
            else None,
            "items": [
                {**item, "title": title}
                for item, title in zip(terms["items"], _titles(terms), strict=True)
            ],
        },
    )


@use_shop_language()
def placeholder_values(settings: Settings, name: str | None, offer: Offer) -> dict[str, str]:
    """Return the placeholder values for one customer.

    Parameters
    ----------
    settings : Settings
        Settings of the installation.
    name : str or None
        Name of the customer.
    offer : Offer
        Row of `recipient_rows`.

    Returns
    -------
    dict of str to str
        Value by placeholder.
    """
    terms, zone = offer["offer"], ZoneInfo(settings.timezone)
    return {
        "name": templating.strip_controls(name or ""),
        "discount": discount_text(terms),
        "conditions": conditions_text(terms),
        "code": offer["code"] or "",
        "expires": templating.day(offer["expires_at"], str(zone)) if offer["expires_at"] else "",
        "items": "; ".join(_shown_titles(terms)),
        "shop": settings.shop,
    }


def _titles(terms: Mapping[str, Any]) -> list[str]:
    """Readable item titles, shortened."""
    return [
        templating.shorten(templating.strip_controls(item["title"]), MAX_TITLE)
        for item in terms["items"]
    ]


def _shown_titles(terms: Mapping[str, Any]) -> list[str]:
    """Titles of described items.

    An item without a title has only its id, and customers do not know ids. If no item has a title,
    return the ids.
    """
    titles = _titles(terms)
    has_title = [item["title"] != item["item_id"] for item in terms["items"]]
    return [
        title
        for title, is_titled in zip(titles, has_title, strict=True)
        if is_titled or not any(has_title)
    ]


def message_text(body: Body, terms: Mapping[str, Any]) -> str:
    """Return the campaign's text or the offer's default text.

    The campaign's text applies to one action (`Body.copy_action`) and only if a person changed it.

    Parameters
    ----------
    body : Body
        The campaign's version.
    terms : mapping
        Stored offer of the customer.

    Returns
    -------
    str
    """
    is_own_text = terms[
        "action"
    ] == body.copy_action and body.copy_text != text_placeholders.default_text(body.copy_action)
    return body.copy_text if is_own_text else text_placeholders.default_text(wording_action(terms))


def wording_action(terms: Mapping[str, Any]) -> str:
    """Return the action that the wording of an offer follows.

    A new-arrivals offer without new items reads as a reminder.
    """
    has_new_item = any(item.get("source") == NEW_ARRIVAL for item in terms["items"])
    return (
        "reminder"
        if terms["action"] == "new_arrivals" and not has_new_item
        else str(terms["action"])
    )


@cache
def _inliner() -> css_inline.CSSInliner:
    """Inline styles, because mail readers drop style sheets; never fetch."""
    return css_inline.CSSInliner(load_remote_stylesheets=False, keep_style_tags=True)
