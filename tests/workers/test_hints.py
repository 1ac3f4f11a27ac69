"""Test that each hint of an error has its command, and that `retention` names no command."""

import ast
from pathlib import Path

import pytest

import retention
from retention.errors import BadInput, Refused
from workers import hints

TREES = [ast.parse(path.read_text()) for path in Path(retention.__file__).parent.rglob("*.py")]


def given_codes() -> set[str]:
    """Return the codes of hints in `retention`."""
    calls = (node for tree in TREES for node in ast.walk(tree) if isinstance(node, ast.Call))
    values = (each.value for call in calls for each in call.keywords if each.arg == "hint")
    return {value.value for value in values if isinstance(value, ast.Constant) and value.value}


def test_each_code_has_a_sentence():
    assert given_codes() | {"save_audience"} == set(hints.commands())


@pytest.mark.parametrize("error", [Refused("No.", hint="models"), BadInput("No.", hint="models")])
def test_sentence_ends_with_the_command(error):
    assert hints.sentence(error) == f"No. {hints.commands()['models']}"


def test_error_without_a_hint_stays_as_it_is():
    assert hints.sentence(BadInput("No.", field="k")) == "No."


def test_retention_names_no_slash_command():
    texts = [
        node.value
        for tree in TREES
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert not [text for text in texts if text.startswith("/retention ") or "`/retention " in text]
