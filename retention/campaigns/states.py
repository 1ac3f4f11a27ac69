"""Define campaign states and change them atomically.

Each transition is one compare-and-set UPDATE plus an audit row in the same transaction.
"""

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

TRANSITIONS: dict[str, frozenset[str]] = {
    "draft": frozenset({"draft", "submitted", "cancelled"}),
    # To itself: the first of two approvals, or a reminder.
    "submitted": frozenset({"draft", "submitted", "approved", "rejected", "expired", "cancelled"}),
    # During the clearance time.
    "approved": frozenset({"draft", "scheduled", "expired", "cancelled"}),
    # After the clearance time, until the send time.
    "scheduled": frozenset({"draft", "sending", "expired", "cancelled"}),
    "sending": frozenset({"live", "cancelled"}),
    "live": frozenset({"measuring", "cancelled"}),
    "measuring": frozenset({"closed"}),
    "rejected": frozenset({"draft"}),
    "expired": frozenset({"draft"}),
    "closed": frozenset(),
    "cancelled": frozenset(),
}
STATES = tuple(TRANSITIONS)
EDITABLE = tuple(state for state, onward in TRANSITIONS.items() if "draft" in onward)
STOPPABLE = tuple(state for state, onward in TRANSITIONS.items() if "cancelled" in onward)
IN_CLEARANCE = ("approved", "scheduled")  # approved and not sent; anyone may stop it
CLOCK = "clock"  # actor of transitions caused by time
ACTIVE = ("approved", "scheduled", "sending", "live")  # exclude customers from other campaigns


class StaleCampaign(Conflict):
    """A campaign changed after the person saw it.

    Holds the present state as plain values, because the transaction that noticed the change is
    rolled back. The caller uses them to repair the message and to name the person, time and reason
    of the change.
    """

    def __init__(self, campaign: Campaign, seen_version: int | None = None) -> None:
        is_undecided = campaign.state in ("draft", "submitted")
        self.campaign_id, self.name = campaign.id, campaign.name
        self.state, self.version = campaign.state, campaign.version
        self.who, self.at, self.reason = (
            (None, None, None)
            if is_undecided
            else (campaign.decided_by, campaign.decided_at, campaign.reason)
        )
        is_edited = is_undecided and seen_version is not None and seen_version != campaign.version
        self.status = (
            gettext("has been edited since (it is at version {version})").format(
                version=self.version
            )
            if is_edited
            else _status_text(self.state)
        )
        by = self.who if self.who and self.who != CLOCK else ""
        super().__init__(
            gettext("Nothing changed: campaign {name!r} {status}{by}{reason}.").format(
                name=self.name,
                status=self.status,
                by=gettext(" by {person}").format(person=by) if by else "",
                reason=f": {self.reason}" if self.reason else "",
            )
        )

    @property
    def template_values(self) -> dict[str, Any]:
        """Values for the ``campaign/stale`` template."""
        return {name: getattr(self, name) for name in ("name", "status", "who", "at", "reason")}


def _status_text(state: str) -> str:
    return {
        "draft": gettext("is a draft again"),
        "submitted": gettext("has been submitted for approval"),
        "approved": gettext("is already approved"),
        "scheduled": gettext("is approved and scheduled"),
        "sending": gettext("is being sent"),
        "live": gettext("is already live"),
        "measuring": gettext("is being measured"),
        "closed": gettext("is closed"),
        "rejected": gettext("was already rejected"),
        "expired": gettext("has expired"),
        "cancelled": gettext("was already stopped and is cancelled"),
    }[state]


def find_campaign(
    session: Session, settings: Settings, campaign_id: str, *, lock: bool = False
) -> Campaign:
    """Load a campaign as the database has it now.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    settings : Settings
        Settings of the installation.
    campaign_id : str
        Campaign id.
    lock : bool, optional
        Lock the row until the transaction ends. SQLite serialises writers anyway.

    Returns
    -------
    Campaign

    Raises
    ------
    BadInput
        No campaign has this id.
    """
    query = select(Campaign).where(Campaign.id == campaign_id, Campaign.team_id == settings.team_id)
    query = query.with_for_update() if lock else query  # no effect on SQLite
    campaign = session.scalar(query.execution_options(populate_existing=True))
    if campaign is None:
        raise BadInput(
            gettext(
                "There is no campaign {campaign_id!r}; `/retention campaign list` shows them."
            ).format(campaign_id=campaign_id)
        )
    return campaign


def move_campaign(
    session: Session,
    settings: Settings,
    campaign_id: str,
    *,
    from_states: Collection[str],
    to_state: str,
    actor: str,
    action: str,
    at: datetime,
    seen_version: int | None = None,
    conditions: Collection[ColumnElement[bool]] = (),
    details: dict[str, Any] | None = None,
    **values: Any,
) -> Campaign:
    """Change a campaign's state if it is unchanged.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    settings : Settings
        Settings of the installation.
    campaign_id : str
        Campaign id.
    from_states : collection of str
        Allowed present states; each step must be an edge of `TRANSITIONS`.
    to_state : str
        New state.
    actor : str
        Slack user id, or ``clock``.
    action : str
        Name of the audit entry.
    at : datetime
        Moment, timezone-aware.
    seen_version : int, optional
        Version that the person saw; None accepts any.
    conditions : Collection[ColumnElement[bool]], optional
        Further conditions of the same UPDATE.
    details : mapping, optional
        Further values of the audit entry.
    **values : object
        Columns to set in the same UPDATE.

    Returns
    -------
    Campaign
        The campaign in its new state.

    Raises
    ------
    StaleCampaign
        The campaign is in another state or version, or a condition failed.
    ValueError
        The graph has no such step.
    """
    if wrong := [state for state in from_states if to_state not in TRANSITIONS[state]]:
        raise ValueError(f"no campaign goes from {wrong[0]} to {to_state}")
    statement = update(Campaign).where(
        Campaign.id == campaign_id,
        Campaign.team_id == settings.team_id,
        Campaign.state.in_(tuple(from_states)),
        *conditions,
    )
    if seen_version is not None:
        statement = statement.where(Campaign.version == seen_version)
    update_result = session.execute(
        statement.values(state=to_state, **values).execution_options(synchronize_session=False)
    )
    campaign = find_campaign(session, settings, campaign_id)
    if update_result.rowcount != 1:  # type: ignore[attr-defined]
        raise StaleCampaign(campaign, seen_version)
    record(
        session,
        settings,
        actor,
        action,
        campaign_id,
        at,
        {"version": campaign.version, "to": to_state, **(details or {})},
    )
    return campaign
