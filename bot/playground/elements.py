"""Read and change interactive Block Kit elements."""

import time
from typing import Any

from bot.playground.workspace import Json, SlackError

_KEYS = {  # where Slack's payload has a value; else it is `value`
    **dict.fromkeys(("static_select", "external_select"), "selected_option"),
    **dict.fromkeys(("overflow", "radio_buttons"), "selected_option"),
    **dict.fromkeys(("multi_static_select", "multi_external_select"), "selected_options"),
    "checkboxes": "selected_options",
    "users_select": "selected_user",
    "conversations_select": "selected_conversation",
    "channels_select": "selected_channel",
    "datepicker": "selected_date",
    "timepicker": "selected_time",
    "datetimepicker": "selected_date_time",
    "multi_users_select": "selected_users",
    "multi_conversations_select": "selected_conversations",
    "multi_channels_select": "selected_channels",
}


def elements(block: Json) -> list[Json]:
    interactive = list(block["elements"]) if block.get("type") == "actions" else []
    interactive += [
        block[key] for key in ("accessory", "element") if isinstance(block.get(key), dict)
    ]
    return [element for element in interactive if element.get("type") != "image"]


def options(element: Json) -> list[Json]:
    grouped = [option for group in element.get("option_groups", []) for option in group["options"]]
    return [*element.get("options", []), *grouped]


def action_of(blocks: list[Json], block_id: str, action_id: str, value: Any) -> Json:
    """Return ``actions[0]`` of Slack's payload.

    `blocks`: blocks of the message or view.
    `block_id`, `action_id`: ids of the element. An empty block id matches every block.
    `value`: the value of a button, because an older button may have the same ids. For a select, the
    value of the chosen option.
    Raises `SlackError`: ``action_not_found``, ``option_not_found``.
    """
    candidates = [
        (block, element)
        for block in reversed(blocks)
        for element in elements(block)
        if element.get("action_id") == action_id and block_id in ("", block["block_id"])
    ]
    exact = [
        (b, e) for b, e in candidates if e["type"] == "button" and value and e.get("value") == value
    ]
    if not candidates:
        raise SlackError("action_not_found")
    block, element = (exact or candidates)[0]
    action: Json = {
        "type": element["type"],
        "action_id": action_id,
        "block_id": block["block_id"],
        "action_ts": f"{time.time():.6f}",
    }
    if element["type"] == "button":
        action |= {key: element[key] for key in ("text", "value", "style", "url") if key in element}
        return action
    return action | state_of(element, value)


def state_of(element: Json, value: Any) -> Json:
    """Return an element's value in Slack's format."""
    key = _KEYS.get(element["type"], "value")
    if _takes_many(element):
        value = value if isinstance(value, list) else [value] if value else []
    if key == "selected_options":
        return {key: [_option(element, one) for one in value]}
    if key == "selected_option":
        return {key: _option(element, value) if value else None}
    return {key: value}


def _takes_many(element: Json) -> bool:
    return element["type"].startswith("multi_") or element["type"] == "checkboxes"


def _option(element: Json, value: str) -> Json:
    option = next((option for option in options(element) if option["value"] == value), None)
    if option is None:
        raise SlackError("option_not_found")
    return option


def full_state(blocks: list[Json], values: Json) -> Json:
    """Return ``view.state.values`` with every input.

    Omitted inputs keep their initial value.

    `values`: changed inputs by block and action id.
    """
    state: Json = {}
    for block in blocks:
        for element in elements(block):
            if element["type"] in ("button", "overflow"):
                continue
            chosen = values.get(block["block_id"], {}).get(element["action_id"]) or _initial(
                element
            )
            state.setdefault(block["block_id"], {})[element["action_id"]] = {
                "type": element["type"],
                **chosen,
            }
    return state


def _initial(element: Json) -> Json:
    key = _KEYS.get(element["type"], "value")
    initial = f"initial_{key.removeprefix('selected_')}"
    return {key: element.get(initial, [] if key == "selected_options" else None)}


def missing_inputs(blocks: list[Json], values: Json) -> dict[str, str]:
    """Return Slack's own errors of a submission.

    They report empty required inputs and numbers out of range.

    `values`: all inputs by block and action id.
    Returns: error by block id.
    """
    errors: dict[str, str] = {}
    for block in blocks:
        if block.get("type") != "input":
            continue
        element = block["element"]
        inputs = values.get(block["block_id"], {}).get(element["action_id"], {})
        given = [one for key, one in inputs.items() if key != "type" and one not in (None, "", [])]
        chosen = given[0] if given else None
        if chosen is None:
            if not block.get("optional"):
                errors[block["block_id"]] = "Please complete this required field."
        elif problem := _problem(element, chosen):
            errors[block["block_id"]] = problem
    return errors


def _problem(element: Json, chosen: Any) -> str | None:
    kind = element["type"]
    if kind == "plain_text_input":
        low, high = element.get("min_length", 0), element.get("max_length", 3000)
        if not low <= len(chosen) <= high:
            return f"Please enter {low} to {high} characters."
    elif kind == "number_input":
        try:
            number = float(chosen)
        except (TypeError, ValueError):
            return "Please enter a number."
        if not element["is_decimal_allowed"] and not number.is_integer():
            return "Please enter a whole number."
        low, high = float(element.get("min_value", "-inf")), float(element.get("max_value", "inf"))
        if not low <= number <= high:
            return f"Please enter a number from {low:g} to {high:g}."
    return None
