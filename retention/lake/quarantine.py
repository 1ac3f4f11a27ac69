"""Store rows that could not be used, with reason and remedy.

Each import has one Parquet file. A file has the columns of `META` and those of the row:
the source's own columns if the map failed, the canonical ones if a cleaning rule applied.
"""

# ruff: noqa: S608 - SQL is put together from quoted names and escaped literals (mapping.quoted, .literal)
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retention import clock
from retention.folders import private
from retention.lake.mapping import literal, quoted
from retention.lake.remedies import remedy
from retention.settings import Settings
from retention.text import gettext

MAP, RULES, LINE = "map", "rules", "line"
META = (
    "_reason",
    "_remedy",
    "_stage",
    "_table",
    "_file",
    "_import",
    "_at",
    "_map",
    "_origin",
    "_reading",
)
EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Kept:
    """Describe the origin of an import's quarantined rows."""

    table: str
    import_id: str
    map_name: str | None
    """The map's path, or ``format:NAME``."""
    origin: str | None

    def sql(self, rows: str, stage: str, file: str, reading: dict[str, Any]) -> str:
        """Return SQL that adds the columns of `META` to quarantined rows.

        Parameters
        ----------
        rows : str
            SQL of the rows, with ``reason`` and their own columns.
        stage : str
            `MAP`, `RULES`, or `LINE` for a line that could not be split into columns.
        file : str
            Name of the source.
        reading : dict
            How the text columns were parsed.

        Returns
        -------
        str
            SELECT statement. `write` adds the remedy.
        """
        said = {
            "_stage": stage,
            "_table": self.table,
            "_file": file,
            "_import": self.import_id,
            "_map": self.map_name if stage == MAP else None,
            "_origin": self.origin,
            "_reading": json.dumps(reading),
        }
        constants = ", ".join(
            f"{literal(value)}::VARCHAR AS {name}" for name, value in said.items()
        )
        at = f"TIMESTAMP '{clock.wall():%Y-%m-%d %H:%M:%S}' AS _at"
        return f"SELECT reason AS _reason, {constants}, {at}, * EXCLUDE (reason) FROM ({rows})"


def folder(settings: Settings) -> Path:
    """Return the folder of the quarantine."""
    return settings.home / "quarantine"


def files(settings: Settings) -> list[Path]:
    """Return the quarantine files without unfinished ones."""
    return sorted(folder(settings).glob("*.parquet"))


def write(con: Any, parts: Sequence[str], path: Path) -> str | None:
    """Replace a quarantine file atomically.

    Parameters
    ----------
    con
        DuckDB connection.
    parts : sequence of str
        Relations of rows, as `Kept.sql` makes them.
    path : Path
        The file. It is deleted if there are no rows.

    Returns
    -------
    str or None
        The path, or None without rows.
    """
    if not parts:
        path.unlink(missing_ok=True)
        return None
    private(path.parent)
    union = " UNION ALL BY NAME ".join(f"SELECT * FROM {name}" for name in parts)
    reasons = [row[0] for row in con.execute(f"SELECT DISTINCT _reason FROM ({union})").fetchall()]
    if not reasons:
        path.unlink(missing_ok=True)
        return None
    told = " ".join(f"WHEN {literal(reason)} THEN {literal(remedy(reason))}" for reason in reasons)
    aside = path.with_suffix(f".{os.getpid()}")
    con.execute(
        f"COPY (SELECT _reason, CASE _reason {told} END AS _remedy, * EXCLUDE (_reason) FROM ({union})) "
        f"TO {literal(aside)} (FORMAT parquet)"
    )
    aside.replace(path)
    return str(path)


def view(con: Any, settings: Settings) -> str | None:
    """Return SQL of the whole quarantine as one table.

    Parameters
    ----------
    con
        DuckDB connection.
    settings : Settings
        Gives the folder.

    Returns
    -------
    str or None
        Columns reason, remedy, stage, table_name, file, import_id, kept_at, row (JSON) and path.
        None if the quarantine is empty.
    """
    parts = [_as_table(con, path) for path in files(settings)]
    return " UNION ALL ".join(parts) or None


def _as_table(con: Any, path: Path) -> str:
    read = f"read_parquet({literal(path)}, hive_partitioning = false)"
    columns = [row[0] for row in con.execute(f"DESCRIBE SELECT * FROM {read}").fetchall()]
    own = ", ".join(f"{quoted(name)} := {quoted(name)}" for name in columns if name not in META)
    row = f"json_merge_patch('{{}}', to_json(struct_pack({own})))::VARCHAR" if own else "'{}'"
    meta = {
        name: name if name in columns else "NULL" for name in META
    }  # files of the first release had fewer
    return (
        f"SELECT _reason AS reason, {meta['_remedy']}::VARCHAR AS remedy, {meta['_stage']}::VARCHAR AS stage, "
        f"{meta['_table']}::VARCHAR AS table_name, _file AS file, {meta['_import']}::VARCHAR AS import_id, "
        f"{meta['_at']}::TIMESTAMP AS kept_at, {row} AS row, {literal(path)} AS path FROM {read}"
    )


def listing(
    con: Any, settings: Settings, *, reason: str | None = None, examples: int = EXAMPLES
) -> dict[str, Any]:
    """List the quarantine by reason, most frequent first.

    Parameters
    ----------
    con
        DuckDB connection.
    settings : Settings
        Gives the folder.
    reason : str, optional
        Only rows with this reason.
    examples : int
        Rows to show per reason.

    Returns
    -------
    dict
        ``rows`` in total, and ``reasons``: each with ``reason``, ``remedy``, ``rows``, ``tables``,
        ``files``, ``first`` and ``last`` (ISO 8601 time of quarantine), and ``examples``: original
        rows without their empty values.

    Raises
    ------
    BadInput
        If no row has the requested reason.
    """
    every = view(con, settings)
    if every is None:
        return {"rows": 0, "reasons": []}
    where = f" WHERE reason = {literal(chosen(con, settings, reason))}" if reason else ""
    found = con.execute(
        "SELECT reason, count(*), list(DISTINCT table_name), list(DISTINCT file), min(kept_at), max(kept_at), "
        f"list(row)[1:{int(examples)}] FROM ({every}){where} GROUP BY 1 ORDER BY 2 DESC, 1"
    ).fetchall()
    reasons = [
        {
            "reason": why,
            "remedy": remedy(why),
            "rows": rows,
            "tables": sorted(filter(None, tables)),
            "files": sorted(filter(None, named)),
            "first": first and first.isoformat(),
            "last": last and last.isoformat(),
            "examples": [json.loads(row) for row in shown],
        }
        for why, rows, tables, named, first, last, shown in found
    ]
    return {"rows": sum(one["rows"] for one in reasons), "reasons": reasons}


def counts(con: Any, settings: Settings) -> dict[str, int]:
    """Count quarantined rows by reason, most frequent first."""
    every = view(con, settings)
    if every is None:
        return {}
    return dict(
        con.execute(
            f"SELECT reason, count(*) FROM ({every}) GROUP BY 1 ORDER BY 2 DESC, 1"
        ).fetchall()
    )


def chosen(con: Any, settings: Settings, asked: str) -> str:
    """Return the reason that matches a user's text.

    Raises
    ------
    BadInput
        If no reason, or more than one, matches.
    """
    from retention.errors import BadInput

    known = list(counts(con, settings))
    if asked in known:
        return asked
    near = [reason for reason in known if asked.casefold() in reason.casefold()]
    if len(near) == 1:
        return near[0]
    listed = "; ".join(near or known) or "nothing at all"
    which = "more than one reason" if near else "no reason"
    raise BadInput(
        gettext(
            "--reason {asked!r} names {which} for which rows are in quarantine; there is: {listed}."
        ).format(asked=asked, which=which, listed=listed)
    )
