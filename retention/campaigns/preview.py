"""Preview the first messages of a campaign without sending."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from retention.campaigns.compose import compose_message
from retention.campaigns.coupons import valid_until
from retention.campaigns.email_content import CALL, EmailContent, email_content
from retention.campaigns.products import Product
from retention.campaigns.spec import Body
from retention.campaigns.text_message import text_content
from retention.db.tables import Assignment, Campaign, Coupon, Send
from retention.errors import BadInput
from retention.outreach.adapter import Contact, Message
from retention.outreach.channels import is_text
from retention.outreach.consent import public_url
from retention.privacy import pseudonym
from retention.risk.strategy import CODED
from retention.settings import Settings
from retention.text import gettext

EMAIL = "email"
NO_CODE = "XXXX-XXXX-XXXX"


def preview_rows(
    session: Session, campaign: Campaign, limit: int, action: str | None = None
) -> list[dict[str, Any]]:
    """Return offer and code of the first recipients.

    Before the approval, these are members of the audience. Columns are those of `recipient_rows`.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    campaign : Campaign
        The campaign.
    limit : int
        Largest number of rows.
    action : str, optional
        Only recipients of this kind of offer.

    Returns
    -------
    list[dict[str, Any]]

    Raises
    ------
    BadInput
        The campaign has no recipients.
    """
    kind = () if action is None else (Assignment.offer["action"].as_string() == action,)
    result = session.execute(
        select(Assignment.customer_id, Assignment.offer, Coupon.code, Coupon.expires_at)
        .outerjoin(
            Coupon,
            (Coupon.campaign_id == Assignment.campaign_id)
            & (Coupon.customer_id == Assignment.customer_id)
            & (Coupon.state == "issued"),
        )
        .where(
            Assignment.campaign_id == campaign.id,
            Assignment.arm.in_(("audience", "treatment")),
            *kind,
        )
        .order_by(Assignment.customer_id)
        .limit(limit)
    )
    if not (rows := [row._asdict() for row in result]):
        raise BadInput(
            gettext("Campaign {name!r} goes to nobody, so there is nothing to preview.").format(
                name=campaign.name
            )
        )
    return rows


def send_time(campaign: Campaign, now: datetime) -> datetime:
    """Return when the campaign was or will be sent.

    Before the approval, this is the earliest time: an approval now, then the clearance time.

    Parameters
    ----------
    campaign : Campaign
        The campaign.
    now : datetime
        Business time.

    Returns
    -------
    datetime
    """
    if known := campaign.sent_at or campaign.send_at:
        return known
    body = Body.model_validate(campaign.body)
    cleared = now + timedelta(hours=body.clearance_hours)
    return max(cleared, body.send_on or cleared)


def preview_messages(
    settings: Settings,
    body: Body,
    rows: Sequence[Mapping[str, Any]],
    contacts: Mapping[str, Contact],
    sent_at: datetime,
) -> list[dict[str, Any]]:
    """Render messages as ``customer, kind, to, subject, text``; ``parts`` too of a short text.

    Parameters
    ----------
    settings : Settings
        Settings of the installation.
    body : Body
        The campaign's version.
    rows : sequence of mapping
        Rows of `preview_rows`.
    contacts : mapping
        Contact by customer id; for short texts with the number of `find_numbers`.
    sent_at : datetime
        Time of sending, from which codes that are not issued yet are valid (`send_time`).

    Returns
    -------
    list[dict[str, Any]]
        ``kind`` is ``email``, ``sms``, ``whatsapp`` or ``call``. All but e-mails have no subject.
        ``to`` is the address or the phone number; of a short text, only the number's last two
        digits, or nothing without a valid number. A code that is not issued yet reads
        ``XXXX-XXXX-XXXX``.
    """
    expires_at = valid_until(sent_at, body.expires_days, settings.zone)
    messages: list[dict[str, Any]] = []
    for row in rows:
        contact, offer = contacts.get(row["customer_id"], Contact()), row["offer"]
        code = row["code"] or (NO_CODE if offer["action"] in CODED else None)
        shown = {**row, "code": code}
        if code and row["code"] is None:
            shown["expires_at"] = expires_at
        is_call = offer["action"] == CALL
        if is_text(body.message_channel) and not is_call:
            messages.append(_text_message(settings, body, shown, contact))
            continue
        content = email_content(settings, body, shown, name=contact.name, locale=contact.locale)
        messages.append(
            {
                "customer": row["customer_id"],
                "kind": CALL if is_call else EMAIL,
                "to": contact.phone if is_call else contact.email,
                "subject": "" if is_call else content.subject,
                "text": content.text,
            }
        )
    return messages


def _text_message(
    settings: Settings, body: Body, row: Mapping[str, Any], contact: Contact
) -> dict[str, Any]:
    content = text_content(settings, body, row, name=contact.name, locale=contact.locale)
    return {
        "customer": row["customer_id"],
        "kind": body.message_channel,
        "to": _last_digits(contact.phone),
        "subject": "",
        "text": content.text,
        "parts": content.parts,
    }


def _last_digits(number: str) -> str:
    """Return what tells a number from others: a preview is stored, and the number must not be."""
    return f"…{number.lstrip('…')[-2:]}" if number else ""


def preview_content(
    settings: Settings,
    campaign_id: str,
    body: Body,
    row: Mapping[str, Any],
    sent_at: datetime,
    contact: Contact | None = None,
    products: Mapping[str, Product] | None = None,
) -> EmailContent:
    """Choose what the e-mail of one recipient will show.

    Parameters
    ----------
    settings : Settings
        Settings of the installation.
    campaign_id : str
        Campaign id.
    body : Body
        The campaign's version.
    row : mapping
        A row of `preview_rows`.
    sent_at : datetime
        As in `preview_messages`.
    contact : Contact, optional
        By default name and address are hidden, and so is the code.
    products : mapping, optional
        Product by item id.

    Returns
    -------
    EmailContent
        Its link to unsubscribe leads nowhere.
    """
    shown = _with_code(settings, body, row, sent_at, is_hidden=contact is None)
    person = contact or _hidden_contact(row["offer"])
    return email_content(
        settings,
        body,
        shown,
        name=person.name,
        locale=person.locale,
        campaign_id=campaign_id,
        products=products,
    )


def trial_email(
    settings: Settings,
    campaign_id: str,
    body: Body,
    row: Mapping[str, Any],
    sent_at: datetime,
    to: Contact,
    key: str,
    products: Mapping[str, Product] | None = None,
) -> Message:
    """Compose the e-mail of one recipient for a member of the team.

    It is no delivery: no send has its key, its code is not valid, and its link to unsubscribe
    leads to the installation's first page.

    Parameters
    ----------
    settings : Settings
        Settings of the installation.
    campaign_id : str
        Campaign id.
    body : Body
        The campaign's version.
    row : mapping
        A row of `preview_rows`.
    sent_at : datetime
        As in `preview_messages`.
    to : Contact
        The person's own address and name, and the locale of the recipient.
    key : str
        Unique to this test; equal when it is repeated.
    products : mapping, optional
        Product by item id.

    Returns
    -------
    Message

    Raises
    ------
    BadInput
        The installation has no public URL.
    """
    unissued = {**row, "code": None, "expires_at": None}
    shown = _with_code(settings, body, unissued, sent_at, is_hidden=True)
    send = Send(id=0, campaign_id=campaign_id, customer_id=row["customer_id"])
    email = compose_message(settings, body, send, to, shown, public_url(settings), products)
    return replace(
        email,
        key=f"test:{key}",
        customer_id="test",
        subject=gettext("Test: {subject}").format(subject=email.subject),
    )


def _with_code(
    settings: Settings, body: Body, row: Mapping[str, Any], sent_at: datetime, *, is_hidden: bool
) -> dict[str, Any]:
    """Return a row with its code, or one that is not valid if it is hidden or not issued yet."""
    code = None if is_hidden else row["code"]
    code = code or (NO_CODE if row["offer"]["action"] in CODED else None)
    shown = {**row, "code": code}
    if code and row["expires_at"] is None:
        shown["expires_at"] = valid_until(sent_at, body.expires_days, settings.zone)
    return shown


def _hidden_contact(offer: Mapping[str, Any]) -> Contact:
    """Return ellipses, but no name if the shop knows none.

    Offers of earlier versions do not say whether it does.
    """
    name = "" if offer.get("named") is False else "…"
    return Contact("…", name, phone="…")


def masked_messages(
    settings: Settings, body: Body, rows: Sequence[Mapping[str, Any]], sent_at: datetime
) -> list[dict[str, Any]]:
    """Render messages without names, addresses, phone numbers and codes.

    Parameters
    ----------
    settings : Settings
        Settings of the installation.
    body : Body
        The campaign's version.
    rows : sequence of mapping
        Rows of `preview_rows`.
    sent_at : datetime
        As in `preview_messages`.

    Returns
    -------
    list[dict[str, Any]]
        Customers are pseudonyms.
    """
    masked_contacts = {row["customer_id"]: _hidden_contact(row["offer"]) for row in rows}
    messages = preview_messages(
        settings, body, [{**row, "code": None} for row in rows], masked_contacts, sent_at
    )
    return [
        {**message, "customer": pseudonym(settings.key, row["customer_id"])}
        for row, message in zip(rows, messages, strict=True)
    ]
