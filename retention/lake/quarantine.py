"""The quarantine: rows that could not be used, as they were, with the reason and the remedy; one Parquet file an import.

Every file has the columns of `META` and, beside them, those of the row itself: the source's own where the map could not
read it, the canonical ones where a cleaning rule set it aside.
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
    """What is kept beside every row of an import: where it came from, and how to try it again."""

    table: str
    import_id: str
    map_name: str | None
    """The map's path, or ``format:NAME``."""
    origin: str | None

    def sql(self, rows: str, stage: str, file: str, reading: dict[str, Any]) -> str:
        """Rows (``reason`` and their own columns) with the columns of `META` but the remedy.

        ``stage`` is `MAP`, `RULES`, or `LINE` for what is no row at all; ``reading``: how the text columns were read.
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
    """Where the files are."""
    return settings.home / "quarantine"


def files(settings: Settings) -> list[Path]:
    """The files, those of a vanished writer left out."""
    return sorted(folder(settings).glob("*.parquet"))


def write(con: Any, parts: Sequence[str], path: Path) -> str | None:
    """Put the rows of some tables in the place of a file, at once; without rows there is no file.

    Returns
    -------
    str or None
        The path.
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
    """SQL of the quarantine as one table: reason, remedy, stage, table_name, file, import_id, kept_at, row (JSON).

    None where nothing is in it.
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
    """What is in quarantine, by reason, the most frequent first.

    Returns
    -------
    dict
        ``rows`` in all, and ``reasons``: each with ``reason``, ``remedy``, ``rows``, ``tables``, ``files``, ``first``
        and ``last`` (ISO 8601, when it was set aside), and ``examples``: rows as they were, without their empty values.

    Raises
    ------
    BadInput
        Where no row is there for the reason asked for.
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
    """Rows by reason, the most frequent first."""
    every = view(con, settings)
    if every is None:
        return {}
    return dict(
        con.execute(
            f"SELECT reason, count(*) FROM ({every}) GROUP BY 1 ORDER BY 2 DESC, 1"
        ).fetchall()
    )


def chosen(con: Any, settings: Settings, asked: str) -> str:
    """The reason that a person means: in full, or the only one with these words in it.

    Raises
    ------
    BadInput
        Where none, or more than one, answers to it.
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
