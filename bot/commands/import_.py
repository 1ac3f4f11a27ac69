"""`import`: import files into the lake."""

from pathlib import Path

import click

from bot.commands.tree import TERMINAL, Answer, Call, TerminalOption, choice, command
from retention.errors import BadInput
from retention.text import gettext
from workers.imports import TABLES, import_table

# Tables in the SQL database, with the columns of their files.
DATABASE_TABLES = {
    "redemptions": gettext("they need code and occurred_at, and may have customer_id and order_id"),
    "bounces": gettext("they need occurred_at, and email or customer_id"),
}


@command(
    "import",
    role="admin",
    surfaces=TERMINAL,
    help=gettext(
        "Import CSV, TSV, Parquet, JSON Lines or a workbook (or a database's query) "
        "into a table of the lake.\n\n"
        "Tables are events, customers, items, treatments and relations; redemptions are"
        " codes that were used, and bounces copies of\n"
        "campaigns that came back.\n\n"
        "The same file imported twice changes nothing; rows that cannot be used are "
        "kept aside, with the reason."
    ),
)
@click.argument(
    "table",
    type=choice(*TABLES),
    metavar="TABLE",
)
@click.argument("files", nargs=-1, metavar="FILE…")
@click.option(
    "--map",
    "map_path",
    type=click.Path(path_type=Path),
    cls=TerminalOption,
    metavar="MAP.toml",
    help=gettext("What each column is called in the file."),
)
@click.option(
    "--format",
    "format_name",
    cls=TerminalOption,
    metavar="NAME",
    help=gettext(
        "A known export, which needs no map: shopify-orders, shopify-customers, "
        "shopify-products, woocommerce-orders, woocommerce-customers or woocommerce-"
        "products."
    ),
)
@click.option(
    "--query",
    cls=TerminalOption,
    metavar="SQL",
    help=gettext("What to read, where FILE is a database's URL."),
)
@click.option(
    "--suggest-map",
    "suggested",
    cls=TerminalOption,
    metavar="FILE",
    help=gettext(
        "Print a map for this file (or a database's query), proposed by its columns; "
        "nothing is imported."
    ),
)
@click.option(
    "--source",
    cls=TerminalOption,
    metavar="NAME",
    help=gettext("What to call this source of events."),
)
def COMMAND(
    call: Call,
    table: str,
    files: tuple[str, ...],
    map_path: Path | None,
    format_name: str | None,
    query: str | None,
    source: str | None,
    suggested: str | None,
) -> Answer:
    """Import files into a table, or propose a map for a file."""
    from retention.lake import Lake, findings
    from retention.lake.suggesting.suggest import suggest
    from retention.registry import ensure_definition

    services = call.services
    if table in DATABASE_TABLES:
        if suggested is not None:
            raise BadInput(
                gettext("No map is proposed for {table}; {columns}.").format(
                    table=table, columns=DATABASE_TABLES[table]
                )
            )
        if format_name is not None:
            raise BadInput(
                gettext(
                    "{table} have no --format; say with --map what their columns are called."
                ).format(table=table.capitalize())
            )
        if source is not None:
            raise BadInput(
                gettext("{table} have no --source, which events alone have; leave it out.").format(
                    table=table.capitalize()
                )
            )
    if suggested is not None:
        proposal = suggest(Lake.open(services.settings), table, suggested, query)
        return Answer("bot/suggested_map", {"table": table, "file": suggested, "map": proposal})
    lake = Lake.open(services.settings)
    report = import_table(
        lake,
        services.database,
        services.settings,
        table,
        list(files),
        map_path,
        source=source,
        query=query,
        format_name=format_name,
        progress=call.progress,
    )
    data = report.as_dict()
    if table == "events":
        data["findings"] = findings.find(lake) if report.rows_accepted else []
        definition = ensure_definition(lake, services.database, services.settings)
        data["definition"] = definition.as_dict()
        data["findings"] = findings.find(lake) if report.rows_accepted else []
    return Answer("bot/import", data)
