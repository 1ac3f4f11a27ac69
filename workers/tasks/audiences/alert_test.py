"""Try an alert on the past 90 days."""

from retention.alerts import lapses, store
from retention.alerts.backtest import DAYS, would_have_fired
from retention.alerts.checks import Watch
from retention.alerts.condition import HARM, LAPSES
from retention.audiences import store as audiences
from retention.campaigns.measurement.interim import HARM_ALPHA
from retention.lake import Lake
from workers.requests import AlertTest
from workers.tasks.interface import Context, Outcome, Post


def run(request: AlertTest, context: Context) -> Outcome:
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
