"""Interactive elements: what choosing one sends, what an input's state looks like, which inputs are still empty."""

import time
from typing import Any

from bot.playground.workspace import Json, SlackError

_CHOSEN = {
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
_ONE_OPTION = ("static_select", "external_select", "overflow", "radio_buttons")
_MANY_OPTIONS = ("multi_static_select", "multi_external_select", "checkboxes")


def elements(block: Json) -> list[Json]:
    """The interactive elements of a block."""
    found = list(block["elements"]) if block.get("type") == "actions" else []
    found += [block[key] for key in ("accessory", "element") if isinstance(block.get(key), dict)]
    return [one for one in found if one.get("type") != "image"]


def options(element: Json) -> list[Json]:
    """All options of a select, out of their groups."""
    grouped = [option for group in element.get("option_groups", []) for option in group["options"]]
    return [*element.get("options", []), *grouped]


def action_of(blocks: list[Json], block_id: str, action_id: str, value: Any) -> Json:
    """What Slack sends as ``actions[0]`` when somebody presses or chooses.

    Parameters
    ----------
    value
        A button: its value, where an older button had the same ids. A select: the chosen option's value.

    Raises
    ------
    SlackError
        ``action_not_found``, ``option_not_found``.
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
    made: Json = {
        "type": element["type"],
        "action_id": action_id,
        "block_id": block["block_id"],
        "action_ts": f"{time.time():.6f}",
    }
    if element["type"] == "button":
        made |= {key: element[key] for key in ("text", "value", "style", "url") if key in element}
        return made
    return made | state_of(element, value)


def state_of(element: Json, value: Any) -> Json:
    """An element's value as it stands in an action or in ``view.state.values``."""
    kind = element["type"]
    if kind in _ONE_OPTION:
        return {"selected_option": _option(element, value) if value else None}
    if kind in _MANY_OPTIONS:
        chosen = value if isinstance(value, list) else [value] if value else []
        return {"selected_options": [_option(element, one) for one in chosen]}
    if kind in _CHOSEN:
        many = kind.startswith("multi_")
        return {
            _CHOSEN[kind]: value
            if not many or isinstance(value, list)
            else [value]
            if value
            else []
        }
    return {"value": value}


def _option(element: Json, value: str) -> Json:
    found = next((one for one in options(element) if one["value"] == value), None)
    if found is None:
        raise SlackError("option_not_found")
    return found


def full_state(blocks: list[Json], given: Json) -> Json:
    """``view.state.values`` with every input in it: what was given, else what the view started with."""
    state: Json = {}
    for block in blocks:
        for element in elements(block):
            if element["type"] in ("button", "overflow"):
                continue
            chosen = given.get(block["block_id"], {}).get(element["action_id"]) or _initial(element)
            state.setdefault(block["block_id"], {})[element["action_id"]] = {
                "type": element["type"],
                **chosen,
            }
    return state


def _initial(element: Json) -> Json:
    kind = element["type"]
    if kind in _MANY_OPTIONS:
        return {"selected_options": element.get("initial_options", [])}
    if kind in _ONE_OPTION:
        return {"selected_option": element.get("initial_option")}
    if kind in _CHOSEN:
        key = _CHOSEN[kind]
        return {key: element.get(key.replace("selected_", "initial_"))}
    return {"value": element.get("initial_value")}


def missing_inputs(blocks: list[Json], values: Json) -> dict[str, str]:
    """Slack's own complaints before it sends a submission: required inputs left empty, numbers out of range."""
    errors: dict[str, str] = {}
    for block in blocks:
        if block.get("type") != "input":
            continue
        element = block["element"]
        given = values.get(block["block_id"], {}).get(element["action_id"], {})
        chosen = next(
            (one for key, one in given.items() if key != "type" and one not in (None, "", [])), None
        )
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
        except ValueError:
            return "Please enter a number."
        if not element["is_decimal_allowed"] and not number.is_integer():
            return "Please enter a whole number."
        low, high = float(element.get("min_value", "-inf")), float(element.get("max_value", "inf"))
        if not low <= number <= high:
            return f"Please enter a number from {low:g} to {high:g}."
    return None
