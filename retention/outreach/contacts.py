"""Look up addresses and phone numbers in the lake, and customers who share a number.

Whoever has the phone reads all its messages. Numbers are looked up each time; SQL never holds them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import select

from retention.db import Transaction
from retention.db.tables import Assignment, Send
from retention.outreach.adapter import Contact
from retention.outreach.sends import POSSIBLY_DELIVERED
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


def customers_sharing(
    lake: "Lake", policy: Policy, owners: Iterable[str], among: Iterable[str]
) -> set[str]:
    """Return customers with the phone number of an owner."""
    if not (numbers := set(find_numbers(lake, policy, owners).values())):
        return set()
    others = find_numbers(lake, policy, among)
    return {customer for customer, number in others.items() if number in numbers}


def repeated_numbers(number_of: Mapping[str, str], order: Iterable[str]) -> set[str]:
    """Return customers whose number belongs to an earlier customer.

    `order`: customer ids, the one to keep first. Those without a number never count.

    Examples
    --------
    >>> sorted(repeated_numbers({"a": "+1", "b": "+1", "c": "+2"}, ["b", "a", "c"]))
    ['a']
    """
    owner_of: dict[str, str] = {}
    for customer in order:
        if number := number_of.get(customer):
            owner_of.setdefault(number, customer)
    return {each for each, number in number_of.items() if owner_of.get(number, each) != each}


def repeated_in_campaign(
    lake: "Lake",
    session: Transaction,
    policy: Policy,
    campaign_id: str,
    held_out: Iterable[str] = (),
) -> set[str]:
    """Return customers of a campaign whose number another of its customers has.

    The customer with a possible delivery stays, then one in a hold-out, else the first id.
    """
    arms = select(Assignment.customer_id, Assignment.arm).where(
        Assignment.campaign_id == campaign_id, Assignment.arm.in_(("treatment", "control"))
    )
    arm_of = dict(session.execute(arms).tuples().all())
    delivered = select(Send.customer_id).where(
        Send.campaign_id == campaign_id, Send.state.in_(POSSIBLY_DELIVERED)
    )
    first, others = set(session.scalars(delivered)), {*held_out}
    others |= {customer for customer, arm in arm_of.items() if arm == "control"}
    order = sorted(arm_of, key=lambda one: (one not in first, one not in others, one))
    return repeated_numbers(find_numbers(lake, policy, order), order)
