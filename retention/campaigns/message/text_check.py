"""Find customers for whom a campaign's text lacks a value."""

from typing import Any

from sqlalchemy import select

from retention.campaigns.lifecycle.spec import WITHOUT_CODE
from retention.campaigns.message.email_content import placeholder_values
from retention.campaigns.message.preview import NO_CODE
from retention.campaigns.message.wording import PLACEHOLDERS, load_wording
from retention.clock import now
from retention.db import Transaction
from retention.db.tables import Assignment, Campaign
from retention.privacy import pseudonym
from retention.risk.strategy import CODED

MAX_CUSTOMERS = 20_000  # checked while a person waits
MAX_SHOWN = 3  # customers per placeholder
OPTIONAL = ("conditions",)  # an offer without conditions has none to show


def missing_values(
    session: Transaction, campaign: Campaign, text: str, action: str
) -> list[dict[str, Any]]:
    """Return the placeholders of a text that are empty for some customers.

    Returns: ``name`` of the placeholder, ``customers`` without a value, ``of`` all checked
    customers (those that get this text), and ``who``: up to `MAX_SHOWN` pseudonyms. Campaigns
    drafted by an earlier version do not know who has a name, so their names are not checked.
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
    expires_at, wording = now(), load_wording(session.settings)
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
