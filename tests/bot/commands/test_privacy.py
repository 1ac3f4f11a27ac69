"""Test the commands about what is stored about a customer."""

import json

import pytest
from sqlalchemy import select

from bot.commands.privacy import export
from bot.commands.tree import TERMINAL, Call
from bot.services import Services
from retention.db.tables import Audit, DirectoryEntry, Note
from tests.world import add, one


@pytest.fixture
def call(settings, database):
    note = Note(customer_id="k7", text="calls back", by="U1")
    add(database, DirectoryEntry(customer_id="k7", pseudonym="K7Q2-M9XD"), note)
    services = Services.of(settings, database)
    return lambda surface: Call(services, "U0ADMIN", surface, "key")


def test_export_is_a_private_file_and_the_log_has_no_id(call, database, tmp_path):
    file = tmp_path / "k7.json"
    answer = export.handle(call(TERMINAL), {"customer": "K7Q2-M9XD", "file": file})
    assert [note["text"] for note in json.loads(file.read_text())["notes"]] == ["calls back"]
    assert (file.stat().st_mode & 0o777, answer.data["rows"]) == (0o600, 2)
    entry = one(database, select(Audit))
    assert entry.action == "customer.export"
    assert "k7" not in f"{entry.subject} {entry.details}"
