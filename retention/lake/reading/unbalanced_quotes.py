"""Remove lines with unbalanced quotes from delimited text."""

import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from retention.errors import BadInput
from retention.lake.reading.dialect import CHUNK_BYTES, Dialect, open_decoded
from retention.text import gettext

_BREAK = re.compile(r"\r\n?|\n")
_LINE = re.compile(rf"([^\r\n]*)(?:{_BREAK.pattern})")
ESCAPE_BYTES = "surrogateescape"  # keeps bytes that are not UTF-8; the reader refuses them later


def remove_broken_lines(dialect: Dialect, name: str, copy: Path) -> tuple[Dialect, list[str]]:
    """Copy a file without broken lines.

    A record has fields as in RFC 4180. It is one line with any number of fields, or several lines
    (a quoted field contains the breaks) with as many fields as the file has columns. One regular
    expression skips complete records, so Python only handles the broken lines.

    `dialect`: dialect of the file, which is in UTF-8 already.
    """
    dialect = _detect_escape(dialect, name)
    records = _record_pattern(dialect)
    broken_lines: list[str] = []
    rest, has_ended = "", False
    with (
        _open_text(dialect) as texts,
        copy.open("w", encoding="utf-8", errors=ESCAPE_BYTES, newline="") as target,
    ):
        while rest or not has_ended:
            while not has_ended and len(rest) < 2 * CHUNK_BYTES:
                text = next(texts, None)
                has_ended = text is None
                rest += text or ""
            # End the last line like the others: DuckDB refuses mixed line breaks.
            if has_ended and not rest.endswith(("\n", "\r")):
                rest += (_BREAK.search(rest) or ["\n"])[0]
            # No record is longer than a chunk.
            reserve = 0 if has_ended else CHUNK_BYTES
            records_text, lines, rest = _split_records(records, rest, reserve)
            target.writelines(records_text)
            broken_lines += map(_printable, lines)
    return replace(dialect, path=copy, compression=None), broken_lines


def check_header(dialect: Dialect, name: str, columns: Iterable[str]) -> None:
    """Refuse column names that span several fields.

    A name may contain a line break or a delimiter. A name with both comes from a quote that was
    closed too late.
    """
    if dialect.header and any(
        _BREAK.search(column) and dialect.delimiter in column for column in columns
    ):
        raise _broken_header(dialect.skip + 1, name)


def _broken_header(line: int, name: str) -> BadInput:
    text = gettext(
        "Line {line} of {name}, which names the columns, has a quote that it does not "
        "close; close it or take it out (or, if no line names the columns, say header "
        "= false in the map)."
    )
    return BadInput(text.format(line=line, name=name))


def _detect_escape(dialect: Dialect, name: str) -> Dialect:
    """Choose the escape with the fewest broken lines.

    DuckDB's sniffer finds no escape in files with broken lines.
    """
    with _open_text(dialect) as texts:
        start = next(texts) + "\n"
    dialects = [replace(dialect, escape=escape) for escape in (dialect.escape, dialect.quote, "\\")]
    splits = [_split_records(_record_pattern(candidate), start, 0) for candidate in dialects]
    best = min(range(len(splits)), key=lambda number: len(splits[number][1]))
    (before, *_), broken_lines, _ = splits[best]
    lines = _LINE.findall(before)
    if dialect.header and broken_lines and not any(map(str.strip, lines[dialect.skip :])):
        raise _broken_header(len(lines) + 1, name)
    return dialects[best]


def _open_text(dialect: Dialect) -> AbstractContextManager[Iterator[str]]:
    return open_decoded(dialect.path, dialect.compression, "utf-8-sig", ESCAPE_BYTES)


def _split_records(
    records: re.Pattern[str], text: str, reserve: int
) -> tuple[list[str], list[str], str]:
    """Split text into records, broken lines and rest.

    Splitting stops ``reserve`` characters before the end: the last record may continue.
    """
    complete, broken_lines, at = [], [], 0
    while len(text) - at > reserve:
        end = records.match(text, at).end()  # type: ignore[union-attr]  # may be empty
        complete.append(text[at:end])
        at = end
        if len(text) - at > reserve:
            line = _LINE.match(text, at)
            broken_lines.append(line[1])  # type: ignore[index]  # the text ends with a break
            at = line.end()  # type: ignore[union-attr]
    return complete, broken_lines, text[at:]


def _printable(line: str) -> str:
    return line.encode("utf-8", ESCAPE_BYTES).decode("utf-8", "replace")


def _record_pattern(dialect: Dialect) -> re.Pattern[str]:
    """Compile a pattern of complete records."""
    quote, escape, delimiter = map(re.escape, (dialect.quote, dialect.escape, dialect.delimiter))
    escaped = f"{escape}{quote}" if dialect.escape == dialect.quote else f"{escape}."
    # A field may contain the characters of a longer delimiter.
    first = re.escape(dialect.delimiter[0])
    bare = rf"(?!{quote})(?:[^{first}\r\n]++|(?!{delimiter}){first})*+"
    in_line, across_lines = (
        rf"(?:{quote}(?:{escaped}|[^{quote}{escape}{breaks}])*+{quote}\ *+|{bare})"
        for breaks in (r"\r\n", "")
    )
    others = max(dialect.width - 1, 0)
    one_line = rf"{in_line}(?:{delimiter}{in_line})*+"
    several_lines = rf"{across_lines}(?:{delimiter}{across_lines}){{{others}}}+"
    return re.compile(rf"(?:(?:{one_line}|{several_lines})(?:{_BREAK.pattern}))*+", re.DOTALL)
