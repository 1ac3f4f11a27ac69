"""Hold a share of the customers out of all campaigns.

A keyed hash decides, so a customer stays inside or outside. A larger share keeps all customers of a
smaller one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from retention import clock
from retention.campaigns.planning.assignment import assigned_customers
from retention.db import Database, Transaction
from retention.db.audit import record
from retention.db.tables import ProgrammeHoldout
from retention.errors import BadInput, TooLittleData
from retention.keys import keyed_hash
from retention.risk.policy import Policy
from retention.settings import Settings
from retention.text import gettext

CODE = "programme"  # reason code of the exclusion
MAX_SHARE = 0.3
_PURPOSE = "programme hold-out"  # part of the hash: never change it
_RANGE = 2**64


@dataclass(frozen=True, slots=True)
class Holdout:
    """The programme's hold-out.

    ``since`` is the moment from which the share holds; None before the first draft with it.
    """

    share: float
    salt: str
    since: datetime | None

    def includes(self, customer_id: str) -> bool:
        """Return whether a customer is held out."""
        digest = keyed_hash(self.salt.encode(), _PURPOSE, customer_id)
        return int.from_bytes(digest[:8], "big") < self.share * _RANGE

    def members(self, customers: Iterable[str]) -> set[str]:
        """Return the held-out customers among some."""
        return {customer for customer in customers if self.includes(customer)}


def holdout_in_force(session: Transaction, policy: Policy) -> Holdout:
    """Return the hold-out: that of the command, else the policy's.

    Returns: with share 0 nobody is held out.
    """
    row = _newest(session)
    if row is not None and (row.set_by != "policy" or _same(row.share, policy)):
        return Holdout(row.share, row.salt, row.set_at)
    salt = row.salt if row else _first_salt(session.settings)
    return Holdout(policy.campaign.programme_holdout, salt, None)


def note_policy(session: Transaction, policy: Policy, now: datetime) -> None:
    """Store when a share of the policy file came into force."""
    row = _newest(session)
    is_by_command = row is not None and row.set_by != "policy"
    is_new = row is None and policy.campaign.programme_holdout > 0
    if not is_by_command and (is_new or (row is not None and not _same(row.share, policy))):
        _add(session, policy.campaign.programme_holdout, "policy", now)


def set_share(session: Transaction, share: float, by: str) -> Holdout:
    """Set the share by command; 0 ends the hold-out.

    Raises `BadInput`: the share is too large.
    """
    if not 0 <= share <= MAX_SHARE:
        problem = gettext("The programme hold-out is {share:g}%; use 0% to {most:g}%.")
        raise BadInput(problem.format(share=100 * share, most=100 * MAX_SHARE))
    now, row = clock.now(), _newest(session)
    if row is None or abs(row.share - share) > 1e-9 or row.set_by == "policy":
        row = _add(session, share, by, now)
        record(session, by, "programme.holdout", session.settings.team_id, now, {"share": share})
    return Holdout(row.share, row.salt, row.set_at)


def require_holdout(session: Transaction, policy: Policy) -> tuple[Holdout, datetime]:
    """Return the hold-out in force and its start, or say how to switch it on."""
    holdout = holdout_in_force(session, policy)
    if not holdout.share or holdout.since is None:
        raise TooLittleData(
            gettext(
                "The programme hold-out is off, so what all campaigns earn together cannot be "
                "measured. The report has a first result some weeks after it was switched on."
            ),
            hint="holdout",
        )
    return holdout, holdout.since


def held_out_since_draft(database: Database, policy: Policy, campaign_id: str) -> set[str]:
    """Return the customers of an approved campaign who are held out by now."""
    with database.reading() as session:
        holdout = holdout_in_force(session, policy)
        return holdout.members(assigned_customers(session, campaign_id)) if holdout.share else set()


def _add(session: Transaction, share: float, by: str, now: datetime) -> ProgrammeHoldout:
    newest = _newest(session)
    salt = newest.salt if newest else _first_salt(session.settings)
    row = ProgrammeHoldout(
        team_id=session.settings.team_id, share=share, salt=salt, set_by=by, set_at=now
    )
    session.add(row)
    session.flush()
    return row


def _newest(session: Transaction) -> ProgrammeHoldout | None:
    in_team = ProgrammeHoldout.team_id == session.settings.team_id
    newest = select(ProgrammeHoldout).where(in_team).order_by(ProgrammeHoldout.id.desc())
    return session.scalar(newest.limit(1))


def _same(share: float, policy: Policy) -> bool:
    return abs(share - policy.campaign.programme_holdout) < 1e-9


def _first_salt(settings: Settings) -> str:
    """Return the salt before one is stored; the oldest key survives a rotation of keys."""
    return keyed_hash(settings.keys.all[-1], _PURPOSE, "salt").hex()[:32]
