"""The state machine of a campaign. Every move is one compare-and-set UPDATE with an audit row beside it."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from retention.db.audit import record
from retention.db.tables import Campaign
from retention.errors import BadInput, Conflict
from retention.settings import Settings
from retention.text import gettext

GRAPH: dict[str, frozenset[str]] = {
    "draft": frozenset({"draft", "submitted", "cancelled"}),
    "submitted": frozenset(
        {"draft", "submitted", "approved", "rejected", "expired", "cancelled"}
    ),  # itself: one of two
    "approved": frozenset(
        {"draft", "scheduled", "expired", "cancelled"}
    ),  # the clearance time is running
    "scheduled": frozenset(
        {"draft", "sending", "expired", "cancelled"}
    ),  # it is over: sent at its moment
    "sending": frozenset({"live", "cancelled"}),
    "live": frozenset({"measuring", "cancelled"}),
    "measuring": frozenset({"closed"}),
    "rejected": frozenset({"draft"}),
    "expired": frozenset({"draft"}),
    "closed": frozenset(),
    "cancelled": frozenset(),
}
STATES = tuple(GRAPH)
FINAL = tuple(state for state, onward in GRAPH.items() if not onward)
EDITABLE = tuple(state for state, onward in GRAPH.items() if "draft" in onward)
STOPPABLE = tuple(state for state, onward in GRAPH.items() if "cancelled" in onward)
CLEARING = ("approved", "scheduled")  # decided and not sent: anyone may stop it
CLOCK = "clock"  # the actor where time itself acts
HOLDING = (
    "approved",
    "scheduled",
    "sending",
    "live",
)  # a customer in one of these gets into no other campaign

_SAID = {
    "draft": "is a draft again",
    "submitted": "has been submitted for approval",
    "approved": "is already approved",
    "scheduled": "is approved and scheduled",
    "sending": "is being sent",
    "live": "is already live",
    "measuring": "is being measured",
    "closed": "is closed",
    "rejected": "was already rejected",
    "expired": "has expired",
    "cancelled": "was already stopped and is cancelled",
}


class Stale(Conflict):
    """The campaign is no longer what the person saw: somebody decided, edited or stopped it.

    Carries, as plain values, how it stands now, so that the message can be repaired and the person told who, when
    and why; the transaction that found out is rolled back.
    """

    def __init__(self, campaign: Campaign, seen: int | None = None) -> None:
        undecided = campaign.state in ("draft", "submitted")
        self.campaign_id, self.name = campaign.id, campaign.name
        self.state, self.version = campaign.state, campaign.version
        self.who, self.at, self.reason = (
            (None, None, None)
            if undecided
            else (campaign.decided_by, campaign.decided_at, campaign.reason)
        )
        edited = undecided and seen is not None and seen != campaign.version
        self.said = (
            f"has been edited since (it is at version {self.version})"
            if edited
            else _SAID[self.state]
        )
        by = f" by {self.who}" if self.who and self.who != CLOCK else ""
        why = f": {self.reason}" if self.reason else ""
        super().__init__(f"Nothing changed: campaign {self.name!r} {self.said}{by}{why}.")

    @property
    def told(self) -> dict[str, Any]:
        """What a message tells of it."""
        return {name: getattr(self, name) for name in ("name", "said", "who", "at", "reason")}


def find(session: Session, settings: Settings, campaign_id: str, *, lock: bool = False) -> Campaign:
    """The campaign as the database has it now; with ``lock`` nobody else changes it in this transaction's time.

    Raises
    ------
    BadInput
        There is none of that id.
    """
    wanted = select(Campaign).where(
        Campaign.id == campaign_id, Campaign.team_id == settings.team_id
    )
    wanted = wanted.with_for_update() if lock else wanted  # SQLite's writers queue anyway
    campaign = session.scalar(wanted.execution_options(populate_existing=True))
    if campaign is None:
        raise BadInput(
            gettext(
                "There is no campaign {campaign_id!r}; `/retention campaign list` shows them."
            ).format(campaign_id=campaign_id)
        )
    return campaign


def move(
    session: Session,
    settings: Settings,
    campaign_id: str,
    *,
    frm: Collection[str],
    to: str,
    actor: str,
    action: str,
    at: datetime,
    seen: int | None = None,
    where: Collection[ColumnElement[bool]] = (),
    details: dict[str, Any] | None = None,
    **values: Any,
) -> Campaign:
    """Move a campaign along the graph, if it still is where the caller believes it to be.

    Parameters
    ----------
    frm, to
        States; every step must be an edge of ``GRAPH``.
    seen
        The version that the person saw; None where any will do.
    where
        Further conditions of the same UPDATE.
    values
        Columns to set with it.

    Raises
    ------
    Stale
        Somebody was first: no row was changed.
    """
    if wrong := [state for state in frm if to not in GRAPH[state]]:
        raise ValueError(f"no campaign goes from {wrong[0]} to {to}")
    statement = update(Campaign).where(
        Campaign.id == campaign_id,
        Campaign.team_id == settings.team_id,
        Campaign.state.in_(tuple(frm)),
        *where,
    )
    if seen is not None:
        statement = statement.where(Campaign.version == seen)
    done = session.execute(
        statement.values(state=to, **values).execution_options(synchronize_session=False)
    )
    campaign = find(session, settings, campaign_id)
    if done.rowcount != 1:  # type: ignore[attr-defined]
        raise Stale(campaign, seen)
    record(
        session,
        settings,
        actor,
        action,
        campaign_id,
        at,
        {"version": campaign.version, "to": to, **(details or {})},
    )
    return campaign
