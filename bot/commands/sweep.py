"""`sweep`: score all customers and list those at risk."""

from pathlib import Path
from typing import Any

from bot.commands.parameters import (
    AS_OF,
    AUDIENCE,
    TO_WRITE,
    WHERE,
    choice,
    integer,
    option,
    scoped_request,
)
from bot.commands.tree import Call, TerminalOption, command
from retention.audiences.expression import check_group_field as check_field
from retention.text import gettext
from workers.job_requests import Sweep


def write_cohort(call: Call, data: dict[str, Any], csv: Path | None = None, **_: Any) -> None:
    """Write the cohort to a file."""
    from retention.reports.at_risk import write_csv

    if csv:
        write_csv(csv, data["cohort"])


@command("sweep", request=Sweep, after=write_cohort)
@option(
    "--tier",
    gettext(
        "List everybody from this risk on, or lapsed customers. By default, the customers with "
        "most to lose, as many as a team can handle."
    ),
    choice("high", "medium", "low", "lapsed"),
)
@option(
    "--top",
    gettext(
        "List so many customers. By default, Slack shows 10 (at most 100, those after the "
        "24th in the thread), and the terminal prints 20 and writes 100."
    ),
    integer(1, 100_000),
    "N",
)
@AS_OF
@AUDIENCE
@WHERE
@option(
    "--order",
    gettext("What comes first: the most to lose, or the highest expected spend."),
    choice("stake", "spend"),
    default="stake",
)
@option(
    "--by",
    gettext("Also count by a field, such as city, channel or any attribute."),
    metavar="FIELD",
)
@option("--csv", gettext("Also write the cohort to a file."), TO_WRITE, "FILE", cls=TerminalOption)
def COMMAND(call: Call, by: str | None = None, csv: Path | None = None, **fields: Any) -> Sweep:
    """Queue a sweep over all active customers, or those of an audience or a condition."""
    return scoped_request(call, Sweep, by=None if by is None else check_field(by), **fields)
