"""`data`: show data quality, and release quarantined rows."""

from pathlib import Path
from typing import Any

import click

from bot.commands.tree import (
    TERMINAL,
    TO_WRITE,
    Answer,
    Call,
    TerminalOption,
    group,
    integer,
    request,
)
from retention.errors import BadInput
from retention.text import gettext
from workers.requests import DataQuality

REASON = click.option("--reason", metavar="WORDS", help=gettext("Only the rows with this reason."))


@group("data", default="show", help=gettext("What has been imported, and how good it is."))
def COMMAND() -> None: ...


def _write_html(call: Call, data: dict[str, Any], html: Path | None = None) -> None:
    from retention.reports.quality import Quality

    if html is not None:
        html.write_text(Quality(data).html(call.services.settings), encoding="utf-8")


@COMMAND.command(
    "show",
    request=DataQuality,
    after=_write_html,
    help=gettext(
        "How fresh, complete and usual the data is, what is in quarantine, and what "
        "limits the models now."
    ),
)
@click.option(
    "--html",
    type=TO_WRITE,
    cls=TerminalOption,
    metavar="FILE",
    help=gettext("Also write the report to this file, as a page."),
)
def show(call: Call, html: Path | None = None) -> DataQuality:
    """Queue the data quality report."""
    return request(DataQuality)


@COMMAND.command(
    "quarantine",
    role="admin",
    surfaces=TERMINAL,
    help=gettext("The rows that could not be used, by reason, with what to do about it."),
)
@REASON
@click.option(
    "--examples",
    type=integer(0, 1000),
    default=3,
    metavar="N",
    help=gettext("So many rows of each reason."),
)
def list_quarantined(call: Call, reason: str | None, examples: int) -> Answer:
    """List quarantined rows by reason."""
    from retention.lake import Lake, quarantine

    settings = call.services.settings
    listing = quarantine.listing(
        Lake.open(settings).duckdb, settings, reason=reason, examples=examples
    )
    return Answer("bot/quarantine", listing)


@COMMAND.command(
    "release",
    role="admin",
    surfaces=TERMINAL,
    help=gettext(
        "Try quarantined rows again with the map and the rules as they are now; those "
        "that pass are imported.\n\n"
        "Rows that still cannot be used stay where they are; a second time changes "
        "nothing."
    ),
)
@REASON
@click.option("--all", "everything", is_flag=True, help=gettext("All rows, whatever their reason."))
@click.option(
    "--map",
    "map_path",
    type=click.Path(path_type=Path),
    cls=TerminalOption,
    metavar="MAP.toml",
    help=gettext("Read them with this map, not with their own as it is now."),
)
def release_quarantined(
    call: Call, reason: str | None, everything: bool, map_path: Path | None
) -> Answer:
    """Import quarantined rows with the present map and rules."""
    from retention.campaigns.file_imports import LISTENER
    from retention.lake import Lake
    from retention.lake.release import release

    if (reason is None) != everything:
        raise BadInput(gettext("Say which rows: --reason WORDS, or --all."))
    services = call.services
    report = release(
        Lake.open(services.settings),
        services.database,
        services.settings,
        reason=reason,
        map_path=map_path,
        progress=call.progress,
        listener=LISTENER,
    )
    return Answer("bot/release", report.as_dict())
