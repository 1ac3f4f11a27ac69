"""`import`: import files into the lake."""

from pathlib import Path
from typing import Any

import click

from bot.commands.parameters import choice, map_option, option
from bot.commands.tree import Answer, Call, command
from retention.errors import BadInput
from retention.lake.quality import find_findings
from retention.lake.suggesting.suggest import suggest
from retention.text import gettext
from workers.data.imports import TABLES, import_table
from workers.job_requests import ImportFiles

# Tables in the SQL database, with the columns of their files.
DATABASE_TABLES = {
    "redemptions": gettext("they need code and occurred_at, and may have customer_id and order_id"),
    "bounces": gettext("they need occurred_at, and email or customer_id"),
}


@command(
    "import",
    role="admin",
    help=gettext(
        "Import CSV, TSV, Parquet, JSON Lines or a workbook (or a database's query) "
        "into a table of the lake.\n\n"
        "Tables are events, customers, items, treatments, relations and texts (reviews, "
        "tickets, replies, surveys); redemptions are codes that were used, and bounces copies of\n"
        "campaigns that came back.\n\n"
        "The same file imported twice changes nothing; rows that cannot be used are "
        "kept aside, with the reason."
    ),
)
@click.argument("table", type=choice(*TABLES), metavar="TABLE")
@click.argument("files", nargs=-1, metavar="FILE…")
@map_option(gettext("What each column is called in the file."))
@option(
    "--format",
    gettext(
        "A known export, which needs no map: shopify-orders, shopify-customers, "
        "shopify-products, woocommerce-orders, woocommerce-customers or woocommerce-"
        "products."
    ),
    metavar="NAME",
    into="format_name",
)
@option("--query", gettext("What to read, where FILE is a database's URL."), metavar="SQL")
@option(
    "--suggest-map",
    gettext(
        "Print a map for this file (or a database's query), proposed by its columns; "
        "nothing is imported."
    ),
    metavar="FILE",
    into="suggested",
)
@option("--source", gettext("What to call this source of events."), metavar="NAME")
def COMMAND(
    call: Call,
    table: str,
    files: tuple[str, ...],
    map_path: Path | None,
    suggested: str | None,
    **reading: Any,
) -> Answer:
    """Import files into a table, or propose a map for a file."""
    from retention.registry import ensure_definition

    if table in DATABASE_TABLES:
        message = ""
        if suggested is not None:
            message = gettext("No map is proposed for {table}; {columns}.")
        elif reading["format_name"] is not None:
            message = gettext(
                "{table} have no --format; say with --map what their columns are called."
            )
        elif reading["source"] is not None:
            message = gettext("{table} have no --source, which events alone have; leave it out.")
        if message:
            name = table if suggested is not None else table.capitalize()
            raise BadInput(message.format(table=name, columns=DATABASE_TABLES[table]))
    if suggested is not None:
        proposal = suggest(call.lake, table, suggested, reading["query"])
        return Answer("bot/suggested_map", {"table": table, "file": suggested, "map": proposal})
    path = map_path and str(map_path)
    request = ImportFiles(table=table, files=files, map_path=path, **reading)
    lake = call.lake
    report = import_table(lake, call.database, request, call.user, progress=call.progress)
    data = report.as_dict()
    if table == "events":
        definition = ensure_definition(lake, call.database, report.means)
        data["definition"] = definition.as_dict()
        data["findings"] = find_findings(lake) if report.rows_accepted else []
    return Answer("bot/import", data)
