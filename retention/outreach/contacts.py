"""How to reach the customers of a campaign, and who of them may (still) be written to, as the lake says now."""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from retention.db.tables import Send
from retention.outreach.consent import consents
from retention.outreach.messages import Contact
from retention.risk.policy import Policy
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
    wanted = ibis.memtable(
        {"customer_id": sorted(set(now.values()))}, schema={"customer_id": "string"}
    )
    rows = lake.table("customers").select("customer_id", "email", "name", "timezone", "phone")
    found = rows.semi_join(wanted, "customer_id").execute().set_index("customer_id")
    known = {
        who: Contact(*(value if isinstance(value, str) else "" for value in row))
        for who, row in zip(found.index, found.itertuples(index=False), strict=True)
    }
    return {one: known[who] for one, who in now.items() if who in known}


def unwilling(
    lake: "Lake",
    session: Session,
    settings: Settings,
    policy: Policy,
    offers: Mapping[str, Mapping[str, Any]],
) -> set[str]:
    """Those whose consent is not (any more) one of those that their rule is for; who refused, whatever the rule says.

    Parameters
    ----------
    offers : mapping
        Customer id → their offer: the ``rule`` by which they got it, and the states of ``consent`` that the rule which
        chose them was for (of a campaign from before they were kept: what the policy says of the rule now).
    """
    import pandas as pd

    people = lake.identities.people()
    now = pd.Series({one: people.get(one, one) for one in offers}, dtype=object)
    said = consents(lake, session, settings, now)
    may = cache(policy.consent_for)
    return {one for one, state in said.items() if state not in may(*_drawn_under(offers[one]))}


def _drawn_under(offer: Mapping[str, Any]) -> tuple[str, tuple[str, ...] | None]:
    return offer.get("rule", ""), tuple(offer["consent"]) if "consent" in offer else None
