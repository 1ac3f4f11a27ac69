"""Check alerts, and try an alert on the past 90 days."""

import logging

from retention.alerts import lapses, live, store
from retention.alerts.backtest import DAYS, would_have_fired
from retention.alerts.checks import Check, Watch, check
from retention.alerts.condition import HARM, LAPSES
from retention.audiences import store as audiences
from retention.campaigns.measurement.interim import HARM_ALPHA
from retention.db import Transaction
from retention.errors import Refused
from retention.lake import Lake
from workers import hints
from workers.job_requests import AlertCheck, AlertTest
from workers.schedule import due_alerts
from workers.tasks.interface import Context, Outcome, Post

log = logging.getLogger(__name__)


def run_alert_check(request: AlertCheck, context: Context) -> Outcome:
    """Check each alert once. An alert that cannot be checked stops no other."""
    now, lake = context.business_at, Lake.open(context.settings)
    with context.database.reading() as session:
        saved = audiences.saved(session)
        expressions = {audience.name: audiences.expression_of(audience) for audience in saved}
        stored = [
            (alert.id, alert.name, store.condition_of(alert), alert.audience, dict(alert.state))
            for alert in store.alerts(session)
        ]
        reported = live.reported(session)
    checks: list[tuple[int, Check]] = []
    failed: dict[str, str] = {}
    for number, (alert_id, name, condition, audience, state) in enumerate(stored):
        context.progress(number, len(stored), name)
        if audience is not None and audience not in expressions:
            failed[name] = f"no audience {audience}"
            continue
        narrowing = expressions[audience] if audience else None
        watch = Watch(condition, narrowing, now, lake, context.database, context.progress)
        try:
            found = check(watch, state, reported=reported.get(alert_id, ()))
            checks.append((alert_id, found))
        except Refused as refusal:
            log.warning("alert %s could not be checked: %s", name, refusal)
            failed[name] = hints.sentence(refusal)

    def publish(session: Transaction) -> tuple[Post, ...]:
        return due_alerts.publish(session, checks, now, context.job_id)

    fired = sum(result.has_fired for _, result in checks)
    return Outcome({"checked": len(checks), "fired": fired, "failed": failed}, apply=publish)


def run_alert_test(request: AlertTest, context: Context) -> Outcome:
    """Count how often an alert would have fired."""
    now = context.business_at
    with context.database.reading() as session:
        alert = store.find(session, request.name)
        condition = store.condition_of(alert)
        audience = None
        if alert.audience:
            audience = audiences.expression_of(audiences.find(session, alert.audience))
    lake = Lake.open(context.settings)
    watch = Watch(condition, audience, now, lake, context.database, context.progress)
    fired, step = would_have_fired(watch)
    rates = {LAPSES: lapses.ALPHA, HARM: HARM_ALPHA}
    data = {
        "name": alert.name,
        "condition": alert.condition,
        "condition_words": condition.in_words,
        "audience": alert.audience,
        "kind": condition.kind,
        "days": DAYS,
        "every_days": step,
        "would_have_fired": fired,
        "false_alarms": rates.get(condition.kind),
        "status": store.status(alert, now),
    }
    return Outcome(data, (Post("alert/test", data),))
