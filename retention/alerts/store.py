"""Save, find, mute, snooze and delete alerts."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, select

from retention import clock
from retention.alerts.condition import Condition, parse_condition
from retention.audiences.store import check_name
from retention.db import Transaction
from retention.db.audit import record
from retention.db.tables import Alert, AlertFiring
from retention.errors import BadInput, Conflict, unknown_name
from retention.settings import Settings
from retention.text import gettext

SNOOZE_DAYS = 7


def add(
    session: Transaction,
    name: str,
    condition: Condition,
    *,
    audience: str | None,
    channel: str | None,
    by: str,
    is_on: bool = True,
) -> Alert:
    """Store an alert."""
    name, now = check_name(name), clock.now()
    if audience and not condition.takes_audience:
        text = gettext("Leave out --audience: {condition!r} is not about customers.")
        raise BadInput(text.format(condition=str(condition)))
    if session.scalar(select(Alert.id).where(*_named(session.settings, name))):
        message = gettext(
            "There is an alert {name!r} already; delete it first, or choose another name."
        )
        raise Conflict(message.format(name=name))
    alert = Alert(
        team_id=session.settings.team_id,
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
    record(session, by, "alert.add", name, now, details)
    return alert


def find(session: Transaction, name: str) -> Alert:
    query = select(Alert).where(*_named(session.settings, "-".join(name.lower().split())))
    alert = session.scalar(query)
    if alert is not None:
        return alert
    similar = gettext("There is no alert {name!r}. Did you mean {nearest}?")
    other = gettext("There is no alert {name!r}.")
    raise unknown_name(name, [each.name for each in alerts(session)], similar, other, hint="alerts")


def alerts(session: Transaction) -> list[Alert]:
    """Return all alerts by name."""
    query = select(Alert).where(Alert.team_id == session.settings.team_id).order_by(Alert.name)
    return list(session.scalars(query))


def condition_of(alert: Alert) -> Condition:
    """Parse the condition of a stored alert."""
    return parse_condition(alert.condition)


def mute(session: Transaction, name: str, by: str) -> Alert:
    """Switch an alert off. It is still checked, so it never fires for what happened meanwhile."""
    alert = find(session, name)
    if alert.muted_at is None:
        alert.muted_at = clock.now()
        record(session, by, "alert.mute", alert.name, alert.muted_at, {})
    return alert


def unmute(session: Transaction, name: str, by: str) -> Alert:
    """Switch an alert on, and end its snooze."""
    alert = find(session, name)
    if alert.muted_at is not None or alert.snoozed_until is not None:
        alert.muted_at = alert.snoozed_until = None
        record(session, by, "alert.unmute", alert.name, clock.now(), {})
    return alert


def snooze(session: Transaction, name: str, by: str, days: int = SNOOZE_DAYS) -> Alert:
    """Keep an alert silent for some days."""
    alert, now = find(session, name), clock.now()
    alert.snoozed_until = now + timedelta(days=days)
    record(session, by, "alert.snooze", alert.name, now, {"days": days})
    return alert


def remove(session: Transaction, name: str, by: str) -> Alert:
    """Delete an alert and its firings."""
    alert = find(session, name)
    for table, column in ((AlertFiring, AlertFiring.alert_id), (Alert, Alert.id)):
        session.change(delete(table).where(column == alert.id))
    details = {"condition": alert.condition}
    record(session, by, "alert.delete", alert.name, clock.now(), details)
    return alert


def status(alert: Alert, now: datetime) -> str:
    """Return ``on``, ``muted`` or ``snoozed``."""
    if alert.muted_at is not None:
        return "muted"
    is_snoozed = alert.snoozed_until is not None and alert.snoozed_until > now
    return "snoozed" if is_snoozed else "on"


def summaries(session: Transaction) -> list[dict[str, Any]]:
    """Return all alerts as data for lists, App Home and ``--json``."""
    now = clock.now()
    fired: dict[int, AlertFiring] = {}
    for firing in session.scalars(
        select(AlertFiring)
        .where(AlertFiring.team_id == session.settings.team_id)
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
        for alert in alerts(session)
    ]


def _named(settings: Settings, name: str) -> tuple[Any, ...]:
    return Alert.team_id == settings.team_id, Alert.name == name
