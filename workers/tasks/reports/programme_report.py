"""Report what all campaigns together earn."""

from retention.campaigns.measurement.programme_result import programme_result
from retention.campaigns.planning.products import average_margin
from retention.campaigns.planning.programme_holdout import require_holdout
from retention.lake import Lake
from retention.risk.policy import load_policy
from retention.text import gettext
from workers.requests import ProgrammeReport
from workers.tasks.interface import Context, Outcome, Post


def run(request: ProgrammeReport, context: Context) -> Outcome:
    """Measure the programme's cumulative profit per month against its hold-out."""
    settings, now = context.settings, context.business_at
    lake, policy = Lake.open(settings), load_policy(settings)
    context.progress(0, 1, gettext("Comparing the customers inside and outside the hold-out"))
    with context.database.reading() as session:
        holdout, since = require_holdout(session, policy)
        margin, _ = average_margin(lake, since, policy.offer.margin)
        result = programme_result(lake, session, holdout, now, margin)
    data = {**result.as_dict(), "currency": lake.currency(settings), "simulated": settings.demo}
    return Outcome(data, (Post("report/programme", data),))
