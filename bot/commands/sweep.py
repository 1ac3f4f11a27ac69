"""`sweep`: score all customers and list those at risk."""

from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import click

from bot.commands.tree import (
    AS_OF,
    AUDIENCE,
    TO_WRITE,
    WHERE,
    Call,
    TerminalOption,
    choice,
    command,
    integer,
    request,
)
from retention.audiences.expression import check_group_field as check_field
from retention.text import gettext
from workers.audiences import check_condition, check_exists
from workers.requests import Sweep


def write_cohort(call: Call, data: dict[str, Any], csv: Path | None = None, **_: Any) -> None:
    """Write the cohort to a file."""
    from retention.reports.at_risk import write_csv

    if csv:
        write_csv(csv, data["cohort"])


@command(
    "sweep",
    request=Sweep,
    after=write_cohort,
    help=gettext("List the customers that deserve the team's time, and say why."),
)
@click.option(
    "--tier",
    type=choice("high", "medium", "low", "lapsed"),
    help=gettext(
        "List everybody from this risk on, or lapsed customers. By default, the customers with "
        "most to lose, as many as a team can handle."
    ),
)
@click.option(
    "--top",
    type=integer(1, 100_000),
    metavar="N",
    help=gettext(
        "List so many customers. By default, Slack shows 10 (at most 100, those after the "
        "24th in the thread), and the terminal prints 20 and writes 100."
    ),
)
@AS_OF
@AUDIENCE
@WHERE
@click.option(
    "--order",
    type=choice("stake", "spend"),
    default="stake",
    help=gettext("What comes first: the most to lose, or the highest expected spend."),
)
@click.option(
    "--by",
    metavar="FIELD",
    help=gettext("Also count by a field, such as city, channel or any attribute."),
)
@click.option(
    "--csv",
    type=TO_WRITE,
    cls=TerminalOption,
    metavar="FILE",
    help=gettext("Also write the cohort to a file."),
)
def COMMAND(
    call: Call,
    tier: str | None,
    top: int | None,
    as_of: datetime | None,
    audience: str | None = None,
    where: str | None = None,
    order: Literal["stake", "spend"] = "stake",
    by: str | None = None,
    csv: Path | None = None,
) -> Sweep:
    """Queue a sweep over all active customers, or those of an audience or a condition."""
    audience = check_exists(call.services.database, call.services.settings, audience)
    by = None if by is None else check_field(by)
    return request(
        Sweep,
        tier=tier,
        top=top,
        as_of=as_of,
        audience=audience,
        by=by,
        where=check_condition(where),
        order=order,
    )
