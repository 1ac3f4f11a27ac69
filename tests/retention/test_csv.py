import csv
import io
import re

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retention.csv_text import DANGEROUS, to_csv


def _read(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))


@pytest.mark.parametrize("start", DANGEROUS)
def test_formulas_become_text(start):
    rows = _read(to_csv(pd.DataFrame({f"{start}name": [f"{start}HYPERLINK()"]})))
    assert rows == [[f"'{start}name"], [f"'{start}HYPERLINK()"]]


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "＝", "＋", "－", "＠"])
@pytest.mark.parametrize("quotes", ["", '"', '""'])
@pytest.mark.parametrize("separator", [";", "\t", "\n", "\r\n"])
def test_formulas_inside_cells_are_escaped_for_semicolon_locales(separator, quotes, sign):
    """A German or French spreadsheet made a cell of its own of a formula in a name.

    The customer's name was `Bob;=cmd|' /C calc'!A0`.
    """
    ((cell,),) = _read(to_csv(pd.DataFrame({"name": [f"Bob{separator}{quotes}{sign}1+1"]})))[1:]
    assert cell == f"Bob{separator}'{quotes}{sign}1+1"


def test_smiley_is_no_formula():
    assert _read(to_csv(pd.DataFrame({"text": ["Back soon ;-) - yes"]})))[1:] == [
        ["Back soon ;-) - yes"]
    ]


def test_numbers_stay_numbers_and_missing_cells_are_empty():
    frame = pd.DataFrame({"n": [-1.5, None], "s": ['é,"x"', None]})
    assert _read(to_csv(frame)) == [["n", "s"], ["-1.5", 'é,"x"'], ["", ""]]


def _without_marks(cell: str) -> str:
    """A cell without the apostrophes that keep a formula from beginning."""
    return re.sub(r"""(?<=[;\t\r\n])'+(?="*[=+@＝＋－＠-])""", "", cell.removeprefix("'"))


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"))


@given(st.lists(TEXTS, min_size=1, max_size=10))
def test_no_cell_starts_a_formula_and_no_cell_is_lost(cells):
    rows = _read(
        to_csv(pd.DataFrame({"n": range(len(cells)), "cell": pd.Series(cells, dtype=object)}))
    )[1:]
    assert [_without_marks(row[1]) for row in rows] == [_without_marks(cell) for cell in cells]
    assert not any(row[1].startswith(DANGEROUS) for row in rows)
