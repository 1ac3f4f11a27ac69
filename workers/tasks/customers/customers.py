"""Count customers, and list the first of them by pseudonym."""

from retention.lake import Lake
from retention.registry.churn_definition import ensure_definition
from retention.reports.shop_figures import customer_figures
from workers.customers.audiences import full_name, members_of
from workers.requests import Customers
from workers.tasks.interface import Context, Outcome, Post


def run(request: Customers, context: Context) -> Outcome:
    """Count the customers and list those with the most orders, spending or the newest."""
    settings = context.settings
    lake = Lake.open(settings)
    definition = ensure_definition(lake, context.database)
    as_of = lake.as_of(request.as_of, definition.horizon_days)
    members = None
    if request.audience or request.where:
        members = members_of(lake, context, request.audience, request.where, as_of.at)
    with context.database.reading() as session:
        figures = customer_figures(
            lake,
            session,
            as_of.at,
            active_days=definition.active_within_days,
            customers=members.customers if members else None,
            order=request.order,
            top=request.top,
        )
    warnings = members.warnings if members else ()
    data = {
        **figures,
        "currency": lake.currency(settings),
        "audience": full_name(request.audience, request.where) or None,
        "note": " ".join(part for part in (as_of.note, *warnings) if part),
    }
    return Outcome(data, (Post("customers/list", data),))
