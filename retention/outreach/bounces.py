"""Record bounces that arrive after acceptance."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, or_, select, update

from retention.db import Transaction
from retention.db.insert import among
from retention.db.tables import DirectoryEntry, Send
from retention.outreach.adapter import (
    DELIVERY_REFUSED,
    EMAIL,
    MESSAGE_REFUSED,
    REPORTED_LATER,
    consent_channel,
    sql_consent_channel,
)
from retention.privacy import email_hash
from retention.text import gettext

MAX_DELAY = timedelta(days=14)  # mail servers retry for five days; platforms export later
BATCH_IDS = 2_000  # ids per statement
DATE_TOLERANCE = timedelta(days=1)  # many reports have only a date, which starts before the send
BOUNCEABLE = ("sent", "held", "bounced")  # states of sends that a bounce can belong to
NOT_ABOUT_ADDRESS = (MESSAGE_REFUSED, DELIVERY_REFUSED)
_CANONICAL_ID = func.coalesce(DirectoryEntry.canonical_id, DirectoryEntry.customer_id)


@dataclass(frozen=True, slots=True)
class Bounce:
    """A reported bounce, by customer id, address or both.

    ``channel`` is one of `retention.outreach.adapter.MESSAGE_CHANNELS`.
    """

    at: datetime
    customer_id: str | None = None
    email: str | None = None
    channel: str = EMAIL


@dataclass(slots=True)
class _DeliveredSend:
    id: int
    channel: str  # of its consent
    campaign_id: str
    state: str
    at: datetime


def mark_bounced(session: Transaction, bounces: Sequence[Bounce]) -> tuple[list[str], set[str]]:
    """Mark the send that each bounce belongs to.

    A bounce belongs to the customer's newest send on its channel, of any campaign, in the
    `MAX_DELAY` before it.
    The send may be up to `DATE_TOLERANCE` later, because many reports have only a date.

    Returns: per bounce: ``bounced``, ``repeated`` (already known) or ``unknown`` (no send within
    `MAX_DELAY` before); and the ids of campaigns with marked sends.
    """
    ids_of_bounces = customer_ids(session, bounces)
    all_ids = {customer_id for ids in ids_of_bounces for customer_id in ids}
    sends = _delivered_sends(session, all_ids)
    outcomes, campaigns, marked = list[str](), set[str](), list[int]()
    for bounce, ids in zip(bounces, ids_of_bounces, strict=True):
        candidates = [
            send
            for customer_id in ids
            for send in sends[customer_id]
            if send.channel == bounce.channel
            and bounce.at - MAX_DELAY <= send.at < bounce.at + DATE_TOLERANCE
        ]
        if not candidates:
            outcomes.append("unknown")
            continue
        send = max(candidates, key=lambda send: (send.at, send.id))
        outcomes.append("repeated" if send.state == "bounced" else "bounced")
        if send.state != "bounced":
            send.state = "bounced"
            campaigns.add(send.campaign_id)
            marked.append(send.id)
    ours = update(Send).where(among(session, Send.id, marked), Send.state.in_(BOUNCEABLE))
    error = gettext("bounced later")
    session.change(ours.values(state="bounced", error=error, error_code=REPORTED_LATER))
    return outcomes, campaigns


def customers_with_bounced_address(
    session: Transaction, since: datetime, channel: str = EMAIL
) -> set[str]:
    """Return customers with a bounced address that is still in use.

    Their newest send bounced because of the address, and the address has not changed since. A
    bounce without a code counts: older processes may store one during an upgrade.

    `channel`: one of `retention.outreach.adapter.MESSAGE_CHANNELS`. Changes of phone numbers are
    not stored, so a refused number counts for the whole period.
    """
    at = func.coalesce(Send.sent_at, Send.queued_at)
    recent = select(Send.customer_id, Send.state, Send.error_code, at).where(
        Send.team_id == session.settings.team_id,
        Send.channel != "call",
        sql_consent_channel() == channel,
        Send.state.in_(BOUNCEABLE),
        at >= since,
    )
    rows = session.execute(recent.order_by(at, Send.id)).tuples()
    bounced = {
        customer_id: sent_at
        for customer_id, (_, state, code, sent_at) in {row[0]: row for row in rows}.items()
        if state == "bounced" and code not in NOT_ABOUT_ADDRESS
    }
    changed = _new_addresses(session, bounced) if channel == EMAIL else {}
    return {
        customer_id
        for customer_id, sent_at in bounced.items()
        if customer_id not in changed or changed[customer_id] <= sent_at
    }


def _new_addresses(session: Transaction, ids: Collection[str]) -> dict[str, datetime]:
    """Last change of address per customer, over all merged ids.

    Customers without a change are missing.
    """
    changes, ordered = dict[str, datetime](), sorted(ids)
    for start in range(0, len(ordered), BATCH_IDS):
        batch = among(session, DirectoryEntry.customer_id, ordered[start : start + BATCH_IDS])
        entries = select(DirectoryEntry.customer_id, _CANONICAL_ID).where(
            DirectoryEntry.team_id == session.settings.team_id, batch
        )
        canonical = dict(session.execute(entries).tuples().all())
        times = defaultdict[str, list[datetime]](list)
        for _, person, at in _directory_rows(session, {*canonical.values()}):
            times[person] += [at] if at is not None else []
        changes |= {
            customer_id: max(times[person])
            for customer_id, person in canonical.items()
            if times[person]
        }
    return changes


def customer_ids(session: Transaction, bounces: Sequence[Bounce]) -> list[set[str]]:
    """Return the ids of each bounce's customer, including merged ids."""
    key = session.settings.key
    hashes = [email_hash(key, bounce.email) if bounce.email else None for bounce in bounces]
    given = _known_values(bounce.customer_id for bounce in bounces)
    named = or_(
        among(session, DirectoryEntry.customer_id, given),
        among(session, DirectoryEntry.email_hash, _known_values(hashes)),
    )
    entries = select(DirectoryEntry.customer_id, DirectoryEntry.email_hash, _CANONICAL_ID).where(
        DirectoryEntry.team_id == session.settings.team_id, named
    )
    by_id, by_hash = dict[str, str](), defaultdict[str, set[str]](set)
    for customer_id, hashed, person in session.execute(entries).tuples():
        by_id[customer_id] = person
        if hashed:
            by_hash[hashed].add(person)
    merged = defaultdict[str, set[str]](set)
    for customer_id, person, _ in _directory_rows(session, {*by_id.values()}):
        merged[person].add(customer_id)
    ids = []
    for bounce, hashed in zip(bounces, hashes, strict=True):
        if bounce.customer_id in by_id:
            people = {by_id[bounce.customer_id]}
        else:
            people = by_hash.get(hashed, set()) if hashed else set()
        ids.append({customer_id for person in people for customer_id in merged[person]})
    return ids


def _directory_rows(
    session: Transaction, people: Collection[str]
) -> Sequence[tuple[str, str, datetime | None]]:
    """Ids of these people, with canonical id and last change of address."""
    named = or_(  # each part uses an index; the canonical id has none
        among(session, DirectoryEntry.canonical_id, people),
        among(session, DirectoryEntry.customer_id, people) & DirectoryEntry.canonical_id.is_(None),
    )
    columns = DirectoryEntry.customer_id, _CANONICAL_ID, DirectoryEntry.email_changed_at
    entries = select(*columns).where(DirectoryEntry.team_id == session.settings.team_id, named)
    return session.execute(entries).tuples().all()


def _delivered_sends(session: Transaction, ids: Iterable[str]) -> dict[str, list[_DeliveredSend]]:
    at = func.coalesce(Send.sent_at, Send.queued_at)
    rows = session.execute(
        select(Send.customer_id, Send.id, Send.channel, Send.campaign_id, Send.state, at).where(
            Send.team_id == session.settings.team_id,
            among(session, Send.customer_id, [*ids]),
            Send.state.in_(BOUNCEABLE),
            Send.channel != "call",
        )
    )
    sends = defaultdict[str, list[_DeliveredSend]](list)
    for customer_id, send_id, channel, campaign_id, state, sent_at in rows.tuples():
        sends[customer_id].append(
            _DeliveredSend(send_id, consent_channel(channel), campaign_id, state, sent_at)
        )
    return sends


def _known_values(values: Iterable[Any]) -> list[Any]:
    return sorted({value for value in values if value is not None})
