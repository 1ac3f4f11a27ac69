"""Erase rows from the files of earlier versions of a table, and values from its log.

Jobs that still read an earlier version find its files, without the erased rows.
"""
# ruff: noqa: S608 - SQL is built from escaped literals

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from retention.lake.importing.mapping import literal
from retention.lake.schema import Table
from retention.lake.storage import delta_store

_VALUES = ("minValues", "maxValues", "nullCount")  # of a file, which name customers


def erase_from_old_files(
    root: delta_store.Root, table: Table, con: Any, rows: str, replaced: str = ""
) -> int:
    """Delete rows from files that the newest version does not have; return the number of files.

    `rows`: condition of the rows to delete.
    `replaced`: ``expression AS column`` for the rows that stay.

    An object store's files never change: all files that only earlier versions have are deleted.
    """
    import duckdb

    if not isinstance(root, Path):
        return root.delete_old_files(table)
    live = set(delta_store.files(delta_store.open_table(root, table)))
    changed = 0
    for path in sorted((root / table.name).rglob("*.parquet")):
        if str(path) in live or path.parent.name == "_delta_log":
            continue
        read = f"read_parquet({literal(path)}, hive_partitioning = false)"
        chosen = f"* REPLACE ({replaced})" if replaced else "*"
        new = path.with_suffix(".erasing")
        try:
            con.execute(
                f"COPY (SELECT {chosen} FROM {read} WHERE ({rows}) IS NOT TRUE) "
                f"TO {literal(new)} (FORMAT parquet, COMPRESSION zstd)"
            )
        except duckdb.Error:  # a file that a killed import has not finished; it is dropped at night
            new.unlink(missing_ok=True)
            continue
        new.replace(path)
        changed += 1
    return changed


def erase_from_log(root: delta_store.Root, table: Table) -> int:
    """Delete the lowest and highest values, and conditions, from a table's log.

    They are customers' ids and addresses. No reader needs them. Returns the number of log files.
    """
    if not isinstance(root, Path):
        with root.edited_log(table) as folder:
            return erase_from_log(folder, table)
    log = root / table.name / "_delta_log"
    changed = 0
    for path in sorted(log.glob("*.json")):
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
        cleaned = "".join(f"{json.dumps(_without_values(line))}\n" for line in lines)
        if cleaned != "".join(f"{json.dumps(line)}\n" for line in lines):
            _replace(path, partial(_write_text, text=cleaned))
            changed += 1
    for path in sorted(log.glob("*.checkpoint*.parquet")):
        _clean_checkpoint(path)
        changed += 1
    return changed


def _without_values(action: dict[str, Any]) -> dict[str, Any]:
    (kind, content), *_ = action.items()
    if kind == "commitInfo" and "predicate" in content.get("operationParameters", {}):
        own = {**content["operationParameters"], "predicate": "erased"}
        return {kind: {**content, "operationParameters": own}}
    if kind in ("add", "remove") and content.get("stats"):
        return {kind: {**content, "stats": _without_stats(content["stats"])}}
    return action


def _without_stats(stats: str | None) -> str | None:
    if not stats:
        return stats
    kept = {name: value for name, value in json.loads(stats).items() if name not in _VALUES}
    return json.dumps(kept)


def _clean_checkpoint(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    add = table["add"].combine_chunks()
    arrays = []
    for field in add.type:
        values = add.field(field.name)
        if field.name == "stats":
            values = pa.array(map(_without_stats, values.to_pylist()), field.type)
        elif field.name == "stats_parsed":
            values = pa.nulls(len(add), field.type)
        arrays.append(values)
    cleaned = pa.StructArray.from_arrays(arrays, fields=list(add.type), mask=add.is_null())
    place = table.schema.get_field_index("add")
    table = table.set_column(place, table.schema.field(place), cleaned)
    _replace(path, lambda new: pq.write_table(table, new))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Replace a file of the log atomically, with the time that it had."""
    new, at = path.with_suffix(".erasing"), path.stat()
    write(new)
    os.utime(new, ns=(at.st_atime_ns, at.st_mtime_ns))
    new.replace(path)
