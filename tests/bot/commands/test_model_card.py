"""Test `retention models card` and `retention models feedback` on a trained champion."""

import csv
import io

import pytest
from sqlalchemy import select

from retention.db.tables import ModelVersion
from tests.world import one


@pytest.fixture
def shop(champion_shop_copy, monkeypatch):
    """The shop that the terminal reads."""
    monkeypatch.setenv("RETENTION_HOME", str(champion_shop_copy.settings.home))
    return champion_shop_copy


@pytest.mark.nightly
def test_card_command_writes_the_page(shop, tmp_path, cli):
    version = one(shop.database, select(ModelVersion.version))
    page = tmp_path / "card.html"
    assert version in cli.text(f"models card --html {page}")
    assert page.read_text().startswith("<!doctype html>")


def test_feedback_csv_is_safe_in_a_spreadsheet(shop, tmp_path, cli):
    table = tmp_path / "feedback.csv"
    cli.text(f"models feedback --csv {table}")
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    assert {row["verdict"] for row in rows} == {"useful", "wrong"}
    assert any(row["reason"].startswith("'=HYPERLINK") for row in rows)
