"""Store displayed recommendations: customer, item, position, model and probability."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import insert, select

from retention.db import Transaction
from retention.db.tables import Assignment, Campaign, Impression
from retention.errors import BadInput
from retention.templating import shorten
from retention.text import gettext

Surface = Literal["score", "recommend", "campaign"]
# Customer, items, and model version, arm and propensity.
ShownList = tuple[str, Sequence[Mapping[str, Any]], tuple[str, str, float | None]]
AT_ONCE = 5_000
LONGEST = 255  # characters of a title


def store_list(
    session: Transaction,
    shown_in: str,
    customer_id: str,
    items: Sequence[Mapping[str, Any]],
    *,
    surface: Surface,
    model_version: str,
    at: datetime,
) -> None:
    """Store a list in the order displayed. Each of ``items`` has ``item_id`` and ``source``."""
    lists = [(customer_id, items, (model_version, "", None))]
    _insert(session, shown_in, surface, at, lists)


def store_campaign(session: Transaction, campaign: Campaign, at: datetime) -> int:
    """Store the items sent to a treatment group."""
    treated = session.execute(
        select(Assignment.customer_id, Assignment.offer)
        .where(Assignment.campaign_id == campaign.id, Assignment.arm == "treatment")
        .order_by(Assignment.customer_id)
    )
    lists = []
    for customer, offer in treated:
        by = offer.get("recommended_by", "none"), offer.get("arm", ""), offer.get("propensity")
        lists.append((customer, offer.get("items", ()), by))
    return _insert(session, campaign.id, "campaign", at, lists)


def item_at(session: Transaction, shown_in: str, customer_id: str, position: int) -> Impression:
    """Return the item at a list's position."""
    key = (session.settings.team_id, shown_in, customer_id, position)
    row = session.get(Impression, key)
    if row is None:
        raise BadInput(gettext("This list is not known any more."), hint="recommend")
    return row


def _insert(
    session: Transaction, shown_in: str, surface: Surface, at: datetime, lists: Iterable[ShownList]
) -> int:
    """Store lists; return the number of items."""
    shared = {
        "team_id": session.settings.team_id,
        "shown_in": shown_in,
        "surface": surface,
        "shown_at": at,
    }
    rows = [
        {
            **shared,
            "customer_id": customer_id,
            "position": place,
            "item_id": item["item_id"],
            "title": shorten(item.get("title", ""), LONGEST),
            "source": item.get("source", ""),
            "model_version": version,
            "arm": arm,
            "propensity": propensity,
        }
        for customer_id, items, (version, arm, propensity) in lists
        for place, item in enumerate(items, 1)
    ]
    for start in range(0, len(rows), AT_ONCE):
        session.execute(insert(Impression), rows[start : start + AT_ONCE])
    return len(rows)
