"""Check the champion churn model.

The result is stored. The channel is warned of a decayed model once per horizon.
"""

from datetime import timedelta

from retention.db import Transaction
from retention.lake import Lake
from retention.monitoring import describe, was_alerted
from workers.requests import Monitor
from workers.tasks.interface import Context, Outcome, Post


def run(request: Monitor, context: Context) -> Outcome:
    """Check the model; a scheduled check only posts warnings."""
    from retention.monitoring.health import check

    settings = context.settings
    check_result = check(Lake.open(settings), context.database, progress=context.progress)
    record = check_result.record(settings, context.job_id)
    shown = {"health": describe(record), "job_id": context.job_id, "retraining": None}

    def publish(session: Transaction) -> tuple[Post, ...]:
        since = check_result.at - timedelta(days=check_result.row.horizon_days)
        checks = [reason["check"] for reason in check_result.reasons]
        decayed = check_result.state == "decayed"
        is_repeated = decayed and was_alerted(session, check_result.row.version, checks, since)
        record.alerted = decayed and not is_repeated and context.channel is not None
        session.add(record)
        alert = record.alerted and request.scheduled
        return (Post("monitor/alert", shown, key=alert_key(context.job_id)),) if alert else ()

    posts = () if request.scheduled else (Post("monitor/health", shown),)
    return Outcome(shown, posts, apply=publish)


def alert_key(job_id: str) -> str:
    """Return the outbox key of a scheduled check's warning."""
    return f"decay:{job_id}"
