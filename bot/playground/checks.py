"""Check blocks and views against Slack's limits.

This shares no code with `workers.delivery.block_limits`. So sender and receiver cannot have the
same bug. Limits: docs.slack.dev/reference/block-kit, and measurements (see
docs/contributor/messages.md).
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

MESSAGE_TOO_LONG = 13_200  # characters of block JSON; undocumented, measured
Problems = list[str]
Json = dict[str, Any]

_CONFIRM = {"title", "text", "confirm", "deny", "style"}
_BOXES = {"checkboxes", "radio_buttons"}
_OPTION_ELEMENTS = _BOXES | {"static_select", "multi_static_select", "overflow"}
_SELECTS = {
    f"{many}{kind}_select"
    for many in ("", "multi_")
    for kind in ("static", "external", "users", "conversations", "channels")
}
_PICKERS = {"datepicker", "timepicker", "datetimepicker"} | _BOXES
_TYPED = {"plain_text_input", "number_input", "email_text_input", "url_text_input"}
ELEMENTS_IN = {
    "section": _SELECTS | _PICKERS | {"button", "overflow", "image"},
    "actions": _SELECTS | _PICKERS | {"button", "overflow"},
    "input": _SELECTS | _PICKERS | _TYPED | {"file_input", "rich_text_input"},
}
_TEXTS = {"section", "header", "context", "rich_text"}
_EVERYWHERE = _TEXTS | {"divider", "image", "video", "actions", "input"}
_DATA = {"table", "data_table", "data_visualization"}
BLOCKS_IN = {
    "message": _EVERYWHERE | _DATA | {"markdown", "file"},
    "modal": _EVERYWHERE | {"alert"},
    "home": _EVERYWHERE | _DATA,
}
_KEYS = {
    "section": {"text", "fields", "accessory", "expand"},
    "divider": set(),
    "header": {"text"},
    "image": {"image_url", "slack_file", "alt_text", "title"},
    "context": {"elements"},
    "actions": {"elements"},
    "input": {"label", "element", "hint", "optional", "dispatch_action"},
    "rich_text": {"elements"},
    "table": {"rows", "column_settings"},
    "markdown": {"text"},
}
_PICKED = {"confirm", "focus_on_load"}
_SELECT = _PICKED | {"placeholder", "options", "option_groups"}
_INPUT = {"initial_value", "dispatch_action_config", "focus_on_load", "placeholder"}
_ELEMENT_KEYS = {
    "button": {"text", "url", "value", "style", "confirm", "accessibility_label"},
    "overflow": {"options", "confirm"},
    "static_select": _SELECT | {"initial_option"},
    "multi_static_select": _SELECT | {"initial_options", "max_selected_items"},
    "checkboxes": _PICKED | {"options", "initial_options"},
    "radio_buttons": _PICKED | {"options", "initial_option"},
    "plain_text_input": _INPUT | {"multiline", "min_length", "max_length"},
    "number_input": _INPUT | {"is_decimal_allowed", "min_value", "max_value"},
    "datepicker": _PICKED | {"initial_date", "placeholder"},
    "timepicker": _PICKED | {"initial_time", "placeholder", "timezone"},
    "datetimepicker": _PICKED | {"initial_date_time"},
    "users_select": _PICKED | {"initial_user", "placeholder"},
}


def check_blocks(blocks: Any, surface: str, file_known: Callable[[str], bool]) -> Problems:
    """Return Slack's errors for these blocks.

    `surface`: ``message``, ``modal`` or ``home``.
    `file_known`: whether an uploaded file of this id exists, for images by ``slack_file``.
    Returns: empty if Slack would accept the blocks.
    """
    if not isinstance(blocks, list):
        return ["must be an array [json-pointer:/blocks]"]
    limit = 50 if surface == "message" else 100
    checker = _Checker(surface, file_known)
    for number, block in enumerate(blocks):
        checker.block(block, f"/blocks/{number}")
    known = [block for block in blocks if isinstance(block, dict)]
    kinds = [block.get("type") for block in known]
    markdown = [str(block.get("text", "")) for block in known if block.get("type") == "markdown"]
    repeated = _repeated(block["block_id"] for block in known if block.get("block_id"))
    problems = [f"`block_id` {block_id!r} already exists" for block_id in sorted(repeated)]
    if len(blocks) > limit:
        problems.append(f"no more than {limit} items allowed")
    if kinds.count("table") > 1:
        problems.append("only_one_table_allowed")
    if kinds.count("data_visualization") > 2:
        problems.append("no more than 2 data_visualization blocks")
    if sum(map(len, markdown)) > 12_000:
        problems.append("markdown text too long")
    return [f"{problem} [json-pointer:/blocks]" for problem in problems] + checker.problems


def too_long(blocks: list[Json]) -> bool:
    """Return whether the blocks exceed the total size."""
    return len(json.dumps(blocks, ensure_ascii=False, separators=(",", ":"))) > MESSAGE_TOO_LONG


def check_view(view: Any, file_known: Callable[[str], bool]) -> Problems:
    """Return Slack's errors for a view."""
    if not isinstance(view, dict) or view.get("type") not in ("modal", "home"):
        return ["unsupported type [json-pointer:/view/type]"]
    problems = check_blocks(view.get("blocks"), view["type"], file_known)
    checker = _Checker(view["type"], file_known)
    allowed = {"type", "blocks", "private_metadata", "callback_id", "external_id"}
    if view["type"] == "modal":
        allowed |= {"title", "submit", "close"}
        allowed |= {"clear_on_close", "notify_on_close", "submit_disabled"}
        checker.text(view.get("title"), "/view/title", 24, plain=True)
        for key in ("submit", "close"):
            if key in view:
                checker.text(view[key], f"/view/{key}", 24, plain=True)
        has_input = any(
            isinstance(b, dict) and b.get("type") == "input" for b in view.get("blocks") or []
        )
        if has_input and "submit" not in view:
            checker.add("missing required field: submit", "/view")
    checker.keys(view, allowed, "/view")
    checker.string(view, "private_metadata", "/view", 3000)
    checker.string(view, "callback_id", "/view", 255)
    return problems + checker.problems


def _repeated(values: Iterable[str]) -> set[str]:
    return {value for value, count in Counter(values).items() if count > 1}


class _Checker:
    """Collects the errors of one block tree. Each error has a JSON pointer."""

    def __init__(self, surface: str, file_known: Callable[[str], bool]) -> None:
        self.surface, self.file_known = surface, file_known
        self.problems: Problems = []

    def add(self, error: str, where: str) -> None:
        self.problems.append(f"[ERROR] {error} [json-pointer:{where}]")

    def keys(self, thing: Json, allowed: set[str], where: str) -> None:
        for key in thing.keys() - allowed:
            self.add(f"invalid additional property: {key}", where)

    def string(
        self, thing: Json, key: str, where: str, limit: int, *, required: bool = False
    ) -> None:
        value = thing.get(key)
        if value is None:
            if required:
                self.add(f"missing required field: {key}", where)
        elif not isinstance(value, str):
            self.add("must be a string", f"{where}/{key}")
        elif len(value) > limit:
            self.add(f"must be less than {limit + 1} characters", f"{where}/{key}")
        elif required and not value:
            self.add("must be more than 0 characters", f"{where}/{key}")

    def count(self, thing: Json, key: str, where: str, low: int, high: int) -> list[Any]:
        items = thing.get(key)
        if not isinstance(items, list):
            self.add(f"missing required field: {key}", where)
            return []
        if not low <= len(items) <= high:
            self.add(f"must have {low} to {high} items", f"{where}/{key}")
        return items

    def text(self, text: Any, where: str, limit: int, *, plain: bool = False) -> None:
        if not isinstance(text, dict):
            self.add("missing required field: text", where)
            return
        kind = text.get("type")
        if kind not in (("plain_text",) if plain else ("plain_text", "mrkdwn")):
            self.add(f"unsupported type: {kind}", f"{where}/type")
        self.keys(text, {"type", "text", "emoji" if kind == "plain_text" else "verbatim"}, where)
        self.string(text, "text", where, limit, required=True)

    def block(self, block: Any, where: str) -> None:
        if not isinstance(block, dict) or block.get("type") not in BLOCKS_IN[self.surface]:
            kind = block.get("type") if isinstance(block, dict) else block
            self.add(f"unsupported type: {kind}", f"{where}/type")
            return
        kind = block["type"]
        self.string(block, "block_id", where, 255)
        if kind in _KEYS:
            self.keys(block, {"type", "block_id", *_KEYS[kind]}, where)
        check = getattr(self, f"_{kind}", None)
        if check:
            check(block, where)

    def _section(self, block: Json, where: str) -> None:
        if "text" not in block and "fields" not in block:
            self.add("missing required field: text or fields", where)
        if "text" in block:
            self.text(block["text"], f"{where}/text", 3000)
        if "fields" in block:
            for number, field in enumerate(self.count(block, "fields", where, 1, 10)):
                self.text(field, f"{where}/fields/{number}", 2000)
        if "accessory" in block:
            self.element(block["accessory"], f"{where}/accessory", ELEMENTS_IN["section"])

    def _header(self, block: Json, where: str) -> None:
        self.text(block.get("text"), f"{where}/text", 150, plain=True)

    def _image(self, block: Json, where: str) -> None:
        if ("image_url" in block) == ("slack_file" in block):
            self.add("needs either image_url or slack_file", where)
        self.string(block, "alt_text", where, 2000, required=True)
        if "title" in block:
            self.text(block["title"], f"{where}/title", 2000, plain=True)
        if "image_url" in block and not re.match(r"https?://", str(block["image_url"])):
            self.add("must be a valid URL", f"{where}/image_url")
        if "slack_file" in block:
            file = block["slack_file"] if isinstance(block["slack_file"], dict) else {}
            if not self.file_known(str(file.get("id") or file.get("url"))):
                self.add("invalid slack file", f"{where}/slack_file")

    def _context(self, block: Json, where: str) -> None:
        for number, element in enumerate(self.count(block, "elements", where, 1, 10)):
            at = f"{where}/elements/{number}"
            if isinstance(element, dict) and element.get("type") == "image":
                self._image(element, at)
            else:
                self.text(element, at, 3000)

    def _actions(self, block: Json, where: str) -> None:
        elements = self.count(block, "elements", where, 1, 25)
        for number, element in enumerate(elements):
            self.element(element, f"{where}/elements/{number}", ELEMENTS_IN["actions"])
        ids = [
            element["action_id"]
            for element in elements
            if isinstance(element, dict) and element.get("action_id")
        ]
        for action_id in sorted(_repeated(ids)):
            self.add(f"`action_id` {action_id!r} already exists for block", where)

    def _input(self, block: Json, where: str) -> None:
        self.text(block.get("label"), f"{where}/label", 2000, plain=True)
        if "hint" in block:
            self.text(block["hint"], f"{where}/hint", 2000, plain=True)
        self.element(block.get("element"), f"{where}/element", ELEMENTS_IN["input"])

    def _markdown(self, block: Json, where: str) -> None:
        self.string(block, "text", where, 12_000, required=True)

    def _rich_text(self, block: Json, where: str) -> None:
        known = {"rich_text_section", "rich_text_list", "rich_text_quote", "rich_text_preformatted"}
        for number, element in enumerate(self.count(block, "elements", where, 1, 1000)):
            if not isinstance(element, dict) or element.get("type") not in known:
                self.add("unsupported type", f"{where}/elements/{number}/type")

    def _table(self, block: Json, where: str) -> None:
        for number, row in enumerate(self.count(block, "rows", where, 1, 100)):
            at = f"{where}/rows/{number}"
            if not isinstance(row, list) or not 1 <= len(row) <= 20:
                self.add("must have 1 to 20 cells", at)
                continue
            for cell in row:
                kind = cell.get("type") if isinstance(cell, dict) else None
                if kind not in ("raw_text", "rich_text", "raw_number"):
                    self.add("unsupported cell type", at)
                elif kind == "raw_text":
                    self.string(cell, "text", at, 3000, required=True)
                elif kind == "rich_text":
                    self._rich_text(cell, at)
        settings = block.get("column_settings") or []
        if len(settings) > 20:
            self.add("no more than 20 items allowed", f"{where}/column_settings")
        for number, setting in enumerate(settings):
            at = f"{where}/column_settings/{number}"
            if not isinstance(setting, dict):
                self.add("must be an object", at)
                continue
            self.keys(setting, {"align", "is_wrapped"}, at)
            if setting.get("align", "left") not in ("left", "center", "right"):
                self.add("must be one of: left, center, right", f"{at}/align")
            if not isinstance(setting.get("is_wrapped", False), bool):
                self.add("must be a boolean", f"{at}/is_wrapped")

    def element(self, element: Any, where: str, allowed: set[str]) -> None:
        if not isinstance(element, dict) or element.get("type") not in allowed:
            self.add("unsupported element type", f"{where}/type")
            return
        kind = element["type"]
        if kind == "image":
            self._image(element, where)
            return
        if kind in _ELEMENT_KEYS:
            self.keys(element, {"type", "action_id", *_ELEMENT_KEYS[kind]}, where)
        self.string(element, "action_id", where, 255)
        if "confirm" in element:
            self.confirm(element["confirm"], f"{where}/confirm")
        if "placeholder" in element:
            self.text(element["placeholder"], f"{where}/placeholder", 150, plain=True)
        if kind == "button":
            self._button(element, where)
        elif kind in _OPTION_ELEMENTS:
            self._options(element, where)
        elif kind == "plain_text_input":
            self._typed(element, where)
        elif kind == "number_input" and not isinstance(element.get("is_decimal_allowed"), bool):
            self.add("missing required field: is_decimal_allowed", where)
        elif kind == "datepicker" and not re.fullmatch(
            r"\d{4}-\d\d-\d\d", element.get("initial_date", "2000-01-01")
        ):
            self.add("must be a date YYYY-MM-DD", f"{where}/initial_date")
        elif kind == "datetimepicker" and not isinstance(
            element.get("initial_date_time", 1_000_000_000), int
        ):
            self.add("must be an integer", f"{where}/initial_date_time")

    def _button(self, element: Json, where: str) -> None:
        self.text(element.get("text"), f"{where}/text", 75, plain=True)
        self.string(element, "value", where, 2000)
        self.string(element, "url", where, 3000)
        if element.get("style", "primary") not in ("primary", "danger"):
            self.add("must be one of: primary, danger", f"{where}/style")

    def _typed(self, element: Json, where: str) -> None:
        self.string(element, "initial_value", where, 3000)
        for key, low in (("min_length", 0), ("max_length", 1)):
            value = element.get(key, low)
            if not isinstance(value, int) or not low <= value <= 3000:
                self.add(f"must be {low} to 3000", f"{where}/{key}")

    def _options(self, element: Json, where: str) -> None:
        kind = element["type"]
        most = {"overflow": 5, "checkboxes": 10, "radio_buttons": 10}.get(kind, 100)
        if "option_groups" in element:
            groups = self.count(element, "option_groups", where, 1, 100)
            options = [option for group in groups for option in group.get("options", [])]
        else:
            options = self.count(element, "options", where, 1, most)
        for number, option in enumerate(options):
            self._option(option, f"{where}/options/{number}", kind)
        chosen = element.get("initial_options") or (
            [element["initial_option"]] if "initial_option" in element else []
        )
        if any(option not in options for option in chosen):
            self.add("initial option is not among the options", where)

    def _option(self, option: Any, where: str, kind: str) -> None:
        if not isinstance(option, dict):
            self.add("must be an object", where)
            return
        rich = kind in _BOXES
        allowed = {"text", "value", "description", *(["url"] if kind == "overflow" else [])}
        self.keys(option, allowed, where)
        self.text(option.get("text"), f"{where}/text", 75, plain=not rich)
        self.string(option, "value", where, 150, required=True)
        if "description" in option:
            self.text(option["description"], f"{where}/description", 75, plain=not rich)

    def confirm(self, confirm: Any, where: str) -> None:
        if not isinstance(confirm, dict):
            self.add("must be an object", where)
            return
        self.keys(confirm, _CONFIRM, where)
        self.text(confirm.get("title"), f"{where}/title", 100, plain=True)
        self.text(confirm.get("text"), f"{where}/text", 300)
        self.text(confirm.get("confirm"), f"{where}/confirm", 30, plain=True)
        self.text(confirm.get("deny"), f"{where}/deny", 30, plain=True)
