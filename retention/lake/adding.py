"""Adding events: a piece at a time into files that no version knows, what is there already left out, one commit at the end.

An event's id, where its source gives none, is the hash of what it says. It is not stored but computed where it is asked
for (`schema.EVENT_ID`): a table without it is a quarter of the size and written in half the time.
"""
# ruff: noqa: S608 - SQL is put together from quoted names and escaped literals (mapping.quoted, .literal)

from collections.abc import Callable
from pathlib import Path
from typing import Any

from retention.lake import store
from retention.lake.schema import EVENT_ID, SAID, Table

_WHO_WHEN_WHAT = ("customer_id", "occurred_at", "order_id", "item_id")


class Adding:
    """The events of one import on their way into the lake.

    Parameters
    ----------
    root : Path
        Folder of the lake's tables; the table's lock is held by the caller from the first `flush` to the `commit`.
    con
        DuckDB connection with the table ``staged``.
    """

    def __init__(self, root: Path, con: Any, table: Table) -> None:
        self.root, self.con, self.table = root, con, table
        self.explicit = False
        self.pieces = 0
        self.written: list[tuple[str, Path]] = []

    def flush(self, explicit: bool) -> None:
        """Write the rows of ``staged`` whose event is not in the lake yet, each once.

        ``explicit`` says that the source gives ids.
        """
        self.explicit |= explicit
        months = self._months("staged")
        delta = store.opened(self.root, self.table)
        known = [] if delta is None else store.files(delta, None if explicit else months.__contains__)
        repeated = self._repeats("staged")
        fresh = "staged"
        if known or repeated:
            fresh = "fresh"
            self._leave_out(known, repeated)
        if self._one(f"SELECT count(*) FROM {fresh}"):
            self.written += store.write_parts(self.root, self.table, self.con, fresh, months, self.pieces)
        self.con.execute("DROP TABLE IF EXISTS fresh")
        self.pieces += 1

    def commit(self, tell: Callable[[str], None]) -> int:
        """Let the table know the files; returns how many rows they have."""
        if self.pieces > 1:
            tell("looking for duplicates")
            self._once()
        if self.written:
            tell(f"committing {self.table.name}")
            store.commit_parts(self.root, self.table, self.written)
        return sum(store.rows_of(path) for _, path in self.written)

    # ------------------------------------------------------------ what is the same

    def _keys(self, explicit: bool) -> list[str]:
        """SQL of what tells events apart."""
        return [EVENT_ID] if explicit else [*SAID.values()]

    def _repeats(self, relation: str, explicit: bool | None = None) -> bool:
        """Whether an event occurs twice: counted by a hash, of few columns first, for these mostly suffice."""
        keys = self._keys(self.explicit if explicit is None else explicit)
        few = [SAID[name] for name in _WHO_WHEN_WHAT]
        for tried in [few, keys] if len(keys) > 1 else [keys]:
            total, distinct = self.con.execute(
                f"SELECT count(*), count(DISTINCT hash({', '.join(tried)})) FROM {relation}"
            ).fetchall()[0]
            if total == distinct:
                return False
        return True

    def _leave_out(self, known: list[str], repeated: bool) -> None:
        """Make ``fresh`` of the staged rows that are in no known file, the first of each."""
        stored = f"read_parquet({known!r}, hive_partitioning = false)"
        explicit = self.explicit or (bool(known) and self._gives_ids(known))
        keys = self._keys(explicit)
        named = ", ".join(f"{key} AS key_{place}" for place, key in enumerate(keys))
        same = " AND ".join(f"new.key_{place} IS NOT DISTINCT FROM old.key_{place}" for place in range(len(keys)))
        unknown = f"ANTI JOIN (SELECT {named} FROM {stored}) AS old ON {same}" if known else ""
        parts = ", ".join(f"key_{place}" for place in range(len(keys)))
        first = f"QUALIFY row_number() OVER (PARTITION BY {parts} ORDER BY place) = 1" if repeated else ""
        self.con.execute(
            "CREATE OR REPLACE TABLE fresh AS SELECT COLUMNS(column -> column NOT LIKE 'key_%' AND column <> 'place') "
            f"FROM (SELECT * EXCLUDE (_reason), rowid AS place, {named} FROM staged) AS new {unknown} {first}"
        )

    def _gives_ids(self, files: list[str]) -> bool:
        """Whether some file stores ids (by its statistics, else for all we know)."""
        return bool(
            self._one(
                "SELECT count(*) FROM parquet_metadata({files}) WHERE path_in_schema = 'event_id' "
                "AND stats_null_count IS DISTINCT FROM num_values".format(files=repr(files))
            )
        )

    def _once(self) -> None:
        """Leave each event in one file only, where several pieces wrote of the same month (or the ids are the source's)."""
        groups: dict[str, list[Path]] = {}
        for month, path in self.written:
            groups.setdefault("" if self.explicit else month, []).append(path)
        for paths in groups.values():
            relation = (
                f"read_parquet({[str(path) for path in sorted(paths, key=lambda path: path.name)]!r}, "
                "hive_partitioning = false, filename = true, file_row_number = true)"
            )
            if len(paths) > 1 and self._repeats(relation):
                parts = ", ".join(self._keys(self.explicit))
                by_piece = "parse_filename(filename), file_row_number"
                once = f"(SELECT * FROM {relation} QUALIFY row_number() OVER (PARTITION BY {parts} ORDER BY {by_piece}) = 1)"
                again = store.write_parts(self.root, self.table, self.con, once, self._months(once), self.pieces)
                self.written = [each for each in self.written if each[1] not in paths] + again
                for path in paths:
                    path.unlink()

    def _months(self, relation: str) -> dict[str, str]:
        """The months of events, each with the condition of its rows."""
        begins = self.con.execute(
            f"SELECT DISTINCT date_trunc('month', make_timestamp(epoch_us(occurred_at)))::DATE AS month FROM {relation} ORDER BY 1"
        ).fetchall()
        return {
            f"{month:%Y-%m}": f"occurred_at >= DATE '{month}' AND occurred_at < DATE '{month}' + INTERVAL 1 MONTH"
            for (month,) in begins
        }

    def _one(self, sql: str) -> int:
        return int(self.con.execute(sql).fetchall()[0][0])


