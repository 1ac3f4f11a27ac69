"""Check all alerts and post those that fired."""

import logging

from sqlalchemy.orm import Session

from retention.errors import Refused
from workers import alerts
from workers.requests import AlertCheck
from workers.tasks.interface import Context, Outcome, Post

log = logging.getLogger(__name__)


def run(request: AlertCheck, context: Context) -> Outcome:
    """Check each alert once.

    An alert that cannot be checked stops no other.

    Parameters
    ----------
    request : AlertCheck
        The validated request.
    context : Context
        The running attempt.

    Returns
    -------
    Outcome
        One message per channel with alerts that fired.
    """
    from retention.alerts import live, store
    from retention.alerts.checks import Check, check
    from retention.audiences import store as audiences
    from retention.lake import Lake

    settings, now = context.settings, context.business_at
    lake = Lake.open(settings)
    with context.database.reading() as session:
        expressions = {
            audience.name: audiences.expression_of(audience)
            for audience in audiences.saved(session, settings)
        }
        stored = [
            (alert.id, alert.name, store.condition_of(alert), alert.audience, dict(alert.state))
            for alert in store.alerts(session, settings)
        ]
        reported = live.reported(session, settings)
    checks: list[tuple[int, Check]] = []
    failed: dict[str, str] = {}
    for number, (alert_id, name, condition, audience, state) in enumerate(stored):
        context.progress(number, len(stored), name)
        if audience is not None and audience not in expressions:
            failed[name] = f"no audience {audience}"
            continue
        try:
            checks.append(
                (
                    alert_id,
                    check(
                        condition,
                        expressions[audience] if audience else None,
                        state,
                        now,
                        lake,
                        context.database,
                        settings,
                        context.progress,
                        reported=reported.get(alert_id, ()),
                    ),
                )
            )
        except Refused as refusal:
            log.warning("alert %s could not be checked: %s", name, refusal)
            failed[name] = str(refusal)

    def publish(session: Session) -> tuple[Post, ...]:
        return alerts.publish(session, settings, checks, now, context.job_id)

    fired = sum(result.has_fired for _, result in checks)
    return Outcome({"checked": len(checks), "fired": fired, "failed": failed}, apply=publish)
