"""Look up addresses and consent of recipients in the lake."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import select

from retention.db import Transaction
from retention.db.tables import Send
from retention.outreach.adapter import Contact
from retention.risk.policy import Policy

if TYPE_CHECKING:
    from retention.lake import Lake


def queued_customers(session: Transaction, campaign_id: str) -> list[str]:
    """Return customers with a queued send."""
    rows = select(Send.customer_id).where(Send.campaign_id == campaign_id, Send.state == "queued")
    return list(session.scalars(rows))


def find_contacts(lake: "Lake", ids: Iterable[str]) -> dict[str, Contact]:
    """Return the contact of each customer.

    Merged ids give the contact of the canonical customer. Customers without a row in the lake are
    missing.
    """
    import ibis

    canonical = lake.identities.canonical_ids()
    canonical_of = {customer_id: canonical.get(customer_id, customer_id) for customer_id in ids}
    column = {"customer_id": sorted(set(canonical_of.values()))}
    canonical_ids = ibis.memtable(column, schema={"customer_id": "string"})
    fields = ("customer_id", "email", "name", "timezone", "phone", "locale")
    rows = lake.table("customers").select(*fields)
    customers = rows.semi_join(canonical_ids, "customer_id").execute().set_index("customer_id")
    contact_of = {
        canonical_id: Contact(*(value if isinstance(value, str) else "" for value in values))
        for canonical_id, *values in customers.itertuples()
    }
    return {
        each: contact_of[canonical_id]
        for each, canonical_id in canonical_of.items()
        if canonical_id in contact_of
    }


def find_numbers(lake: "Lake", policy: Policy, ids: Iterable[str]) -> dict[str, str]:
    """Return the phone number of each customer, as platforms need it.

    A number without a calling code takes that of the country under ``[identity]`` of the policy,
    else of the customer's locale: a language such as ``en-US`` is a weak sign of a country.

    Returns: e.164 by customer id. Customers without a valid number are missing.
    """
    contact_of = with_numbers(find_contacts(lake, ids), policy)
    return {customer: contact.phone for customer, contact in contact_of.items() if contact.phone}


def with_numbers(contact_of: Mapping[str, Contact], policy: Policy) -> dict[str, Contact]:
    """Return contacts with their phone numbers as platforms need them.

    Returns: the phone number is E.164, or empty if no text can reach it.
    """
    return {
        customer: replace(contact, phone=_number(contact, policy))
        for customer, contact in contact_of.items()
    }


def _number(contact: Contact, policy: Policy) -> str:
    from retention.lake.identity.phones import mobile_number

    _, *subtags = contact.locale.replace("_", "-").split("-")
    regions = (tag.upper() for tag in subtags if len(tag) == 2)
    return mobile_number(contact.phone, policy.identity.country or next(regions, ""))
