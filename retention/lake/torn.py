"""Lines of delimited text with a quote that nothing closes: taken out, so that they swallow none of the lines after them."""

import re
from dataclasses import replace
from pathlib import Path

from retention.lake.dialect import PIECE, Dialect, decoded

_LINE = re.compile(r"([^\r\n]*)(?:\r\n?|\n)")
AS_IT_IS = "surrogateescape"  # bytes that are no UTF-8 stay what they are: the reader is to refuse them


def mended(dialect: Dialect, copy: Path) -> tuple[Dialect, list[str]]:
    """Copy a file without the lines that begin no whole record.

    A record is fields as RFC 4180 has them: one line with any number of them, or several lines (a quoted field holds
    the breaks) with as many fields as the file has columns. What is a record is passed over by one regular expression;
    Python sees the torn lines only.

    Parameters
    ----------
    dialect : Dialect
        How the file is written; it is in UTF-8 by now.
    copy : Path
        Where the rest is written.

    Returns
    -------
    Dialect, list of str
        Of the copy; and the lines taken out.
    """
    records = _records(dialect)
    torn, rest, ended = [], "", False
    with (
        decoded(dialect.path, dialect.packing, "utf-8-sig", AS_IT_IS) as texts,
        copy.open("w", encoding="utf-8", errors=AS_IT_IS, newline="") as target,
    ):
        while rest or not ended:
            while not ended and len(rest) < 2 * PIECE:
                text = next(texts, None)
                ended = text is None
                rest += text or ""
            if ended and not rest.endswith("\n"):
                rest += "\n"
            ahead, at = 0 if ended else PIECE, 0  # no record is longer than a piece
            while len(rest) - at > ahead:
                whole = records.match(rest, at).end()  # type: ignore[union-attr]  # it matches nothing, too
                target.write(rest[at:whole])
                at = whole
                if len(rest) - at > ahead:
                    line = _LINE.match(rest, at)
                    torn.append(_shown(line[1]))  # type: ignore[index]  # the text ends with a break
                    at = line.end()  # type: ignore[union-attr]
            rest = rest[at:]
    return replace(dialect, path=copy, packing=None), torn


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
        rf"(?:(?:{within}(?:{delimiter}{within})*+|{across}(?:{delimiter}{across}){{{others}}}+)(?:\r\n?|\n))*+",
        re.DOTALL,
    )
