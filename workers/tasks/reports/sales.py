"""Sum up the orders of some days."""

from retention import clock
from retention.lake import Lake
from retention.reports.shop_figures import sales_figures
from workers.customers.audiences import full_name, members_of
from workers.requests import Sales
from workers.tasks.interface import Context, Outcome, Post


def run(request: Sales, context: Context) -> Outcome:
    """Sum up the orders of the days, and compare them with as many days before."""
    settings = context.settings
    lake, now = Lake.open(settings), clock.now()
    members = None
    if request.audience or request.where:
        members = members_of(lake, context, request.audience, request.where, now)
    figures = sales_figures(
        lake, request.first, request.last, now, members.customers if members else None
    )
    data = {
        **figures,
        "currency": lake.currency(settings),
        "audience": full_name(request.audience, request.where) or None,
        "note": " ".join(members.warnings) if members else "",
    }
    return Outcome(data, (Post("sales/period", data),))
