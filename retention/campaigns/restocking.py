"""Between draft and sending an item may sell out or be recalled: the next that the customer would like takes its place."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from retention.campaigns.item_selection import Pick
from retention.campaigns.offers import Suggested, as_items
from retention.db.tables import Assignment

Offer = Mapping[str, Any]
Together = Callable[[str, Sequence[Any], Sequence[Any], int], Sequence[Suggested]]


def sold_out(session: Session, campaign_id: str, barred: Collection[str]) -> dict[str, Offer]:
    """Treated customer → their offer, where an item of it may not be offered any more."""
    rows = session.execute(
        select(Assignment.customer_id, Assignment.offer).where(
            Assignment.campaign_id == campaign_id, Assignment.arm == "treatment"
        )
    )
    return {
        who: offer
        for who, offer in rows
        if any(item["item_id"] in barred for item in offer.get("items", ()))
    }


def replace(
    session: Session,
    campaign_id: str,
    offers: Mapping[str, Offer],
    lists: Mapping[str, Sequence[Suggested]],
    together: Together,
) -> None:
    """Write these customers' offers anew: what may still be offered, filled up from their lists as of now.

    Parameters
    ----------
    together : callable
        Customer, items, further items, how many → those of both that may be offered to them.
    """
    rows = []
    for who, offer in offers.items():
        before = [Pick(**item) for item in offer["items"]]
        items = together(who, before, lists.get(who, ()), len(before))
        rows.append(
            {
                "campaign_id": campaign_id,
                "customer_id": who,
                "offer": {**offer, "items": as_items(items)},
            }
        )
    session.execute(update(Assignment), rows)
