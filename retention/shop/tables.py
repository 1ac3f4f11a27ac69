"""Turn data frames and files into rows for the import, and choose their columns."""

# ruff: noqa: S608 - names are quoted and literals escaped (mapping.quoted, mapping.literal)
import difflib
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pyarrow as pa

from retention.errors import BadInput
from retention.lake import Lake
from retention.lake.importing.import_files import import_files
from retention.lake.importing.import_log import ImportReport
from retention.lake.importing.mapping import literal, quoted
from retention.lake.reading import sources
from retention.lake.schema import TABLES
from retention.lake.suggesting.suggest import MissingColumns, Proposal, propose
from retention.settings import Settings
from retention.text import gettext

NAMES = {"events": "orders", "customers": "customers", "items": "items"}  # as users call them
_SOURCES = ("price",)  # columns that the import derives amounts from
_FLOATS = ("FLOAT", "DOUBLE")
_LINE = re.compile(r"^(\w+) += (.+?)(?:  # (.*))?$")


@dataclass(frozen=True, slots=True)
class ColumnChoice:
    """Columns that a table was read by.

    `table`: ``orders``, ``customers`` or ``items``.
    """

    table: str
    rows: tuple[tuple[str, str, str], ...]
    doubts: tuple[str, ...] = ()
    guessed: bool = True
    has_integer_ids: bool = False

    def __str__(self) -> str:
        headers = (self.table, gettext("read from"), "")
        return "\n".join([text_table(headers, self.rows), *self.doubts])

    def _repr_html_(self) -> str:
        return html_table((self.table, gettext("read from"), ""), self.rows, notes=self.doubts)


def read_table(
    lake: Lake,
    settings: Settings,
    table: str,
    data: Any,
    names: Mapping[str, str],
    *,
    zone: str | None = None,
) -> tuple[ImportReport, ColumnChoice]:
    """Import a data frame or files into a lake.

    `zone`: time zone of naive times, instead of a guess.
    Raises `BadInput`: if the data has another type, a named column does not exist, a required
    column is missing, or no row can be used.
    """
    title = NAMES[table]
    folder = settings.home / "read"
    folder.mkdir(parents=True, exist_ok=True)
    files, types = _files(lake, title, data, names, table, folder)
    is_copy = bool(types)
    try:
        proposal = propose(lake, table, files[0])
        if proposal.table != table:
            message = gettext("{title} holds {table}, not {expected}.")
            raise BadInput(message.format(title=title, table=proposal.table, expected=title))
        text = proposal.text
        path = None
        if proposal.format_name is None:
            text = _with_names(text, names, zone if table == "events" else None)
            path = folder / f"{title}.toml"
            path.write_text(text, encoding="utf-8")
        report = import_files(
            lake, None, settings, table, files, path, format_name=proposal.format_name
        )
    except MissingColumns as error:
        raise _missing_error(error, title, names) from None
    except BadInput as error:
        if not is_copy:
            raise
        # The copy's name says nothing to the owner of a data frame.
        named = re.sub(rf"(\S*/)?{title}\.jsonl", title, str(error))
        raise BadInput(named, field=error.field) from None
    finally:
        if is_copy:
            for file in files:
                Path(file).unlink(missing_ok=True)
    choice = _choice(title, table, proposal, text, names)
    return report, replace(choice, has_integer_ids=_has_integer_ids(choice, types))


def _missing_error(error: MissingColumns, title: str, names: Mapping[str, str]) -> BadInput:
    missing = error.missing[0]
    if missing in names:
        text = gettext("{missing}: the values of {name!r} are not what {missing} needs.")
    else:
        text = gettext(
            "No column of {title} looks like {missing}; there are {columns}. Name it: "
            '{missing}="…".'
        )
    columns = ", ".join(names.get(name, name) for name in error.columns)
    return BadInput(
        text.format(title=title, missing=missing, columns=columns, name=names.get(missing)),
        field=missing,
    )


# ---------------------------------------------------------------- rows


def _files(
    lake: Lake, title: str, data: Any, names: Mapping[str, str], table: str, folder: Path
) -> tuple[list[str], dict[str, str]]:
    """Return the files to import, and the types of the data's columns if the files are copies."""
    _check_targets(table, names)
    con = lake.duckdb
    if isinstance(data, str | os.PathLike):
        data = [data]
    if isinstance(data, list | tuple) and data and _are_paths(data):
        files = sources.expand_paths([os.fspath(path) for path in data])
        if not names:
            return files, {}
        copies, columns = [], {}
        for number, file in enumerate(files):
            with sources.open_source(con, file, None, None) as source:
                copy = folder / f"{title}{number or ''}.jsonl"
                columns = source.columns
                _copy(con, source.relation, columns, names, title, copy)
            copies.append(str(copy))
        return copies, columns
    rows = arrow_table(data, title)
    if not rows.num_rows:
        raise BadInput(gettext("{title} has no rows.").format(title=title))
    con.register("given_rows", rows)
    try:
        columns = sources.column_types(con, "given_rows")
        _copy(con, "given_rows", columns, names, title, folder / f"{title}.jsonl")
    finally:
        con.unregister("given_rows")
    return [str(folder / f"{title}.jsonl")], columns


def _are_paths(data: Sequence[Any]) -> bool:
    return all(isinstance(path, str | os.PathLike) for path in data)


def arrow_table(data: Any, title: str = "orders") -> Any:
    """Convert a data frame to an Arrow table."""
    if hasattr(data, "collect") and hasattr(data, "lazy"):  # a polars LazyFrame
        data = data.collect()
    if isinstance(data, pd.DataFrame):
        return _from_pandas(data, title)
    if hasattr(data, "__arrow_c_stream__") and not isinstance(data, pd.Series):
        table = pa.table(data)
    else:
        message = gettext(
            "{title} is a {type}; give a pandas or polars DataFrame, an Arrow table, or the "
            "path of a file."
        )
        raise BadInput(message.format(title=title, type=type(data).__name__))
    return table


def _from_pandas(data: Any, title: str) -> Any:
    if any(name is not None for name in data.index.names):
        data = data.reset_index(
            drop=all(name in data.columns for name in data.index.names if name is not None)
        )
    if data.columns.nlevels > 1:
        data = data.set_axis(["_".join(map(str, name)) for name in data.columns], axis=1)
    data = data.set_axis([str(name) for name in data.columns], axis=1)
    if not data.columns.is_unique:
        twice = data.columns[data.columns.duplicated()][0]
        message = gettext("{title} has two columns called {name}; rename one of them.")
        raise BadInput(message.format(title=title, name=twice))
    columns = {}
    for name in data.columns:
        try:
            columns[name] = pa.Array.from_pandas(data[name])
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
            # Values of several types in one column, such as 85123 and "85123A".
            text = data[name].map(str).where(data[name].notna(), None)
            columns[name] = pa.array(text.tolist(), pa.string())
    return pa.table(columns)


def _copy(
    con: Any, rows: str, types: Mapping[str, str], names: Mapping[str, str], title: str, file: Path
) -> None:
    """Copy rows to JSON Lines, with named columns under their canonical names.

    The import then reads texts as it reads those of a CSV file.
    """
    for target, name in names.items():
        if name not in types:
            near = difflib.get_close_matches(name, list(types), 1)
            if near:
                hint = gettext("did you mean {near!r}?").format(near=near[0])
            else:
                hint = gettext("there are {columns}.").format(columns=", ".join(types))
            message = gettext("{target}: {title} has no column {name!r}; {hint}")
            raise BadInput(
                message.format(target=target, title=title, name=name, hint=hint), field=target
            )
    taken = {target.casefold() for target in names} | {name.casefold() for name in names.values()}
    kept = {name: name for name in types if name.casefold() not in taken}
    whole = _whole_floats(con, rows, types)
    selected = [
        f"{_value(name, types[name], name in whole)} AS {quoted(target)}"
        for target, name in {**names, **kept}.items()
    ]
    con.execute(f"COPY (SELECT {', '.join(selected)} FROM {rows}) TO {literal(file)} (FORMAT json)")


def _whole_floats(con: Any, rows: str, types: Mapping[str, str]) -> set[str]:
    """Return the float columns with whole numbers only: pandas stores ids with gaps so."""
    floats = [name for name, type_ in types.items() if type_ in _FLOATS]
    if not floats:
        return set()
    tests = ", ".join(
        f"coalesce(bool_and({quoted(name)} = floor({quoted(name)}) AND abs({quoted(name)}) < 1e15)"
        f" FILTER (isfinite({quoted(name)})), false)"
        for name in floats
    )
    answers = con.execute(f"SELECT {tests} FROM {rows}").fetchall()[0]
    return {name for name, is_whole in zip(floats, answers, strict=True) if is_whole}


def _value(name: str, type_: str, is_whole: bool) -> str:
    column = quoted(name)
    if type_ in _FLOATS:
        number = f"{column}::BIGINT" if is_whole else column
        return f"CASE WHEN isfinite({column}) THEN {number} END"
    return f"{column}::VARCHAR" if type_.startswith("ENUM") else column


# ---------------------------------------------------------------- columns


def _check_targets(table: str, names: Mapping[str, str]) -> None:
    known = [*(column.name for column in TABLES[table].columns), *_SOURCES]
    for target in names:
        if target not in known:
            message = gettext("columns: there is no column {target!r}; use {known}.")
            raise BadInput(message.format(target=target, known=", ".join(known)), field="columns")


def _with_names(text: str, names: Mapping[str, str], zone: str | None) -> str:
    """Make a proposed map use the named columns and time zone."""
    for target in names:
        if target in _SOURCES:
            continue
        line = re.search(rf"^{target} += (.+)$", text, re.MULTILINE)
        if line is None or target not in line[1].partition("  # ")[0]:
            text = _with_line(text, target, f'"{target}"')
    return _with_line(text, "timezone", f'"{zone}"') if zone else text


def _with_line(text: str, key: str, value: str) -> str:
    text = re.sub(rf"^{key} += .*\n", "", text, flags=re.MULTILINE)
    return re.sub(
        r"^(\[\w+\]\n)", lambda head: f"{head[1]}{key} = {value}\n", text, count=1, flags=re.M
    )


def _choice(
    title: str, table: str, proposal: Proposal, text: str, names: Mapping[str, str]
) -> ColumnChoice:
    """Return what was read from where, in words."""
    if proposal.format_name is not None:
        shop = proposal.format_name.partition("-")[0].capitalize()
        return ColumnChoice(title, (("*", gettext("{shop} export").format(shop=shop), ""),))
    known = {column.name for column in TABLES[table].columns}
    rows = []
    for line in text.partition(f"[{table}]\n")[2].splitlines():
        parts = _LINE.match(line)
        if parts and parts[1] in known:
            target, reason = parts[1], parts[3] or ""
            if target in names:
                rows.append((target, names[target], gettext("as named")))
            else:
                rows.append((target, _in_words(parts[2], names), reason))
    doubts = tuple(doubt.text for doubt in proposal.doubts if doubt.target not in names)
    return ColumnChoice(title, tuple(rows), doubts, any(row[0] not in names for row in rows))


def _has_integer_ids(choice: ColumnChoice, types: Mapping[str, str]) -> bool:
    source = next((source for target, source, _ in choice.rows if target == "customer_id"), "")
    return "INT" in types.get(source, "") or types.get(source) in _FLOATS


def _in_words(value: str, names: Mapping[str, str]) -> str:
    """Return a map's value without TOML, with the user's own column names."""
    for start, end in (("{ sql = '''", "''' }"), ('{ value = "', '" }'), ('"', '"')):
        if value.startswith(start) and value.endswith(end):
            value = value[len(start) : -len(end)]
            break
    for target, name in names.items():
        value = value.replace(f'"{target}"', f'"{name}"')
    return value if len(value) <= 60 else f"{value[:59]}…"


class ModelFigures(ABC):
    """Metrics of a model next to those of its baselines. Printing it shows a table."""

    names: ClassVar[Mapping[str, str]]  # of the metrics

    def __init__(self, data: dict[str, Any]) -> None:
        self._data = data
        self.metrics: dict[str, float] = data["metrics"]
        self.baselines: dict[str, dict[str, float]] = data["baselines"]

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON object of ``retention evaluate``."""
        return self._data

    def to_frame(self) -> "pd.DataFrame":
        """Return the metrics, one row for the model and one per baseline."""
        listed = {"model": self.metrics, **self.baselines}
        return pd.DataFrame.from_dict(listed, orient="index", columns=list(self.names))

    @property
    @abstractmethod
    def _caption(self) -> str:
        """The sentence above the table."""

    @property
    @abstractmethod
    def _notes(self) -> list[str]:
        """The sentences below it."""

    @property
    def _table(self) -> tuple[list[str], list[list[str]]]:
        model = gettext("model ({name})").format(name=self._data["model"])
        figures = {model: self.metrics, **self.baselines}
        rows = [[name, *map(_number, map(own.get, self.names))] for name, own in figures.items()]
        return ["", *self.names.values()], rows

    def __str__(self) -> str:
        return "\n".join([self._caption, text_table(*self._table), *self._notes])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table(*self._table, caption=self._caption, notes=self._notes)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


Rows = Sequence[Sequence[str]]


def text_table(headers: Sequence[str], rows: Rows) -> str:
    """Return a table in plain text, numbers flush right.

    Examples
    --------
    >>> print(text_table(["model", "AUC"], [["boosting", "0.81"], ["recency", "0.7"]]))
    model      AUC
    boosting  0.81
    recency    0.7
    """
    table = [list(headers), *map(list, rows)]
    widths = [max(len(row[place]) for row in table) for place in range(len(headers))]
    is_right = [_are_numbers([row[place] for row in rows]) for place in range(len(headers))]
    lines = (
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, is_right, strict=True)
        ).rstrip()
        for row in table
    )
    return "\n".join(lines)


def html_table(
    headers: Sequence[str], rows: Rows, *, caption: str = "", notes: Sequence[str] = ()
) -> str:
    """Return a table in HTML, with every value escaped.

    Examples
    --------
    >>> html_table(["id"], [["<b>"]])
    '<table><thead><tr><th>id</th></tr></thead><tbody><tr><td>&lt;b&gt;</td></tr></tbody></table>'
    """
    head = "".join(f"<th>{escape(cell)}</th>" for cell in headers)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    above = f"<p>{escape(caption)}</p>" if caption else ""
    below = "".join(f"<p>{escape(note)}</p>" for note in notes)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f"{above}{table}{below}"


def _are_numbers(cells: Sequence[str]) -> bool:
    return bool(cells) and all(cell == "" or cell.lstrip("−-+")[:1].isdigit() for cell in cells)
