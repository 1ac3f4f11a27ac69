"""Write the list of customers at risk as CSV and as a page."""

import csv
from pathlib import Path
from typing import Any

from retention.csv_text import escape_formulas
from retention.errors import BadInput
from retention.templating import html
from retention.text import gettext

TABLE, LAPSED_TABLE, PAGE = "at-risk.csv", "lapsed.csv", "at-risk.html"
COLUMNS = (
    "customer_id",
    "tier",
    "churn_probability",
    "times_average",
    "expected_value",
    "lost_margin",
    "reasons",
)
MAX_SHOWN = 500  # customers of the page; the CSV file has all
BYTE_ORDER_MARK = "utf-8-sig"  # by which spreadsheets recognise UTF-8


def check_folder(folder: Path) -> None:
    """Make the folder, and check that the list can be written into it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in (TABLE, LAPSED_TABLE, PAGE):
            is_new = not (folder / name).exists()
            with (folder / name).open("a", encoding="utf-8"):
                pass
            if is_new:
                (folder / name).unlink()
    except OSError as error:
        text = gettext("The list cannot be written into {folder}: {reason}. Name another --out.")
        raise BadInput(text.format(folder=folder, reason=error.strerror)) from None


def write_csv(path: Path, cohort: list[dict[str, Any]], encoding: str = "utf-8") -> None:
    """Write customers at risk as CSV.

    `encoding`: `BYTE_ORDER_MARK` for spreadsheets.
    """
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for customer in cohort:
            row = customer | {"reasons": customer["sentence"]}
            writer.writerow([escape_formulas(row[column]) for column in COLUMNS])


def write_list(
    folder: Path,
    swept: dict[str, Any],
    definition: dict[str, Any],
    summary: str,
    zone: str,
    lapsed: dict[str, Any] | None = None,
) -> list[str]:
    """Write the list as a page and as CSV, with the list of lapsed customers beside it.

    Cells that a spreadsheet would take for formulas begin with an apostrophe.

    `swept`: JSON object of a sweep, with ``cohort``, ``tiers``, ``currency`` and ``has_amounts``.
    `definition`: churn definition, with ``horizon_days`` and ``active_within_days``.
    """
    lists = {TABLE: swept}
    if lapsed and lapsed["cohort"]:
        lists[LAPSED_TABLE] = lapsed
    else:
        (folder / LAPSED_TABLE).unlink(missing_ok=True)  # of an earlier list
    for name, listed in lists.items():
        write_csv(folder / name, listed["cohort"], encoding=BYTE_ORDER_MARK)
    values = swept | {
        "definition": definition,
        "summary": summary,
        "listed": swept,
        "lapsed": lapsed,
        "most": MAX_SHOWN,
        "tables": [TABLE, LAPSED_TABLE],
    }
    page = html("reports/at_risk.html.j2", zone=zone, **values)
    (folder / PAGE).write_text(page, encoding="utf-8")
    return [str(folder / name) for name in (PAGE, *lists)]
