"""Report what all campaigns together earn."""

from workers.requests import ProgrammeReport
from workers.tasks.interface import Context, Outcome, Post


def run(request: ProgrammeReport, context: Context) -> Outcome:
    """Measure the programme against its hold-out.

    Parameters
    ----------
    request : ProgrammeReport
        The validated request.
    context : Context
        The running attempt.

    Returns
    -------
    Outcome
        Cumulative profit per month.

    Raises
    ------
    TooLittleData
        There is no programme hold-out.
    """
    from retention.campaigns.margins import average_margin
    from retention.campaigns.programme import holdout_in_force
    from retention.campaigns.programme_result import programme_result
    from retention.errors import TooLittleData
    from retention.lake import Lake
    from retention.risk.policy import load_policy
    from retention.text import gettext

    settings, now = context.settings, context.business_at
    lake, policy = Lake.open(settings), load_policy(settings)
    context.progress(0, 1, gettext("Comparing the customers inside and outside the hold-out"))
    with context.database.reading() as session:
        holdout = holdout_in_force(session, settings, policy)
        if not holdout.share or holdout.since is None:
            raise TooLittleData(
                gettext(
                    "There is no programme hold-out yet, so what all campaigns earn cannot be "
                    "measured. An admin starts one with `/retention campaign holdout 5`."
                )
            )
        margin, _ = average_margin(lake, holdout.since, policy.offer.margin)
        result = programme_result(lake, session, settings, holdout, now, margin)
    data = {
        **result.as_dict(),
        "currency": lake.currency(settings),
        "simulated": settings.demo,
    }
    return Outcome(data, (Post("report/programme", data),))
