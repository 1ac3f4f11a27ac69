"""Tables as CSV files that a spreadsheet cannot be tricked by."""

import csv
import io
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

# The last four are full-width: spreadsheets of East Asia read them as the first four.
DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
# Where numbers have decimal commas, spreadsheets divide lines at semicolons instead: a new cell begins within ours, also at a
# line end, for our quotes are none to them; they drop quotes with which it begins. (;-) is no formula.)
_BEGINS_ANEW = re.compile(r"""(?<=[;\t\r\n])(?="*(?:[=+@＝＋－＠]|-(?!\))))""")
_SET_IN = re.compile(r"""(?<=[;\t\r\n])'(?="*[=+@＝＋－＠-])""")


def harmless(cell: Any) -> Any:
    """A cell as a spreadsheet shows it: text that would be read as a formula gets an apostrophe in front, also within a cell.

    Numbers stay numbers (``-3.5`` is no formula); only text is at risk.
    """
    if not isinstance(cell, str):
        return cell
    return _BEGINS_ANEW.sub("'", f"'{cell}" if cell.startswith(DANGEROUS) else cell)


def unmarked(sheet: str) -> str:
    """A file's text without what `harmless` has set into the midst of its cells."""
    return _SET_IN.sub("", sheet)


def to_csv(frame: "pd.DataFrame") -> bytes:
    """A frame as UTF-8 CSV with a byte-order mark (so that spreadsheets see the encoding); missing cells are empty.

    Parameters
    ----------
    frame : pandas.DataFrame
        The index is not written.

    Returns
    -------
    bytes
    """
    sheet = io.StringIO(newline="")
    writer = csv.writer(sheet, lineterminator="\r\n")
    writer.writerow([harmless(str(name)) for name in frame.columns])
    present = frame.notna().to_numpy()
    for row, there in zip(frame.itertuples(index=False, name=None), present, strict=True):
        writer.writerow(
            [harmless(cell) if kept else "" for cell, kept in zip(row, there, strict=True)]
        )
    return sheet.getvalue().encode("utf-8-sig")
