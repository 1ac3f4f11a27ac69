"""Store displayed recommendations: customer, item, position, model and probability."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from retention.db.tables import Assignment, Campaign, Impression
from retention.errors import BadInput
from retention.settings import Settings
from retention.templating import shorten
from retention.text import gettext

Surface = Literal["score", "recommend", "campaign"]
AT_ONCE = 5_000
LONGEST = 255  # characters of a title


def store_list(
    session: Session,
    settings: Settings,
    shown_in: str,
    customer_id: str,
    items: Sequence[Mapping[str, Any]],
    *,
    surface: Surface,
    model_version: str,
    at: datetime,
) -> None:
    """Store a list in the order displayed.

    Each of ``items`` has ``item_id`` and ``source``.

    Parameters
    ----------
    session, settings : Session, Settings
        The caller's transaction and installation.
    shown_in : str
        Id of the job that displayed the list.
    customer_id : str
        The customer that the list is for.
    items : sequence of mapping
        In the order displayed, each with ``item_id`` and ``source``.
    surface : {"score", "recommend", "campaign"}
        Kind of message.
    model_version : str
        Version of the recommender.
    at : datetime
        Time of display.
    """
    rows = _rows(items, customer_id, model_version, "", None)
    _insert(session, settings, shown_in, surface, at, rows)


def store_campaign(session: Session, settings: Settings, campaign: Campaign, at: datetime) -> int:
    """Store the items sent to a treatment group.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    campaign : Campaign
        As stored.
    at : datetime
        Time of sending.

    Returns
    -------
    int
        Number of items.
    """
    treated = session.execute(
        select(Assignment.customer_id, Assignment.offer)
        .where(Assignment.campaign_id == campaign.id, Assignment.arm == "treatment")
        .order_by(Assignment.customer_id)
    )
    rows = [
        row
        for customer, offer in treated
        for row in _rows(
            offer.get("items", ()),
            customer,
            offer.get("recommended_by", "none"),
            offer.get("arm", ""),
            offer.get("propensity"),
        )
    ]
    _insert(session, settings, campaign.id, "campaign", at, rows)
    return len(rows)


def item_at(
    session: Session, settings: Settings, shown_in: str, customer_id: str, position: int
) -> Impression:
    """Return the item at a list's position.

    Parameters
    ----------
    session, settings : Session, Settings
        The caller's transaction and installation.
    shown_in, customer_id : str
        Id of the list and of its customer.
    position : int
        From 1.

    Raises
    ------
    BadInput
        If nothing is stored about it any more.
    """
    key = (settings.team_id, shown_in, customer_id, position)
    row = session.get(Impression, key)
    if row is None:
        raise BadInput(
            gettext("This list is not known any more; `/retention recommend` has a new one.")
        )
    return row


def _rows(
    items: Sequence[Mapping[str, Any]],
    customer_id: str,
    version: str,
    arm: str,
    propensity: float | None,
) -> list[dict[str, Any]]:
    return [
        {
            "customer_id": customer_id,
            "position": place,
            "item_id": item["item_id"],
            "title": shorten(item.get("title", ""), LONGEST),
            "source": item.get("source", ""),
            "model_version": version,
            "arm": arm,
            "propensity": propensity,
        }
        for place, item in enumerate(items, 1)
    ]


def _insert(
    session: Session,
    settings: Settings,
    shown_in: str,
    surface: Surface,
    at: datetime,
    rows: list[dict[str, Any]],
) -> None:
    shared = {"team_id": settings.team_id, "shown_in": shown_in, "surface": surface, "shown_at": at}
    for start in range(0, len(rows), AT_ONCE):
        session.execute(
            insert(Impression), [{**row, **shared} for row in rows[start : start + AT_ONCE]]
        )
