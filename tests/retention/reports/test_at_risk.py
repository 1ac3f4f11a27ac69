"""Test the written list of customers at risk."""

import csv
import io
import re
from pathlib import Path

import pytest
from markupsafe import escape

from retention import templating
from retention.errors import BadInput
from retention.reports.at_risk import MAX_SHOWN, check_folder, write_list
from retention.text import use_language

EVIDENCE = {"share": 0.8, "days": 120.0, "returns": 900, "customers": 60, "history_days": 200}
DEFINITION = {
    "horizon_days": 90,
    "active_within_days": 180,
    "source": "derived",
    "evidence": EVIDENCE | {"limit": "short_history", "covered_share": 0.7},
}
SENTENCE = "Silent for 80 days; usually orders every 20; but 1 order <so far>"


def _swept(customers: list[str], tiers: tuple[str, ...] = (), tier: str = "high") -> dict:
    return {
        "as_of": "2025-03-25T00:00:00+00:00",
        "tiers": {"high": len(customers), "medium": 2, "low": 3},
        "groups": {"active": len(customers) + 5, "lapsed": 40, "one_time": 7},
        "average": 0.35,
        "order_by": "return_value" if "lapsed" in tiers else "lost_margin",
        "cohort_tiers": list(tiers),
        "cohort_size": len(customers),
        "cohort": [
            {
                "customer_id": customer,
                "tier": tier,
                "churn_probability": 0.7,
                "times_average": 2.1,
                "lost_margin": 4.5,
                "expected_value": 12.5,
                "reasons": [{"text": "no order for 80 days", "direction": "raises"}],
                "sentence": SENTENCE,
            }
            for customer in customers
        ],
        "extreme": "" if customers else "none",
        "revenue_at_risk": 8.75 * len(customers),
        "currency": "EUR",
        "has_amounts": True,
        "model_version": "rules",
        "note": "",
    }


def _write(
    folder: Path, swept: dict, lapsed: dict | None = None
) -> tuple[str, list[dict[str, str]]]:
    summary = "3 customers, 4 orders"
    page, *tables = write_list(folder, swept, DEFINITION, summary, "UTC", lapsed)
    text = Path(tables[-1]).read_bytes().decode("utf-8-sig")
    return Path(page).read_text(encoding="utf-8"), list(csv.DictReader(io.StringIO(text)))


def test_csv_runs_no_formula_in_a_spreadsheet(tmp_path):
    formulas = ["=HYPERLINK(1)", "+49 170", "-2", "@SUM(A1)", "＝1", "a;=1"]
    _, rows = _write(tmp_path, _swept([*formulas, "c1"]))
    expected = [*(f"'{formula}" for formula in formulas[:-1]), "a;'=1", "c1"]
    assert [row["customer_id"] for row in rows] == expected
    assert rows[-1]["reasons"] == SENTENCE


def test_page_escapes_what_the_file_says(tmp_path):
    page, _ = _write(tmp_path, _swept(["<script>alert(1)</script>"]))
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "Silent for 80 days; usually orders every 20; but 1 order &lt;so far&gt;" in page
    assert "no order for 80 days" not in page


def test_page_shows_a_part_of_a_long_list_and_names_the_table(tmp_path):
    page, rows = _write(tmp_path, _swept([f"c{number}" for number in range(MAX_SHOWN + 20)]))
    assert len(rows) == MAX_SHOWN + 20
    assert page.count('<td class="customer">') == MAX_SHOWN
    assert "at-risk.csv" in page


def test_page_shows_the_groups_first_with_the_share_of_returns_not_covered(tmp_path):
    page, _ = _write(tmp_path, _swept(["c1", "c2"]))
    figures = re.findall(r'<div class="figure"><small>[^<]*</small><b>([\d,]+)</b>', page)
    assert figures == ["7", "40", "7", "54"]  # they add up
    assert page.index('class="figures"') < page.index("<table>")
    assert "30%" in page.partition('class="figures"')[0]


def test_page_compares_each_risk_with_the_shops_average(tmp_path):
    swept = {**_swept(["c1"]), "model_version": "churn-1"}
    page, _ = _write(tmp_path, swept)
    compared = templating.beside_average(0.7, 0.35, "churn-1")
    assert f"<small>{escape(compared)}</small>" in page
    page, _ = _write(tmp_path, _swept(["c1"]))  # by rules, whose rank is no probability
    assert "</small></td>" not in page


def test_lapsed_customers_have_a_tab_and_a_file_of_their_own(tmp_path):
    lapsed = _swept(["l1", "l2"], ("lapsed",), tier="lapsed")
    page, rows = _write(tmp_path, _swept(["c1"]), lapsed)
    assert [row["customer_id"] for row in rows] == ["l1", "l2"]
    assert page.count('<input type="radio" name="tab"') == 2
    assert page.count("<table>") == 2
    assert "30.0%" in page  # chance to return
    page, _ = _write(tmp_path, _swept(["c1"]), _swept([], ("lapsed",)))
    assert "<input" not in page
    assert not (tmp_path / "lapsed.csv").exists()  # it was of the list before


def test_folder_is_made_and_stays_empty_and_a_file_is_refused(tmp_path):
    check_folder(tmp_path / "new" / "lists")
    assert list((tmp_path / "new" / "lists").iterdir()) == []
    (tmp_path / "taken").touch()
    with pytest.raises(BadInput, match="--out"):
        check_folder(tmp_path / "taken")


@pytest.mark.parametrize("model_version", ["rules", "7"])
@pytest.mark.parametrize("customers", [["7"], [], ["7"] * (MAX_SHOWN + 1)], ids=len)
def test_page_has_no_sentence_outside_the_catalogue(
    tmp_path, monkeypatch, customers, model_version
):
    blank = lambda sentence: "".join(re.findall(r"%\(\w+\)s", sentence))  # noqa: E731
    monkeypatch.setattr(templating, "phrase", blank)
    monkeypatch.setattr(templating, "_html", lambda: templating.environment(autoescape=True))
    swept = {**_swept(customers), "model_version": model_version, "currency": ""}
    with use_language("zh"):
        page, _ = _write(tmp_path, swept, _swept(customers, ("lapsed",)))
    body = page.partition("<body>")[2].replace("at-risk.csv", "").replace("lapsed.csv", "")
    for value in ("3 customers, 4 orders", "Silent for 80 days; usually orders every 20;"):
        body = body.replace(value, "")
    body = body.replace("but 1 order &lt;so far&gt;", "")
    assert not re.search("[A-Za-z]{2}", re.sub("<[^>]*>", "", body))
    assert '<html lang="zh">' in page
