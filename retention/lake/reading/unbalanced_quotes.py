"""Lines of delimited text with a quote that nothing closes: taken out, so that they swallow none of the lines after them."""

import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from retention.errors import BadInput
from retention.lake.reading.dialect import PIECE, Dialect, decoded
from retention.text import gettext

_BREAK = re.compile(r"\r\n?|\n")
_LINE = re.compile(rf"([^\r\n]*)(?:{_BREAK.pattern})")
AS_IT_IS = (
    "surrogateescape"  # bytes that are no UTF-8 stay what they are: the reader is to refuse them
)


def mended(dialect: Dialect, name: str, copy: Path) -> tuple[Dialect, list[str]]:
    """Copy a file without the lines that begin no whole record.

    A record is fields as RFC 4180 has them: one line with any number of them, or several lines (a quoted field holds
    the breaks) with as many fields as the file has columns. What is a record is passed over by one regular expression;
    Python sees the torn lines only.

    Parameters
    ----------
    dialect : Dialect
        How the file is written; it is in UTF-8 by now.
    name : str
        What people call the file.
    copy : Path
        Where the rest is written.

    Returns
    -------
    Dialect, list of str
        Of the copy; and the lines taken out.

    Raises
    ------
    BadInput
        Where the line that names the columns is torn.
    """
    dialect = _begun(dialect, name)
    records = _records(dialect)
    torn: list[str] = []
    rest, ended = "", False
    with (
        _texts(dialect) as texts,
        copy.open("w", encoding="utf-8", errors=AS_IT_IS, newline="") as target,
    ):
        while rest or not ended:
            while not ended and len(rest) < 2 * PIECE:
                text = next(texts, None)
                ended = text is None
                rest += text or ""
            if ended and not rest.endswith(
                ("\n", "\r")
            ):  # as the others end: the reader takes no mixture
                rest += (_BREAK.search(rest) or ["\n"])[0]
            whole, lines, rest = _parted(
                records, rest, 0 if ended else PIECE
            )  # no record is longer than a piece
            target.writelines(whole)
            torn += map(_shown, lines)
    return replace(dialect, path=copy, packing=None), torn


def check_header(dialect: Dialect, name: str, columns: Iterable[str]) -> None:
    """Refuse names of columns that run on into the lines after them, to a quote of some field there.

    A name may hold a line break or a delimiter; both are in one only where its quote was closed too late.
    """
    if dialect.header and any(_BREAK.search(one) and dialect.delimiter in one for one in columns):
        raise _torn_header(dialect.skip + 1, name)


def _torn_header(line: int, name: str) -> BadInput:
    return BadInput(
        gettext(
            "Line {line} of {name}, which names the columns, has a quote that it does not "
            "close; close it or take it out (or, if no line names the columns, say header "
            "= false in the map)."
        ).format(line=line, name=name)
    )


def _begun(dialect: Dialect, name: str) -> Dialect:
    """The dialect with the escape that leaves the fewest lines torn: where one is, the sniffer sees no escape at all."""
    with _texts(dialect) as texts:
        beginning = next(texts) + "\n"
    dialects = [replace(dialect, escape=escape) for escape in (dialect.escape, dialect.quote, "\\")]
    parted = [_parted(_records(one), beginning, 0) for one in dialects]
    best = min(range(len(parted)), key=lambda number: len(parted[number][1]))
    (before, *_), torn, _ = parted[best]
    lines = _LINE.findall(before)
    if dialect.header and torn and not any(map(str.strip, lines[dialect.skip :])):
        raise _torn_header(len(lines) + 1, name)
    return dialects[best]


def _texts(dialect: Dialect) -> AbstractContextManager[Iterator[str]]:
    return decoded(dialect.path, dialect.packing, "utf-8-sig", AS_IT_IS)


def _parted(records: re.Pattern[str], text: str, ahead: int) -> tuple[list[str], list[str], str]:
    """The whole records before, between and after the torn lines; those lines; and the rest, which may go on."""
    whole, torn, at = [], [], 0
    while len(text) - at > ahead:
        end = records.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing, too
        whole.append(text[at:end])
        at = end
        if len(text) - at > ahead:
            line = _LINE.match(text, at)
            torn.append(line[1])  # type: ignore[index]  # the text ends with a break
            at = line.end()  # type: ignore[union-attr]
    return whole, torn, text[at:]


def _shown(line: str) -> str:
    return line.encode("utf-8", AS_IT_IS).decode("utf-8", "replace")


def _records(dialect: Dialect) -> re.Pattern[str]:
    """As many whole records as there are in a row."""
    quote, escape, delimiter = map(re.escape, (dialect.quote, dialect.escape, dialect.delimiter))
    escaped = f"{escape}{quote}" if dialect.escape == dialect.quote else f"{escape}."
    begun = re.escape(dialect.delimiter[0])  # a field may hold the characters of a longer delimiter
    bare = rf"(?!{quote})(?:[^{begun}\r\n]++|(?!{delimiter}){begun})*+"
    within, across = (
        rf"(?:{quote}(?:{escaped}|[^{quote}{escape}{breaks}])*+{quote}\ *+|{bare})"
        for breaks in (r"\r\n", "")
    )
    others = max(dialect.width - 1, 0)
    return re.compile(
        rf"(?:(?:{within}(?:{delimiter}{within})*+|{across}(?:{delimiter}{across}){{{others}}}+)(?:{_BREAK.pattern}))*+",
        re.DOTALL,
    )
