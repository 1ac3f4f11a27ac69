"""`data`: what is in the lake, how good it is, and what was kept aside."""

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
    request,
    whole,
)
from retention.errors import BadInput
from retention.text import gettext
from workers.requests import DataQuality

REASON = click.option("--reason", metavar="WORDS", help="Only the rows with this reason.")


@group("data", default="show", help="What has been imported, and how good it is.")
def COMMAND() -> None: ...


def _page(call: Call, data: dict[str, Any], html: Path | None = None) -> None:
    from retention.reports.quality import Quality

    if html is not None:
        html.write_text(Quality(data).html(call.services.settings), encoding="utf-8")


@COMMAND.command("show", request=DataQuality, after=_page)
@click.option(
    "--html",
    type=TO_WRITE,
    cls=TerminalOption,
    metavar="FILE",
    help="Also write the report to this file, as a page.",
)
def show(call: Call, html: Path | None = None) -> DataQuality:
    """How fresh, complete and usual the data is, what is in quarantine, and what limits the models now."""
    return request(DataQuality)


@COMMAND.command("quarantine", role="admin", surfaces=TERMINAL)
@REASON
@click.option(
    "--examples", type=whole(0, 1000), default=3, metavar="N", help="So many rows of each reason."
)
def aside(call: Call, reason: str | None, examples: int) -> Answer:
    """The rows that could not be used, by reason, with what to do about it."""
    from retention.lake import Lake, quarantine

    settings = call.services.settings
    found = quarantine.listing(
        Lake.open(settings).duckdb, settings, reason=reason, examples=examples
    )
    return Answer("bot/quarantine", found)


@COMMAND.command("release", role="admin", surfaces=TERMINAL)
@REASON
@click.option("--all", "everything", is_flag=True, help="All rows, whatever their reason.")
@click.option(
    "--map",
    "map_path",
    type=click.Path(path_type=Path),
    cls=TerminalOption,
    metavar="MAP.toml",
    help="Read them with this map, not with their own as it is now.",
)
def release_(call: Call, reason: str | None, everything: bool, map_path: Path | None) -> Answer:
    """Try quarantined rows again with the map and the rules as they are now; those that pass are imported.

    Rows that still cannot be used stay where they are; a second time changes nothing.
    """
    from retention.campaigns.imports import LISTENER
    from retention.lake import Lake
    from retention.lake.release import release

    if (reason is None) != everything:
        raise BadInput(gettext("Say which rows: --reason WORDS, or --all."))
    services = call.services
    found = release(
        Lake.open(services.settings),
        services.database,
        services.settings,
        reason=reason,
        map_path=map_path,
        progress=call.progress,
        listener=LISTENER,
    )
    return Answer("bot/release", found.as_dict())
