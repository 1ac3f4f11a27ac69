"""Save, find, mute, snooze and delete alerts."""

import difflib
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from retention import clock
from retention.alerts.condition import Condition, parse_condition
from retention.audiences.store import check_name
from retention.db.audit import record
from retention.db.tables import Alert, AlertFiring
from retention.errors import BadInput, Conflict
from retention.settings import Settings
from retention.text import gettext

SNOOZE_DAYS = 7


def add(
    session: Session,
    settings: Settings,
    name: str,
    condition: Condition,
    *,
    audience: str | None,
    channel: str | None,
    by: str,
    is_on: bool = True,
) -> Alert:
    """Store an alert.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    settings : Settings
        Settings of the installation.
    name : str
        Name of the alert.
    condition : Condition
        What it waits for.
    audience : str or None
        Name of the audience that it is limited to.
    channel : str or None
        Destination of its messages.
    by : str
        Who adds it.
    is_on : bool, optional
        False: it is muted until somebody switches it on.

    Returns
    -------
    Alert

    Raises
    ------
    BadInput
        The name is not usable, or the condition takes no audience.
    Conflict
        There is an alert with this name.
    """
    name, now = check_name(name), clock.now()
    if audience and not condition.takes_audience:
        raise BadInput(
            gettext("Leave out --audience: {condition!r} is not about customers.").format(
                condition=str(condition)
            )
        )
    if session.scalar(select(Alert.id).where(*_named(settings, name))):
        raise Conflict(
            gettext(
                "There is an alert {name!r} already; delete it first, or choose another name."
            ).format(name=name)
        )
    alert = Alert(
        team_id=settings.team_id,
        name=name,
        condition=str(condition),
        audience=audience,
        channel=channel,
        created_by=by,
        created_at=now,
        muted_at=None if is_on else now,
        state={},
    )
    session.add(alert)
    session.flush()
    details = {"condition": str(condition), "audience": audience}
    record(session, settings, by, "alert.add", name, now, details)
    return alert


def find(session: Session, settings: Settings, name: str) -> Alert:
    """Return an alert by name.

    Raises
    ------
    BadInput
        There is none. The message names the nearest.
    """
    alert = session.scalar(select(Alert).where(*_named(settings, "-".join(name.lower().split()))))
    if alert is not None:
        return alert
    names = [other.name for other in alerts(session, settings)]
    nearest = difflib.get_close_matches(name.lower(), names, 1)
    message = (
        gettext("There is no alert {name!r}. Did you mean {nearest}?")
        if nearest
        else gettext("There is no alert {name!r}; `/retention alert list` shows all.")
    )
    raise BadInput(message.format(name=name, nearest="".join(nearest)))


def alerts(session: Session, settings: Settings) -> list[Alert]:
    """Return all alerts by name."""
    return list(
        session.scalars(select(Alert).where(Alert.team_id == settings.team_id).order_by(Alert.name))
    )


def condition_of(alert: Alert) -> Condition:
    """Parse the condition of a stored alert."""
    return parse_condition(alert.condition)


def mute(session: Session, settings: Settings, name: str, by: str) -> Alert:
    """Switch an alert off. It is still checked, so it never fires for what happened meanwhile."""
    alert = find(session, settings, name)
    if alert.muted_at is None:
        alert.muted_at = clock.now()
        record(session, settings, by, "alert.mute", alert.name, alert.muted_at, {})
    return alert


def unmute(session: Session, settings: Settings, name: str, by: str) -> Alert:
    """Switch an alert on, and end its snooze."""
    alert = find(session, settings, name)
    if alert.muted_at is not None or alert.snoozed_until is not None:
        alert.muted_at = alert.snoozed_until = None
        record(session, settings, by, "alert.unmute", alert.name, clock.now(), {})
    return alert


def snooze(
    session: Session, settings: Settings, name: str, by: str, days: int = SNOOZE_DAYS
) -> Alert:
    """Keep an alert silent for some days."""
    alert, now = find(session, settings, name), clock.now()
    alert.snoozed_until = now + timedelta(days=days)
    record(session, settings, by, "alert.snooze", alert.name, now, {"days": days})
    return alert


def remove(session: Session, settings: Settings, name: str, by: str) -> Alert:
    """Delete an alert and its firings."""
    alert = find(session, settings, name)
    for table, column in ((AlertFiring, AlertFiring.alert_id), (Alert, Alert.id)):
        session.execute(
            delete(table).where(column == alert.id),
            execution_options={"synchronize_session": False},
        )
    details = {"condition": alert.condition}
    record(session, settings, by, "alert.delete", alert.name, clock.now(), details)
    return alert


def status(alert: Alert, now: datetime) -> str:
    """Return ``on``, ``muted`` or ``snoozed``."""
    if alert.muted_at is not None:
        return "muted"
    is_snoozed = alert.snoozed_until is not None and alert.snoozed_until > now
    return "snoozed" if is_snoozed else "on"


def summaries(session: Session, settings: Settings) -> list[dict[str, Any]]:
    """Return all alerts as data for lists, App Home and ``--json``."""
    now = clock.now()
    fired: dict[int, AlertFiring] = {}
    for firing in session.scalars(
        select(AlertFiring)
        .where(AlertFiring.team_id == settings.team_id)
        .order_by(AlertFiring.at, AlertFiring.id)
    ):
        fired[firing.alert_id] = firing
    return [
        {
            "name": alert.name,
            "condition": alert.condition,
            "condition_words": condition_of(alert).in_words,
            "audience": alert.audience,
            "channel": alert.channel,
            "status": status(alert, now),
            "snoozed_until": alert.snoozed_until.isoformat() if alert.snoozed_until else None,
            "checked_at": alert.checked_at.isoformat() if alert.checked_at else None,
            "fired_at": fired[alert.id].at.isoformat() if alert.id in fired else None,
            "created_by": alert.created_by,
        }
        for alert in alerts(session, settings)
    ]


def _named(settings: Settings, name: str) -> tuple[Any, ...]:
    return Alert.team_id == settings.team_id, Alert.name == name
