"""How to reach the customers of a campaign, and who of them may (still) be written to, as the lake says now."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import Session

from retention.campaigns.audience import willing
from retention.db.tables import Send
from retention.outreach.contract import Contact
from retention.settings import Settings

if TYPE_CHECKING:
    from retention.lake import Lake


def waiting(session: Session, campaign_id: str) -> list[str]:
    """Customers whose copy is queued."""
    rows = select(Send.customer_id).where(Send.campaign_id == campaign_id, Send.state == "queued")
    return list(session.scalars(rows))


def contacts(lake: "Lake", ids: Iterable[str]) -> dict[str, Contact]:
    """How to reach each; who has no row in the lake is missing. An id that was merged is reached as whom it is now."""
    import ibis

    people = lake.identities.people()
    now = {one: people.get(one, one) for one in ids}
    wanted = ibis.memtable({"customer_id": sorted(set(now.values()))}, schema={"customer_id": "string"})
    rows = lake.table("customers").select("customer_id", "email", "name", "timezone", "phone")
    found = rows.semi_join(wanted, "customer_id").execute().set_index("customer_id")
    known = {
        who: Contact(*(value if isinstance(value, str) else "" for value in row))
        for who, row in zip(found.index, found.itertuples(index=False), strict=True)
    }
    return {one: known[who] for one, who in now.items() if who in known}


def unwilling(lake: "Lake", session: Session, settings: Settings, rule: str, ids: Iterable[str]) -> set[str]:
    """Those of ``ids`` who do not consent (any more) by the policy's rule."""
    people = lake.identities.people()
    now = {one: people.get(one, one) for one in ids}
    yes = willing(lake, session, settings, rule, now.values())
    return {one for one, who in now.items() if who not in yes}
