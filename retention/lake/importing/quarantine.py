"""Store unusable rows with reason and remedy.

Each import has one Parquet file. A file has the columns of `META` and those of the row:
the source's own columns if the map failed, the canonical ones if a cleaning rule applied.
"""

# ruff: noqa: S608 - SQL consists of quoted names and escaped literals
import hashlib
import json
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retention import clock
from retention.errors import BadInput
from retention.lake.importing.mapping import literal, quoted
from retention.lake.importing.quarantine_reasons import Reason, by_code, by_text
from retention.lake.storage.shared_folder import shared_folder
from retention.paths import create_private_folder
from retention.settings import Settings
from retention.text import gettext

MAP, RULES, LINE = "map", "rules", "line"
ORIGIN = ("_stage", "_table", "_file", "_import", "_at", "_map", "_origin", "_reading")
CODE, DATA = "_reason_code", "_reason_data"  # files of earlier versions lack them
META = ("_reason", "_remedy", CODE, DATA, *ORIGIN)
EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Origin:
    """Describe the origin of an import's quarantined rows."""

    table: str
    import_id: str
    map_name: str | None
    """The map's path, or ``format:NAME``."""
    origin: str | None

    def sql(self, rows: str, stage: str, file: str, reading: dict[str, Any]) -> str:
        """Return SQL that adds code and origin to rows.

        `rows`: SQL of the rows, with ``reason`` (a `Reason.key`) and their own columns.
        `stage`: `MAP`, `RULES`, or `LINE` for a line that could not be split into columns.
        Returns: SELECT statement. `write` adds sentence and remedy.
        """
        values = {
            "_stage": stage,
            "_table": self.table,
            "_file": file,
            "_import": self.import_id,
            "_map": self.map_name if stage == MAP else None,
            "_origin": self.origin,
            "_reading": json.dumps(reading),
        }
        constants = ", ".join(
            f"{literal(value)}::VARCHAR AS {name}" for name, value in values.items()
        )
        at = f"TIMESTAMP '{clock.wall():%Y-%m-%d %H:%M:%S}' AS _at"
        code = "split_part(reason, ' ', 1)"
        reason = f"{code} AS {CODE}, nullif(substr(reason, length({code}) + 2), '') AS {DATA}"
        return f"SELECT {reason}, {constants}, {at}, * EXCLUDE (reason) FROM ({rows})"


def folder(settings: Settings) -> Path:
    """Return the folder of the quarantine."""
    return settings.home / "quarantine"


def files(settings: Settings) -> list[Path]:
    """Return the quarantine files without unfinished ones.

    With an object store, they are copies of what all hosts share.
    """
    if store := shared_folder(settings):
        store.pull(folder(settings))
    return sorted(folder(settings).glob("*.parquet"))


def remove(settings: Settings, path: Path) -> None:
    """Delete a quarantine file."""
    if store := shared_folder(settings):
        store.delete(path)
    path.unlink(missing_ok=True)


def replace(settings: Settings, new: Path, path: Path) -> None:
    """Give a finished file the name of a quarantine file."""
    if store := shared_folder(settings):
        store.push(new, path)
    new.replace(path)


def share_map(settings: Settings, name: str | None) -> None:
    """Let every host of an object store read the map of quarantined rows."""
    if name and (store := shared_folder(settings)) and Path(name).is_file():
        store.push(Path(name), _shared_map(settings, name))


def map_file(settings: Settings, name: str) -> Path:
    """Return the map of quarantined rows: the file itself, or what another host shared.

    The desk's own maps are in a folder of the same name on each host.
    """
    path, shared = Path(name), _shared_map(settings, name)
    is_own = path.is_relative_to(settings.home / "sources")
    return shared if shared.is_file() and (is_own or not path.is_file()) else path


def _shared_map(settings: Settings, name: str) -> Path:
    digest = hashlib.sha256(name.encode()).hexdigest()[:32]
    return folder(settings) / "maps" / f"{digest}.toml"


def write(settings: Settings, con: Any, parts: Sequence[str], path: Path) -> str | None:
    """Replace a quarantine file atomically.

    `parts`: relations of rows, from `Origin.sql` or an existing file.
    Returns: the path, or None without rows.
    """
    columns = ", ".join(f"NULL::VARCHAR AS {name}" for name in ("_reason", CODE, DATA))
    union = " UNION ALL BY NAME ".join(
        [f"SELECT {columns} WHERE false", *(f"SELECT * FROM {name}" for name in parts)]
    )
    reasons = _reasons(con, f"({union})")
    if not reasons:
        remove(settings, path)
        return None
    fields = {"_reason": "text", "_remedy": "remedy", CODE: "code", "_data": "data_json"}
    values = {
        column: {key: getattr(reason, name) for key, reason in reasons.items()}
        for column, name in fields.items()
    }
    meta = ", ".join(f"{_case(_KEY, each)} AS {column}" for column, each in values.items())
    create_private_folder(path.parent)
    unfinished = path.with_suffix(f".{os.getpid()}")
    con.execute(
        f"COPY (SELECT * EXCLUDE (_data), nullif(_data, '') AS {DATA} FROM "
        f"(SELECT {meta}, * EXCLUDE (_reason, {CODE}, {DATA}) FROM ({union}))) "
        f"TO {literal(unfinished)} (FORMAT parquet)"
    )
    replace(settings, unfinished, path)
    return str(path)


_KEY = f"coalesce({CODE} || coalesce(' ' || {DATA}, ''), _reason)"


def key_sql(con: Any, relation: str) -> str:
    """Return SQL of a quarantined row's `Reason.key`.

    `relation`: SQL of the rows. Files of earlier versions have sentences without codes.
    """
    columns = [row[0] for row in con.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()]
    key = _KEY if CODE in columns else "_reason"
    reasons = _reasons(con, relation, key)
    if all(key == reason.key for key, reason in reasons.items()):
        return key
    return _case(key, {key: reason.key for key, reason in reasons.items()})


def _reasons(con: Any, relation: str, key: str = _KEY) -> dict[str, Reason]:
    rows = con.execute(f"SELECT DISTINCT {key} FROM {relation}").fetchall()
    return {text: Reason.parse(text) for (text,) in rows}


def _case(value: str, results: dict[str, str]) -> str:
    whens = " ".join(
        f"WHEN {literal(key)} THEN {literal(result)}" for key, result in results.items()
    )
    return f"CASE {value} {whens} END"


def view(con: Any, settings: Settings) -> str | None:
    """Return SQL of the whole quarantine as one table.

    Returns: columns reason (`Reason.key`), stage, table_name, file, import_id, kept_at, row (JSON)
    and path. None if the quarantine is empty.
    """
    parts = [_as_table(con, path) for path in files(settings)]
    return " UNION ALL ".join(parts) or None


def _as_table(con: Any, path: Path) -> str:
    read = f"read_parquet({literal(path)}, hive_partitioning = false)"
    columns = [row[0] for row in con.execute(f"DESCRIBE SELECT * FROM {read}").fetchall()]
    own = ", ".join(f"{quoted(name)} := {quoted(name)}" for name in columns if name not in META)
    row = f"json_merge_patch('{{}}', to_json(struct_pack({own})))::VARCHAR" if own else "'{}'"
    # Files of the first release have fewer columns.
    meta = {name: name if name in columns else "NULL" for name in META}
    return (
        f"SELECT {key_sql(con, read)} AS reason, {meta['_stage']}::VARCHAR AS stage, "
        f"{meta['_table']}::VARCHAR AS table_name, _file AS file, "
        f"{meta['_import']}::VARCHAR AS import_id, {meta['_at']}::TIMESTAMP AS kept_at, "
        f"{row} AS row, {literal(path)} AS path FROM {read}"
    )


def listing(
    con: Any, settings: Settings, *, reason: str | None = None, examples: int = EXAMPLES
) -> dict[str, Any]:
    """List the quarantine by reason, most frequent first.

    `reason`: only rows with this reason; see `matching_reasons`.
    Returns: ``rows`` in total, and ``reasons``: each with ``code``, ``reason`` (sentence),
    ``remedy``, ``rows``, ``tables``, ``files``, ``first`` and ``last`` (ISO 8601 time of
    quarantine), and ``examples``: original rows without their empty values.
    """
    rows_sql = view(con, settings)
    if rows_sql is None:
        return {"rows": 0, "reasons": []}
    where = f" WHERE {condition(matching_reasons(con, settings, reason))}" if reason else ""
    groups = con.execute(
        "SELECT reason, count(*), list(DISTINCT table_name), list(DISTINCT file), min(kept_at), "
        f"max(kept_at), list(row)[1:{int(examples)}] FROM ({rows_sql}){where} GROUP BY 1"
    ).fetchall()
    reasons: list[dict[str, Any]] = []
    for key, rows, tables, names, first, last, shown in groups:
        reasons.append(
            _described(Reason.parse(key), rows)
            | {
                "tables": sorted(filter(None, tables)),
                "files": sorted(filter(None, names)),
                "first": first and first.isoformat(),
                "last": last and last.isoformat(),
                "examples": [json.loads(row) for row in shown],
            }
        )
    reasons.sort(key=lambda group: (-group["rows"], group["reason"]))
    return {"rows": sum(group["rows"] for group in reasons), "reasons": reasons}


def reason_counts(con: Any, settings: Settings) -> dict[Reason, int]:
    """Count quarantined rows by reason, most frequent first."""
    rows_sql = view(con, settings)
    if rows_sql is None:
        return {}
    rows = con.execute(f"SELECT reason, count(*) FROM ({rows_sql}) GROUP BY 1").fetchall()
    counted = [(Reason.parse(key), number) for key, number in rows]
    return dict(sorted(counted, key=lambda item: (-item[1], item[0].text)))


def counts(con: Any, settings: Settings) -> dict[str, int]:
    """Count quarantined rows by sentence, most frequent first."""
    return by_text(reason_counts(con, settings))


def summary(con: Any, settings: Settings) -> dict[str, Any]:
    """Summarise the quarantine for a report.

    Returns: ``quarantine`` (rows by code), ``quarantine_text`` (rows by sentence) and
    ``quarantined``: per reason ``code``, ``reason`` (sentence), ``rows`` and ``remedy``. All are
    sorted by rows.
    """
    reasons = reason_counts(con, settings)
    return {
        "quarantine": by_code(reasons),
        "quarantine_text": by_text(reasons),
        "quarantined": [_described(reason, rows) for reason, rows in reasons.items()],
    }


def _described(reason: Reason, rows: int) -> dict[str, Any]:
    """Return a reason and its number of rows as data."""
    code, remedy = reason.code.value, reason.remedy
    return {"code": code, "reason": reason.text, "remedy": remedy, "rows": rows}


def condition(reasons: Collection[Reason], column: str = "reason") -> str:
    """Return an SQL condition on a column of `Reason.key`."""
    return f"{column} IN ({', '.join(literal(reason.key) for reason in reasons)})"


def matching_reasons(con: Any, settings: Settings, text: str) -> list[Reason]:
    """Return the reasons that match a user's text."""
    known = list(reason_counts(con, settings))
    if exact := [reason for reason in known if text in (reason.code, reason.text)]:
        return exact
    near = [reason for reason in known if text.casefold() in reason.text.casefold()]
    if len(near) == 1:
        return near
    listed = "; ".join(reason.text for reason in near or known) or gettext("nothing at all")
    which = gettext("more than one reason") if near else gettext("no reason")
    message = gettext(
        "--reason {text!r} names {which} for which rows are in quarantine; there is: {listed}."
    )
    raise BadInput(message.format(text=text, which=which, listed=listed))
