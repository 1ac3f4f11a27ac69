"""Look up addresses and consent of recipients in the lake."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from retention.db.tables import Send
from retention.lake.identity.phones import mobile_number
from retention.outreach.adapter import Contact
from retention.outreach.channels import EMAIL, is_text
from retention.outreach.consent import consent_states
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

    canonical = lake.identities.canonical_ids()
    canonical_of = {customer_id: canonical.get(customer_id, customer_id) for customer_id in ids}
    canonical_ids = ibis.memtable(
        {"customer_id": sorted(set(canonical_of.values()))}, schema={"customer_id": "string"}
    )
    fields = ("customer_id", "email", "name", "timezone", "phone", "locale")
    rows = lake.table("customers").select(*fields)
    customers = rows.semi_join(canonical_ids, "customer_id").execute().set_index("customer_id")
    contact_of = {
        canonical_id: Contact(*(value if isinstance(value, str) else "" for value in row))
        for canonical_id, row in zip(
            customers.index, customers.itertuples(index=False), strict=True
        )
    }
    return {
        customer_id: contact_of[canonical_id]
        for customer_id, canonical_id in canonical_of.items()
        if canonical_id in contact_of
    }


def find_numbers(lake: "Lake", policy: Policy, ids: Iterable[str]) -> dict[str, str]:
    """Return the phone number of each customer, as platforms need it.

    A number without a calling code takes that of the country under ``[identity]`` of the policy,
    else of the customer's locale: a language such as ``en-US`` is a weak sign of a country.

    Parameters
    ----------
    lake : Lake
        The shop's lake.
    policy : Policy
        The shop's policy.
    ids : iterable of str
        Customer ids.

    Returns
    -------
    dict of str to str
        E.164 by customer id. Customers without a valid number are missing.
    """
    contact_of = with_numbers(find_contacts(lake, ids), policy)
    return {customer: contact.phone for customer, contact in contact_of.items() if contact.phone}


def with_numbers(contact_of: Mapping[str, Contact], policy: Policy) -> dict[str, Contact]:
    """Return contacts with their phone numbers as platforms need them.

    Parameters
    ----------
    contact_of : mapping
        Contact by customer id, with the phone number as a person typed it.
    policy : Policy
        The shop's policy.

    Returns
    -------
    dict of str to Contact
        The phone number is E.164, or empty if no text can reach it.
    """
    return {
        customer: replace(contact, phone=_number(contact, policy))
        for customer, contact in contact_of.items()
    }


def _number(contact: Contact, policy: Policy) -> str:
    _, *subtags = contact.locale.replace("_", "-").split("-")
    regions = (tag.upper() for tag in subtags if len(tag) == 2)
    return mobile_number(contact.phone, policy.identity.country or next(regions, ""))


def customers_without_consent(
    lake: "Lake",
    session: Session,
    settings: Settings,
    policy: Policy,
    offers: Mapping[str, Mapping[str, Any]],
    channel: str = EMAIL,
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
    channel : str, optional
        One of `retention.outreach.channels.MESSAGE_CHANNELS`. For a short text, only a consent
        given to this channel counts.

    Returns
    -------
    set of str
    """
    import pandas as pd

    canonical = lake.identities.canonical_ids()
    canonical_of = pd.Series(
        {customer_id: canonical.get(customer_id, customer_id) for customer_id in offers},
        dtype=object,
    )
    states = consent_states(lake, session, settings, canonical_of, channel)
    if is_text(channel):
        return {customer_id for customer_id, state in states.items() if state != "given"}
    accepted_states = cache(policy.consent_for)
    return {
        customer_id
        for customer_id, state in states.items()
        if state not in accepted_states(*_rule_and_consent(offers[customer_id]))
    }


def _rule_and_consent(offer: Mapping[str, Any]) -> tuple[str, tuple[str, ...] | None]:
    return offer.get("rule", ""), tuple(offer["consent"]) if "consent" in offer else None
