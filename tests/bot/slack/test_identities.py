"""Test that channels show pseudonyms, and only private answers show who a customer is."""

import re
from typing import Any

import click
import pytest

from bot.commands.tree import Command, context_of, root
from tests.bot.slack.test_messages import NAMES, SAMPLES
from workers.delivery import render

# Keys of values that say who a customer is. Others have pseudonyms, codes or counts.
IDENTITIES = {*("customer_id", "merged", "used_by", "same_as", "other_id", "display_name")}
MARK = "IDENTITY77"
ADDRESS = re.compile(r"[\w.+-]+@[\w-]+\.\w+")  # a masked one has an ellipsis before the @
OWN_ADDRESS = {"bot/brand"}  # messages with an address of the shop
# The messages that show an identity, with the command that asks for them. It answers its person.
PRIVATE = {
    "campaign/misuse": "campaign misuse",
    "customers/why": "why",
    "recommend/list": "recommend",
    "score/customer": "score",
}


def _marked(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _marked(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_marked(inner, key) for inner in value]
    return MARK if key in IDENTITIES and isinstance(value, str) else value


def test_only_these_messages_show_who_a_customer_is():
    shown = {name: render.message(name, **_marked(SAMPLES[name])) for name in NAMES}
    identified = {name for name, each in shown.items() if MARK in f"{each.text} {each.blocks}"}
    assert identified == set(PRIVATE)
    addressed = {
        name for name, each in shown.items() if ADDRESS.search(f"{each.text} {each.blocks}")
    }
    assert addressed <= {*PRIVATE, *OWN_ADDRESS}


@pytest.mark.parametrize("command", [*PRIVATE.values(), "forget", "campaign calls"])
def test_commands_with_identities_answer_by_direct_message(command):
    context = context_of(tuple(command.split()), click.Context(root()))
    assert isinstance(context.command, Command)
    assert context.command.private
    assert context.command.role in ("analyst", "approver", "admin")
