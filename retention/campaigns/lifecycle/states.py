"""Define campaign states and change them atomically.

Each transition is one compare-and-set UPDATE plus an audit row in the same transaction.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, select, update

from retention import clock
from retention.db import Transaction
from retention.db.audit import record
from retention.db.tables import Campaign
from retention.errors import BadInput, Conflict
from retention.text import gettext

STATES = (
    "draft",
    "submitted",
    "approved",  # during the clearance time
    "scheduled",  # after the clearance time, until the send time
    "sending",
    "live",
    "measuring",
    "rejected",
    "expired",
    "closed",
    "cancelled",
)
EDITABLE = ("draft", "submitted", "approved", "scheduled", "rejected", "expired")
STOPPABLE = ("draft", "submitted", "approved", "scheduled", "sending", "live")
IN_CLEARANCE = ("approved", "scheduled")  # approved and not sent; anyone may stop it
CLOCK = "clock"  # actor of transitions caused by time
ACTIVE = ("approved", "scheduled", "sending", "live")  # exclude customers from other campaigns


@dataclass(frozen=True, slots=True)
class Transition:
    """A kind of step: its action in the audit log, and the states before and after it."""

    action: str
    from_states: Collection[str]
    to_state: str


SUBMIT = Transition("campaign.submit", ("draft",), "submitted")
FIRST_APPROVAL = Transition("campaign.approve", ("submitted",), "submitted")
APPROVE = Transition("campaign.approve", ("submitted",), "approved")
REJECT = Transition("campaign.reject", ("submitted",), "rejected")
STOP = Transition("campaign.stop", STOPPABLE, "cancelled")
EDIT = Transition("campaign.edit", EDITABLE, "draft")
REMIND = Transition("campaign.remind", ("submitted",), "submitted")
SCHEDULE = Transition("campaign.schedule", ("approved",), "scheduled")
EXPIRE = Transition("campaign.expire", ("submitted", *IN_CLEARANCE), "expired")
SEND = Transition("campaign.sending", ("scheduled",), "sending")
GO_LIVE = Transition("campaign.live", ("sending",), "live")
MEASURE = Transition("campaign.measuring", ("live",), "measuring")
CLOSE = Transition("campaign.closed", ("measuring",), "closed")
CLOSE_UNMEASURED = Transition("campaign.unmeasured", ("measuring",), "closed")


@dataclass(frozen=True, slots=True)
class Step:
    """A step of one campaign: who takes it, and when.

    ``version``: the one that the person saw; None: whichever it has.
    """

    campaign_id: str
    actor: str
    version: int | None = None
    at: datetime = field(default_factory=clock.now)


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
        is_edited = is_undecided and seen_version not in (None, campaign.version)
        if is_edited:
            self.status = gettext("has been edited since (it is at version {version})").format(
                version=self.version
            )
        else:
            self.status = _status_text(self.state)
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


def find_campaign(session: Transaction, campaign_id: str, *, lock: bool = False) -> Campaign:
    """Load a campaign as the database has it now.

    `lock`: lock the row until the transaction ends. SQLite serialises writers anyway.
    """
    query = select(Campaign).where(
        Campaign.id == campaign_id, Campaign.team_id == session.settings.team_id
    )
    query = query.with_for_update() if lock else query  # no effect on SQLite
    campaign = session.scalar(query.execution_options(populate_existing=True))
    if campaign is None:
        text = gettext("There is no campaign {campaign_id!r}.")
        raise BadInput(text.format(campaign_id=campaign_id), hint="campaigns")
    return campaign


def move_campaign(
    session: Transaction,
    step: Step,
    transition: Transition,
    *conditions: ColumnElement[bool],
    details: dict[str, Any] | None = None,
    **values: Any,
) -> Campaign:
    """Take a step if the campaign is unchanged, and write its audit row.

    `conditions`: of the row besides its state and version.
    `values`: further columns to set.
    """
    statement = update(Campaign).where(
        Campaign.id == step.campaign_id,
        Campaign.team_id == session.settings.team_id,
        Campaign.state.in_(transition.from_states),
        *conditions,
    )
    if step.version is not None:
        statement = statement.where(Campaign.version == step.version)
    changed = session.change(statement.values(state=transition.to_state, **values))
    campaign = find_campaign(session, step.campaign_id)
    if changed != 1:
        raise StaleCampaign(campaign, step.version)
    shown = {"version": campaign.version, "to": transition.to_state, **(details or {})}
    record(session, step.actor, transition.action, campaign.id, step.at, shown)
    return campaign
