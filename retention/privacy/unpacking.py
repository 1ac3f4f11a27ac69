"""Limit the decompressed size, the compression ratio and the members of a file."""

import zipfile
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from retention.errors import BadInput
from retention.text import gettext

MAX_BYTES = 32 << 30
MAX_RATIO = 200  # tables of shops reach 40
SMALL_BYTES = 256 << 20  # any file may unpack to this
MAX_MEMBERS = 10_000
MAX_DIRECTORY_BYTES = 4 << 20  # a ZIP's list of members; in memory it is ten times as large
MAX_FOOTER_BYTES = 32 << 20  # a Parquet file's list of columns and row groups
MAX_ROWS_OF_BYTE = 50  # of a Parquet file, where one byte can stand for millions of equal rows
SMALL_ROWS = 5_000_000
PACKED = (".gz", ".zst", ".bz2", ".lz4")
_PARQUET = b"PAR1"
# Of a file that is damaged, or not what its name says: the reader that comes next says so.
_DAMAGED = (OSError, ValueError, NotImplementedError, RuntimeError, zipfile.BadZipFile)


class TooLargeUnpacked(BadInput):
    """Refuse a packed file; `limit` names the limit that it breaks."""

    def __init__(self, name: str, packed: int, limit: str, most: int) -> None:
        texts = {
            "bytes": gettext(
                "{name} has {size} and unpacks to more than {most}; unpack it, check what it "
                "holds, and use that."
            ),
            "members": gettext(
                "{name} has {size} and holds more than {most:,} files; pack fewer of them."
            ),
            "directory": gettext(
                "{name} has {size}, and its list of files has more than {most}; pack fewer of them."
            ),
            "footer": gettext(
                "{name} has {size}, and its list of columns has more than {most}; write it with "
                "larger row groups or fewer columns."
            ),
            "rows": gettext(
                "{name} has {size} and more than {most:,} rows; write it as CSV, and check what "
                "it holds."
            ),
        }
        number = most if limit in ("members", "rows") else _size(most)
        super().__init__(texts[limit].format(name=name, size=_size(packed), most=number))
        self.limit = limit


def _size(number: int) -> str:
    return f"{number / 2**10:,.1f} kB" if number < 2**20 else f"{number / 2**20:,.1f} MB"


def check_size(name: str, packed: int, unpacked: int) -> None:
    """Check a decompressed size, in bytes."""
    most = min(MAX_BYTES, max(SMALL_BYTES, MAX_RATIO * packed))
    if unpacked > most:
        raise TooLargeUnpacked(name, packed, "bytes", most)


def limited(name: str, packed: int, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the decompressed pieces of a file up to its limit."""
    size = 0
    for piece in pieces:
        size += len(piece)
        check_size(name, packed, size)
        yield piece


@contextmanager
def unpacked(path: Path, compression: str | None = "detect") -> Iterator[Iterator[bytes]]:
    """Open the decompressed pieces of a file; without a compression, its pieces."""
    import pyarrow as pa

    with pa.input_stream(str(path), compression=compression) as stream:
        pieces = iter(lambda: stream.read(1 << 20), b"")
        yield limited(path.name, path.stat().st_size, pieces) if compression else pieces


@contextmanager
def open_zip(file: Path | IO[bytes], name: str = "") -> Iterator[zipfile.ZipFile]:
    """Open a ZIP archive within the limits of its members and its decompressed size."""
    if isinstance(file, Path):
        with file.open("rb") as content, open_zip(content, file.name) as archive:
            yield archive
        return
    packed = file.seek(0, 2)
    reader = _DirectoryReader(file, name, packed)
    with zipfile.ZipFile(reader) as archive:
        reader.most = packed
        members = archive.infolist()
        if len(members) > MAX_MEMBERS:
            raise TooLargeUnpacked(name, packed, "members", MAX_MEMBERS)
        check_size(name, packed, sum(member.file_size for member in members))
        yield archive


class _DirectoryReader:
    """Limit the list of members of an archive, which `zipfile` reads at once."""

    def __init__(self, file: IO[bytes], name: str, packed: int) -> None:
        self._file, self._name, self._packed = file, name, packed
        self.most = MAX_DIRECTORY_BYTES

    def read(self, size: int = -1) -> bytes:
        if size > max(self.most, MAX_DIRECTORY_BYTES):
            raise TooLargeUnpacked(self._name, self._packed, "directory", self.most)
        return self._file.read(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _check_parquet(path: Path) -> None:
    """Check the sizes in a Parquet file's footer."""
    import pyarrow.parquet as pq

    packed = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, packed - 8))
        end = file.read(8)
    if end[4:] == _PARQUET and int.from_bytes(end[:4], "little") > MAX_FOOTER_BYTES:
        raise TooLargeUnpacked(path.name, packed, "footer", MAX_FOOTER_BYTES)
    about = pq.read_metadata(path)
    groups = (about.row_group(number) for number in range(about.num_row_groups))
    check_size(path.name, packed, sum(group.total_byte_size for group in groups))
    most_rows = max(SMALL_ROWS, MAX_ROWS_OF_BYTE * packed)
    if about.num_rows > most_rows:
        raise TooLargeUnpacked(path.name, packed, "rows", most_rows)


def check_file(path: Path) -> None:
    """Check a compressed text, an archive, a workbook or a Parquet file."""
    with suppress(*_DAMAGED):
        if path.suffix.lower() in PACKED:
            with unpacked(path) as pieces:
                deque(pieces, maxlen=0)
        elif path.suffix.lower() in (".parquet", ".pq"):
            _check_parquet(path)
        elif zipfile.is_zipfile(path):
            with open_zip(path):
                pass
