"""Test which blocks and views the fake Slack refuses."""

from typing import Any

import pytest

from bot.playground.checks import MESSAGE_TOO_LONG, check_blocks, check_view, too_long


def plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text}


def mrkdwn(text: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": text}


def section(text: str = "x", **more: Any) -> dict[str, Any]:
    return {"type": "section", "text": mrkdwn(text), **more}


def button(**more: Any) -> dict[str, Any]:
    return {"type": "button", "text": plain("Go"), **more}


def actions(*elements: dict[str, Any]) -> dict[str, Any]:
    return {"type": "actions", "elements": list(elements)}


def select(options: int, **more: Any) -> dict[str, Any]:
    listed = [{"text": plain(str(n)), "value": str(n)} for n in range(options)]
    return {"type": "static_select", "options": listed, **more}


def cell(text: str) -> dict[str, Any]:
    return {"type": "raw_text", "text": text}


CONFIRM = {"title": plain("Sure?"), "text": mrkdwn("Really")}
CONFIRM |= {"confirm": plain("Yes"), "deny": plain("No")}
TABLE = {"type": "table", "rows": [[cell("a")], [cell("b")]]}

GOOD = [
    [section()],
    [section(fields=[mrkdwn("a"), plain("b")])],
    [{"type": "header", "text": plain("x" * 150)}],
    [{"type": "context", "elements": [mrkdwn("x")]}],
    [actions(button(style="danger", confirm=CONFIRM, value="v" * 2000), select(100))],
    [{"type": "image", "image_url": "https://example.com/a.png", "alt_text": "a"}],
    [{"type": "image", "slack_file": {"id": "F1"}, "alt_text": "a"}],
    [TABLE],
    [section(accessory={"type": "overflow", "options": select(5)["options"]})],
    [{"type": "divider"}] * 50,
]

BAD = [
    [{"type": "divider"}] * 51,
    [{"type": "nonsense"}],
    [{"type": "section"}],
    [section("")],
    [section("x" * 3001)],
    [section(colour="red")],
    [{"type": "section", "fields": [mrkdwn("a")] * 11}],
    [{"type": "header", "text": plain("x" * 151)}],
    [{"type": "header", "text": mrkdwn("x")}],
    [{"type": "context", "elements": []}],
    [{"type": "context", "elements": [mrkdwn("x")] * 11}],
    [actions()],
    [actions(*[button() for _ in range(26)])],
    [actions(button(action_id="a"), button(action_id="a"))],
    [actions(button(style="loud"))],
    [actions(button(value="v" * 2001))],
    [actions({"type": "button", "text": plain("x" * 76)})],
    [actions({"type": "button", "text": mrkdwn("x")})],
    [actions(button(confirm={**CONFIRM, "title": plain("x" * 101)}))],
    [actions({"type": "plain_text_input"})],
    [actions(select(101))],
    [actions(select(0))],
    [actions(select(2, initial_option={"text": plain("9"), "value": "9"}))],
    [section(block_id="b"), section(block_id="b")],
    [section(block_id="b" * 256)],
    [{"type": "image", "image_url": "https://example.com/a.png"}],
    [{"type": "image", "slack_file": {"id": "F9"}, "alt_text": "a"}],
    [{"type": "image", "image_url": "x", "slack_file": {"id": "F1"}, "alt_text": "a"}],
    [TABLE, TABLE],
    [{"type": "table", "rows": [[cell("a")] * 21]}],
    [{"type": "table", "rows": [[cell("a")]] * 101}],
    [TABLE | {"column_settings": [{"align": "middle"}]}],
    [TABLE | {"column_settings": [{"is_wrapped": "yes"}]}],
    [TABLE | {"column_settings": [{"width": 3}]}],
    [TABLE | {"rows": [[cell("")]]}],
    "no list",
    ["no block"],
]


@pytest.mark.parametrize("blocks", GOOD)
def test_accepts_blocks_that_slack_accepts(blocks: Any) -> None:
    assert check_blocks(blocks, "message", {"F1"}.__contains__) == []


@pytest.mark.parametrize("blocks", BAD, ids=range(len(BAD)))
def test_refuses_blocks_that_slack_refuses_with_a_pointer(blocks: Any) -> None:
    problems = check_blocks(blocks, "message", {"F1"}.__contains__)
    assert problems
    assert all("json-pointer:/" in problem for problem in problems)


def test_total_size_of_blocks_is_limited() -> None:
    assert not too_long([section("x" * 2900)] * 4)
    assert too_long([section("x" * (MESSAGE_TOO_LONG // 5))] * 5)


def modal(**more: Any) -> dict[str, Any]:
    return {"type": "modal", "title": plain("Edit"), "blocks": [section()], **more}


INPUT = {"type": "input", "label": plain("Why"), "element": {"type": "plain_text_input"}}


@pytest.mark.parametrize(
    ("view", "fine"),
    [
        (modal(), True),
        (modal(blocks=[INPUT], submit=plain("Save")), True),
        ({"type": "home", "blocks": [section()] * 100}, True),
        (modal(blocks=[INPUT]), False),
        (modal(title=plain("x" * 25)), False),
        (modal(private_metadata="x" * 3001), False),
        (modal(blocks=[TABLE]), False),
        (modal(blocks=[section()] * 101), False),
        (modal(nonsense=1), False),
        ({"type": "modal", "blocks": []}, False),
        ({"type": "window"}, False),
    ],
)
def test_refuses_views_that_slack_refuses(view: dict[str, Any], fine: bool) -> None:
    assert (check_view(view, lambda _: False) == []) is fine
