"""Preview the first messages of a campaign without sending."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from retention import templating
from retention.campaigns import text_placeholders
from retention.campaigns.compose import message_text, placeholder_values, wording_action
from retention.campaigns.spec import Body
from retention.db.tables import Assignment, Campaign, Coupon
from retention.errors import BadInput
from retention.outreach.adapter import Contact
from retention.privacy import pseudonym
from retention.risk.strategy import CODED
from retention.settings import Settings
from retention.text import gettext

NO_CODE = "XXXX-XXXX-XXXX"


def preview_rows(session: Session, campaign: Campaign, limit: int) -> list[dict[str, Any]]:
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

    Returns
    -------
    list[dict[str, Any]]

    Raises
    ------
    BadInput
        The campaign has no recipients.
    """
    result = session.execute(
        select(Assignment.customer_id, Assignment.offer, Coupon.code, Coupon.expires_at)
        .outerjoin(
            Coupon,
            (Coupon.campaign_id == Assignment.campaign_id)
            & (Coupon.customer_id == Assignment.customer_id)
            & (Coupon.state == "issued"),
        )
        .where(Assignment.campaign_id == campaign.id, Assignment.arm.in_(("audience", "treatment")))
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


def preview_messages(
    settings: Settings,
    body: Body,
    rows: Sequence[Mapping[str, Any]],
    contacts: Mapping[str, Contact],
) -> list[dict[str, str]]:
    """Render messages as ``customer, to, subject, text``.

    Parameters
    ----------
    settings : Settings
        Settings of the installation.
    body : Body
        The campaign's version.
    rows : sequence of mapping
        Rows of `preview_rows`.
    contacts : mapping
        Contact by customer id.

    Returns
    -------
    list[dict[str, str]]
        A code that is not issued yet reads ``XXXX-XXXX-XXXX``.
    """
    messages = []
    for row in rows:
        contact, offer = contacts.get(row["customer_id"], Contact()), row["offer"]
        code = row["code"] or (NO_CODE if offer["action"] in CODED else None)
        values = placeholder_values(settings, contact.name, {**row, "code": code})
        if row["code"] is None and code:
            values["expires"] = gettext("{days} days after sending").format(days=body.expires_days)
        subject = templating.text(
            "campaigns/subject.txt.j2", action=wording_action(offer), **values
        ).strip()
        text = text_placeholders.fill_text(message_text(body, offer), values).strip()
        messages.append(
            {
                "customer": row["customer_id"],
                "to": contact.email,
                "subject": subject,
                "text": text,
            }
        )
    return messages


def masked_messages(
    settings: Settings, body: Body, rows: Sequence[Mapping[str, Any]]
) -> list[dict[str, str]]:
    """Render messages without names, addresses and codes.

    Parameters
    ----------
    settings : Settings
        Settings of the installation.
    body : Body
        The campaign's version.
    rows : sequence of mapping
        Rows of `preview_rows`.

    Returns
    -------
    list[dict[str, str]]
        Customers are pseudonyms.
    """
    masked_contacts = {row["customer_id"]: Contact("…", "…") for row in rows}
    messages = preview_messages(
        settings, body, [{**row, "code": None} for row in rows], masked_contacts
    )
    return [
        {**message, "customer": pseudonym(settings.key, row["customer_id"])}
        for row, message in zip(rows, messages, strict=True)
    ]
