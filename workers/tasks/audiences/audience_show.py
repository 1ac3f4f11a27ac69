"""Show a saved audience with its size now."""

from retention.audiences import store
from retention.lake import Lake
from workers.customers.audiences import members_of
from workers.requests import AudienceShow
from workers.tasks.interface import Context, Outcome, Post


def run(request: AudienceShow, context: Context) -> Outcome:
    """Count the customers of a saved audience."""
    settings = context.settings
    with context.database.reading() as session:
        audience = store.find(session, request.name)
    found = members_of(Lake.open(settings), context, audience.name, request.where, request.as_of)
    data = {
        "name": audience.name,
        "expression": audience.expression,
        "where": request.where,
        "exclude": audience.is_exclusion,
        "customers": len(found.customers),
        "population": found.population,
        "as_of": found.as_of.isoformat(),
        "warnings": list(found.warnings),
        "saved_by": audience.saved_by,
        "customers_when_saved": audience.customers,
        "saved_as_of": audience.counted_as_of.isoformat(),
    }
    return Outcome(data, (Post("audience/show", data),))
