"""Check all alerts and post those that fired."""

import logging

from retention.alerts import live, store
from retention.alerts.checks import Check, Watch, check
from retention.audiences import store as audiences
from retention.db import Transaction
from retention.errors import Refused
from retention.lake import Lake
from workers import hints
from workers.customers import alerts
from workers.requests import AlertCheck
from workers.tasks.interface import Context, Outcome, Post

log = logging.getLogger(__name__)


def run(request: AlertCheck, context: Context) -> Outcome:
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
        return alerts.publish(session, checks, now, context.job_id)

    fired = sum(result.has_fired for _, result in checks)
    return Outcome({"checked": len(checks), "fired": fired, "failed": failed}, apply=publish)
