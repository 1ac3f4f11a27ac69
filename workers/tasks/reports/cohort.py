"""Show retention by month of the first purchase."""

from retention.lake import Lake
from retention.reports.cohorts import cohorts
from workers.customers.audiences import full_name, members_of
from workers.requests import Cohort
from workers.tasks.interface import Context, Outcome, Post


def run(request: Cohort, context: Context) -> Outcome:
    """Count the cohorts without naming a customer."""
    lake = Lake.open(context.settings)
    as_of = lake.as_of(request.as_of, 31)
    customers = None
    if request.audience or request.where:
        found = members_of(lake, context, request.audience, request.where, as_of.at)
        customers = found.customers
    report = cohorts(lake, as_of.at, request.months, customers)
    data = {
        **report.as_dict(),
        "note": as_of.note,
        "audience": full_name(request.audience, request.where) or None,
    }
    return Outcome(data, (Post("cohort/table", data),))
