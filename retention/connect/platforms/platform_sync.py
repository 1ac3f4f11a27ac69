"""Bring a mail platform's profiles and lists in line with the newest publication.

Scores become properties of profiles, and saved audiences become lists. The hold-out group of each
open campaign is a list that the platform's own campaigns exclude. Only customers with an address
and consent are handed over. Every step may be repeated.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pandas as pd
from sqlalchemy import select

from retention.connect.contract import ListUnavailable, chunks
from retention.connect.contract import Profile as PlatformProfile
from retention.db import Database, Transaction
from retention.db.tables import (
    Assignment,
    Audience,
    AudienceMember,
    Campaign,
    Profile,
    ProfileSnapshot,
)
from retention.lake import Lake
from retention.outreach.bounces import Bounce, customer_ids, mark_bounced
from retention.outreach.consent import consent_states, withdraw
from retention.outreach.contacts import find_contacts
from retention.progress import Progress
from retention.risk.policy import load_policy
from retention.text import gettext

if TYPE_CHECKING:
    from retention.connect.platforms.contacts import MailPlatform

OPEN = ("live", "measuring")
LIST_PREFIX, HOLDOUT_PREFIX = "Retention: ", "Retention hold-out: "


@dataclass(slots=True)
class SyncCounts:
    """What a synchronisation did.

    ``lists`` has the added and removed customers of each list. ``bounced`` and ``unsubscribed``
    are customers that we did not know of, and ``reactions`` new opens and clicks.
    ``missing_settings`` keep the platform from getting anything.
    """

    profiles: int = 0
    without_address: int = 0
    without_consent: int = 0
    lists: dict[str, dict[str, int]] = field(default_factory=dict)
    bounced: int = 0
    unsubscribed: int = 0
    reactions: int = 0
    missing_settings: tuple[str, ...] = ()


@dataclass(slots=True)
class HandOver:
    """The state of handing over a publication, which may take several jobs.

    ``known_lists`` may have members at the platform. ``done_lists`` are up to date. Customers with
    ids up to ``pushed_until`` have their scores there.
    """

    snapshot_id: int
    known_lists: set[str] = field(default_factory=set)
    done_lists: set[str] = field(default_factory=set)
    pushed_until: str = ""
    is_complete: bool = False

    @classmethod
    def resumed(
        cls, snapshot_id: int, known_lists: Iterable[str], rest: Mapping[str, Any] | None
    ) -> "HandOver":
        """Return the state to continue with.

        `rest`: `rest` of the job before; that of another publication is ignored.
        """
        if rest is None or rest["snapshot_id"] != snapshot_id:
            return cls(snapshot_id, set(known_lists))
        return cls(snapshot_id, set(known_lists), set(rest["done_lists"]), rest["pushed_until"])

    def rest(self) -> dict[str, Any] | None:
        """Return a JSON object for `resumed`; None if nothing is left to do."""
        if self.is_complete:
            return None
        return {
            "snapshot_id": self.snapshot_id,
            "done_lists": sorted(self.done_lists),
            "pushed_until": self.pushed_until,
        }


def sync_platform(
    database: Database,
    platform: "MailPlatform",
    hand_over: HandOver,
    counts: SyncCounts,
    progress: Progress,
    ends_at: float,
) -> None:
    """Hand over profiles, lists and hold-out groups.

    `ends_at`: of `time.monotonic`. Then no further list or batch is started, and a later call
    continues.
    Raises `ConnectorError`: the platform refused. What was handed over before stays.
    """
    counts.missing_settings = platform.missing_settings
    if platform.missing_settings:
        hand_over.is_complete = True
        return
    snapshot_id = hand_over.snapshot_id
    with database.reading() as session:
        scored = _properties(session, snapshot_id)
        audiences = _audiences(session, snapshot_id)
        holdouts = _holdouts(session)
    # Lists whose audience or campaign is gone are emptied. Hold-outs come first: if the platform
    # fails half-way, they matter most.
    wanted = {f"{HOLDOUT_PREFIX}{name}": ids for name, ids in holdouts.items()}
    gone = hand_over.known_lists - set(wanted) - {f"{LIST_PREFIX}{name}" for name in audiences}
    wanted |= {name: [] for name in sorted(gone)}
    wanted |= {f"{LIST_PREFIX}{name}": ids for name, ids in audiences.items()}
    everyone = sorted(set(scored).union(*wanted.values()))
    people = _reachable(database, everyone, scored, counts)
    late: ListUnavailable | None = None
    for number, (name, ids) in enumerate(wanted.items()):
        if name in hand_over.done_lists:
            continue
        if time.monotonic() > ends_at:
            return
        progress(number, len(wanted), name)
        hand_over.known_lists.add(name)
        try:
            changes = _sync_list(platform, name, [people[i] for i in ids if i in people])
        except ListUnavailable as error:  # the others do not wait for it
            late = error
            continue
        hand_over.done_lists.add(name)
        if changes["removed"] or name not in gone:
            counts.lists[name] = changes
        else:  # an empty list is not read again
            hand_over.known_lists.discard(name)
    pushed = [
        people[customer]
        for customer in sorted(scored)
        if customer in people and customer > hand_over.pushed_until
    ]
    for chunk in chunks(pushed, platform.batch_size):
        if time.monotonic() > ends_at:
            return
        progress(counts.profiles, len(pushed), gettext("Handing over scores"))
        platform.push_profiles(chunk)
        counts.profiles += len(chunk)
        hand_over.pushed_until = chunk[-1].customer_id
    if late is not None:
        raise late
    hand_over.is_complete = True


def record_left(
    session: Transaction,
    left: Iterable[tuple[str, str, datetime]],
    now: datetime,
    counts: SyncCounts,
) -> set[str]:
    """Store the bounces, unsubscribes and complaints that a platform reports.

    `left`: ``bounced``, ``unsubscribed`` or ``complained``; e-mail address; time.
    """
    reports = [(what, Bounce(at, email=email)) for what, email, at in left]
    bounces = [bounce for what, bounce in reports if what == "bounced"]
    outcomes, campaigns = mark_bounced(session, bounces)
    counts.bounced += outcomes.count("bounced")
    withdrawn = [bounce for what, bounce in reports if what != "bounced"]
    for ids in customer_ids(session, withdrawn):
        news = [withdraw(session, one, "platform", now) for one in sorted(ids)]
        counts.unsubscribed += any(news)
    return campaigns


def _sync_list(
    platform: "MailPlatform", name: str, members: Sequence[PlatformProfile]
) -> dict[str, int]:
    addresses = {member.customer_id: member.email for member in members}
    present = set(platform.list_members(name, addresses))
    add = [member for member in members if member.customer_id not in present]
    remove = [PlatformProfile(customer, "") for customer in sorted(present - addresses.keys())]
    if add or remove:
        platform.change_list(name, add, remove, keep=addresses.values())
    return {"added": len(add), "removed": len(remove)}


def _properties(session: Transaction, snapshot_id: int) -> dict[str, dict[str, Any]]:
    """Return the properties of each scored customer."""
    snapshot = session.get_one(ProfileSnapshot, snapshot_id)
    rows = session.scalars(
        select(Profile).where(Profile.snapshot_id == snapshot_id).order_by(Profile.customer_id)
    )
    return {
        row.customer_id: {
            "retention_risk": row.tier,
            "retention_churn_probability": round(row.churn_probability, 4),
            "retention_expected_value": row.expected_value,
            "retention_next_order": row.next_order_at and row.next_order_at.date().isoformat(),
            "retention_items": row.items,
            "retention_as_of": snapshot.as_of.isoformat(),
        }
        for row in rows
    }


def _audiences(session: Transaction, snapshot_id: int) -> dict[str, list[str]]:
    """Return the members of each saved audience, also of an empty one."""
    saved = select(Audience.name).where(Audience.team_id == session.settings.team_id)
    found: dict[str, list[str]] = {name: [] for name in session.scalars(saved)}
    columns = AudienceMember.audience, AudienceMember.customer_id
    members = select(*columns).where(AudienceMember.snapshot_id == snapshot_id).order_by(*columns)
    for audience, customer in session.execute(members).tuples():
        if audience in found:  # it may have been deleted since
            found[audience].append(customer)
    return found


def _holdouts(session: Transaction) -> dict[str, list[str]]:
    """Return the hold-out group of each open campaign, by the campaign's id."""
    columns = Campaign.id, Assignment.customer_id
    held_out = (
        select(*columns)
        .join(Assignment, Assignment.campaign_id == Campaign.id)
        .where(Campaign.team_id == session.settings.team_id)
        .where(Campaign.state.in_(OPEN), Assignment.arm == "control")
    )
    found: dict[str, list[str]] = {}
    for campaign, customer in session.execute(held_out.order_by(*columns)).tuples():
        found.setdefault(campaign, []).append(customer)
    return found


def _reachable(
    database: Database,
    customers: Sequence[str],
    properties: Mapping[str, dict[str, Any]],
    counts: SyncCounts,
) -> dict[str, PlatformProfile]:
    """Return the customers with an address and consent."""
    if not customers:
        return {}
    lake = Lake.open(database.settings)
    contacts = find_contacts(lake, customers)
    canonical = lake.identities.canonical_ids()
    canonical_of = pd.Series({one: canonical.get(one, one) for one in customers}, dtype=object)
    with database.reading() as session:
        states = consent_states(lake, session, canonical_of)
    accepted = load_policy(database.settings).consent_for("", None)
    found: dict[str, PlatformProfile] = {}
    for customer in customers:
        contact = contacts.get(customer)
        if states.get(customer) not in accepted:
            counts.without_consent += 1
        elif contact is None or not contact.email:
            counts.without_address += 1
        else:
            found[customer] = PlatformProfile(customer, contact.email, properties.get(customer, {}))
    return found
