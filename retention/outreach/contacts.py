"""Look up addresses and consent of recipients in the lake."""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from retention.db.tables import Send
from retention.outreach.consent import consent_states
from retention.outreach.messages import Contact
from retention.risk.policy import Policy
from retention.settings import Settings

if TYPE_CHECKING:
    from retention.lake import Lake


def queued_customers(session: Session, campaign_id: str) -> list[str]:
    """Return customers with a queued send.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    campaign_id : str
        Campaign id.

    Returns
    -------
    list of str
    """
    rows = select(Send.customer_id).where(Send.campaign_id == campaign_id, Send.state == "queued")
    return list(session.scalars(rows))


def find_contacts(lake: "Lake", ids: Iterable[str]) -> dict[str, Contact]:
    """Return the contact of each customer.

    Merged ids give the contact of the canonical customer. Customers without a row in the lake are
    missing.

    Parameters
    ----------
    lake : Lake
        The shop's lake.
    ids : iterable of str
        Customer ids.

    Returns
    -------
    dict of str to Contact
    """
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


def customers_without_consent(
    lake: "Lake",
    session: Session,
    settings: Settings,
    policy: Policy,
    offers: Mapping[str, Mapping[str, Any]],
) -> set[str]:
    """Return customers without the consent that their offer needs.

    Customers that refused are always included.

    Parameters
    ----------
    lake : Lake
        The shop's lake.
    session : Session
        Open session; the caller commits.
    settings : Settings
        Settings of the installation.
    policy : Policy
        The shop's policy.
    offers : mapping
        Offer by customer id, with ``rule`` and accepted states of ``consent``. For offers stored
        before consent was kept, the present policy decides.

    Returns
    -------
    set of str
    """
    import pandas as pd

    people = lake.identities.people()
    now = pd.Series({one: people.get(one, one) for one in offers}, dtype=object)
    said = consent_states(lake, session, settings, now)
    may = cache(policy.consent_for)
    return {one for one, state in said.items() if state not in may(*_rule_and_consent(offers[one]))}


def _rule_and_consent(offer: Mapping[str, Any]) -> tuple[str, tuple[str, ...] | None]:
    return offer.get("rule", ""), tuple(offer["consent"]) if "consent" in offer else None
