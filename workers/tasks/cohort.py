"""Show retention by month of the first purchase."""

from workers.audiences import full_name, members_of
from workers.requests import Cohort
from workers.tasks.interface import Context, Outcome, Post


def run(request: Cohort, context: Context) -> Outcome:
    """Count the cohorts without naming a customer.

    Parameters
    ----------
    request : Cohort
        The validated request.
    context : Context
        The running attempt.

    Returns
    -------
    Outcome
        The table as a message.
    """
    from retention.lake import Lake
    from retention.reports.cohorts import cohorts

    lake = Lake.open(context.settings)
    as_of = lake.as_of(request.as_of, 31)
    customers = None
    if request.audience or request.where:
        found = members_of(
            lake,
            context.database,
            context.settings,
            request.audience,
            as_of.at,
            context.progress,
            request.where,
        )
        customers = found.customers
    report = cohorts(lake, as_of.at, request.months, customers)
    data = {
        **report.as_dict(),
        "note": as_of.note,
        "audience": full_name(request.audience, request.where) or None,
    }
    return Outcome(data, (Post("cohort/table", data),))
