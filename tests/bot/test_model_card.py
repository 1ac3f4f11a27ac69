"""Test `retention models card` and `retention models feedback` on a trained champion."""

import csv
import io

import pytest
from sqlalchemy import select

from bot import terminal
from retention.db.tables import ModelVersion


@pytest.fixture
def shop(champion_shop_copy, monkeypatch):
    """The shop that the terminal reads."""
    monkeypatch.setenv("RETENTION_HOME", str(champion_shop_copy.settings.home))
    return champion_shop_copy


@pytest.mark.nightly
def test_card_command_writes_the_page_and_the_pdf(shop, tmp_path, capsys):
    with shop.database.reading() as session:
        version = session.scalars(select(ModelVersion.version)).one()
    page, pdf = tmp_path / "card.html", tmp_path / "card.pdf"
    assert terminal.run(["models", "card", "--html", str(page), "--pdf", str(pdf)]) == 0
    assert version in capsys.readouterr().out
    assert page.read_text().startswith("<!doctype html>")
    assert pdf.read_bytes().startswith(b"%PDF")


def test_feedback_csv_is_safe_in_a_spreadsheet(shop, tmp_path):
    table = tmp_path / "feedback.csv"
    assert terminal.run(["models", "feedback", "--csv", str(table)]) == 0
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    assert {row["verdict"] for row in rows} == {"useful", "wrong"}
    assert any(row["reason"].startswith("'=HYPERLINK") for row in rows)
