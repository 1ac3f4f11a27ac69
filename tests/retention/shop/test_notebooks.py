"""The notebooks of docs/ run, and their stored outputs are those of a reader's machine."""

import re

import nbformat
import pytest

from tests.notebooks import NOTEBOOKS, execute

NAMES = [path.stem for path in NOTEBOOKS]


def test_there_is_a_notebook_for_orders_and_one_for_a_campaign():
    assert NAMES == ["at_risk_customers", "campaign_uplift"]


@pytest.mark.nightly
@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_notebook_runs(path, tmp_path):
    notebook = execute(path, tmp_path)
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert any("text/html" in output.get("data", ()) for output in shown)
    assert any("image/png" in output.get("data", ()) for output in shown)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_stored_outputs_are_complete_and_name_no_machine(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"/(home|root|Users|work|tmp|var)/", text)
    assert '"output_type": "error"' not in text
    assert '"name": "stderr"' not in text
