"""Propose how a dropped file is imported: the table, the map and its first rows."""
# ruff: noqa: S608 - names are quoted (mapping.quoted)

import re
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retention.lake import formats
from retention.lake.importing.import_files import ImportJob
from retention.lake.importing.mapping import quoted
from retention.lake.reading import sources as reading
from retention.lake.schema import BOUNCES, LISTS, REDEMPTIONS, TABLES, Table
from retention.lake.suggesting.columns import choose_columns
from retention.lake.suggesting.fields import is_beside_orders, role_of
from retention.lake.suggesting.map_lines import toml_string
from retention.lake.suggesting.profiles import Profile, plain, profile_columns, synonyms
from retention.lake.suggesting.suggest import MissingColumns, propose
from retention.number_format import count
from retention.settings import Settings
from retention.text import gettext
from retention.window import Means

if TYPE_CHECKING:
    from retention.lake import Lake

SAMPLE_ROWS = 5
MAX_COLUMNS = 8  # of the shown rows
MAX_CODE_COLUMNS = 6  # a wider file with a column of codes is an export of orders
_CODE = re.compile(r"(coupon|voucher|promo|discount|redeemed)?[ _-]*(code|coupon|voucher)", re.I)
_BOUNCE = re.compile("bounce|returned mail|undeliver", re.I)
_USED = re.compile("redeem|used|occurred|date|time| at$|_at$", re.I)
DROPPABLE = {
    **{name: TABLES[name] for name in ("events", "customers", "items")},
    "redemptions": REDEMPTIONS,
    "bounces": BOUNCES,
    "lists": LISTS,
}


@dataclass(frozen=True, slots=True)
class FileProposal:
    """How a file would be imported.

    `sample`: first mapped rows as text. They have personal data.
    """

    table: str
    map_text: str | None
    format_name: str | None
    rows: int
    usable: int
    columns: tuple[str, ...]
    sample: tuple[tuple[str, ...], ...]
    warnings: tuple[str, ...]


def propose_file(
    lake: "Lake",
    settings: Settings,
    path: Path,
    table_name: str | None = None,
    means: Means = "order",
) -> FileProposal:
    """Propose how a file is imported; nothing is.

    `means`: what a purchase is in this shop. A log of activity has views, unless it is activity.
    """
    if table_name is None:
        table_name = recognise(lake, path)
    table = DROPPABLE[table_name]
    map_text, format_name, doubts = _map(lake, path, table, means)
    proposal = _read(lake, settings, path, table, map_text, format_name)
    return replace(proposal, warnings=(*doubts, *proposal.warnings))


def recognise(lake: "Lake", path: Path) -> str:
    """Return the table that a file's columns fit best."""
    con = lake.duckdb
    with reading.open_source(con, str(path), None, None) as source:
        names = [*source.columns]
        if known := formats.detect_format(source.columns, "events"):
            return known[1]
        if role_of(names):
            return "events"  # of a subscription shop or a learning platform
        if any(_BOUNCE.search(name) for name in (path.name, *names)):
            return "bounces"
        if len(names) <= MAX_CODE_COLUMNS and any(_CODE.fullmatch(name) for name in names):
            return "redemptions"
        if len(names) == 1:
            return "lists"
        profiles = profile_columns(con, source)
        events, customers, items = (
            choose_columns(con, source.relation, profiles, TABLES[name])
            for name in ("events", "customers", "items")
        )
        details = {"order_id", "item_id", "amount", "quantity", "event_type"}
        if {"customer_id", "occurred_at"} <= {*events} and details & {*events}:
            return "events"
        if "customer_id" in customers and len(customers) > 1:
            return "customers"
        return "items" if "item_id" in items and len(items) > 1 else "events"


def _map(
    lake: "Lake", path: Path, table: Table, means: Means
) -> tuple[str | None, str | None, tuple[str, ...]]:
    """Return the map or the known format, and what is doubtful."""
    if table.name in TABLES:
        is_beside = is_beside_orders(lake, means)
        proposal = propose(lake, table.name, str(path), is_beside_renewals=is_beside)
        if proposal.format_name:
            return None, proposal.format_name, ()
        return proposal.text, None, tuple(doubt.text for doubt in proposal.doubts)
    if table is LISTS:
        return list_map(lake, path), None, ()
    with reading.open_source(lake.duckdb, str(path), None, None) as source:
        profiles = profile_columns(lake.duckdb, source)
        names = _few_columns(profiles, table)
        missing = [name for name in table.required if name not in names]
        if table is BOUNCES and not {"email", "customer_id"} & {*names}:
            missing.append("email")
        if missing:
            text = gettext("No column of {name} looks like {missing} (there are {columns}).")
            wanted, listed = " or ".join(missing), ", ".join(source.columns)
            text = text.format(name=source.name, missing=wanted, columns=listed)
            raise MissingColumns(text, missing, [*source.columns])
    lines = [f"[{table.name}]", *(f"{key} = {toml_string(name)}" for key, name in names.items())]
    return "\n".join(lines) + "\n", None, ()


def list_map(lake: "Lake", path: Path) -> str:
    """Return the map of a list: customer_id, email, or one of them on each line."""
    with reading.open_source(lake.duckdb, str(path), None, None) as source:
        names, has_lines = [*source.columns], "header" in source.detected
    columns = _list_columns(names)
    if not columns and len(names) > 1:
        text = gettext("{name} has the columns {columns}; call one of them customer_id or email.")
        text = text.format(name=path.name, columns=", ".join(names))
        raise MissingColumns(text, ["customer_id"], names)
    lines = [] if columns or not has_lines else ["header = false"]
    columns = columns or {"customer_id": "column1" if has_lines else names[0]}
    lines += [f"{target} = {toml_string(name)}" for target, name in columns.items()]
    return "\n".join([f"[{LISTS.name}]", *lines, ""])


def _list_columns(names: list[str]) -> dict[str, str]:
    words = synonyms()["customers"]
    found = ((target, name) for target in LISTS.names for name in names)
    return {target: name for target, name in found if plain(name) in words[target]}


def _few_columns(profiles: list[Profile], table: Table) -> dict[str, str]:
    """Choose the columns of redemptions or bounces by their names and contents."""
    names: dict[str, str] = {}

    def choose(target: str, *fits: Any) -> None:
        free = [one for one in profiles if one.name not in names.values()]
        for fit in fits:
            found = next((one for one in free if fit(one)), None)
            if found is not None and target in table.names:
                names[target] = found.name
                return

    def called(*words: str) -> Any:
        return lambda one: re.sub(r"[^a-z]", "", one.name.lower()) in words

    choose("code", called("code", "couponcode", "coupon"), lambda one: _CODE.fullmatch(one.name))
    choose("email", called("email", "emailaddress"), lambda one: one.emails >= 0.9)
    choose("customer_id", called("customerid", "customer", "customernumber", "clientid"))
    choose(
        "occurred_at",
        called("occurredat"),
        lambda one: one.is_moment and _USED.search(one.name),
        lambda one: one.is_moment,
    )
    choose("order_id", called("orderid", "order", "ordernumber", "orderno"))
    return names


def _read(
    lake: "Lake",
    settings: Settings,
    path: Path,
    table: Table,
    map_text: str | None,
    format_name: str | None,
) -> FileProposal:
    """Stage the rows of a file as an import does, and look at the first."""
    map_path = None
    if map_text is not None:
        map_path = path.with_name("map.toml")
        map_path.write_text(map_text, encoding="utf-8")
    mapped = formats.mapping_for(table, settings.timezone, map_path, format_name)
    work = ImportJob(lake, settings, table, mapped)
    try:
        work.read(str(path), lambda _: None)
        columns, sample = _first_rows(lake, table) if work.staged else ((), ())
        reasons = {reason.text: rows for reason, rows in work.parsed_reasons.items()}
        usable = work.read_rows - work.filtered - sum(reasons.values())
    finally:
        work.close()
    warnings = [
        gettext("{rows} cannot be used: {reason}").format(rows=count(rows, "row"), reason=reason)
        for reason, rows in sorted(reasons.items(), key=lambda item: -item[1])
    ]
    if work.filtered:
        warnings.append(gettext("{rows:,} rows are left out by the map").format(rows=work.filtered))
    warnings += [note for report in work.file_reports for note in report.get("notes", ())]
    counts = work.read_rows, usable
    return FileProposal(
        table.name, map_text, format_name, *counts, columns, sample, tuple(warnings)
    )


def _first_rows(lake: "Lake", table: Table) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Return the first mapped rows, and the columns that have a value in them."""
    names = [name for name in table.names if name not in ("attributes", "source")]
    listed = ", ".join(map(quoted, names))
    rows = lake.duckdb.execute(f"SELECT {listed} FROM staged LIMIT {SAMPLE_ROWS}").fetchall()
    required = [number for number, name in enumerate(names) if name in table.required]
    filled = [n for n in range(len(names)) if any(row[n] is not None for row in rows)]
    filled = [number for number in filled if number not in required]
    shown = sorted([*required, *filled[: MAX_COLUMNS - len(required)]])
    sample = tuple(tuple(_text(row[number]) for number in shown) for row in rows)
    return tuple(names[number] for number in shown), sample


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, datetime):
        return value.isoformat(" ", "minutes")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float):
        return f"{value:g}" if value == int(value) else f"{value:.2f}"
    return str(value)[:60]
