"""Check every Slack message: Slack's types, and how much a person has to read.

``python -m tests.bot.slack.test_messages`` prints the table: message, lines, words, buttons.
"""

import math
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slackblocks as builders
from slack_sdk.models.blocks import Block
from slackblocks import blocks as slackblocks

from bot.playground.checks import check_blocks, too_long
from retention.registry.gate import check_calibration, check_population
from templates import FOLDER
from tests.bot.message_samples import samples
from workers.delivery import render
from workers.delivery.block_limits import UNKNOWN_TO_SDK

LINES, WORDS, BUTTONS, PICTURES = 10, 130, 3, 1
WIDTH = 100  # characters of a line on a desktop
PICTURE_BLOCKS = ("image", "table", "data_table", "data_visualization")
JARGON = re.compile(r"\b(rung|ensemble|prior|qini|lime|quantile)\b", re.IGNORECASE)
SLACK = Path(FOLDER) / "slack"

# The list of customers at risk has the tiers as a picture, and a table.
PICTURES_OF = {"sweep/cohort": 2}


@dataclass(frozen=True, slots=True)
class Size:
    """What a person sees of a message outside its picture or table."""

    lines: int
    words: int
    buttons: int
    pictures: int


def size_of(message: render.Message) -> Size:
    """Count lines, words, buttons and pictures."""
    texts = [text for block in message.blocks for text in _texts(block)] or [message.text]
    lines = sum(math.ceil(len(line) / WIDTH) or 1 for text in texts for line in text.split("\n"))
    return Size(
        lines,
        sum(len(text.split()) for text in texts),
        sum(_buttons(block) for block in message.blocks),
        sum(block["type"] in PICTURE_BLOCKS for block in message.blocks),
    )


def _texts(block: dict[str, Any]) -> list[str]:
    if block["type"] in PICTURE_BLOCKS or block["type"] == "actions":
        return []
    texts = [block["text"]["text"]] if "text" in block else []
    fields = [field["text"] for field in block.get("fields", ())]
    pairs = [fields[place : place + 2] for place in range(0, len(fields), 2)]
    texts += [max(pair, key=lambda text: text.count("\n")) for pair in pairs]  # side by side
    texts += [element["text"] for element in block.get("elements", ()) if "text" in element]
    return [re.sub(r"<[^|>]*\|([^>]*)>", r"\1", text) for text in texts]


def _buttons(block: dict[str, Any]) -> int:
    elements = block.get("elements", []) if block["type"] == "actions" else []
    elements = [*elements, block.get("accessory") or {}]
    return sum(element.get("type") == "button" for element in elements)


def messages() -> list[str]:
    """Return the templates of messages. A view has a type instead of a text."""
    names = [
        str(path.relative_to(SLACK)).removesuffix(".yaml.j2") for path in SLACK.rglob("*.yaml.j2")
    ]
    views = re.compile(r"^type: (modal|home)", re.MULTILINE)
    return sorted(
        name for name in names if not views.search((SLACK / f"{name}.yaml.j2").read_text("utf-8"))
    )


SAMPLES = samples()
NAMES = messages()


def shown(name: str) -> render.Message:
    """Render a message with its sample."""
    return render.message(name, **SAMPLES[name])


def test_every_message_has_a_sample():
    assert set(NAMES) <= set(SAMPLES)


@pytest.mark.parametrize("name", NAMES)
def test_message_is_valid_for_three_independent_checkers(name):
    blocks = _as_sent(shown(name).blocks)
    assert check_blocks(blocks, "message", lambda _: True) == []
    assert not too_long(blocks)
    for block in blocks:
        if block["type"] not in UNKNOWN_TO_SDK:
            Block.parse(block).to_dict()
        with suppress(NotImplementedError):  # it reads no buttons and no tables yet
            slackblocks.Block.from_dict(block)._resolve()


def test_each_table_can_be_built_by_slackblocks():
    """It cannot read a table, so each one is built by its classes, as both kinds of table."""
    blocks = [block for name in NAMES for block in shown(name).blocks]
    tables = [block for block in blocks if block["type"] in ("table", "data_table")]
    for block in tables:
        plain = [[_plain_text(cell) for cell in row] for row in block["rows"]]
        rows = [[builders.RawText(text) for text in row] for row in plain]
        settings = [builders.ColumnSettings(**one) for one in block.get("column_settings", ())]
        table = builders.TableBlock(rows, settings)._resolve()
        assert [[cell["text"] for cell in row] for row in table["rows"]] == plain
        data_table = builders.DataTableBlock(rows, "Customers")._resolve()
        for built in (table, data_table):  # our checker agrees with what slackblocks builds
            assert check_blocks([built], "message", lambda _: True) == []


def _plain_text(cell: Any) -> str:
    """Join the texts of a cell."""
    if isinstance(cell, list):
        return "".join(map(_plain_text, cell))
    if not isinstance(cell, dict):
        return ""
    return str(cell["text"]) if "text" in cell else _plain_text(list(cell.values())) or "–"


def _as_sent(node: Any) -> Any:
    """Fill in the ids of uploaded pictures."""
    if isinstance(node, dict):
        return {
            key: {"id": "F0123456789"} if key == "slack_file" else _as_sent(value)
            for key, value in node.items()
        }
    return [_as_sent(value) for value in node] if isinstance(node, list) else node


@pytest.mark.parametrize("name", NAMES)
def test_message_is_short_and_has_no_modelling_jargon(name):
    message = shown(name)
    size = size_of(message)
    assert size.lines <= LINES
    assert size.words <= WORDS
    assert size.buttons <= BUTTONS
    assert size.pictures <= PICTURES_OF.get(name, PICTURES)
    texts = [message.text, *(text for block in message.blocks for text in _texts(block))]
    assert not [text for text in texts if JARGON.search(text)]


def test_only_the_model_card_names_psi_and_ece():
    named = {
        path.name
        for path in Path(FOLDER).rglob("*.j2")
        if re.search(r"\b(PSI|ECE)\b", path.read_text())
    }
    assert named == {"model_card.html.j2"}
    labels, risk = np.array([0.0, 1.0, 0.0]), np.array([0.4, 0.5, 0.2])
    checks = (*check_calibration(labels, risk), check_population(risk, risk[:2]))
    assert not [check.text for check in checks if re.search(r"\b(PSI|ECE)\b", check.text)]


if __name__ == "__main__":
    print(f"{'message':28}{'lines':>6}{'words':>7}{'buttons':>9}{'pictures':>10}")
    for one in NAMES:
        measured = size_of(shown(one))
        print(
            f"{one:28}{measured.lines:6}{measured.words:7}{measured.buttons:9}"
            f"{measured.pictures:10}"
        )
