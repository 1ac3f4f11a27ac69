"""Who wants no more: one row a customer, written by their own click, read wherever somebody is chosen or written to."""

from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from retention.db.audit import record
from retention.db.insert import insert_once
from retention.db.tables import Send, Suppression
from retention.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from retention.lake import Lake


def unsubscribe(session: Session, settings: Settings, send_id: int, now: datetime) -> bool:
    """Withdraw the consent of the customer to whom a send went, and cancel what is still queued for them.

    Returns
    -------
    bool
        Whether the send is known; asking again is harmless.
    """
    send = session.get(Send, send_id)
    if send is None or send.team_id != settings.team_id:
        return False
    new = insert_once(
        session,
        Suppression,
        customer_id=send.customer_id,
        team_id=settings.team_id,
        source="unsubscribe",
        campaign_id=send.campaign_id,
        at=now,
    )
    if new:
        session.execute(
            update(Send)
            .where(Send.customer_id == send.customer_id, Send.state == "queued")
            .values(state="cancelled", error="unsubscribed since"),
            execution_options={"synchronize_session": False},
        )
        record(
            session,
            settings,
            "customer",
            "consent.withdrawn",
            send.campaign_id,
            now,
            {"send": send_id},
        )
    return True


def suppressed(session: Session, settings: Settings) -> set[str]:
    """Customers who have unsubscribed."""
    return set(
        session.scalars(
            select(Suppression.customer_id).where(Suppression.team_id == settings.team_id)
        )
    )


def consents(lake: "Lake", session: Session, settings: Settings, ids: "pd.Series") -> "pd.Series":
    """``given``, ``unknown`` or ``refused`` for each customer; who unsubscribed, under whichever id, refused."""
    import pandas as pd

    customers = lake.table("customers")
    said = customers.filter(customers.marketing_consent.notnull())
    told = said.select("customer_id", "marketing_consent").execute()
    yes = told["marketing_consent"].astype(bool)
    found = pd.Series("unknown", index=ids.index)
    found[ids.isin(told.loc[yes, "customer_id"])] = "given"
    found[ids.isin(told.loc[~yes, "customer_id"])] = "refused"
    found[ids.isin(lake.identities.resolved(suppressed(session, settings)))] = "refused"
    return found
