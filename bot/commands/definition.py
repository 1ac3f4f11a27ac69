"""`definition`: show and change what churn means."""

from typing import Any

import click

from bot.commands.tree import DAYS, DAYS_OR_EVER, TERMINAL, Answer, Call, group
from retention.text import gettext
from workers import times


@group("definition", default="show", help=gettext("What churn means in this shop."))
def COMMAND() -> None: ...


@COMMAND.command("show", help=gettext("What churn means, and why."))
def show(call: Call) -> Answer:
    """Show the definition of churn."""
    from retention.registry.churn_definition import current_definition

    with call.services.database.reading() as session:
        definition = current_definition(session, call.services.settings)
    return _answer(definition)


@COMMAND.command(
    "set",
    role="admin",
    help=gettext(
        "Change what churn means. The churn model in use answers the old question, so it is "
        "retired; `retrain` trains one for the new."
    ),
)
@click.option(
    "--horizon",
    type=DAYS,
    required=True,
    help=gettext("Churn means: no order for so long."),
)
@click.option(
    "--active-within",
    type=DAYS_OR_EVER,
    help=gettext("Only who ordered so recently, or ever; by default about twice the horizon."),
)
def change(call: Call, horizon: int, active_within: int | str | None) -> Answer:
    """Change the definition of churn."""
    from retention.features.order_rhythm import active_window
    from retention.registry.churn_definition import ChurnDefinition

    active = active_window(horizon) if active_within is None else times.days_or_ever(active_within)
    return _changed(call, ChurnDefinition(horizon, active, "person"))


@COMMAND.command(
    "derive",
    role="admin",
    surfaces=TERMINAL,
    help=gettext("Derive it anew from the gaps between the shop's orders."),
)
def derive(call: Call) -> Answer:
    """Derive the definition of churn from the data."""
    from retention.lake import Lake
    from retention.registry.churn_definition import derive_from

    return _changed(call, derive_from(Lake.open(call.services.settings)))


def _changed(call: Call, definition: Any) -> Answer:
    from retention.registry.churn_definition import change_definition

    retired = None
    with call.services.database.transaction() as session:
        if call.first_time(session):
            retired = change_definition(session, call.services.settings, definition, call.user)
    return _answer(definition, retired.version if retired else None, changed=True)


def _answer(definition: Any, retired: str | None = None, *, changed: bool = False) -> Answer:
    fields = definition.as_dict()
    return Answer(
        "bot/definition",
        {**fields, "definition": fields, "retired": retired, "changed": changed},
    )
