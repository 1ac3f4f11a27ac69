"""`report`: report recommendations, and the promises of campaigns."""

from pathlib import Path
from typing import Any

from bot.commands.parameters import AS_OF, DAYS, html_option, option
from bot.commands.tree import Call, group, request
from retention.text import gettext
from workers.requests import ProgrammeReport, PromisesReport, RecommendReport


@group("report", default="recommend")
def COMMAND() -> None: ...


def _write_html(call: Call, data: dict[str, Any], html: Path | None = None, **_: Any) -> None:
    from retention.reports.recommendations import Performance

    if html is not None:
        html.write_text(Performance(data).html(call.settings), encoding="utf-8")


@COMMAND.command(
    "recommend",
    request=RecommendReport,
    after=_write_html,
    help=gettext(
        "How recommendations do: by place on the list, by reason, by model and over time."
    ),
)
@option("--days", gettext("What was shown within so long."), DAYS, default="84d")
@AS_OF
@html_option(gettext("Also write the report to this file, as a page."))
def recommend(call: Call, html: Path | None = None, **fields: Any) -> RecommendReport:
    """Queue the report."""
    return request(RecommendReport, **fields)


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
