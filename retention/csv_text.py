"""Write CSV without formulas that a spreadsheet would run."""

import csv
import io
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

# The last four are full-width. East Asian spreadsheets read them as the first four.
DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
# With decimal commas, spreadsheets split lines at semicolons and ignore our quotes. So a cell may
# begin within ours, also after a line end. They drop quotes at its beginning. (;-) is no formula.)
_CELL_START = re.compile(r"""(?<=[;\t\r\n])(?="*(?:[=+@＝＋－＠]|-(?!\))))""")
_INNER_APOSTROPHE = re.compile(r"""(?<=[;\t\r\n])'(?="*[=+@＝＋－＠-])""")


def escape_formulas(cell: Any) -> Any:
    """Put an apostrophe in front of text like formulas.

    A spreadsheet would run such text.

    Lines within a cell are checked, too. Numbers stay numbers: ``-3.5`` is no formula.
    """
    if not isinstance(cell, str):
        return cell
    return _CELL_START.sub("'", f"'{cell}" if cell.startswith(DANGEROUS) else cell)


def unescape_cells(sheet: str) -> str:
    """Remove the apostrophes that `escape_formulas` has put inside cells."""
    return _INNER_APOSTROPHE.sub("", sheet)


def to_csv(frame: "pd.DataFrame") -> bytes:
    """Return a frame as UTF-8 CSV.

    It begins with a byte-order mark, and missing cells are empty.
    """
    sheet = io.StringIO(newline="")
    writer = csv.writer(sheet, lineterminator="\r\n")
    writer.writerow([escape_formulas(str(name)) for name in frame.columns])
    present = frame.notna().to_numpy()
    for row, has_value in zip(frame.itertuples(index=False, name=None), present, strict=True):
        writer.writerow(
            [
                escape_formulas(cell) if is_present else ""
                for cell, is_present in zip(row, has_value, strict=True)
            ]
        )
    return sheet.getvalue().encode("utf-8-sig")
