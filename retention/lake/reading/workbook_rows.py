"""Read a workbook in a process of its own, because a small file can ask for any amount of memory.

A cell in the last corner of a sheet makes the reader allocate every cell before it. It then aborts,
which no exception can catch.
"""

import json
import resource
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

from retention.errors import BadInput
from retention.lake.reading.dialect import MAX_TITLE_ROWS, count_title_rows
from retention.text import gettext

MAX_MEMORY = 2 << 30  # bytes beyond those of the imported libraries
MAX_UNPACKED = 1 << 30  # bytes


def read(path: Path, folder: Path) -> dict[str, str | None]:
    """Write each sheet of a workbook to a Parquet file of text."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if sum(part.file_size for part in archive.infolist()) > MAX_UNPACKED:
                raise _too_large(path)
    command = [sys.executable, "-m", "retention.lake.reading.workbook_rows", str(path), str(folder)]
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
