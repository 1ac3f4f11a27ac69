"""`data`: what is in the lake, how good it is, and what was kept aside."""

from pathlib import Path

import click

from bot.commands.tree import TERMINAL, Answer, Call, TerminalOption, group
from bot.health import data
from retention.errors import BadInput

REASON = click.option("--reason", metavar="WORDS", help="Only the rows with this reason.")


@group("data", default="show", help="What has been imported, and how good it is.")
def COMMAND() -> None: ...


@COMMAND.command("show", role="analyst")
def show(call: Call) -> Answer:
    """What has been imported, how fresh it is, and (in the terminal) how good."""
    services = call.services
    if call.surface == TERMINAL:
        from retention.lake import Lake
        from retention.lake.quality import quality

        return Answer("bot/quality", quality(Lake.open(services.settings), services.settings))
    with services.database.reading() as session:
        return Answer("bot/data", data(session, services.settings))


@COMMAND.command("quarantine", role="admin", surfaces=TERMINAL)
@REASON
@click.option(
    "--examples", type=click.IntRange(0, 1000), default=3, metavar="N", help="So many rows of each reason."
)
def aside(call: Call, reason: str | None, examples: int) -> Answer:
    """The rows that could not be used, by reason, with what to do about it."""
    from retention.lake import Lake, quarantine

    settings = call.services.settings
    found = quarantine.listing(Lake.open(settings).duckdb, settings, reason=reason, examples=examples)
    return Answer("bot/quarantine", found)


@COMMAND.command("release", role="admin", surfaces=TERMINAL)
@REASON
@click.option("--all", "everything", is_flag=True, help="All rows, whatever their reason.")
@click.option(
    "--map", "map_path", type=click.Path(path_type=Path), cls=TerminalOption, metavar="MAP.toml",
    help="Read them with this map, not with their own as it is now.",
)  # fmt: skip
def release_(call: Call, reason: str | None, everything: bool, map_path: Path | None) -> Answer:
    """Try quarantined rows again with the map and the rules as they are now; those that pass are imported.

    Rows that still cannot be used stay where they are; a second time changes nothing.
    """
    from retention.lake import Lake
    from retention.lake.release import release

    if (reason is None) != everything:
        raise BadInput("Say which rows: --reason WORDS, or --all.")
    services = call.services
    found = release(
        Lake.open(services.settings), services.database, services.settings,
        reason=reason, map_path=map_path, progress=call.progress,
    )  # fmt: skip
    return Answer("bot/release", found.as_dict())
