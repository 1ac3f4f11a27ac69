"""Read a TOML policy file and explain its errors."""

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from retention.text import gettext

Model = TypeVar("Model", bound=BaseModel)


def read_text(path: Path) -> str:
    """Return the file's text without a byte-order mark."""
    return path.read_text(encoding="utf-8-sig")


def explain_toml_error(error: tomllib.TOMLDecodeError, text: str) -> str:
    """Explain a TOML syntax error: place, text found, fix."""
    message = str(error)
    at = re.search(r"at line (\d+), column \d+", message)
    line = text.split("\n")[int(at[1]) - 1].partition(" #")[0].strip() if at else ""
    remedy = next((words for begin, words in _remedies().items() if message.startswith(begin)), "")
    return "; ".join(filter(None, [f"{message}: {line[:80]}" if line else message, remedy]))


def validate_strictly(model: type[Model], values: Mapping[str, Any]) -> Model:
    """Validate parsed TOML strictly.

    Text or true is no number, but a whole number may stand for a fraction.
    """
    # As JSON: strict about Python's own objects, pydantic would take no list for a tuple and no
    # text for a date.
    return model.model_validate_json(json.dumps(values, default=str), strict=True)


def explain_error(fault: Mapping[str, Any]) -> str:
    """Explain one error of a `ValidationError`.

    Returns: how to fix it, without a full stop.
    """
    instruction = _instructions().get(fault["type"])
    if instruction is None:
        return str(fault["msg"]).removeprefix("Value error, ").rstrip(".")
    return instruction.format(**fault.get("ctx", {}))


def explain_first_error(
    error: ValidationError, *within: str, page: str = "docs/operator/policy.md"
) -> str:
    fault = error.errors()[0]
    loc = (*within, *fault["loc"])
    place = ".".join(str(part + 1) if isinstance(part, int) else part for part in loc)
    kind, value = fault["type"], fault["input"]
    seen = str(value).lower() if isinstance(value, bool) else repr(value)
    if kind == "extra_forbidden":
        return gettext(
            "{place}: there is no such setting (it says {seen}); remove it, or see {page} for its "
            "right name"
        ).format(place=place, seen=seen, page=page)
    explanation = explain_error(fault)
    # The only lists of tables are those of the file itself.
    if kind == "tuple_type" and len(loc) == 1:
        text = gettext("write each in a table of its own, below a line [[{place}]]")
        explanation = text.format(place=place)
    sentence = (
        explanation
        if kind in ("value_error", "missing")
        else gettext("{explanation} (it says {seen})").format(explanation=explanation, seen=seen)
    )
    return f"{place}: {sentence}" if place else sentence


def _instructions() -> dict[str, str]:
    """Return instructions by pydantic's error types."""
    return {
        "bool_type": gettext("write true or false, without quotes"),
        "int_type": gettext("write a whole number like 40, without quotes"),
        "int_from_float": gettext("write a whole number like 40"),
        "float_type": gettext("write a number like 0.5, without quotes"),
        "string_type": gettext('write text in quotes, like "a"'),
        "tuple_type": gettext('write a list like ["a", "b"]'),
        "model_type": gettext(
            "write a table: its name in a line of its own in brackets, and its settings below that"
        ),
        "missing": gettext("this is missing; write it"),
        "finite_number": gettext("write a number that ends, like 25000"),
        "string_too_short": gettext("write {min_length} or more characters"),
        "string_too_long": gettext("write at most {max_length} characters"),
        "greater_than_equal": gettext("write {ge} or more"),
        "greater_than": gettext("write more than {gt}"),
        "less_than_equal": gettext("write {le} or less"),
        "less_than": gettext("write less than {lt}"),
        "literal_error": gettext("write one of {expected}"),
    }


def _remedies() -> dict[str, str]:
    """Return remedies by the beginning of the parser's message."""
    return {
        "Cannot declare": gettext(
            "this table is there twice; put all its settings below one of the two"
        ),
        "Cannot overwrite": gettext("this is said twice; keep one of the two"),
        "Invalid value": gettext('write text in straight quotes, like "a", and a number as 0.5'),
        "Expected newline": gettext(
            "one setting a line, and a number without separators, like 25000"
        ),
        "Expected '='": gettext("write a setting as name = value, and a table's name in brackets"),
    }
