"""Count an audience, and save it or offer to."""

from retention.audiences import store
from retention.audiences.parse import parse
from retention.audiences.scores import members_at
from retention.db import Transaction
from retention.lake import Lake
from retention.lake.places import attribute_names
from retention.text import gettext
from workers.requests import AudienceSave
from workers.tasks.interface import Context, Outcome, Post


def run(request: AudienceSave, context: Context) -> Outcome:
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
