"""Show results as tables, in a terminal and in a notebook."""

from collections.abc import Sequence
from html import escape

Rows = Sequence[Sequence[str]]


def text_table(headers: Sequence[str], rows: Rows) -> str:
    """Return a table in plain text, numbers flush right.

    Parameters
    ----------
    headers : sequence of str
    rows : sequence of sequence of str

    Examples
    --------
    >>> print(text_table(["model", "AUC"], [["boosting", "0.81"], ["recency", "0.7"]]))
    model      AUC
    boosting  0.81
    recency    0.7
    """
    table = [list(headers), *map(list, rows)]
    widths = [max(len(row[place]) for row in table) for place in range(len(headers))]
    is_right = [_are_numbers([row[place] for row in rows]) for place in range(len(headers))]
    lines = (
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, is_right, strict=True)
        ).rstrip()
        for row in table
    )
    return "\n".join(lines)


def html_table(
    headers: Sequence[str], rows: Rows, *, caption: str = "", notes: Sequence[str] = ()
) -> str:
    """Return a table in HTML, with every value escaped.

    Parameters
    ----------
    headers : sequence of str
    rows : sequence of sequence of str
    caption : str
        Sentence above the table.
    notes : sequence of str
        Sentences below it.

    Examples
    --------
    >>> html_table(["id"], [["<b>"]])
    '<table><thead><tr><th>id</th></tr></thead><tbody><tr><td>&lt;b&gt;</td></tr></tbody></table>'
    """
    head = "".join(f"<th>{escape(cell)}</th>" for cell in headers)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    above = f"<p>{escape(caption)}</p>" if caption else ""
    below = "".join(f"<p>{escape(note)}</p>" for note in notes)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f"{above}{table}{below}"


def _are_numbers(cells: Sequence[str]) -> bool:
    return bool(cells) and all(cell == "" or cell.lstrip("−-+")[:1].isdigit() for cell in cells)
