"""Unpack ZIP archives and compressed Parquet files, and convert workbooks.

DuckDB reads other .gz and .zst files itself.
"""

import errno
import fcntl
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from retention.errors import BadInput
from retention.lake.reading.dialect import MAX_TITLE_ROWS, count_title_rows
from retention.privacy import unpacking
from retention.text import gettext

WORKBOOKS = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
MAGIC_BYTES = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd"}
_PREFIX, _LOCK_FILE = "retention-import-", ".held"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Create a private folder for unpacked customer data.

    The folder is deleted at the end. The next import deletes the folder of a killed process.
    """
    _delete_leftovers()
    with (
        tempfile.TemporaryDirectory(prefix=_PREFIX) as name,
        Path(name, f"{_LOCK_FILE}.new").open("wb") as lock_file,
    ):
        fcntl.flock(lock_file, fcntl.LOCK_EX)  # released when the process ends
        # Rename after locking: other imports never see an unlocked file.
        Path(lock_file.name).rename(Path(name, _LOCK_FILE))
        yield Path(name)


def lasting_name(file: str) -> str:
    """Return a path without its scratch folder, which has another name each time."""
    return re.sub(rf"^.*/{_PREFIX}[^/]*/", "", file)


def _delete_leftovers() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):  # another user's folder, locked, or just deleted
            if folder.lstat().st_uid != os.getuid() or folder.is_symlink():
                continue
            with (folder / _LOCK_FILE).open("rb") as lock_file:
                fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)


def extract_table(path: Path, folder: Path, suffixes: Collection[str]) -> Path:
    """Extract the only table of a ZIP archive."""
    try:
        with unpacking.open_zip(path) as archive:
            tables = [member for member in archive.infolist() if _is_table(member, suffixes)]
            if len(tables) != 1:
                names = ", ".join(sorted(member.filename for member in tables)[:5]) or gettext(
                    "nothing that can be imported"
                )
                text = gettext("{name} holds {names}; unpack it, and import each file by its name.")
                raise BadInput(text.format(name=path.name, names=names))
            # Drop the folders of the member's name: they could lead outside the scratch folder.
            target = folder / Path(tables[0].filename).name
            with archive.open(tables[0]) as compressed, target.open("wb") as plain:
                shutil.copyfileobj(compressed, plain, 1 << 20)
            return target
    except RuntimeError as error:  # zipfile raises this if a password is needed
        text = gettext("{name} is locked by a password; unpack it first.")
        raise BadInput(text.format(name=path.name)) from error
    except (zipfile.BadZipFile, NotImplementedError) as error:
        text = gettext("{name} cannot be read as ZIP: {error}.")
        raise BadInput(text.format(name=path.name, error=error)) from error
    except (zlib.error, EOFError) as error:
        raise _damaged(path) from error
    except OSError as error:
        # EINVAL: an offset before the start of the file. Other errors, like a full disk, are ours.
        if error.errno != errno.EINVAL:
            raise
        raise _damaged(path) from error


def _damaged(path: Path) -> BadInput:
    text = gettext("{name} is damaged or not whole; fetch it or pack it again.")
    return BadInput(text.format(name=path.name))


def _is_table(member: zipfile.ZipInfo, suffixes: Collection[str]) -> bool:
    name = Path(member.filename)
    is_hidden = name.name.startswith(".") or "__MACOSX" in name.parts
    own_suffixes = {suffix.lower() for suffix in name.suffixes[-2:]}
    is_file = not member.is_dir() and not is_hidden and name.suffix.lower() != ".zip"
    return is_file and bool(own_suffixes & set(suffixes))


def decompress(path: Path, compression: str, folder: Path) -> Path:
    target = folder / path.with_suffix("").name
    with unpacking.unpacked(path, compression) as pieces, target.open("wb") as plain:
        plain.writelines(pieces)
    return target


def convert_workbook(path: Path, folder: Path) -> dict[str, Path | None]:
    """Convert each sheet of a workbook to a Parquet file of text columns.

    Whole numbers get no decimal point, and times become ISO 8601, to keep ids intact.

    Returns: sheet to its file; None for a sheet without rows.
    """
    sheets = _read_workbook(path, folder)
    if not any(sheets.values()):
        text = gettext("{name} holds no rows below a line of column names.")
        raise BadInput(text.format(name=path.name))
    return {sheet: folder / file if file else None for sheet, file in sheets.items()}


def check_compression(path: Path, compression: str, error: str) -> None:
    """Check whether the compression made reading fail."""
    magic = MAGIC_BYTES[compression]
    with path.open("rb") as file:
        is_compressed = file.read(len(magic)) == magic
    if not is_compressed:
        text = gettext(
            "{name} is not packed by {compression}, though its name says so; name it {stem}, "
            "or pack it again."
        )
        raise BadInput(text.format(name=path.name, compression=compression, stem=path.stem))
    if re.search("inflate|zstd|decompress|truncated", error, re.IGNORECASE):
        raise _damaged(path)


MAX_MEMORY = 2 << 30  # bytes beyond those of the imported libraries


def _read_workbook(path: Path, folder: Path) -> dict[str, str | None]:
    """Write each sheet of a workbook to a Parquet file of text."""
    command = [sys.executable, "-m", "retention.lake.reading.archives", str(path), str(folder)]
    done = subprocess.run(command, capture_output=True, check=False)
    try:
        result: dict[str, Any] = json.loads(done.stdout)
    except ValueError:  # it was killed, or aborted
        raise _too_large(path) from None
    if "error" in result:
        text = gettext("{name} cannot be read as {format}: {reason}")
        raise BadInput(text.format(name=path.name, format="WORKBOOK", reason=result["error"]))
    sheets: dict[str, str | None] = result["sheets"]
    return sheets


def _too_large(path: Path) -> BadInput:
    text = gettext(
        "{name} needs too much memory: a sheet is too large, or has a stray cell far away from "
        "its table; delete what is outside the table, or save the sheet as CSV."
    )
    return BadInput(text.format(name=path.name))


def _convert(path: str, folder: str) -> dict[str, Any]:
    import pandas as pd
    import python_calamine  # noqa: F401 - loaded before memory is limited

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MAX_MEMORY, used + MAX_MEMORY))
    sheets = pd.read_excel(
        path,
        sheet_name=None,
        header=None,
        dtype=str,
        engine="calamine",
        keep_default_na=False,
        na_values=[""],
    )
    files: dict[str, Any] = {}
    for number, (name, cells) in enumerate(sheets.items()):
        rows = _below_titles(cells.dropna(how="all"))
        files[str(name)] = f"sheet-{number}.parquet" if len(rows) else None
        if len(rows):
            rows.astype("string").to_parquet(Path(folder, f"sheet-{number}.parquet"), index=False)
    return {"sheets": files}


def _below_titles(cells: Any) -> Any:
    """Take the rows below the column names, and leave out empty columns without a name."""
    head = cells.head(MAX_TITLE_ROWS + 1).fillna("").map(str.strip).to_numpy().tolist()
    if not head:
        return cells
    skip = count_title_rows(head)
    rows = cells.iloc[skip + 1 :]
    names, seen = [], Counter[str]()
    for place, title in enumerate(head[skip]):
        name = title or f"Unnamed: {place}"
        names.append(f"{name}.{seen[name]}" if seen[name] else name)  # as pandas does
        seen[name] += 1
    rows = rows.set_axis(names, axis="columns")
    return rows.loc[:, [bool(title) for title in head[skip]] | rows.notna().any().to_numpy()]


def main() -> None:
    """Convert the workbook of the command line, and print the files of its sheets as JSON."""
    try:
        result = _convert(*sys.argv[1:3])
    except MemoryError:
        sys.exit(1)
    except Exception as error:  # any error of the reader is a fault of the file
        result = {"error": (str(error).strip().splitlines() or [type(error).__name__])[0]}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
