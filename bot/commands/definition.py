"""`definition`: show and change what churn means."""

from typing import Any, get_args

from bot.commands.parameters import DAYS, DAYS_OR_EVER, choice, option
from bot.commands.tree import TERMINAL, Answer, Call, group
from retention.registry.churn_definition import (
    ChurnDefinition,
    change_definition,
    current_definition,
    derive_from,
    means_in_force,
)
from retention.text import gettext
from retention.window import Means
from workers import typed_times

COMMAND = group("definition", default="show")


@COMMAND.command("show", help=gettext("What churn means, and why."))
def show(call: Call) -> Answer:
    """Show the definition of churn."""

    with call.database.reading() as session:
        definition = current_definition(session)
    return _answer(definition)


@COMMAND.command(
    "set",
    role="admin",
    help=gettext(
        "Change what churn means. The churn model in use answers the old question, so it is "
        "retired; `retrain` trains one for the new."
    ),
)
@option("--horizon", gettext("Churn means: no order for so long."), DAYS, required=True)
@option(
    "--active-within",
    gettext("Only who ordered so recently, or ever; by default about twice the horizon."),
    DAYS_OR_EVER,
)
@option(
    "--means",
    gettext("What a customer does who has not left: an order, a renewal or an activity."),
    choice(*get_args(Means)),
)
def change(
    call: Call, horizon: int, active_within: int | str | None, means: Means | None
) -> Answer:
    """Change the definition of churn."""
    from retention.features.order_rhythm import active_window

    active = (
        active_window(horizon) if active_within is None else typed_times.days_or_ever(active_within)
    )
    means = means or means_in_force(call.database)
    return _changed(call, ChurnDefinition(horizon, active, "person", means=means))


@COMMAND.command(
    "derive",
    role="admin",
    surfaces=TERMINAL,
    help=gettext("Derive it anew from the gaps between the shop's orders."),
)
def derive(call: Call) -> Answer:
    """Derive the definition of churn from the data."""

    return _changed(call, derive_from(call.lake, means_in_force(call.database)))


def _changed(call: Call, definition: Any) -> Answer:

    retired = None
    with call.database.transaction() as session:
        if call.first_time(session):
            retired = change_definition(session, definition, call.user)
    return _answer(definition, retired.version if retired else None, changed=True)


def _answer(definition: Any, retired: str | None = None, *, changed: bool = False) -> Answer:
    fields = definition.as_dict()
    return Answer(
        "bot/definition", {**fields, "definition": fields, "retired": retired, "changed": changed}
    )
