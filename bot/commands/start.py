"""`start`: from a shop's file to a list of customers at risk."""

import shlex
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from sqlalchemy import make_url

from bot.commands.parameters import map_option, option, switch
from bot.commands.tree import Answer, Call, command
from retention.errors import BadInput, Refused
from retention.lake import Lake
from retention.lake.importing.import_log import add_reports
from retention.lake.importing.mapping import parse_section, read_map
from retention.lake.schema import TABLES
from retention.lake.suggesting.field_files import propose_field_files
from retention.lake.suggesting.order_rows import order_rule
from retention.paths import create_private_folder, is_url
from retention.progress import Progress, part
from retention.registry.churn_definition import ensure_definition, means_in_force
from retention.text import gettext
from workers.job_requests import Request, Sweep
from workers.retrain_request import Retrain

if TYPE_CHECKING:
    from retention.lake.suggesting.preview import Preview
    from retention.lake.suggesting.suggest import Proposal

TOP = 10_000  # customers of the written files
STEPS = 5


@command(
    "start",
    role="admin",
    help=gettext(
        "Turn a file of orders into a list of customers at risk.\n\n"
        "It reads the file, shows its figures and asks whether they are your shop's. Then it "
        "imports the orders, trains a churn model where the data suffices, prints the list and "
        "writes it as a page and as CSV. Each step is also a command: import, definition, retrain "
        "and sweep."
    ),
)
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@option("--query", gettext("What to read, where FILE is a database's URL."), metavar="SQL")
@map_option(gettext("What each column is called in the file, instead of a proposal."))
@option(
    "--sheet",
    gettext("Which sheet of a workbook to read, instead of the one that fits best."),
    metavar="NAME",
)
@option(
    "--out",
    gettext("Where to write the page and the CSV file; by default here."),
    click.Path(path_type=Path, file_okay=False),
    "FOLDER",
    default=Path(),
)
@switch("--yes", gettext("Import without asking, for scripts."))
def COMMAND(
    call: Call,
    files: tuple[str, ...],
    query: str | None,
    map_path: Path | None,
    sheet: str | None,
    out: Path,
    yes: bool,
) -> Answer:
    """Import orders, train a model, list the customers at risk and write the list."""
    from retention.campaigns.measurement.redemption_and_bounce_files import LISTENER
    from retention.lake.importing.import_files import display_names, import_files
    from retention.lake.suggesting.preview import preview
    from retention.reports.at_risk import check_folder, write_list

    settings, database, lake = call.settings, call.database, call.lake
    check_folder(out)
    if map_path and sheet:
        raise BadInput(
            gettext("Write the sheet into the map, as sheet = …, and leave out --sheet.")
        )
    step = _announce(call, 1, gettext("Reading the columns"))
    with _open_parts(call, files, query, map_path, sheet) as (parts, joins):
        first, *others = parts
        map_path, format_name = first.map_path, first.format_name
        step = _announce(call, 2, gettext("Counting customers and orders"))
        summary = preview(
            settings,
            first.files,
            map_path,
            format_name=format_name,
            query=query,
            progress=step,
            more=[(part.files, part.map_path) for part in others],
        )
        names = display_names(list(files))
        _confirm(call, summary, parts, names, joins, yes=yes)
        step = _announce(call, 3, gettext("Importing"))
        reports = [
            import_files(
                lake,
                database,
                settings,
                "events",
                part.files,
                part.map_path,
                query=query,
                format_name=part.format_name,
                progress=step,
                listener=LISTENER,
            )
            for part in parts
        ]
        report = reduce(add_reports, reports)
    definition = ensure_definition(lake, database, report.means).as_dict()
    step = _announce(call, 4, gettext("Training a churn model"))
    model = _train(call, is_new=bool(report.rows_accepted), progress=step)
    queued = _queue_recommender(call) if report.rows_accepted and summary.items else None
    step = _announce(call, 5, gettext("Listing the customers at risk"))
    swept = _run(call, Sweep(top=TOP, with_lapsed=True), step)
    lapsed = swept.pop("lapsed")
    written = write_list(out, swept, definition, summary.text, summary.zone, lapsed)
    return Answer(
        "bot/start",
        {
            **swept,
            "top": None,  # the terminal shows a part, and the files have all
            "import": report.as_dict(),
            "preview": summary.as_dict(),
            "map": str(map_path) if map_path else None,
            "maps": [str(part.map_path) for part in parts if part.map_path],
            "format": format_name,
            "joined": joins,
            "again": shlex.join(["retention", "start", *files]) if joins or others else None,
            "definition": definition,
            "model": model,
            "queued": queued,
            "files": written,
        },
    )


def _announce(call: Call, number: int, what: str) -> Progress:
    """Say which step begins, and return its progress."""
    from bot.terminal.terminal_runner import write_message

    text = gettext("Step {number} of {steps}: {what}")
    write_message(text.format(number=number, steps=STEPS, what=what))
    step = part(call.progress, number - 1, STEPS)
    step(0, 1, what)
    return step


# ---------------------------------------------------------------- reading


@dataclass(frozen=True, slots=True)
class _Part:
    """Files of one shape, and how to read them."""

    files: list[str]
    proposal: "Proposal | None"
    map_path: Path | None

    @property
    def format_name(self) -> str | None:
        """The known export that the files are, if any."""
        return self.proposal.format_name if self.proposal else None


@contextmanager
def _open_parts(
    call: Call, files: tuple[str, ...], query: str | None, map_path: Path | None, sheet: str | None
) -> Iterator[tuple[list[_Part], list[str]]]:
    """Yield the files by shape with their maps, and how they were joined, for people."""
    from retention.lake.suggesting.related import joined_files

    is_open = not (map_path or query or sheet)
    means = means_in_force(call.database)
    if is_open and (proposed := propose_field_files(call.lake, files, means)):
        yield [_part_of(call, read, proposal) for read, proposal in proposed], []
        return
    with joined_files(call.lake, files, sheet) as (read, joins):
        if map_path:
            yield [_Part(read, None, map_path)], joins
        else:
            yield [_part_of(call, read, _propose(call.lake, read, query, sheet))], joins


def _part_of(call: Call, files: list[str], proposal: "Proposal") -> _Part:
    """Store a proposed map."""
    if proposal.format_name:
        return _Part(files, proposal, None)
    if call.lake.newest_event() is not None:
        _check_order_rule(call.settings.home / "maps", proposal.text)
    return _Part(files, proposal, _store_map(call.settings.home, proposal.text, files[0]))


def _propose(lake: "Lake", files: list[str], query: str | None, sheet: str | None) -> "Proposal":
    """Propose how to read the files."""
    from retention.lake.suggesting.suggest import MissingColumns, propose

    file, *others = files
    try:
        proposal = propose(lake, "events", file, query, others, sheet=sheet)
    except MissingColumns as error:
        if others or is_url(file):
            raise
        hint = gettext(
            "If another file has them, name it, too: retention start {file} OTHER.csv. Both need "
            "a column of one name and the same values, such as the order number."
        ).format(file=Path(file).name)
        raise BadInput(f"{error} {hint}") from None
    if proposal.table != "events":
        text = gettext(
            "{file} lists {table} and has no orders. Begin with the export of the orders."
        )
        raise BadInput(text.format(file=Path(file).name, table=proposal.table))
    return proposal


def _check_order_rule(folder: Path, text: str) -> None:
    """Refuse a proposal whose order ids differ from those of an earlier map of the same columns."""
    table, others = TABLES["events"], []
    proposed = parse_section(tomllib.loads(text)["events"], table, "")
    for path in sorted(folder.glob("*.toml")):
        try:
            mapped = read_map(path, table)
        except BadInput:  # of another table, or unfinished
            continue
        if mapped.named == proposed.named:
            if mapped.columns.get("order_id") == proposed.columns.get("order_id"):
                return
            others.append((path, order_rule(mapped).text))
    if others:
        raise BadInput(
            gettext(
                "Nothing was imported, because orders of earlier imports would count twice. "
                "{new}; but in the earlier map {map}: {old}. Run the same command with --map {map}."
            ).format(new=order_rule(proposed).text, map=others[0][0], old=others[0][1])
        )


def _store_map(home: Path, text: str, file: str) -> Path:
    """Store a proposed map; never replace another one, which a person may have corrected."""
    folder, stem, number = create_private_folder(home / "maps"), _stem(file), 1
    path = folder / f"{stem}.toml"
    while path.exists() and path.read_text(encoding="utf-8") != text:
        number += 1
        path = folder / f"{stem}-{number}.toml"
    path.write_text(text, encoding="utf-8")
    return path


def _stem(file: str) -> str:
    """Return a name for the file's map; it holds nothing of a URL but the database's name."""
    if is_url(file):
        file = make_url(file).database or ""
    return Path(file).name.partition(".")[0].strip("*?[] ") or "orders"


def _confirm(
    call: Call, summary: "Preview", parts: list[_Part], names: str, joins: list[str], *, yes: bool
) -> None:
    """Show what was read, and ask."""
    from bot.terminal.terminal_runner import printed, write_message

    proposal, map_path = parts[0].proposal, parts[0].map_path
    doubts = [doubt.text for part in parts if part.proposal for doubt in part.proposal.doubts]
    maps = [str(part.map_path) for part in parts if part.map_path]
    shown = {
        "names": names,
        "joins": joins,
        "preview": summary.as_dict(),
        "text": summary.text,
        "doubts": doubts,
        "map": ", ".join(maps) or None,
        "format": proposal.format_name if proposal else None,
    }
    write_message(printed("bot/start_preview", shown, call.settings))
    guess = proposal.guessed_customer if proposal else None
    if yes and guess:
        text = gettext(
            "Nothing was imported: no column is named like a customer, and {column} was chosen "
            "because of its values. Write the right column into the map {map}, then run the "
            "same command with --map {map}."
        )
        raise BadInput(text.format(column=guess.column, map=map_path))
    if yes:
        return
    if not sys.stdin.isatty():
        raise BadInput(
            gettext(
                "Nothing was imported, because nobody can be asked here. Add --yes if the figures "
                "are right."
            )
        )
    question = gettext("Are these your shop's figures?")
    if not click.confirm(question, default=guess is None, err=True):
        raise BadInput(
            gettext(
                "Nothing was imported. Correct the map {map}, then run the same command with "
                "--map {map}."
            ).format(map=map_path)
            if map_path
            else gettext(
                "Nothing was imported. Write a map (docs/operator/maps.md), and name it by --map."
            )
        )


# ---------------------------------------------------------------- model and list


def _train(call: Call, *, is_new: bool, progress: Progress) -> dict[str, Any]:
    """Train the churn model, unless nothing is new since the last one.

    Returns: ``version`` (None without a model), ``in_use`` and ``why``.
    """
    from retention.registry import champion

    with call.database.reading() as session:
        row = champion(session, "churn")
    if row is not None and not is_new:
        why = gettext("Nothing is new, so the model stays.")
        return {"version": row.version, "in_use": True, "why": why}
    try:
        trained = _run(call, Retrain(models=("churn",)), progress)["models"][0]
    except Refused as refusal:  # too little data or history, for example
        return {"version": None, "in_use": False, "why": str(refusal)}
    return {"version": trained["version"], "in_use": trained["promoted"], "why": trained["why"]}


def _queue_recommender(call: Call) -> str | None:
    from bot.terminal.terminal_runner import submit

    try:
        return submit(Retrain(models=("recommend",)), call).id
    except Refused:
        return None  # the list does not need it


def _run(call: Call, request: Request, progress: Progress) -> dict[str, Any]:
    from workers.tasks import runner

    return runner.run_inline(call.database, request, user=call.user, progress=progress)
