"""Find customers who share a phone number: whoever has the phone reads all their messages.

Numbers are looked up in the lake each time. SQL never holds them.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from sqlalchemy import select

from retention.db import Transaction
from retention.db.tables import Assignment, Send
from retention.outreach.contacts import find_numbers
from retention.outreach.sends import POSSIBLY_DELIVERED
from retention.risk.policy import Policy

if TYPE_CHECKING:
    from retention.lake import Lake


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
