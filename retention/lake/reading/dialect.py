"""Detect encoding, delimiter, quote and header of text.

UTF-8 is read directly. Other encodings are transcoded, one chunk at a time, to a scratch file.
"""

# ruff: noqa: S608 - names are quoted and literals escaped (mapping.quoted, mapping.literal)

import codecs
import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from retention.errors import BadInput
from retention.lake.importing.mapping import Mapping, literal
from retention.privacy.unpacking import unpacked
from retention.text import gettext

CHUNK_BYTES = 1 << 20
HEAD_BYTES = 1 << 16
HEADER_LINES = 200  # of the head, to find the line of column names
SAMPLE_BYTES = 1 << 16  # lines with non-ASCII bytes, for guessing the encoding
BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
CANDIDATES = [
    "cp1252",
    "cp1250",
    "cp1251",
    "cp1253",
    "cp1254",
    "cp1255",
    "cp1256",
    "cp1257",
    "iso8859_2",
    "iso8859_7",
    "iso8859_15",
    "koi8_r",
    "mac_roman",
    "cp850",
    "cp437",
    "cp932",
    "euc_jp",
    "gb18030",
    "big5",
    "euc_kr",
]
# Non-ASCII characters of Western European shops. Nearly all windows-1252 bytes are one of these.
WESTERN = frozenset(
    "£€¥§©®°±²³½¼¾·×«»‘’“”–—…•™ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØŒŠÙÚÛÜÝŽßàáâãäåæçèéêëìíîïñòóôõöøœšùúûüýžÿªº¿¡\xa0"
)
_MIXED = "utf-8 with windows-1252 bytes"
_READ_DIRECTLY = ("utf-8", "utf-8-sig", "ascii")
_DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True, slots=True)
class Dialect:
    """Format of a delimited text file."""

    path: Path
    compression: str | None
    encoding: str
    delimiter: str = ","
    quote: str = '"'
    escape: str = '"'
    skip: int = 0
    header: bool = True
    is_spaced: bool = False
    width: int = 0
    duplicates: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of a file without a header."""
        return tuple(f"column{number}" for number in range(1, self.width + 1))

    def as_dict(self) -> dict[str, Any]:
        """Return the properties for the import report."""
        names = {"\t": "tab", " ": "space"}
        return {
            "encoding": self.encoding,
            "delimiter": "spaces" if self.is_spaced else names.get(self.delimiter, self.delimiter),
            "quote": self.quote,
            "header": self.header,
            **({"twice": [*self.duplicates]} if self.duplicates else {}),
        }

    @property
    def reader(self) -> str:
        """SQL call of ``read_csv``.

        Columns are text, rejected lines are stored, and words such as "NaN" become NULL.
        """
        options = {
            "delim": literal(self.delimiter),
            "quote": literal(self.quote),
            "escape": literal(self.escape),
            "skip": str(self.skip),
            "header": str(self.header).lower(),
            "all_varchar": "true",
            "store_rejects": "true",
            "rejects_limit": "0",
            "nullstr": "['', 'NaN', 'nan', 'NULL', 'null', 'None', '<NA>', '#N/A', 'NaT']",
        }
        if self.compression:
            options["compression"] = literal(self.compression)
        if not self.header:
            options["names"] = f"[{', '.join(map(literal, self.columns))}]"
        listed = ", ".join(f"{name} = {value}" for name, value in options.items())
        return f"read_csv({literal(self.path)}, {listed})"


def detect(
    con: Any, path: Path, kind: str, compression: str | None, mapping: Mapping | None, folder: Path
) -> Dialect:
    """Detect the dialect of a delimited text file.

    Settings of the map take precedence.

    Raises `BadInput`: if the map names an unknown encoding, or the file is empty or not text.
    """
    encoding = (mapping.encoding if mapping else None) or detect_encoding(path, compression)
    _check_encoding(encoding, mapping)
    head = _head(path, compression, encoding)
    if not any(line.strip() for line in head):
        raise BadInput(gettext("{name} is empty.").format(name=path.name))
    if any("\0" in line for line in head):
        text = gettext(
            "{name} is no text: it holds NUL characters. Give it the ending of what it is, "
            "like .xlsx."
        )
        raise BadInput(text.format(name=path.name))
    is_spaced = _is_spaced(head, mapping)
    is_read = encoding != _MIXED and codecs.lookup(encoding).name in _READ_DIRECTLY
    if is_spaced or not is_read:
        copy = folder / "as-utf-8.csv"
        _transcode(path, compression, encoding, copy, is_spaced)
        path, compression = copy, None
        head = _head(path, None, "utf-8") if is_spaced else head
    delimiter = (
        "\t" if is_spaced else (mapping and mapping.delimiter) or ("\t" if kind == "tsv" else None)
    )
    skip = _count_lines_above_header(head, mapping)
    plain = Dialect(path, compression, encoding, is_spaced=is_spaced)
    sniffed = _sniff(con, plain, delimiter, skip)
    if skip is None and (mapping is None or mapping.header is None):
        marks = {sniffed.delimiter, *(_DELIMITERS if delimiter is None else ())}
        width, skip, mark = max(_count_titles(head, mark) for mark in marks)
        # Another delimiter than the sniffed one must make more columns: texts contain commas.
        if skip and (mark == sniffed.delimiter or width > sniffed.width):
            sniffed = _sniff(con, plain, mark, skip)
    first_line = next((line for line in head[sniffed.skip :] if line.strip()), "")
    first = _cells(first_line, sniffed.delimiter)
    header = _has_header(first, sniffed, mapping)
    return replace(sniffed, header=header, duplicates=duplicate_names(first) if header else ())


def detect_encoding(path: Path, compression: str | None) -> str:
    """Detect the encoding of a text file.

    A byte order mark decides first, then validity as UTF-8, then a guess from non-ASCII lines.

    Returns: name of a Python codec, or `_MIXED`.
    """
    with unpacked(path, compression) as pieces:
        decoder = codecs.getincrementaldecoder("utf-8")("strict")
        sample, is_valid = b"", True
        for number, piece in enumerate(pieces):
            if number == 0:
                for mark, name in BOMS:
                    if piece.startswith(mark):
                        return name
                if utf16 := _detect_utf16(piece[:HEAD_BYTES]):
                    return utf16
            if is_valid:
                try:
                    decoder.decode(piece)
                except UnicodeDecodeError:
                    is_valid = False
            if not piece.isascii() and len(sample) < SAMPLE_BYTES:
                sample += (
                    b"\n".join(re.findall(rb"[^\r\n]*[\x80-\xff][^\r\n]*", piece))[:SAMPLE_BYTES]
                    + b"\n"
                )
            if not is_valid and len(sample) >= SAMPLE_BYTES:
                break
    return "utf-8" if is_valid else _guess_encoding(sample)


def _detect_utf16(head: bytes) -> str | None:
    """Detect UTF-16 from zero bytes."""
    even, odd = head[::2].count(0), head[1::2].count(0)
    half = max(1, len(head) // 2)
    if odd > 0.3 * half and even < 0.05 * half:
        return "utf-16-le"
    return "utf-16-be" if even > 0.3 * half and odd < 0.05 * half else None


def _guess_encoding(sample: bytes) -> str:
    utf8_sequences = re.findall(
        rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}", sample
    )
    high = sum(sample.count(byte) for byte in {*sample} if byte >= 0x80)
    if 2 * sum(map(len, utf8_sequences)) > high:
        return _MIXED
    western = [character for character in sample.decode("cp1252", "replace") if character > "\x7f"]
    if sum(character in WESTERN for character in western) >= 0.98 * len(western) and _is_isolated(
        sample
    ):
        return "cp1252"
    from charset_normalizer import from_bytes

    match = from_bytes(sample, cp_isolation=CANDIDATES, threshold=0.5).best()
    return match.encoding if match else "cp1252"


def _is_isolated(sample: bytes) -> bool:
    """Check that non-ASCII bytes are mostly single. Western words have few adjacent ones."""
    runs = re.findall(rb"[\x80-\xff]+", sample)
    return bool(runs) and sum(map(len, runs)) / len(runs) < 1.6


def _check_encoding(encoding: str, mapping: Mapping | None) -> None:
    if encoding == _MIXED:
        return
    try:
        codecs.lookup(encoding)
    except LookupError:
        message = gettext(
            "{map_name} encoding: {encoding!r} is no encoding that Python knows; write it "
            "like utf-8, windows-1252 or utf-16."
        ).format(map_name=mapping.name if mapping else gettext("The map"), encoding=encoding)
        raise BadInput(message) from None


@contextmanager
def open_decoded(
    path: Path, compression: str | None, encoding: str, errors: str = "replace"
) -> Iterator[Iterator[str]]:
    """Open an iterator over decoded chunks."""
    with unpacked(path, compression) as pieces:
        yield _decoded(pieces, encoding, errors)


def _decoded(pieces: Iterator[bytes], encoding: str, errors: str = "replace") -> Iterator[str]:
    codecs.register_error("windows-1252", _as_cp1252)
    is_mixed = encoding == _MIXED
    decoder = codecs.getincrementaldecoder("utf-8" if is_mixed else encoding)(
        "windows-1252" if is_mixed else errors
    )
    for piece in pieces:
        yield decoder.decode(piece)
    yield decoder.decode(b"", True)


def _as_cp1252(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return error.object[error.start : error.end].decode("cp1252", "replace"), error.end


def _transcode(
    path: Path, compression: str | None, encoding: str, copy: Path, is_spaced: bool
) -> None:
    with (
        open_decoded(path, compression, encoding) as texts,
        copy.open("w", encoding="utf-8", newline="") as target,
    ):
        rest = ""
        for text in texts:
            if not is_spaced:
                target.write(text)
                continue
            lines, line_break, rest = (rest + text).rpartition("\n")
            target.write(_tabs_for_spaces(lines + line_break))
        target.write(_tabs_for_spaces(rest) if is_spaced else "")


def _tabs_for_spaces(text: str) -> str:
    return re.sub(r"[ \t]+", "\t", re.sub(r"(?m)^[ \t]+|[ \t]+(?=\r?$)", "", text))


def _head(path: Path, compression: str | None, encoding: str) -> list[str]:
    """Read the first lines. Blank lines are included: DuckDB's ``skip`` counts them."""
    with unpacked(path, compression) as pieces:
        text = next(_decoded(iter([next(pieces, b"")[:HEAD_BYTES]]), encoding)).removeprefix(
            "\ufeff"
        )
    lines = re.split(r"\r\n|\r|\n", text)  # as in DuckDB; str.splitlines has more line breaks
    return lines[:-1] if len(text) * 2 > HEAD_BYTES and len(lines) > 1 else lines


def _is_spaced(head: list[str], mapping: Mapping | None) -> bool:
    """Check for columns separated by runs of spaces.

    All lines must have equally many cells, with a number in each data line.
    """
    map_delimiter = mapping.delimiter if mapping else None
    others = (*(_DELIMITERS if map_delimiter is None else ()), '"')  # quoted cells may hold spaces
    if any(mark in line for mark in others for line in head) or map_delimiter not in (None, " "):
        return False
    cells = [line.split() for line in head if line.strip()]
    return (
        bool(cells)
        and len(cells[0]) > 1
        and {len(row) for row in cells} == {len(cells[0])}
        and all(any(NUMBER.fullmatch(cell) for cell in row) for row in cells[1:] or cells)
    )


def required_columns(mapping: Mapping | None) -> set[str]:
    """Return a map's required columns, casefolded."""
    return {*mapping.named} - {name.casefold() for name in mapping.optional} if mapping else set()


def _cells(line: str, delimiter: str) -> list[str]:
    if len(delimiter) == 1:
        cells = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    else:
        cells = line.split(delimiter)
    return [cell.strip().strip("\"'") for cell in cells]


def _count_lines_above_header(head: list[str], mapping: Mapping | None) -> int | None:
    """Count the lines above the header.

    The header is the first line with all required columns of the map. Returns None if the map
    requires none, or no line has them.
    """
    required = required_columns(mapping)
    marks = (mapping.delimiter,) if mapping and mapping.delimiter else _DELIMITERS
    for number, line in enumerate(head if required else ()):
        if any(required <= {cell.casefold() for cell in _cells(line, mark)} for mark in marks):
            return number or None
    return None


def _count_titles(head: list[str], mark: str) -> tuple[int, int, str]:
    """Count the title rows of a file with a delimiter.

    Returns the number of columns below them, which is 0 without any, the title rows and the
    delimiter.
    """
    rows = [_cells(line, mark) for line in head[:HEADER_LINES]]
    skip = count_title_rows(rows)
    width = len(rows[skip])
    below = [len(row) == width for row in rows[skip + 1 :] if any(row)]
    return (width, skip, mark) if skip and 2 * sum(below) > len(below) else (0, 0, mark)


def _sniff(con: Any, plain: Dialect, delimiter: str | None, skip: int | None) -> Dialect:
    """Return the dialect with what DuckDB detects."""
    options = ", ignore_errors = true" + (f", delim = {literal(delimiter)}" if delimiter else "")
    options += f", skip = {skip}" if skip else ""
    options += f", compression = {literal(plain.compression)}" if plain.compression else ""
    delimiter, quote, escape, skip, width = con.execute(
        "SELECT Delimiter, Quote, Escape, SkipRows, len(Columns) "
        f"FROM sniff_csv({literal(plain.path)}{options})"
    ).fetchall()[0]
    if quote in ("(empty)", "", None):  # later lines may have quotes though the sample has none
        quote = '"'
    escape = quote if escape in ("(empty)", "", None) else escape
    return replace(plain, delimiter=delimiter, quote=quote, escape=escape, skip=skip, width=width)


def duplicate_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return names of several columns, ignoring case."""
    counted = Counter(name.casefold() for name in names if name)
    spelling = {name.casefold(): name for name in reversed(names)}
    return tuple(spelling[name] for name, count in counted.items() if count > 1)


def _has_header(cells: list[str], sniffed: Dialect, mapping: Mapping | None) -> bool:
    """Detect a header: the first row, unless half of its cells look like data."""
    if mapping and mapping.header is not None:
        return mapping.header
    required = required_columns(mapping)
    if required & {cell.casefold() for cell in cells} and not required & {*sniffed.columns}:
        return True
    filled = [cell for cell in cells if cell]
    numbers = sum(bool(NUMBER.fullmatch(cell)) for cell in filled)
    return not filled or 2 * numbers < len(filled)


NUMBER = re.compile(r"[-+]?[\d.,]*\d[\d.,]*|\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T]\d.*)?")
MAX_TITLE_ROWS = 30


def count_title_rows(rows: Sequence[Sequence[str]]) -> int:
    """Count the rows above the column names; 0 if the first row may be the names, or data.

    A title row fills at most half of the columns, repeats one word, or has only numbers. The first
    other row must be names: no numbers, and none twice.
    """
    first = rows[: MAX_TITLE_ROWS + 1]
    width = max((len(_strip(row)) for row in first), default=0)
    for number, row in enumerate(first):
        filled = [cell.casefold() for cell in row if cell]
        is_number = [bool(NUMBER.fullmatch(cell)) for cell in filled]
        if 2 * len(filled) <= width or 2 * len({*filled}) <= len(filled) or all(is_number):
            continue
        is_header = not any(is_number) and len({*filled}) == len(filled)
        return number if is_header and width > 1 else 0
    return 0


def _strip(row: Sequence[str]) -> Sequence[str]:
    """Leave out the empty cells at the end."""
    return row[: max((place for place, cell in enumerate(row, 1) if cell), default=0)]


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
