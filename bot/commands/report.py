"""`report`: report recommendations, and the promises of campaigns."""

from datetime import datetime
from pathlib import Path
from typing import Any

import click

from bot.commands.tree import AS_OF, DAYS, TO_WRITE, Call, TerminalOption, group, request
from retention.text import gettext
from workers.requests import ProgrammeReport, PromisesReport, RecommendReport


@group("report", default="recommend", help=gettext("How what the desk does turns out."))
def COMMAND() -> None: ...


def _write_html(call: Call, data: dict[str, Any], html: Path | None = None, **_: Any) -> None:
    from retention.reports.recommendations import Performance

    if html is not None:
        html.write_text(Performance(data).html(call.services.settings), encoding="utf-8")


@COMMAND.command(
    "recommend",
    request=RecommendReport,
    after=_write_html,
    help=gettext(
        "How recommendations do: by place on the list, by reason, by model and over time."
    ),
)
@click.option("--days", type=DAYS, default="84d", help=gettext("What was shown within so long."))
@AS_OF
@click.option(
    "--html",
    type=TO_WRITE,
    cls=TerminalOption,
    metavar="FILE",
    help=gettext("Also write the report to this file, as a page."),
)
def recommend(
    call: Call, days: int, as_of: datetime | None, html: Path | None = None
) -> RecommendReport:
    """Queue the report."""
    return request(RecommendReport, days=days, as_of=as_of)


@COMMAND.command(
    "programme",
    request=ProgrammeReport,
    help=gettext(
        "What all campaigns together earn, month by month, against customers whom none contacts."
    ),
)
def programme(call: Call) -> ProgrammeReport:
    """Queue the programme's report."""
    return request(ProgrammeReport)


@COMMAND.command(
    "promises",
    request=PromisesReport,
    help=gettext("Forecasts of all campaigns against their results: how often the range held."),
)
def promises(call: Call) -> PromisesReport:
    """Queue the report."""
    return request(PromisesReport)
