"""Record bounces that arrive after acceptance."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from retention.db.insert import among
from retention.db.tables import DirectoryEntry, Send
from retention.outreach.sends import OF_MESSAGE
from retention.privacy import email_hash
from retention.settings import Settings

LATER = timedelta(days=14)  # mail servers try for five days, and platforms export when they export
AT_ONCE = 2_000  # ids of a statement
DATED = timedelta(
    days=1
)  # many tell of a bounce by its date alone, which began before the copy went out
# By its status (RFC 3463): of the address or the mailbox; where there is none, what is said of a recipient (RFC 5321).
_ADDRESS = re.compile(r"\b5\.[12]\.\d|^55[0-3]\b(?! 5\.\d)")
_PERSON = func.coalesce(
    DirectoryEntry.canonical_id, DirectoryEntry.customer_id
)  # whom an id stands for
THERE = ("sent", "held", "bounced")  # what a bounce can be of


@dataclass(frozen=True, slots=True)
class Bounce:
    """A reported bounce, by customer id, address or both."""

    at: datetime
    customer_id: str | None = None
    email: str | None = None


@dataclass(slots=True)
class _Copy:
    id: int
    campaign_id: str
    state: str
    at: datetime


def bounced(
    session: Session, settings: Settings, bounces: Sequence[Bounce]
) -> tuple[list[str], set[str]]:
    """Mark the send that each bounce belongs to.

    It is the customer's newest send of any campaign at that moment.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    settings : Settings
        Settings of the installation.
    bounces : sequence of Bounce
        Reported bounces.

    Returns
    -------
    tuple[list[str], set[str]]
        Per bounce: ``bounced``, ``repeated`` (already known) or ``unknown`` (no send within
        `MAX_DELAY` before); and the ids of campaigns with marked sends.
    """
    ids = _ids(session, settings, bounces)
    copies = _copies(session, settings, {one for some in ids for one in some})
    outcomes, campaigns, marked = list[str](), set[str](), list[int]()
    for told, some in zip(bounces, ids, strict=True):
        gone = [
            copy
            for one in some
            for copy in copies[one]
            if told.at - LATER <= copy.at < told.at + DATED
        ]
        if not gone:
            outcomes.append("unknown")
            continue
        copy = max(gone, key=lambda copy: (copy.at, copy.id))
        outcomes.append("repeated" if copy.state == "bounced" else "bounced")
        if copy.state != "bounced":
            copy.state = "bounced"
            campaigns.add(copy.campaign_id)
            marked.append(copy.id)
    session.execute(
        update(Send)
        .where(among(session, Send.id, marked), Send.state.in_(THERE))
        .values(state="bounced", error="bounced later"),
        execution_options={"synchronize_session": False},
    )
    return outcomes, campaigns


def unreachable(session: Session, settings: Settings, since: datetime) -> set[str]:
    """Return customers with a bounced address that is still in use.

    Their newest send bounced because of the address, and the address has not changed since.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    settings : Settings
        Settings of the installation.
    since : datetime
        Start of the period.

    Returns
    -------
    set of str
    """
    at = func.coalesce(Send.sent_at, Send.queued_at)
    tried = select(Send.customer_id, Send.state, Send.error, at).where(
        Send.team_id == settings.team_id, Send.channel != "call", Send.state.in_(THERE), at >= since
    )
    newest = {
        who: (state, said, gone)
        for who, state, said, gone in session.execute(tried.order_by(at, Send.id)).tuples()
    }
    back = {
        who: gone
        for who, (state, said, gone) in newest.items()
        if state == "bounced" and _of_the_address(said or "")
    }
    given = _new_addresses(session, settings, back)
    return {who for who, gone in back.items() if who not in given or given[who] <= gone}


def _new_addresses(
    session: Session, settings: Settings, ids: Collection[str]
) -> dict[str, datetime]:
    """Last change of address per customer, over all merged ids.

    Customers without a change are missing.
    """
    last, named = dict[str, datetime](), sorted(ids)
    for start in range(0, len(named), AT_ONCE):
        entry = among(session, DirectoryEntry.customer_id, named[start : start + AT_ONCE])
        mine = select(DirectoryEntry.customer_id, _PERSON).where(
            DirectoryEntry.team_id == settings.team_id, entry
        )
        people = dict(session.execute(mine).tuples().all())
        own = defaultdict[str, list[datetime]](list)
        for _, who, at in _rows(session, settings, {*people.values()}):
            own[who] += [at] if at is not None else []
        last |= {one: max(own[who]) for one, who in people.items() if own[who]}
    return last


def _of_the_address(said: str) -> bool:
    """Whether a bounce is about the address.

    Rows without a code count as such: older processes wrote them during an upgrade.
    """
    return not said.startswith(OF_MESSAGE) and (
        not said[:1].isdigit() or bool(_ADDRESS.search(said))
    )


def _ids(session: Session, settings: Settings, bounces: Sequence[Bounce]) -> list[set[str]]:
    """Ids of each bounce's customer, including merged ids."""
    key = settings.key
    hashes = [email_hash(key, one.email) if one.email else None for one in bounces]
    ours = DirectoryEntry.team_id == settings.team_id
    named = or_(
        among(session, DirectoryEntry.customer_id, _there(one.customer_id for one in bounces)),
        among(session, DirectoryEntry.email_hash, _there(hashes)),
    )
    columns = DirectoryEntry.customer_id, DirectoryEntry.email_hash, _PERSON
    by_id, by_hash = dict[str, str](), defaultdict[str, set[str]](set)
    for one, hashed, who in session.execute(select(*columns).where(ours, named)).tuples():
        by_id[one] = who
        by_hash[hashed or ""].add(who)
    alike = defaultdict[str, set[str]](set)
    for one, who, _ in _rows(session, settings, {*by_id.values()}):
        alike[who].add(one)
    found = []
    for told, hashed in zip(bounces, hashes, strict=True):
        mine = (
            {by_id[told.customer_id]}
            if told.customer_id in by_id
            else by_hash.get(hashed or "", set())
        )
        found.append({one for who in mine for one in alike[who]})
    return found


def _rows(
    session: Session, settings: Settings, people: Collection[str]
) -> Sequence[tuple[str, str, datetime | None]]:
    """Ids of these people, with canonical id and last change of address."""
    named = or_(
        among(session, DirectoryEntry.canonical_id, people),
        among(session, DirectoryEntry.customer_id, people) & DirectoryEntry.canonical_id.is_(None),
    )  # each found by its index, which whom an id stands for has none of
    columns = DirectoryEntry.customer_id, _PERSON, DirectoryEntry.email_changed_at
    found = select(*columns).where(DirectoryEntry.team_id == settings.team_id, named)
    return session.execute(found).tuples().all()


def _copies(session: Session, settings: Settings, ids: Iterable[str]) -> dict[str, list[_Copy]]:
    at = func.coalesce(Send.sent_at, Send.queued_at)
    rows = session.execute(
        select(Send.customer_id, Send.id, Send.campaign_id, Send.state, at).where(
            Send.team_id == settings.team_id,
            among(session, Send.customer_id, [*ids]),
            Send.state.in_(THERE),
            Send.channel != "call",
        )
    )
    found = defaultdict[str, list[_Copy]](list)
    for who, number, campaign_id, state, moment in rows.tuples():
        found[who].append(_Copy(number, campaign_id, state, moment))
    return found


def _there(values: Iterable[Any]) -> list[Any]:
    return sorted({value for value in values if value is not None})
