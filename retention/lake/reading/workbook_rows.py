"""Read a workbook in a process of its own, because a small file can ask for any amount of memory.

A cell in the last corner of a sheet makes the reader allocate every cell before it. It then aborts,
which no exception can catch.
"""

import json
import resource
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

from retention.errors import BadInput
from retention.text import gettext

MAX_MEMORY = 2 << 30  # bytes beyond those of the imported libraries
MAX_UNPACKED = 1 << 30  # bytes


def read(path: Path, target: Path) -> dict[str, list[str]]:
    """Write the rows of a workbook to a Parquet file; return the names of its sheets.

    Returns
    -------
    dict
        ``matching``: sheets with the columns of the first one that has rows; ``left_out``.

    Raises
    ------
    BadInput
        The workbook is too large, or cannot be read.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if sum(part.file_size for part in archive.infolist()) > MAX_UNPACKED:
                raise _too_large(path)
    command = [sys.executable, "-m", "retention.lake.reading.workbook_rows", str(path), str(target)]
    done = subprocess.run(command, capture_output=True, check=False)
    try:
        result: dict[str, Any] = json.loads(done.stdout)
    except ValueError:  # it was killed, or aborted
        raise _too_large(path) from None
    if "error" in result:
        raise BadInput(
            gettext("{name} cannot be read as {format}: {reason}").format(
                name=path.name, format="WORKBOOK", reason=result["error"]
            )
        )
    return result


def _too_large(path: Path) -> BadInput:
    return BadInput(
        gettext(
            "{name} needs too much memory: a sheet is too large, or has a stray cell far away from "
            "its table; delete what is outside the table, or save the sheet as CSV."
        ).format(name=path.name)
    )


def _convert(path: str, target: str) -> dict[str, Any]:
    import pandas as pd
    import python_calamine  # noqa: F401 - loaded before memory is limited

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MAX_MEMORY, used + MAX_MEMORY))
    sheets = pd.read_excel(
        path, sheet_name=None, dtype=str, engine="calamine", keep_default_na=False, na_values=[""]
    )
    filled = {name: frame for name, frame in sheets.items() if len(frame)}
    if not filled:
        return {"matching": [], "left_out": [*map(str, sheets)]}
    columns = list(next(iter(filled.values())).columns)
    matching = {name: frame for name, frame in filled.items() if list(frame.columns) == columns}
    rows = pd.concat(matching.values(), ignore_index=True)
    rows.columns = [str(name) for name in columns]
    rows.astype("string").to_parquet(target, index=False)
    left_out = [str(name) for name in sheets if name not in matching]
    return {"matching": [*map(str, matching)], "left_out": left_out}


def main() -> None:
    """Convert the workbook of the command line, and print its sheets as JSON."""
    try:
        result = _convert(*sys.argv[1:3])
    except MemoryError:
        sys.exit(1)
    except Exception as error:  # any error of the reader is a fault of the file
        result = {"error": (str(error).strip().splitlines() or [type(error).__name__])[0]}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
