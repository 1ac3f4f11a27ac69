"""The model card: every section, on a page and on paper; nobody is named."""

import re
from datetime import timedelta
from html.parser import HTMLParser

import pytest

from retention.db.tables import ModelVersion
from retention.errors import BadInput
from retention.registry import save
from retention.reports.card import _segment_row, card
from retention.text import use_language
from tests.world import add, model_version

# All tests share one card of a trained model.
pytestmark = pytest.mark.nightly

SECTIONS = (
    "Purpose",
    "Definition of churn",
    "Data",
    "How good it is",
    "Calibration",
    "Fairness",
    "What moves the scores",
    "Examples",
    "Limits",
    "What colleagues say",
    "Who is accountable",
)


@pytest.fixture(scope="module")
def champion_card(champion_shop):
    """The card of the champion."""
    return card(champion_shop.lake, champion_shop.database)


@pytest.fixture
def card_copy(champion_shop_copy, champion_card):
    """A copy of the shop, and the card of the original."""
    return champion_shop_copy, champion_card


class Outline(HTMLParser):
    """Tags in balance, and the headings."""

    VOID = ("meta", "img", "br", "link")

    def __init__(self):
        super().__init__()
        self.open, self.headings, self.scripts = [], [], 0

    def handle_starttag(self, tag, attrs):
        self.scripts += tag == "script"
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


def test_page_has_every_section_and_valid_html(card_copy):
    shop, model_card = card_copy
    page = model_card.html(shop.settings)
    outline = Outline()
    outline.feed(page)
    assert outline.open == []
    assert tuple(outline.headings) == SECTIONS
    assert outline.scripts == 0
    assert "by phone" in page
    assert not re.search(r'(src|href)="(?!data:)', page)  # nothing is loaded from elsewhere
    assert set(model_card.charts) == {"against", "calibration", "drivers"}
    charts = model_card.charts.values()
    assert all(picture.png.startswith(b"\x89PNG") and picture.alt_text for picture in charts)


def test_chinese_card_speaks_chinese(card_copy):
    shop, _ = card_copy
    with use_language("zh"):
        shown = card(shop.lake, shop.database)
        assert "模型说明" in shown.html(shop.settings)
    assert any("对照组" in limit for limit in shown.data["limits"])


def test_card_shows_registry_metrics_and_customer_counts(card_copy):
    shop, model_card = card_copy
    data = model_card.data
    with shop.database.reading() as session:
        row = session.get(ModelVersion, data["version"])
        auc = row.metrics["metrics"]["auc"]
    assert next(row for row in data["metrics"] if row["name"] == "AUC")["value"] == auc
    assert (data["feedback"]["useful"], data["feedback"]["wrong"]) == (1, 1)
    assert data["data"]["unchanged"]
    assert data["promoted_by"] == "U0LEAD"
    assert {row["segment"] for row in data["segments"]} >= {"orders so far", "spend so far"}
    assert 0 <= data["now"]["fidelity"] <= 1
    assert 0 <= data["now"]["agreement"] <= 1
    assert any("A risk is not a response" in limit for limit in data["limits"])


def test_card_names_no_customer(card_copy):
    shop, model_card = card_copy
    people = shop.lake.table("customers").execute()
    page = model_card.html(shop.settings)
    words = set(re.findall(r"[\w.@-]+", re.sub(r'src="[^"]*"', "", page)))
    names = {str(value) for value in people[["customer_id", "email", "name"]].stack().dropna()}
    assert names
    assert not words & names
    examples = model_card.data["examples"]
    assert examples
    assert all(re.fullmatch(r"\w{4}-\w{4}", example["customer"]) for example in examples)


def test_card_without_metrics_or_artefact_is_built(card_copy, tmp_path):
    shop, _ = card_copy
    fields = {"horizon_days": 21, "parameters": {}, "features": ["recency_days"], "metrics": {}}
    fields |= {"data_fingerprint": "v0 n1 h0", "rung": "", "cutoff": shop.end - timedelta(days=1)}
    row = model_version(shop.settings, **fields)
    save(shop.settings, row, b"not a model")
    version = row.version
    (shop.settings.home / "models" / row.artefact).unlink()
    add(shop.database, row)
    bare = card(shop.lake, shop.database, version=version)
    page = bare.html(shop.settings)
    assert "has not been evaluated" in page
    assert "could not be asked" in page
    assert not bare.data["data"]["unchanged"]
    with pytest.raises(BadInput, match="There is no model"):
        card(shop.lake, shop.database, version="churn-0")


@pytest.mark.parametrize(
    ("expected", "observed", "customers", "off"),
    [
        (0.3, 0.2, 1000, True),
        (0.3, 0.2, 40, False),
        (0.033, 0.013, 1509, True),
        (0.12, 0.10, 6000, False),
    ],
)
def test_group_with_error_beyond_chance_is_marked(expected, observed, customers, off):
    segment = {"expected": expected, "observed": observed, "customers": customers}
    assert _segment_row(segment)["off"] is off
