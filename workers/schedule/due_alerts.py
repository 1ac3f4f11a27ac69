"""Decide when alerts are checked, and publish those that fired."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, time
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from retention.alerts import live, store
from retention.audiences.evaluate import needs_scores
from retention.clock import parse_quiet_hours
from retention.db import Transaction
from retention.db.tables import Alert, AlertFiring, Cohort, ImportLog, Job
from retention.privacy import pseudonym
from retention.risk.policy import load_policy
from retention.settings import Settings
from workers.tasks.interface import Post
from workers.typed_times import next_local_time

if TYPE_CHECKING:
    from retention.alerts.checks import Check
    from retention.clock import QuietHours

DAILY_CAP = 5  # alerts in a channel on one day; more are only listed


def check_due(session: Transaction, now: datetime) -> str | None:
    """Return the idempotency key of the check that is due, if any.

    Alerts are checked once a day, and after each sweep and import. No check runs in the quiet hours
    of the policy, so nothing is posted in them.
    """
    if not _has_alerts(session):
        return None
    local = now.astimezone(session.settings.zone)
    quiet = quiet_hours(session.settings)
    if quiet and quiet.contains(local.time()):
        return None
    team = session.settings.team_id
    sweep = session.scalar(
        select(Cohort.id)
        .where(Cohort.team_id == team, Cohort.audience.is_(None))
        .order_by(Cohort.created_at.desc(), Cohort.id)
        .limit(1)
    )
    imported = session.scalar(
        select(ImportLog.id)
        .where(ImportLog.team_id == team)
        .order_by(ImportLog.at.desc(), ImportLog.id)
        .limit(1)
    )
    newest = session.scalar(select(func.max(Alert.id)).where(Alert.team_id == team))
    key = f"alerts:{local:%Y-%m-%d}:{sweep}:{imported}:{newest}"
    return None if session.scalar(select(Job.id).where(Job.idem_key == key)) else key


def next_check(session: Transaction, after: datetime) -> datetime | None:
    """Return the time of the next daily check: the end of the quiet hours, or midnight."""
    if not _has_alerts(session):
        return None
    quiet = quiet_hours(session.settings)
    return next_local_time(quiet.end if quiet else time(), session.settings.zone, after)


def quiet_hours(settings: Settings) -> "QuietHours | None":
    return parse_quiet_hours(load_policy(settings).campaign.quiet_hours)


def _has_alerts(session: Transaction) -> bool:
    alerts = select(Alert.id).where(Alert.team_id == session.settings.team_id)
    return session.scalar(alerts.limit(1)) is not None


def publish(
    session: Transaction, checks: "Sequence[tuple[int, Check]]", now: datetime, job_id: str
) -> tuple[Post, ...]:
    """Store the results of checks and return one message per channel."""
    fired: dict[str, list[dict[str, Any]]] = defaultdict(list)
    capped: dict[str, int] = defaultdict(int)
    for alert_id, result in checks:
        alert = session.get(Alert, alert_id)
        if alert is None:
            continue
        if result.state.get("as_of") != alert.state.get("as_of"):
            live.forget_reported(session, alert.id, result.state.get("as_of"))
        alert.state, alert.checked_at = result.state, now
        if not result.has_fired:
            continue
        state = store.status(alert, now)
        if state == "on":
            is_full = _sent_today(session, alert.channel, now) >= DAILY_CAP
            state = "capped" if is_full else "sent"
        session.add(
            AlertFiring(
                team_id=session.settings.team_id,
                alert_id=alert.id,
                at=now,
                customers=result.customers,
                facts=result.facts,
                state=state,
            )
        )
        session.flush()
        channel = alert.channel or ""
        if state == "sent":
            fired[channel].append(_shown(session.settings, alert, result))
        elif state == "capped":
            capped[channel] += 1
    return tuple(
        Post(
            "alert/fired",
            {"alerts": shown, "capped": capped[channel], "cap": DAILY_CAP},
            key=f"alerts:{job_id}:{channel}",
            channel=channel,
        )
        for channel, shown in fired.items()
        if channel
    )


def _sent_today(session: Transaction, channel: str | None, now: datetime) -> int:
    local = now.astimezone(session.settings.zone)
    start = datetime.combine(local.date(), time(), session.settings.zone)
    number = session.scalar(
        select(func.count())
        .select_from(AlertFiring)
        .join(Alert, Alert.id == AlertFiring.alert_id)
        .where(
            AlertFiring.team_id == session.settings.team_id,
            AlertFiring.state == "sent",
            AlertFiring.at >= start,
            Alert.channel.is_(None) if channel is None else Alert.channel == channel,
        )
    )
    return int(number or 0)


def _shown(settings: Settings, alert: Alert, result: "Check") -> dict[str, Any]:
    """Return the values of one alert in a message; customers are pseudonyms."""
    condition = store.condition_of(alert)
    # A sweep leaves out customers without recent orders, whom a condition without a score counts.
    is_scored = condition.expression is not None and needs_scores(condition.expression)
    # Quotes that no condition has.
    limits = f"--where «{condition}»" + (f" --audience {alert.audience}" if alert.audience else "")
    return {
        "name": alert.name,
        "kind": condition.kind,
        "condition": alert.condition,
        "condition_words": condition.in_words,
        "list": f"{'sweep --tier low' if is_scored else 'customers'} {limits}",
        "audience": alert.audience,
        "customers": result.customers,
        "facts": result.facts,
        "named": [pseudonym(settings.key, customer) for customer in result.named],
    }
