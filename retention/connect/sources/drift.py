"""Compare a source's columns with those of its last good pull."""
# ruff: noqa: S608 - names are quoted (mapping.quoted)

import difflib
from collections.abc import Mapping as Dict
from typing import TYPE_CHECKING, Any

from retention.connect.sources.source_records import SourceProblem
from retention.lake.importing.mapping import quoted

if TYPE_CHECKING:
    from retention.lake.importing.mapping import Mapping
    from retention.lake.reading.sources import Source

_SIMILAR = 0.5  # of a renamed column's old and new name


def missing_columns(
    source: "Source", mapped: "Mapping", known: Dict[str, Any]
) -> SourceProblem | None:
    """Return the problem of a source that lacks columns of its map.

    `known`: columns of the last good pull, from `kinds`.
    """
    there = {name.casefold() for name in source.columns}
    optional = {name.casefold() for name in mapped.optional}
    named = {name for expression in mapped.values.values() for name in expression.columns}
    named |= mapped.where.columns if mapped.where else set()
    named |= {name for name, _ in mapped.leave_out}
    gone = sorted(name for name in named if name.casefold() not in there | optional)
    if not gone:
        return None
    old = {name.casefold() for name in known}
    new = [name for name in source.columns if known and name.casefold() not in old]
    return SourceProblem(
        "schema_changed", file=source.name, gone=gone, new=new, renamed=_renamed(gone, new)
    )


def _renamed(gone: list[str], new: list[str]) -> dict[str, str]:
    """Pair each lost column with the new one that is most like it."""
    if len(gone) == len(new) == 1:
        return {gone[0]: new[0]}
    lower = {name.casefold(): name for name in new}
    pairs: dict[str, str] = {}
    for name in gone:
        nearest = difflib.get_close_matches(name.casefold(), lower, 1, _SIMILAR)
        if nearest:
            pairs[name] = lower.pop(nearest[0])
    return pairs


def changed_kinds(
    source: "Source", now: Dict[str, Any], known: Dict[str, Any]
) -> SourceProblem | None:
    """Return the problem of a source whose numbers or times became something else.

    A column without a value says nothing.

    `now`, `known`: columns of this pull and of the last good one, from `kinds`.
    """
    changed = [
        {"column": name, "was": known[name], "now": kind}
        for name, kind in now.items()
        if known.get(name) in ("number", "time") and kind not in ("", known[name])
    ]
    return SourceProblem("schema_changed", file=source.name, changed=changed) if changed else None


def kinds(con: Any, source: "Source", mapped: "Mapping") -> dict[str, str]:
    """Return a source's columns with the kind of their values: number, time or text.

    A column without values, and one that the map reads neither as a number nor as a time, has no
    kind.
    """
    expected = {
        name: kind
        for kind, targets in (("number", "number"), ("time", "moment"))
        for column in mapped.source_columns_of(targets)
        for name in source.columns
        if name.casefold() == column.casefold()
    }
    if not expected:
        return dict.fromkeys(source.columns, "")
    listed = ", ".join(
        f"count(*) FILTER (trim({quoted(name)}::VARCHAR) <> ''), "
        f"count({_converted(source, name, kind)})"
        for name, kind in expected.items()
    )
    counts = con.execute(f"SELECT {listed} FROM {source.relation}").fetchall()[0]
    observed = {
        name: "" if not filled else kind if 2 * usable >= filled else "text"
        for (name, kind), filled, usable in zip(
            expected.items(), counts[::2], counts[1::2], strict=True
        )
    }
    return {name: observed.get(name, "") for name in source.columns}


def _converted(source: "Source", name: str, kind: str) -> str:
    reading = source.readings.get(name)
    if reading:
        return reading.sql
    return f"try_cast({quoted(name)}::VARCHAR AS {'DOUBLE' if kind == 'number' else 'TIMESTAMPTZ'})"
