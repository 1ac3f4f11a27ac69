"""Test the commands about what is stored about a customer."""

import json
from dataclasses import replace

import pytest
from sqlalchemy import select

from bot.commands.privacy import export
from bot.commands.tree import SLACK, TERMINAL, Call
from bot.services import Services
from bot.slack import slash
from retention.db.tables import Audit, DirectoryEntry, Job, Note, RoleGrant
from retention.errors import BadInput, NotAllowed
from tests.world import add, one


@pytest.fixture
def call(settings, database):
    note = Note(customer_id="k7", text="calls back", by="U1")
    lead = RoleGrant(user_id="U0LEAD", role="approver", granted_by="U0ADMIN")
    add(database, DirectoryEntry(customer_id="k7", pseudonym="K7Q2-M9XD"), note, lead)
    services = Services.of(settings, database)
    return lambda surface: Call(services, "U0ADMIN", surface, "key")


def test_export_is_a_private_file_and_the_log_has_no_id(call, database, tmp_path):
    file = tmp_path / "k7.json"
    file.write_text("of an earlier export, readable for others")
    answer = export.handle(call(TERMINAL), {"customer": "K7Q2-M9XD", "file": file})
    assert [note["text"] for note in json.loads(file.read_text())["notes"]] == ["calls back"]
    assert (file.stat().st_mode & 0o777, answer.data["rows"]) == (0o600, 2)
    entry = one(database, select(Audit))
    assert entry.action == "customer.export"
    assert "k7" not in f"{entry.subject} {entry.details}"


@pytest.mark.parametrize("who", ["k7", "nobody"])
def test_why_refuses_others_before_it_reads_the_name(call, who):
    with pytest.raises(NotAllowed):
        slash.answer(replace(call(SLACK), user="U0LEAD"), f"why {who}")


def test_why_asked_in_a_channel_is_answered_by_direct_message(call, database):
    in_channel = replace(call(SLACK), channel="C0CRM")
    message = slash.answer(in_channel, "why K7Q2-M9XD")
    asked = one(database, select(Job))
    assert (asked.kind, asked.channel, asked.args["customer_id"]) == ("why", "U0ADMIN", "k7")
    assert "k7" not in f"{message.text} {message.blocks}"
    with pytest.raises(BadInput):
        slash.answer(in_channel, "why nobody")
