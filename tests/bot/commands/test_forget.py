"""Test `/retention forget`: confirmation, then one job."""

import pytest

from bot.commands.customers import forget
from bot.commands.tree import SLACK, TERMINAL, Call, root
from bot.services import Services
from retention.db.tables import DirectoryEntry
from retention.errors import BadInput
from tests.world import add
from workers.delivery import render
from workers.job_requests import Forget


@pytest.fixture
def call(settings, database):
    add(database, DirectoryEntry(customer_id="k7", pseudonym="K7Q2-M9XD"))
    services = Services.of(settings, database)
    return lambda surface: Call(services, "U0ADMIN", surface, "key")


def test_slack_asks_to_confirm_and_terminal_needs_yes(call):
    request = forget.handle(call(SLACK), {"customer": "K7Q2-M9XD"})
    message = render.message(request.template, zone="UTC", **request.data)
    (button,) = message.blocks[-1]["elements"]
    assert (button["value"], button["confirm"]["title"]["text"]) == ("k7", "Erase this customer?")
    with pytest.raises(BadInput, match="--yes"):
        forget.handle(call(TERMINAL), {"customer": "k7"})
    confirmed = forget.handle(call(TERMINAL), {"customer": "k7", "yes": True})
    assert confirmed == Forget(customer_id="k7")
    with pytest.raises(BadInput, match="no customer"):
        forget.handle(call(SLACK), {"customer": "nobody"})


def test_forget_needs_an_admin():
    assert forget.role == Forget.role == "admin"
    assert "forget" in root().commands or "forget" in root().list_commands(None)
