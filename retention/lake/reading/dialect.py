"""How a text file is written: its encoding, delimiter, quote and header, seen from its bytes; never all of it in memory.

UTF-8 is read as it is. Everything else is transcoded, a piece at a time, into a scratch file that DuckDB reads.
"""
# ruff: noqa: S608 - SQL is put together from quoted names and escaped literals (mapping.quoted, .literal)

import codecs
import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retention.errors import BadInput
from retention.lake.mapping import Mapping, literal
from retention.text import gettext

PIECE = 1 << 20
HEAD = 1 << 16
SAMPLE = 1 << 16  # bytes around what is not ASCII; what the encoding is guessed from
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
# What Western European shops write beside ASCII. A byte of windows-1252 is one of these far more often than not.
WESTERN = frozenset(
    "£€¥§©®°±²³½¼¾·×«»‘’“”–—…•™ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØŒŠÙÚÛÜÝŽßàáâãäåæçèéêëìíîïñòóôõöøœšùúûüýžÿªº¿¡\xa0"
)
_BYTES = "utf-8 with windows-1252 bytes"
_DELIMITERS = (",", ";", "\t", "|")
_NUMBER = re.compile(r"[-+]?[\d.,]*\d[\d.,]*|\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T]\d.*)?")


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a file of delimited text is written, and where DuckDB is to read it.

    ``packing`` is ``gzip``, ``zstd`` or None, of ``path``; ``columns`` are names made up where there is no header.
    """

    path: Path
    packing: str | None
    encoding: str
    delimiter: str
    quote: str = '"'
    escape: str = '"'
    skip: int = 0
    header: bool = True
    columns: tuple[str, ...] = ()
    spaced: bool = False
    width: int = 0
    twice: tuple[str, ...] = ()  # names that several columns have

    def as_dict(self) -> dict[str, Any]:
        """What people are told of it."""
        names = {"\t": "tab", " ": "space"}
        return {
            "encoding": self.encoding,
            "delimiter": "spaces" if self.spaced else names.get(self.delimiter, self.delimiter),
            "quote": self.quote,
            "header": self.header,
            **({"twice": [*self.twice]} if self.twice else {}),
        }

    @property
    def reader(self) -> str:
        """The ``read_csv`` of it: all text, broken lines kept aside, what stands for nothing read as nothing."""
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
        if self.packing:
            options["compression"] = literal(self.packing)
        if not self.header:
            options["names"] = f"[{', '.join(map(literal, self.columns))}]"
        listed = ", ".join(f"{name} = {value}" for name, value in options.items())
        return f"read_csv({literal(self.path)}, {listed})"


def detect(
    con: Any, path: Path, kind: str, packing: str | None, mapping: Mapping | None, folder: Path
) -> Dialect:
    """See how a file of delimited text is written; what the map says of it is believed.

    Parameters
    ----------
    kind : str
        ``csv`` or ``tsv``, by the file's name.
    folder : Path
        Where a transcoded copy may be put.

    Raises
    ------
    BadInput
        Where the map names an encoding that does not exist, or the file is no text.
    """
    encoding = (mapping.encoding if mapping else None) or encoding_of(path, packing)
    _known(encoding, mapping)
    head = _head(path, packing, encoding)
    if not any(line.strip() for line in head):
        raise BadInput(gettext("{name} is empty.").format(name=path.name))
    if any("\0" in line for line in head):
        raise BadInput(
            gettext(
                "{name} is no text: it holds NUL characters. Give it the ending of what it is, "
                "like .xlsx."
            ).format(name=path.name)
        )
    spaced = _is_spaced(head, mapping)
    if spaced or not _is_utf8(encoding):
        copy = folder / "as-utf-8.csv"
        _transcode(path, packing, encoding, copy, spaced)
        path, packing = copy, None
        head = _head(path, None, "utf-8") if spaced else head
    delimiter = (
        "\t" if spaced else (mapping and mapping.delimiter) or ("\t" if kind == "tsv" else None)
    )
    sniffed = _sniffed(con, path, packing, delimiter, _lines_above(head, mapping))
    first = _first(head, sniffed)
    names, header = _header(first, sniffed, mapping)
    return Dialect(
        path,
        packing,
        encoding,
        sniffed["delimiter"],
        sniffed["quote"],
        sniffed["escape"],
        sniffed["skip"],
        header,
        names,
        spaced,
        sniffed["width"],
        several(first) if header else (),
    )


def encoding_of(path: Path, packing: str | None) -> str:
    """The encoding of a text file: by its mark, by being valid UTF-8 throughout, else by the look of the rest."""
    with _stream(path, packing) as pieces:
        decoder = codecs.getincrementaldecoder("utf-8")("strict")
        sample, valid = b"", True
        for number, piece in enumerate(pieces):
            if number == 0:
                for mark, name in BOMS:
                    if piece.startswith(mark):
                        return name
                if wide := _wide(piece[:HEAD]):
                    return wide
            if valid:
                try:
                    decoder.decode(piece)
                except UnicodeDecodeError:
                    valid = False
            if not piece.isascii() and len(sample) < SAMPLE:
                sample += (
                    b"\n".join(re.findall(rb"[^\r\n]*[\x80-\xff][^\r\n]*", piece))[:SAMPLE] + b"\n"
                )
            if not valid and len(sample) >= SAMPLE:
                break
    return "utf-8" if valid else _guessed(sample)


def _wide(head: bytes) -> str | None:
    """UTF-16 without a mark: nearly every second byte of Western text is nought."""
    even, odd = head[::2].count(0), head[1::2].count(0)
    half = max(1, len(head) // 2)
    if odd > 0.3 * half and even < 0.05 * half:
        return "utf-16-le"
    return "utf-16-be" if even > 0.3 * half and odd < 0.05 * half else None


def _guessed(sample: bytes) -> str:
    good = re.findall(
        rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}", sample
    )
    high = sum(sample.count(byte) for byte in {*sample} if byte >= 0x80)
    if 2 * sum(map(len, good)) > high:
        return _BYTES
    western = [character for character in sample.decode("cp1252", "replace") if character > "\x7f"]
    if sum(character in WESTERN for character in western) >= 0.98 * len(western) and _lonely(
        sample
    ):
        return "cp1252"
    from charset_normalizer import from_bytes

    found = from_bytes(sample, cp_isolation=CANDIDATES, threshold=0.5).best()
    return found.encoding if found else "cp1252"


def _lonely(sample: bytes) -> bool:
    """Whether what is not ASCII stands among letters that are, as it does in Western words and prices."""
    runs = re.findall(rb"[\x80-\xff]+", sample)
    return bool(runs) and sum(map(len, runs)) / len(runs) < 1.6


def _known(encoding: str, mapping: Mapping | None) -> None:
    if encoding == _BYTES:
        return
    try:
        codecs.lookup(encoding)
    except LookupError:
        raise BadInput(
            gettext(
                "{value} encoding: {encoding!r} is no encoding that Python knows; write it "
                "like utf-8, windows-1252 or utf-16."
            ).format(value=mapping.name if mapping else "The map", encoding=encoding)
        ) from None


def _is_utf8(encoding: str) -> bool:
    return encoding != _BYTES and codecs.lookup(encoding).name in ("utf-8", "utf-8-sig", "ascii")


@contextmanager
def _stream(path: Path, packing: str | None) -> Iterator[Iterator[bytes]]:
    import pyarrow as pa

    with pa.input_stream(str(path), compression=packing) as stream:
        yield iter(lambda: stream.read(PIECE), b"")


@contextmanager
def decoded(
    path: Path, packing: str | None, encoding: str, errors: str = "replace"
) -> Iterator[Iterator[str]]:
    """The text of a file, a piece at a time; ``errors`` as Python's codecs have them."""
    with _stream(path, packing) as pieces:
        yield _decoded(pieces, encoding, errors)


def _decoded(pieces: Iterator[bytes], encoding: str, errors: str = "replace") -> Iterator[str]:
    codecs.register_error("windows-1252", _as_cp1252)
    mixed = encoding == _BYTES
    decoder = codecs.getincrementaldecoder("utf-8" if mixed else encoding)(
        "windows-1252" if mixed else errors
    )
    for piece in pieces:
        yield decoder.decode(piece)
    yield decoder.decode(b"", True)


def _as_cp1252(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return error.object[error.start : error.end].decode("cp1252", "replace"), error.end


def _transcode(path: Path, packing: str | None, encoding: str, copy: Path, spaced: bool) -> None:
    with (
        decoded(path, packing, encoding) as texts,
        copy.open("w", encoding="utf-8", newline="") as target,
    ):
        rest = ""
        for text in texts:
            if not spaced:
                target.write(text)
                continue
            whole, mark, rest = (rest + text).rpartition("\n")
            target.write(_tabbed(whole + mark))
        target.write(_tabbed(rest) if spaced else "")


def _tabbed(text: str) -> str:
    return re.sub(r"[ \t]+", "\t", re.sub(r"(?m)^[ \t]+|[ \t]+(?=\r?$)", "", text))


def _head(path: Path, packing: str | None, encoding: str) -> list[str]:
    """The first lines, blank ones too: what DuckDB skips is counted with them."""
    with _stream(path, packing) as pieces:
        text = next(_decoded(iter([next(pieces, b"")[:HEAD]]), encoding)).removeprefix("\ufeff")
    lines = re.split(
        r"\r\n|\r|\n", text
    )  # as DuckDB does; Python's own splitlines knows ten more marks
    return lines[:-1] if len(text) * 2 > HEAD and len(lines) > 1 else lines


def _is_spaced(head: list[str], mapping: Mapping | None) -> bool:
    """Whether columns stand apart by spaces only, however many, each line with as many, some of them numbers."""
    given = mapping.delimiter if mapping else None
    others = (*(_DELIMITERS if given is None else ()), '"')  # between quotes a blank is one
    if any(mark in line for mark in others for line in head) or given not in (None, " "):
        return False
    cells = [line.split() for line in head if line.strip()]
    return (
        bool(cells)
        and len(cells[0]) > 1
        and {len(row) for row in cells} == {len(cells[0])}
        and all(any(_NUMBER.fullmatch(cell) for cell in row) for row in cells[1:] or cells)
    )


def _asked(mapping: Mapping | None) -> set[str]:
    """The columns that a map names and a file may not lack, in small letters."""
    return {*mapping.named} - {name.casefold() for name in mapping.optional} if mapping else set()


def _cells(line: str, delimiter: str) -> list[str]:
    one = len(delimiter) == 1
    found = (
        next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
        if one
        else line.split(delimiter)
    )
    return [cell.strip().strip("\"'") for cell in found]


def _lines_above(head: list[str], mapping: Mapping | None) -> int | None:
    """How many lines stand above the one with all the names that the map asks for: a title, a date, a blank line."""
    asked = _asked(mapping)
    marks = (mapping.delimiter,) if mapping and mapping.delimiter else _DELIMITERS
    for number, line in enumerate(head if asked else ()):
        if any(asked <= {cell.casefold() for cell in _cells(line, mark)} for mark in marks):
            return number or None
    return None


def _sniffed(
    con: Any, path: Path, packing: str | None, delimiter: str | None, skip: int | None
) -> dict[str, Any]:
    given = ", ignore_errors = true" + (f", delim = {literal(delimiter)}" if delimiter else "")
    given += f", skip = {skip}" if skip else ""
    given += f", compression = {literal(packing)}" if packing else ""
    found = con.execute(
        "SELECT Delimiter, Quote, Escape, SkipRows, HasHeader, len(Columns) "
        f"FROM sniff_csv({literal(path)}{given})"
    ).fetchall()[0]
    quote = (
        '"' if found[1] in ("(empty)", "", None) else found[1]
    )  # none in the sample is not none at all
    escape = quote if found[2] in ("(empty)", "", None) else found[2]
    return {
        "delimiter": found[0],
        "quote": quote,
        "escape": escape,
        "skip": found[3],
        "header": found[4],
        "width": found[5],
    }


def several(names: Sequence[str]) -> tuple[str, ...]:
    """The names that several columns have; DuckDB compares them in small letters."""
    counted = Counter(name.casefold() for name in names if name)
    seen = {name.casefold(): name for name in reversed(names)}
    return tuple(seen[name] for name, count in counted.items() if count > 1)


def _first(head: list[str], sniffed: dict[str, Any]) -> list[str]:
    """The cells of the first line that is not skipped."""
    line = next((line for line in head[sniffed["skip"] :] if line.strip()), "")
    return _cells(line, sniffed["delimiter"])


def _header(
    cells: list[str], sniffed: dict[str, Any], mapping: Mapping | None
) -> tuple[tuple[str, ...], bool]:
    """Whether the first line names the columns: it does unless half of it looks like data."""
    made = tuple(f"column{number}" for number in range(1, sniffed["width"] + 1))
    if mapping and mapping.header is not None:
        return made, mapping.header
    named = _asked(mapping)
    if named & {cell.casefold() for cell in cells} and not named & {*made}:
        return made, True
    filled = [cell for cell in cells if cell]
    data = sum(bool(_NUMBER.fullmatch(cell)) for cell in filled)
    return made, not filled or 2 * data < len(filled)
