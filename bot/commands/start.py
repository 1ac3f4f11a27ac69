"""`start`: from a shop's file to a list of customers at risk."""

import csv
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from bot.commands.tree import TERMINAL, Answer, Call, TerminalOption, command
from retention.csv import escape_formulas
from retention.errors import BadInput, Refused, TooLittleData
from retention.text import gettext
from workers.requests import Request, Retrain, Sweep

CSV_COLUMNS = ("customer_id", "tier", "churn_probability", "expected_value", "reasons")
TOP = 10_000  # customers of the written files
PAGE, TABLE = "at-risk.html", "at-risk.csv"


@command(
    "start",
    role="admin",
    surfaces=TERMINAL,
    help=gettext(
        "Turn a file of orders into a list of customers at risk.\n\n"
        "It proposes how to read the file and asks; then it imports the orders, trains a churn "
        "model where the data suffices, prints the list and writes it as a page and as CSV. Each "
        "step is also a command: import, definition, retrain, sweep."
    ),
)
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@click.option(
    "--query",
    cls=TerminalOption,
    metavar="SQL",
    help=gettext("What to read, where FILE is a database's URL."),
)
@click.option(
    "--map",
    "map_path",
    type=click.Path(path_type=Path),
    cls=TerminalOption,
    metavar="MAP.toml",
    help=gettext("What each column is called in the file, instead of a proposal."),
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    cls=TerminalOption,
    metavar="FOLDER",
    help=gettext("Where to write the page and the CSV file; by default here."),
)
@click.option(
    "--yes",
    is_flag=True,
    cls=TerminalOption,
    help=gettext("Do not ask whether the file is read rightly."),
)
def COMMAND(
    call: Call,
    files: tuple[str, ...],
    query: str | None,
    map_path: Path | None,
    out: Path,
    yes: bool,
) -> Answer:
    """Import orders, train a model, list the customers at risk and write the list."""
    from retention.campaigns.file_imports import LISTENER
    from retention.lake import Lake
    from retention.lake.importing import import_files
    from retention.lake.preview import preview
    from retention.registry import ensure_definition

    services = call.services
    settings, database, lake = services.settings, services.database, Lake.open(services.settings)
    out.mkdir(parents=True, exist_ok=True)
    call.progress(0, 6, gettext("Reading the columns"))
    map_path, format_name, proposal = _reading(call, lake, files, query, map_path)
    call.progress(1, 6, gettext("Counting"))
    with tempfile.TemporaryDirectory() as folder:
        summary = preview(settings, Path(folder), list(files), map_path, format_name, query)
    _confirm(call, proposal, summary.as_dict(), yes=yes)
    call.progress(2, 6, gettext("Importing"))
    report = import_files(
        lake,
        database,
        settings,
        "events",
        list(files),
        map_path,
        query=query,
        format_name=format_name,
        progress=call.progress,
        listener=LISTENER,
    )
    definition = ensure_definition(lake, database, settings)
    untrained = _train(call)
    queued = _queue_recommender(call, summary.items)
    swept = _run(call, Sweep(tier="high", top=TOP))
    files_written = _write(call, out, swept, definition.as_dict())
    return Answer(
        "bot/start",
        {
            **swept,
            "import": report.as_dict(),
            "preview": summary.as_dict(),
            "map": str(map_path) if map_path else None,
            "definition": definition.as_dict(),
            "untrained": untrained,
            "queued": queued,
            "files": files_written,
        },
    )


def _reading(
    call: Call, lake: Any, files: tuple[str, ...], query: str | None, map_path: Path | None
) -> tuple[Path | None, str | None, str]:
    """Return the map or the name of a known export, and the text of a new map."""
    from retention.lake import formats
    from retention.lake.reading import sources
    from retention.lake.suggesting.suggest import suggest
    from retention.paths import create_private_folder

    if map_path is not None:
        return map_path, None, ""
    with sources.open_source(lake.duckdb, files[0], None, query) as opened:
        known = formats.detect_format(opened.columns, "events")
    if known is not None:
        return None, known[0], ""
    proposal = suggest(lake, "events", files[0], query)
    folder = create_private_folder(call.services.settings.home / "maps")
    stem = "database" if query else Path(files[0]).name.partition(".")[0] or "orders"
    path = folder / f"{stem}.toml"
    path.write_text(proposal, encoding="utf-8")
    return path, None, proposal


def _confirm(call: Call, proposal: str, summary: dict[str, Any], *, yes: bool) -> None:
    """Show what was understood, and ask.

    Raises
    ------
    BadInput
        Nobody can be asked.
    click.Abort
        The person says no.
    """
    from bot.terminal_runner import printed

    shown = {"proposal": proposal, "preview": summary}
    click.echo(printed("bot/start_preview", shown, call.services.settings), err=True)
    if yes:
        return
    if not sys.stdin.isatty():
        raise BadInput(gettext("Nobody can be asked here; add --yes if the file is read rightly."))
    click.confirm(gettext("Is that your shop?"), default=True, abort=True, err=True)


def _train(call: Call) -> str:
    """Train the churn model; return why there is none, or an empty string."""
    try:
        _run(call, Retrain(models=("churn",)))
    except TooLittleData as refusal:
        return str(refusal)
    return ""


def _queue_recommender(call: Call, items: int) -> str | None:
    """Queue the recommender if the shop's orders have items; return the job."""
    from workers import jobs

    if not items:
        return None
    services = call.services
    try:
        with services.database.transaction() as session:
            return jobs.submit(
                session,
                services.settings,
                Retrain(models=("recommend",)),
                requested_by=call.user,
                channel=None,
                idem_key=call.key,
                limited=False,
            ).job.id
    except Refused:
        return None  # the list does not need it


def _run(call: Call, request: Request) -> dict[str, Any]:
    from workers.tasks import runner

    services = call.services
    return runner.run_inline(
        services.settings, services.database, request, user=call.user, progress=call.progress
    )


def _write(
    call: Call, folder: Path, swept: dict[str, Any], definition: dict[str, Any]
) -> list[str]:
    """Write the list as CSV and as a page; return the paths."""
    from retention.templating import html

    table, page = folder / TABLE, folder / PAGE
    with table.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(CSV_COLUMNS)
        for customer in swept["cohort"]:
            row = {
                **customer,
                "reasons": "; ".join(reason["text"] for reason in customer["reasons"]),
            }
            writer.writerow([escape_formulas(row[column]) for column in CSV_COLUMNS])
    zone = call.services.settings.timezone
    page.write_text(
        html("reports/at_risk.html.j2", zone=zone, **{**swept, "definition": definition}),
        encoding="utf-8",
    )
    return [str(page), str(table)]
