"""Count, save and show audiences."""

from retention.audiences import store
from retention.audiences.parse import parse
from retention.audiences.scores import members_at
from retention.db import Transaction
from retention.lake import Lake
from retention.lake.customer_directory import attribute_names
from retention.text import gettext
from workers.customers.audience_filter import members_of
from workers.job_requests import AudienceSave, AudienceShow
from workers.tasks.interface import Context, Outcome, Post


def run_audience_save(request: AudienceSave, context: Context) -> Outcome:
    """Count the customers of an expression; save it unless it is a preview."""
    lake = Lake.open(context.settings)
    context.progress(0, 1, gettext("Counting the customers"))
    attributes = attribute_names(lake)
    expression = parse(request.expression, attributes)
    found = members_at(lake, context.database, expression, progress=context.progress)
    with context.database.reading() as session:
        other = store.replaced_by(session, request.name, expression, request.exclude)
    if other and not request.preview and not request.replace:
        raise store.exists(other, str(expression), len(found.customers))
    data = {
        "name": request.name,
        "expression": str(expression),
        "exclude": request.exclude,
        "customers": len(found.customers),
        "population": found.population,
        "as_of": found.as_of.isoformat(),
        "warnings": list(found.warnings),
        "saved": not request.preview,
        "replaces": other,
        "attributes": attributes,
    }

    def save(session: Transaction) -> None:
        store.save(
            session,
            request.name,
            expression,
            is_exclusion=request.exclude,
            counted=store.Counted(len(found.customers), found.as_of),
            by=context.requested_by,
            replaces=other["expression"] if other else None,
        )

    post = Post("audience/preview", {**data, "job_id": context.job_id, "saved_by": None})
    return Outcome(data, (post,), apply=None if request.preview else save)


def run_audience_show(request: AudienceShow, context: Context) -> Outcome:
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
