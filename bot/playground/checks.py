"""Check blocks and views against Slack's limits.

This shares no code with `workers.delivery.block_limits`. So sender and receiver cannot have the
same bug. Limits: docs.slack.dev/reference/block-kit, and measurements (see
docs/contributor/messages.md).

A rule yields the errors of one value, each with its JSON pointer. The tables below name the rules
of each kind of block and element. A kind without a rule is not checked.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from typing import Any

MESSAGE_TOO_LONG = 13_200  # characters of block JSON; undocumented, measured
Problems = list[str]
Json = dict[str, Any]
FileKnown = Callable[[str], bool]  # whether an uploaded file of this id exists
Rule = Callable[[Any, str, FileKnown], Iterator[str]]  # the value, its pointer


def _error(text: str, where: str) -> str:
    return f"[ERROR] {text} [json-pointer:{where}]"


def _string(most: int, least: int = 0) -> Rule:
    def check(value: Any, where: str, known: FileKnown) -> Iterator[str]:
        if value is None and not least:
            return  # it is left out
        if not isinstance(value, str):
            yield _error("must be a string", where)
        elif len(value) > most:
            yield _error(f"must be less than {most + 1} characters", where)
        elif len(value) < least:
            yield _error(f"must be more than {least - 1} characters", where)

    return check


def _is(expected: str, test: Callable[[Any], Any]) -> Rule:
    def check(value: Any, where: str, known: FileKnown) -> Iterator[str]:
        if not test(value):
            yield _error(f"must be {expected}", where)

    return check


def _word(*words: str) -> Rule:
    return _is(f"one of: {', '.join(words)}", words.__contains__)


def _number(least: int, most: int) -> Rule:
    return _is(f"{least} to {most}", lambda one: isinstance(one, int) and least <= one <= most)


def _items(least: int, most: int, rule: Rule) -> Rule:
    def check(value: Any, where: str, known: FileKnown) -> Iterator[str]:
        if not isinstance(value, list) or not least <= len(value) <= most:
            yield _error(f"must have {least} to {most} items", where)
            return
        for number, item in enumerate(value):
            yield from rule(item, f"{where}/{number}", known)

    return check


def _shape(
    required: dict[str, Rule], *unchecked: str, also: Rule | None = None, **optional: Rule
) -> Rule:
    """Return the rule of an object with these fields and a type.

    `unchecked`: optional fields of any value. `also`: a rule about several correct fields.
    """
    rules = required | optional
    names = {"type", *rules, *unchecked}

    def check(value: Any, where: str, known: FileKnown) -> Iterator[str]:
        if not isinstance(value, dict):
            yield _error("must be an object", where)
            return
        missing, more = required.keys() - value.keys(), value.keys() - names
        problems = [_error(f"missing required field: {key}", where) for key in missing]
        problems += [_error(f"invalid additional property: {key}", where) for key in more]
        for key in value.keys() & rules.keys():
            problems += rules[key](value[key], f"{where}/{key}", known)
        yield from problems
        if also and not problems:
            yield from also(value, where, known)

    return check


def _kinds(rules: dict[str, Rule], allowed: Collection[Any]) -> Rule:
    """Return the rule of an object whose type decides about its rule."""

    def check(value: Any, where: str, known: FileKnown) -> Iterator[str]:
        kind = value.get("type") if isinstance(value, dict) else value
        if not isinstance(kind, str) or kind not in allowed:
            yield _error(f"unsupported type: {kind}", f"{where}/type")
        elif kind in rules:
            yield from rules[kind](value, where, known)

    return check


def _text(most: int, *kinds: str) -> Rule:
    fields = {"text": _string(most, 1)}
    texts = {"plain_text": _shape(fields, "emoji"), "mrkdwn": _shape(fields, "verbatim")}
    return _kinds(texts, kinds or texts)


def _plain(most: int) -> Rule:
    return _text(most, "plain_text")


def _repeated(things: list[Any], key: str) -> list[str]:
    """Return the ids that several of the things have."""
    ids = Counter(str(one[key]) for one in things if isinstance(one, dict) and one.get(key))
    return sorted(one for one, count in ids.items() if count > 1)


# ---------------------------------------------------------------- elements


def _is_chosen_offered(element: Json, where: str, known: FileKnown) -> Iterator[str]:
    """Check that what is chosen at first is among the options."""
    groups = element.get("option_groups") or []
    options = [one for group in groups for one in group.get("options", [])]
    options += element.get("options") or []
    if not options:
        yield _error("missing required field: options", where)
    chosen = element.get("initial_options") or []
    if "initial_option" in element:
        chosen = [element["initial_option"], *chosen]
    if any(option not in options for option in chosen):
        yield _error("initial option is not among the options", where)


def _option(text: Rule, *unchecked: str) -> Rule:
    return _shape({"text": text, "value": _string(150, 1)}, *unchecked, description=text)


def _element(required: dict[str, Rule], *unchecked: str, **more: Any) -> Rule:
    return _shape(required, *unchecked, action_id=_string(255), **more)


def _choices(required: dict[str, Rule], *unchecked: str, **more: Any) -> Rule:
    names = ("focus_on_load", "initial_option", "initial_options", *unchecked)
    return _element(required, *names, confirm=_CONFIRM, also=_is_chosen_offered, **more)


def _picker(*unchecked: str, **more: Any) -> Rule:
    return _element({}, "focus_on_load", *unchecked, confirm=_CONFIRM, **more)


def _typed(required: dict[str, Rule], *unchecked: str, **more: Any) -> Rule:
    names = ("dispatch_action_config", "focus_on_load", *unchecked)
    texts = {"placeholder": _plain(150), "initial_value": _string(3000)}
    return _element(required, *names, **texts, **more)


_BOOLEAN = _is("a boolean", lambda one: isinstance(one, bool))
_INTEGER = _is("an integer", lambda one: isinstance(one, int))
_A_DATE = _is("a date YYYY-MM-DD", lambda one: re.fullmatch(r"\d{4}-\d\d-\d\d", str(one)))
_CONFIRM = _shape(
    {"title": _plain(100), "text": _text(300), "confirm": _plain(30), "deny": _plain(30)}, "style"
)
_OPTIONS = _items(1, 100, _option(_plain(75)))
_BOXES = _items(1, 10, _option(_text(75)))
_SELECT = {
    "placeholder": _plain(150),
    "options": _OPTIONS,
    "option_groups": _items(1, 100, _shape({"options": _OPTIONS}, "label")),
}
_ELEMENTS = {
    "button": _element(
        {"text": _plain(75)},
        "accessibility_label",
        url=_string(3000),
        value=_string(2000),
        style=_word("primary", "danger"),
        confirm=_CONFIRM,
    ),
    "overflow": _element({"options": _items(1, 5, _option(_plain(75), "url"))}, confirm=_CONFIRM),
    "static_select": _choices({}, **_SELECT),
    "multi_static_select": _choices({}, "max_selected_items", **_SELECT),
    "checkboxes": _choices({"options": _BOXES}),
    "radio_buttons": _choices({"options": _BOXES}),
    "plain_text_input": _typed(
        {}, "multiline", min_length=_number(0, 3000), max_length=_number(1, 3000)
    ),
    "number_input": _typed({"is_decimal_allowed": _BOOLEAN}, "min_value", "max_value"),
    "datepicker": _picker(initial_date=_A_DATE, placeholder=_plain(150)),
    "timepicker": _picker("initial_time", "timezone", placeholder=_plain(150)),
    "datetimepicker": _picker(initial_date_time=_INTEGER),
    "users_select": _picker("initial_user", placeholder=_plain(150)),
}
_SELECTS = {
    f"{many}{kind}_select"
    for many in ("", "multi_")
    for kind in ("static", "external", "users", "conversations", "channels")
}
_PICKERS = {"datepicker", "timepicker", "datetimepicker", "checkboxes", "radio_buttons"}
_TYPED = {"plain_text_input", "number_input", "email_text_input", "url_text_input"}
_IN_ACTIONS = _SELECTS | _PICKERS | {"button", "overflow"}
_IN_INPUT = _SELECTS | _PICKERS | _TYPED | {"file_input", "rich_text_input"}

# ---------------------------------------------------------------- blocks


def _has_text_or_fields(block: Json, where: str, known: FileKnown) -> Iterator[str]:
    if "text" not in block and "fields" not in block:
        yield _error("missing required field: text or fields", where)


def _has_one_picture(block: Json, where: str, known: FileKnown) -> Iterator[str]:
    file = block.get("slack_file")
    if ("image_url" in block) == ("slack_file" in block):
        yield _error("needs either image_url or slack_file", where)
    elif isinstance(file, dict) and not known(str(file.get("id") or file.get("url"))):
        yield _error("invalid slack file", f"{where}/slack_file")


def _has_different_actions(block: Json, where: str, known: FileKnown) -> Iterator[str]:
    for action_id in _repeated(block.get("elements") or [], "action_id"):
        yield _error(f"`action_id` {action_id!r} already exists for block", where)


def _block(required: dict[str, Rule], *unchecked: str, **more: Any) -> Rule:
    return _shape(required, *unchecked, block_id=_string(255), **more)


_IMAGE = _block(
    {"alt_text": _string(2000, 1)},
    image_url=_is("a valid URL", lambda url: re.match(r"https?://", str(url))),
    slack_file=_is("an object", lambda file: isinstance(file, dict)),
    title=_plain(2000),
    also=_has_one_picture,
)
_RICH_TEXT_PARTS = {f"rich_text_{kind}" for kind in ("section", "list", "quote", "preformatted")}
_RICH_TEXT = _block({"elements": _items(1, 1000, _kinds({}, _RICH_TEXT_PARTS))})
_CELLS = {"raw_text": _shape({"text": _string(3000, 1)}), "rich_text": _RICH_TEXT}
_CELL = _kinds(_CELLS, {*_CELLS, "raw_number"})
_COLUMN = _shape({}, align=_word("left", "center", "right"), is_wrapped=_BOOLEAN)
_CONTEXT = {"image": _IMAGE, "plain_text": _text(3000), "mrkdwn": _text(3000)}
_BLOCKS = {
    "section": _block(
        {},
        "expand",
        text=_text(3000),
        fields=_items(1, 10, _text(2000)),
        accessory=_kinds({**_ELEMENTS, "image": _IMAGE}, _IN_ACTIONS | {"image"}),
        also=_has_text_or_fields,
    ),
    "divider": _block({}),
    "header": _block({"text": _plain(150)}),
    "image": _IMAGE,
    "context": _block({"elements": _items(1, 10, _kinds(_CONTEXT, _CONTEXT))}),
    "actions": _block(
        {"elements": _items(1, 25, _kinds(_ELEMENTS, _IN_ACTIONS))}, also=_has_different_actions
    ),
    "input": _block(
        {"label": _plain(2000), "element": _kinds(_ELEMENTS, _IN_INPUT)},
        *("optional", "dispatch_action"),
        hint=_plain(2000),
    ),
    "rich_text": _RICH_TEXT,
    "table": _block(
        {"rows": _items(1, 100, _items(1, 20, _CELL))}, column_settings=_items(0, 20, _COLUMN)
    ),
    "markdown": _block({"text": _string(12_000, 1)}),
}
_TEXTS = {"section", "header", "context", "rich_text"}
_EVERYWHERE = _TEXTS | {"divider", "image", "video", "actions", "input"}
_DATA = {"table", "data_table", "data_visualization"}
_ON = {  # the blocks of each surface
    "message": _kinds(_BLOCKS, _EVERYWHERE | _DATA | {"markdown", "file"}),
    "modal": _kinds(_BLOCKS, _EVERYWHERE | {"alert"}),
    "home": _kinds(_BLOCKS, _EVERYWHERE | _DATA),
}
_VIEW = {"private_metadata": _string(3000), "callback_id": _string(255)}
_VIEWS = {
    "home": _shape({}, "blocks", "external_id", **_VIEW),
    "modal": _shape(
        {"title": _plain(24)},
        *("blocks", "external_id", "clear_on_close", "notify_on_close", "submit_disabled"),
        submit=_plain(24),
        close=_plain(24),
        **_VIEW,
    ),
}


def check_blocks(blocks: Any, surface: str, file_known: FileKnown) -> Problems:
    """Return Slack's errors for these blocks.

    `surface`: ``message``, ``modal`` or ``home``.
    `file_known`: whether an uploaded file of this id exists, for images by ``slack_file``.
    Returns: empty if Slack would accept the blocks.
    """
    if not isinstance(blocks, list):
        return ["must be an array [json-pointer:/blocks]"]
    limit = 50 if surface == "message" else 100
    known = [block for block in blocks if isinstance(block, dict)]
    kinds = [block.get("type") for block in known]
    markdown = [str(block.get("text", "")) for block in known if block.get("type") == "markdown"]
    repeated = _repeated(known, "block_id")
    problems = [f"`block_id` {block_id!r} already exists" for block_id in repeated]
    if len(blocks) > limit:
        problems.append(f"no more than {limit} items allowed")
    if kinds.count("table") > 1:
        problems.append("only_one_table_allowed")
    if kinds.count("data_visualization") > 2:
        problems.append("no more than 2 data_visualization blocks")
    if sum(map(len, markdown)) > 12_000:
        problems.append("markdown text too long")
    problems = [f"{problem} [json-pointer:/blocks]" for problem in problems]
    for number, block in enumerate(blocks):
        problems += _ON[surface](block, f"/blocks/{number}", file_known)
    return problems


def too_long(blocks: list[Json]) -> bool:
    """Return whether the blocks exceed the total size."""
    return len(json.dumps(blocks, ensure_ascii=False, separators=(",", ":"))) > MESSAGE_TOO_LONG


def check_view(view: Any, file_known: FileKnown) -> Problems:
    """Return Slack's errors for a view."""
    if not isinstance(view, dict) or view.get("type") not in _VIEWS:
        return ["unsupported type [json-pointer:/view/type]"]
    blocks = view.get("blocks")
    problems = check_blocks(blocks, view["type"], file_known)
    kinds = [block.get("type") for block in blocks or [] if isinstance(block, dict)]
    if view["type"] == "modal" and "input" in kinds and "submit" not in view:
        problems.append(_error("missing required field: submit", "/view"))
    return [*problems, *_VIEWS[view["type"]](view, "/view", file_known)]
