"""Try an alert on the past 90 days."""

from workers.requests import AlertTest
from workers.tasks.interface import Context, Outcome, Post


def run(request: AlertTest, context: Context) -> Outcome:
    """Count how often an alert would have fired.

    Parameters
    ----------
    request : AlertTest
        The validated request.
    context : Context
        The running attempt.

    Returns
    -------
    Outcome
        The times, with a button that switches a muted alert on.
    """
    from retention.alerts import lapses, store
    from retention.alerts.backtest import DAYS, would_have_fired
    from retention.alerts.condition import HARM, LAPSES
    from retention.audiences import store as audiences
    from retention.campaigns.interim import HARM_ALPHA
    from retention.lake import Lake

    settings, now = context.settings, context.business_at
    with context.database.reading() as session:
        alert = store.find(session, settings, request.name)
        condition = store.condition_of(alert)
        audience = (
            audiences.expression_of(audiences.find(session, settings, alert.audience))
            if alert.audience
            else None
        )
    fired, step = would_have_fired(
        condition, audience, now, Lake.open(settings), context.database, settings, context.progress
    )
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
