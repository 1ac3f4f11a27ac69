"""Keep messages and views within Slack's limits.

Long texts are shortened. Blocks that Slack would refuse raise an error before they are sent.
slack_sdk's block classes check most limits. This module checks the rest (see
docs/contributor/messages.md).
"""

import json
from typing import Any

from slack_sdk.models.blocks import Block
from slack_sdk.models.views import View

from retention.templating import shorten
from retention.text import bracket, gettext

MESSAGE_BLOCKS, VIEW_BLOCKS = 50, 100
MESSAGE_CHARACTERS = (
    12_000  # of block JSON; Slack refuses about 13,200 (msg_blocks_too_long, undocumented)
)
SECTION, FIELD, HEADER, BUTTON, OPTION = 3000, 2000, 150, 75, 75
UNKNOWN_TO_SDK = {"data_table", "data_visualization"}
_TEXTS = {"mrkdwn", "plain_text", "raw_text"}
# Characters of the text under a key of a block, element, option or confirmation; else `SECTION`.
_LIMITS = {
    ("header", "text"): HEADER,
    ("section", "fields"): FIELD,
    ("button", "text"): BUTTON,
    ("option", "text"): OPTION,
    ("option", "description"): OPTION,
    ("confirm", "title"): 100,
    ("confirm", "text"): 300,
    ("confirm", "confirm"): 30,
    ("confirm", "deny"): 30,
    ("input", "label"): 2000,
    ("input", "hint"): 2000,
    ("image", "title"): 2000,
    ("image", "alt_text"): 2000,
    ("modal", "title"): 24,
    ("modal", "submit"): 24,
    ("modal", "close"): 24,
    ("static_select", "placeholder"): 150,
    ("plain_text_input", "placeholder"): 150,
}


class InvalidBlocks(ValueError):
    """A template made blocks that Slack would refuse."""


def check_message(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Fit blocks into Slack's limits and check them. Whole blocks are dropped from the end."""
    blocks = [_cut(block) for block in blocks]
    if len(blocks) > MESSAGE_BLOCKS:
        blocks = _shed(blocks, lambda shown: len(shown) > MESSAGE_BLOCKS)
    if size(blocks) > MESSAGE_CHARACTERS:
        blocks = _shed(blocks, lambda shown: size(shown) > MESSAGE_CHARACTERS)
    _refuse(blocks)
    if sum(block["type"] == "table" for block in blocks) > 1:
        raise InvalidBlocks("two tables in one message")
    return blocks


def check_view(view: dict[str, Any]) -> dict[str, Any]:
    """Fit a modal or Home tab into Slack's limits."""
    blocks = [_cut(block) for block in view.get("blocks", [])][:VIEW_BLOCKS]
    _refuse(blocks)
    checked = {**view, "blocks": blocks}
    if len(checked.get("private_metadata", "")) > 3000:
        raise InvalidBlocks("private_metadata over 3,000 characters")
    for key in ("title", "submit", "close"):
        if key in checked:
            checked[key] = {**checked[key], "text": shorten(checked[key]["text"], 24)}
    has_inputs = any(block["type"] == "input" for block in blocks)
    if has_inputs and checked["type"] == "modal" and "submit" not in checked:
        raise InvalidBlocks("a modal with inputs needs a submit")
    try:
        View(**{**checked, "blocks": _as_sent(blocks)}).to_dict()
    except Exception as error:
        raise InvalidBlocks(str(error)) from error
    return checked


def size(blocks: list[dict[str, Any]]) -> int:
    """Count the characters of block JSON."""
    return len(json.dumps(blocks, ensure_ascii=False, separators=(",", ":")))


def bracketed(node: Any, limit: int = SECTION) -> Any:
    """Show texts as the pseudo-locale does, within Slack's limits.

    Values, ids and URLs stay.

    `node`: blocks that passed `check_message`, a view that passed `check_view`, or a part of them.
    """
    if isinstance(node, list):
        return [bracketed(value, limit) for value in node]
    if not isinstance(node, dict):
        return node
    kind = node.get("type") or ("confirm" if "deny" in node else "option")
    if kind in _TEXTS:
        return {**node, "text": bracket(_cut_text(node, limit - 2)["text"])}
    limits = {key: _LIMITS.get((kind, key), SECTION) for key in node}
    result = {key: bracketed(value, limits[key]) for key, value in node.items()}
    if isinstance(alt_text := node.get("alt_text"), str):
        result["alt_text"] = bracket(shorten(alt_text, _LIMITS["image", "alt_text"] - 2))
    return result


def _shed(blocks: list[dict[str, Any]], too_much) -> list[dict[str, Any]]:
    """Drop the last blocks until the message fits. Buttons stay, and a note is added."""
    rest = {"type": "mrkdwn", "text": gettext("_… the rest does not fit into a message._")}
    note = {"type": "context", "elements": [rest]}
    remaining = list(blocks)
    while too_much([*remaining, note]):
        kept = ("actions", "header")
        texts = [i for i, block in enumerate(remaining) if block["type"] not in kept]
        if not texts:
            raise InvalidBlocks("too large even without its text")
        del remaining[texts[-1]]
    end = len(remaining) - 1 if remaining and remaining[-1]["type"] == "actions" else len(remaining)
    return [*remaining[:end], note, *remaining[end:]]


def _cut(block: dict[str, Any]) -> dict[str, Any]:
    block = dict(block)
    kind = block.get("type")
    if kind == "section":
        if "text" in block:
            block["text"] = _cut_text(block["text"], SECTION)
        if "fields" in block:
            block["fields"] = [_cut_text(field, FIELD) for field in block["fields"][:10]]
    elif kind == "header":
        block["text"] = _cut_text(block["text"], HEADER)
    elif kind == "context":
        elements = block["elements"][:10]
        block["elements"] = [
            _cut_text(each, SECTION) if "text" in each else each for each in elements
        ]
    elif kind == "actions":
        elements = block["elements"]
        block["elements"] = [
            _cut_button(each) if each.get("type") == "button" else each for each in elements
        ]
    elif kind == "image":
        block["alt_text"] = shorten(block.get("alt_text") or "image", 2000)
    return block


def _cut_button(button: dict[str, Any]) -> dict[str, Any]:
    button = {**button, "text": _cut_text(button["text"], BUTTON)}
    if confirm := button.get("confirm"):
        text = _cut_text(confirm["text"], _LIMITS["confirm", "text"])
        button["confirm"] = {**confirm, "text": text}
    return button


def _cut_text(text: dict[str, Any], limit: int) -> dict[str, Any]:
    if len(text["text"]) <= limit:
        return text
    cut = shorten(text["text"], limit)
    if text["type"] == "mrkdwn" and cut.rfind("&") > cut.rfind(";"):  # an entity was cut
        cut = cut[: cut.rfind("&")] + "…"
    if text["type"] == "mrkdwn" and cut.rfind("<") > cut.rfind(">"):  # a link was cut
        cut = cut[: cut.rfind("<")] + "…"
    return {**text, "text": cut}


def _as_sent(node: Any) -> Any:
    """Return the block as the sender sends it.

    An image that ``{image: NAME}`` names has a file id by then.
    """
    if isinstance(node, dict):
        return {
            key: {"id": "F0000000000"}
            if key == "slack_file" and isinstance(value, dict) and "image" in value
            else _as_sent(value)
            for key, value in node.items()
        }
    return [_as_sent(value) for value in node] if isinstance(node, list) else node


def _refuse(blocks: list[dict[str, Any]]) -> None:
    block_ids = [block["block_id"] for block in blocks if "block_id" in block]
    if len(block_ids) != len(set(block_ids)):
        raise InvalidBlocks(f"a block_id twice: {block_ids}")
    for block in blocks:
        elements = block.get("elements", [])
        actions = [element["action_id"] for element in elements if "action_id" in element]
        if len(actions) != len(set(actions)):
            raise InvalidBlocks(f"an action_id twice in one block: {actions}")
        if block.get("type") == "actions" and not 1 <= len(elements) <= 25:
            raise InvalidBlocks(f"an actions block with {len(elements)} elements")
        if block.get("type") in UNKNOWN_TO_SDK:
            continue
        try:
            parsed = Block.parse(_as_sent(block))
            if parsed is None:
                raise InvalidBlocks(f"no such block: {block.get('type')!r}")
            parsed.to_dict()
        except InvalidBlocks:
            raise
        except Exception as error:
            raise InvalidBlocks(f"{block.get('type')}: {error}") from error
