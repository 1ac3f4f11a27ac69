"""A customer's copy: the campaign's text with their name, code and items, as text and as an HTML e-mail."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import css_inline

from retention import templating
from retention.campaigns import wording
from retention.campaigns.item_selection import NEW
from retention.campaigns.offers import conditions, terms, worth
from retention.campaigns.spec import Body
from retention.db.tables import Send
from retention.keys import Keys
from retention.outreach import consent
from retention.outreach.consent import public_url
from retention.outreach.messages import Contact, Message
from retention.settings import Settings

LONGEST_TITLE = 120  # characters
Offer = Mapping[str, Any]  # a row of `sending.codes`


def maker(
    settings: Settings, body: Body, offers: Mapping[str, Offer]
) -> Callable[[Send, Contact], Message]:
    """What makes a campaign's copies.

    Parameters
    ----------
    offers : mapping
        Customer id → their row of `retention.campaigns.sending.codes`.

    Raises
    ------
    BadInput
        Without ``RETENTION_PUBLIC_URL`` nobody could unsubscribe, so nothing is sent.
    """
    base, keys = public_url(settings), settings.keys

    def make(send: Send, contact: Contact) -> Message:
        link = unsubscribe_url(base, keys, send.id)
        return composed(settings, body, send, contact, offers[send.customer_id], link)

    return make


def unsubscribe_url(base: str, keys: Keys, send_id: int) -> str:
    """The link by which a customer unsubscribes."""
    return f"{base}/unsubscribe/{consent.unsubscribe_token(keys, send_id)}"


def composed(
    settings: Settings, body: Body, send: Send, contact: Contact, offer: Offer, unsubscribe: str
) -> Message:
    """One copy. Every value is escaped in the HTML; the text says the same."""
    given, public = offer["offer"], terms(offer["offer"])
    values = placed(settings, contact.name, offer)
    text = wording.filled(copy_of(body, given), values).strip()
    subject = templating.text("campaigns/subject.txt.j2", action=reads_as(given), **values).strip()
    told = {**values, "subject": subject, "unsubscribe_url": unsubscribe, "action": given["action"]}
    told["agreed"] = "unknown" not in (given.get("consent") or ())
    html = templating.html(
        "campaigns/email.html.j2",
        paragraphs=[part for part in text.split("\n\n") if part.strip()],
        titles=_named(given),
        **told,
    )
    return Message(
        key=f"{send.campaign_id}:{send.id}",
        campaign_id=send.campaign_id,
        customer_id=send.customer_id,
        to=contact,
        subject=subject,
        text=templating.text("campaigns/email.txt.j2", text=text, **told),
        html=_inliner().inline(html),
        unsubscribe_url=unsubscribe,
        offer={
            **public,
            "amount": public["amount"] or 0.0,
            "min_order": public["min_order"] or 0.0,
            "code": offer["code"],
            "expires_at": offer["expires_at"].astimezone(settings.zone).isoformat()
            if offer["expires_at"]
            else None,
            "items": [
                {**item, "title": title}
                for item, title in zip(given["items"], _titles(given), strict=True)
            ],
        },
    )


def placed(settings: Settings, name: str | None, offer: Offer) -> dict[str, str]:
    """What the placeholders of a text stand for, for one customer."""
    given, zone = offer["offer"], ZoneInfo(settings.timezone)
    return {
        "name": templating.straight(name or ""),
        "discount": worth(given),
        "conditions": conditions(given),
        "code": offer["code"] or "",
        "expires": templating.day(offer["expires_at"], str(zone)) if offer["expires_at"] else "",
        "items": "; ".join(_named(given)),
        "shop": settings.shop,
    }


def _titles(given: Mapping[str, Any]) -> list[str]:
    """The items of an offer, as people call them; catalogues have titles that are whole descriptions."""
    return [
        templating.shorten(templating.straight(item["title"]), LONGEST_TITLE)
        for item in given["items"]
    ]


def _named(given: Mapping[str, Any]) -> list[str]:
    """Those that have a title: what was sold and never described has its id, which no customer knows it by.

    Where none has (a shop without a catalogue), their ids: a reminder of nothing would be worse.
    """
    titles = _titles(given)
    known = [item["title"] != item["item_id"] for item in given["items"]]
    return [title for title, named in zip(titles, known, strict=True) if named or not any(known)]


def copy_of(body: Body, given: Mapping[str, Any]) -> str:
    """The campaign's own text where it is for this offer's action (`Body.copy_action`); else the usual one for what it offers."""
    own = given["action"] == body.copy_action and body.copy_text != wording.default(
        body.copy_action
    )
    return body.copy_text if own else wording.default(reads_as(given))


def reads_as(given: Mapping[str, Any]) -> str:
    """The action whose words an offer has: where nothing is new for a customer, who gets recommended items, none are told as new."""
    new = any(item.get("source") == NEW for item in given["items"])
    return "reminder" if given["action"] == "new_arrivals" and not new else str(given["action"])


@cache
def _inliner() -> css_inline.CSSInliner:
    """Mail readers drop style sheets, so rules become attributes; nothing is ever fetched."""
    return css_inline.CSSInliner(load_remote_stylesheets=False, keep_style_tags=True)
