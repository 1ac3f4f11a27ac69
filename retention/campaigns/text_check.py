"""Find customers for whom a campaign's text lacks a value."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from retention.campaigns.email_content import placeholder_values
from retention.campaigns.email_text import load_wording
from retention.campaigns.preview import NO_CODE
from retention.campaigns.spec import WITHOUT_CODE
from retention.campaigns.text_placeholders import PLACEHOLDERS
from retention.clock import now
from retention.db.tables import Assignment, Campaign
from retention.privacy import pseudonym
from retention.risk.strategy import CODED
from retention.settings import Settings

MAX_CUSTOMERS = 20_000  # checked while a person waits
MAX_SHOWN = 3  # customers per placeholder
OPTIONAL = ("conditions",)  # an offer without conditions has none to show


def missing_values(
    session: Session, settings: Settings, campaign: Campaign, text: str, action: str
) -> list[dict[str, Any]]:
    """Return the placeholders of a text that are empty for some customers.

    Parameters
    ----------
    session : Session
        Open session.
    settings : Settings
        Settings of the installation.
    campaign : Campaign
        The campaign.
    text : str
        The text, with placeholders.
    action : str
        The action of the offers that it is for; a reminder's text is that of new arrivals, too.

    Returns
    -------
    list of dict
        ``name`` of the placeholder, ``customers`` without a value, ``of`` all checked customers
        (those that get this text), and ``who``: up to `MAX_SHOWN` pseudonyms. Campaigns drafted by
        an earlier version do not know who has a name, so their names are not checked.
    """
    checked = [name for name in PLACEHOLDERS if name not in OPTIONAL]
    used = [name for name in checked if f"{{{name}}}" in text]
    actions = WITHOUT_CODE if action in WITHOUT_CODE else (action,)
    rows = session.execute(
        select(Assignment.customer_id, Assignment.offer)
        .where(
            Assignment.campaign_id == campaign.id,
            Assignment.arm.in_(("audience", "treatment")),
            Assignment.offer["action"].as_string().in_(actions),
        )
        .order_by(Assignment.customer_id)
        .limit(MAX_CUSTOMERS)
    ).all()
    without: dict[str, list[str]] = {name: [] for name in used}
    expires_at, wording = now(), load_wording(settings)
    for customer_id, offer in rows:
        has_code = offer["action"] in CODED
        row = {
            "offer": offer,
            "code": NO_CODE if has_code else None,
            "expires_at": expires_at if has_code else None,
        }
        name = "" if offer.get("named") is False else "…"
        values = placeholder_values(settings, name, row, wording)
        for placeholder in used:
            if not values[placeholder]:
                without[placeholder].append(customer_id)
    return [
        {
            "name": placeholder,
            "customers": len(ids),
            "of": len(rows),
            "who": [pseudonym(settings.key, customer_id) for customer_id in ids[:MAX_SHOWN]],
        }
        for placeholder, ids in without.items()
        if ids
    ]
