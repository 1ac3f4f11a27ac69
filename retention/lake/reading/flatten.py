"""The shape that a map sees a source in: columns it may lack, rows that its ``from`` makes, fields within nested columns."""
# ruff: noqa: S608 - SQL is put together from quoted names and escaped literals (mapping.quoted, .literal)

import re
from dataclasses import replace
from typing import Any

from retention.errors import BadInput
from retention.lake.mapping import Mapping, quoted
from retention.lake.reading.sources import Source, described
from retention.text import gettext


def shaped(con: Any, source: Source, mapping: Mapping) -> Source:
    """The source with the columns it may lack (as missing), with the rows that the map's ``from`` makes of it, and with
    the nested fields that the map names.

    Raises
    ------
    BadInput
        Where DuckDB refuses that SELECT.
    """
    present = {name.casefold() for name in source.columns}
    lacking = [name for name in mapping.optional if name.casefold() not in present]
    added = "".join(f", NULL::VARCHAR AS {quoted(name)}" for name in lacking)
    if mapping.rows is not None:
        source, added = _made(con, source, added, mapping), ""
    for name, sql in nested(con, source).items():
        if name.casefold() in mapping.named:
            added += f", {sql} AS {quoted(name)}"
    if not added:
        return source
    relation = f"(SELECT *{added} FROM {source.relation})"
    return replace(
        source,
        relation=relation,
        columns=described(con, relation),
        added=added,
        base=source.relation,
    )


def _made(con: Any, source: Source, added: str, mapping: Mapping) -> Source:
    """The rows that the map's ``from`` makes of a source."""
    import duckdb

    numbered = f"SELECT *{added}, row_number() OVER () AS _line FROM {source.relation}"
    try:
        con.execute(
            f"CREATE OR REPLACE TABLE shaped_rows AS WITH source AS ({numbered}) SELECT * FROM ({mapping.rows}\n)"
        )
    except duckdb.Error as error:
        first = str(error).strip().splitlines()[0]
        if lacks := re.search(r'olumn "([^"]+)" (in REPLACE list )?not found', first):
            first = f'it has no column "{lacks[1]}"; there are {", ".join(source.columns)}.'
        raise BadInput(
            gettext("{name} does not fit {name_2} [{name_3}]: {first}").format(
                name=source.name, name_2=mapping.name, name_3=mapping.table.name, first=first
            )
        ) from None
    return replace(source, relation="shaped_rows", columns=described(con, "shaped_rows"), files=())


def is_nested(type_: str) -> bool:
    """Whether a column of this type has fields; a list of such has none of its own."""
    return type_.startswith("STRUCT(") and type_.endswith(")")


def nested(con: Any, source: Source) -> dict[str, str]:
    """The fields within the source's nested columns, by their dotted names: ``user.id`` and the SQL that reads it."""
    found: dict[str, str] = {}
    waiting: list[tuple[tuple[str, ...], str]] = [
        ((name,), type_) for name, type_ in source.columns.items()
    ]
    while waiting:
        path, type_ = waiting.pop(0)
        sql = ".".join(map(quoted, path))
        if is_nested(type_):
            fields = described(con, f"(SELECT unnest({sql}) FROM {source.relation})")
            waiting += [((*path, name), inner) for name, inner in fields.items()]
        elif len(path) > 1:
            found[".".join(path)] = sql
    return found
