"""Test that no text of a person is a template: it has placeholders of a fixed table only."""

import ast
from pathlib import Path

import pytest

import bot
from retention.campaigns.message import wording
from retention.campaigns.message.brand import Brand
from retention.campaigns.message.parts import MessageParts, PartChanges, changed_parts
from retention.errors import BadInput
from tests.security.corpus import ALL, STRINGS

ROOT = Path(bot.__file__).parents[1]
# Calls that run text as code or as a template, and where one is right.
RUNS_TEXT = {"from_string", "compile_expression", "Template", "Environment", "eval", "exec"}
RUNS_TEXT |= {"DictLoader", "FunctionLoader", "ChoiceLoader", "PrefixLoader"}
ALLOWED = {("retention/templating.py", "Environment")}
VALUES = dict.fromkeys(wording.PLACEHOLDERS, "{{ 7*7 }} {name.__class__} {code}")


def calls() -> set[tuple[str, str]]:
    """Return the files and names of the product's calls that run text."""
    found = set()
    for folder in ("bot", "workers", "retention"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                    if name in RUNS_TEXT:
                        found.add((str(path.relative_to(ROOT)), name))
    return found


def test_only_files_of_the_product_are_templates():
    assert calls() == ALLOWED


def known() -> list[str]:
    return [f"{{{name}}}" for name in wording.PLACEHOLDERS]


def filled(text: str) -> str:
    return wording.fill_text(text, VALUES)


def test_typed_text_is_refused_or_stays_as_it_is():
    for text in ALL:
        try:
            typed = wording.validate_text(text)
        except BadInput:
            continue
        if not any(place in typed for place in known()):
            assert filled(typed) == typed, text


@pytest.mark.parametrize("part", ["subject", "preheader", "greeting", "sender_name"])
def test_part_of_a_message_has_known_placeholders_only(part):
    for text in STRINGS["jinja"]:
        try:
            parts = changed_parts(MessageParts(), PartChanges(**{part: text}))
        except BadInput:
            continue
        typed = getattr(parts, part)
        if not any(place in typed for place in known()):
            assert filled(typed) == typed == text.strip(), text


def test_values_are_not_filled_a_second_time():
    assert filled("{name}") == VALUES["name"]


def test_pattern_of_a_link_reaches_no_attribute():
    for text in (*STRINGS["jinja"], "{item_id.__class__}", "{item_id!r}", "{item_id:9999999}"):
        with pytest.raises(ValueError, match="product"):
            Brand.model_validate({"links": {"product": f"https://shop.example/{text}"}})
