"""Find the line of column names below title rows."""

import re
from collections.abc import Sequence

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
