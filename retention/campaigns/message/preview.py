"""Preview the first messages of a campaign, and find customers for whom its text lacks a value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select

from retention import clock
from retention.campaigns.codes.coupons import OF_CUSTOMER, valid_until
from retention.campaigns.lifecycle.copy_test import with_variant
from retention.campaigns.lifecycle.spec import WITHOUT_CODE, Body
from retention.campaigns.message.customer_message import compose_message
from retention.campaigns.message.email_content import (
    EmailContent,
    email_content,
    placeholder_values,
)
from retention.campaigns.message.merged_message import CALL, parts_of
from retention.campaigns.message.text_message import text_content
from retention.campaigns.message.wording import PLACEHOLDERS, load_wording
from retention.campaigns.planning.product_details import Product
from retention.db import Transaction
from retention.db.tables import Assignment, Campaign, Coupon, Send
from retention.errors import BadInput
from retention.outreach.adapter import Contact, Message, is_text
from retention.outreach.consent import public_url
from retention.privacy import pseudonym
from retention.risk.strategy import CODED
from retention.settings import Settings
from retention.text import gettext

EMAIL = "email"
NO_CODE = "XXXX-XXXX-XXXX"
MAX_CUSTOMERS = 20_000  # checked while a person waits
MAX_SHOWN = 3  # customers per placeholder
OPTIONAL = ("conditions",)  # an offer without conditions has none to show


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which recipients a preview shows; None for any."""

    action: str | None = None
    rule: str | None = None  # of the offer group
    customer_id: str | None = None
    variant: str | None = None  # shows this one, whoever is drawn for it


def preview_rows(
    session: Transaction, campaign: Campaign, limit: int, wanted: Wanted | None = None
) -> list[dict[str, Any]]:
    """Return offer and code of the first recipients, in turn from each offer group.

    Before the approval, these are members of the audience. Columns are those of `recipient_rows`.
    """
    wanted = wanted or Wanted()
    rule = Assignment.offer["rule"].as_string()
    conditions = {
        Assignment.offer["action"].as_string(): wanted.action,
        rule: wanted.rule,
        Assignment.customer_id: wanted.customer_id,
    }
    number = func.row_number().over(partition_by=rule, order_by=Assignment.customer_id)
    result = session.execute(
        select(
            Assignment.customer_id,
            Assignment.offer,
            Assignment.variant,
            Coupon.code,
            Coupon.expires_at,
        )
        .outerjoin(Coupon, OF_CUSTOMER & (Coupon.state == "issued"))
        .where(
            Assignment.campaign_id == campaign.id,
            Assignment.arm.in_(("audience", "treatment")),
            *(column == value for column, value in conditions.items() if value is not None),
        )
        .order_by(number, Assignment.customer_id)
        .limit(limit)
    )
    rows = [row._asdict() for row in result]
    rows = [
        with_variant(row | ({"variant": wanted.variant} if wanted.variant else {})) for row in rows
    ]
    if not rows:
        if wanted.customer_id is not None:
            problem = gettext("Campaign {name!r} has no message to this customer; choose another.")
            raise BadInput(problem.format(name=campaign.name), field="customer")
        problem = gettext("Campaign {name!r} goes to nobody, so there is nothing to preview.")
        raise BadInput(problem.format(name=campaign.name))
    return rows


def send_time(campaign: Campaign, now: datetime) -> datetime:
    """Return when the campaign was or will be sent.

    Before the approval, this is the earliest time: an approval now, then the clearance time.
    """
    if known := campaign.sent_at or campaign.send_at:
        return known
    body = Body.of(campaign)
    cleared = now + timedelta(hours=body.clearance_hours)
    return max(cleared, body.send_on or cleared)


def preview_messages(
    settings: Settings,
    body: Body,
    rows: Sequence[Mapping[str, Any]],
    contacts: Mapping[str, Contact],
    sent_at: datetime,
) -> list[dict[str, Any]]:
    """Render messages as ``customer, group, kind, to, subject, text``.

    Short texts have ``parts`` too, and e-mails ``preheader`` and ``sender``.

    `contacts`: contact by customer id; for short texts with the number of `find_numbers`.
    `sent_at`: time of sending, from which codes that are not issued yet are valid (`send_time`).
    Returns: ``kind`` is ``email``, ``sms``, ``whatsapp`` or ``call``. All but e-mails have no
    subject. ``to`` is the address or the phone number; of a short text, only the number's last two
    digits, or nothing without a valid number. A code that is not issued yet reads
    ``XXXX-XXXX-XXXX``.
    """
    messages: list[dict[str, Any]] = []
    for row in rows:
        contact = contacts.get(row["customer_id"], Contact())
        shown = _with_code(settings, body, row, sent_at)
        is_call = row["offer"]["action"] == CALL
        kind: str
        if is_text(body.message_channel) and not is_call:
            short = text_content(settings, body, shown, contact)
            kind, to = body.message_channel, _last_digits(contact.phone)
            more: dict[str, Any] = {"subject": "", "text": short.text, "parts": short.parts}
        else:
            content = email_content(settings, body, shown, contact)
            kind, to = (CALL, contact.phone) if is_call else (EMAIL, contact.email)
            more = {"subject": "" if is_call else content.subject, "text": content.text}
            more |= {} if is_call else {"preheader": content.preview, "sender": content.sender_name}
        group = row["offer"].get("rule", "")
        shared = {"customer": row["customer_id"], "group": group, "kind": kind, "to": to}
        messages.append({**shared, **more})
    return messages


def _last_digits(number: str) -> str:
    """Return what tells a number from others: a preview is stored, and the number must not be."""
    return f"…{number.lstrip('…')[-2:]}" if number else ""


@dataclass(frozen=True, slots=True)
class EmailPreview:
    """The e-mail of one recipient, who may not have got it yet.

    ``row``: of `preview_rows`. ``sent_at``: as in `preview_messages`.
    """

    settings: Settings
    campaign_id: str
    body: Body
    row: Mapping[str, Any]
    sent_at: datetime
    products: Mapping[str, Product] | None = None

    def content(self, contact: Contact | None = None) -> EmailContent:
        """Choose what it will show; without a contact, neither name nor code."""
        row = {**self.row, "code": None} if contact is None else self.row
        return email_content(
            self.settings,
            self.body,
            _with_code(self.settings, self.body, row, self.sent_at),
            contact or _hidden_contact(row["offer"]),
            campaign_id=self.campaign_id,
            products=self.products,
        )

    def trial(self, to: Contact, key: str) -> Message:
        """Compose it for a member of the team.

        It is no delivery: no send has its key, its code is not valid, and its link to unsubscribe
        leads to the installation's first page.
        """
        unissued = {**self.row, "code": None, "expires_at": None}
        row = _with_code(self.settings, self.body, unissued, self.sent_at)
        send = Send(id=0, campaign_id=self.campaign_id, customer_id=row["customer_id"])
        home = public_url(self.settings)
        email = compose_message(self.settings, self.body, send, to, row, home, self.products)
        subject = gettext("Test: {subject}").format(subject=email.subject)
        return replace(email, key=f"test:{key}", customer_id="test", subject=subject)


def with_hidden_products(body: Body, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows with an ellipsis for products that are chosen when the message is sent."""
    hidden = [{"item_id": "…", "title": "…"}]
    shown = []
    for row in rows:
        block = parts_of(body, row["offer"]).products
        is_later = block is not None and block.source != "recommended"
        shown.append({**row, "offer": {**row["offer"], "items": hidden}} if is_later else {**row})
    return shown


def _with_code(
    settings: Settings, body: Body, row: Mapping[str, Any], sent_at: datetime
) -> dict[str, Any]:
    """Return a row with its code, or with one that is not valid if it is not issued yet."""
    code = row["code"] or (NO_CODE if row["offer"]["action"] in CODED else None)
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
    """Render messages without names, addresses, phone numbers and codes."""
    masked_contacts = {row["customer_id"]: _hidden_contact(row["offer"]) for row in rows}
    masked = [{**row, "code": None, "expires_at": None} for row in rows]
    messages = preview_messages(settings, body, masked, masked_contacts, sent_at)
    return [
        {**message, "customer": pseudonym(settings.key, row["customer_id"])}
        for row, message in zip(rows, messages, strict=True)
    ]


def missing_values(
    session: Transaction, campaign: Campaign, text: str, wanted: "Wanted"
) -> list[dict[str, Any]]:
    """Return the placeholders of a text that are empty for some customers.

    Returns: ``name`` of the placeholder, ``customers`` without a value, ``of`` all checked
    customers (those that get this text), and ``who``: up to `MAX_SHOWN` pseudonyms. Campaigns
    drafted by an earlier version do not know who has a name, so their names are not checked.
    """
    checked = [name for name in PLACEHOLDERS if name not in OPTIONAL]
    used = [name for name in checked if f"{{{name}}}" in text]
    action, rule = wanted.action, Assignment.offer["rule"].as_string()
    actions = WITHOUT_CODE if action in WITHOUT_CODE else (action,)
    in_group = () if wanted.rule is None else (rule == wanted.rule,)
    rows = session.execute(
        select(Assignment.customer_id, Assignment.offer)
        .where(
            Assignment.campaign_id == campaign.id,
            Assignment.arm.in_(("audience", "treatment")),
            Assignment.offer["action"].as_string().in_(actions),
            *in_group,
        )
        .order_by(Assignment.customer_id)
        .limit(MAX_CUSTOMERS)
    ).all()
    without: dict[str, list[str]] = {name: [] for name in used}
    expires_at, wording = clock.now(), load_wording(session.settings)
    for customer_id, offer in rows:
        coded = {"code": NO_CODE, "expires_at": expires_at}
        row = {"offer": offer, **(coded if offer["action"] in CODED else dict.fromkeys(coded))}
        name = "" if offer.get("named") is False else "…"
        values = placeholder_values(session.settings, name, row, wording)
        for placeholder in used:
            if not values[placeholder]:
                without[placeholder].append(customer_id)
    missing = []
    for name, ids in without.items():
        who = [pseudonym(session.settings.key, customer_id) for customer_id in ids[:MAX_SHOWN]]
        missing.append({"name": name, "customers": len(ids), "of": len(rows), "who": who})
    return [each for each in missing if each["customers"]]
