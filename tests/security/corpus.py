"""The hostile strings of ``hostile_strings.json``, and what no output may have of them."""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

STRINGS: dict[str, tuple[str, ...]] = {
    kind: tuple(listed)
    for kind, listed in json.loads(
        Path(__file__).with_name("hostile_strings.json").read_text(encoding="utf-8")
    ).items()
}
ALL = tuple(dict.fromkeys(text for listed in STRINGS.values() for text in listed))
# Tab and line end may stay. Line and paragraph separators move nothing in Slack or a terminal.
CONTROL = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def texts(value: Any) -> Iterator[str]:
    """Yield all keys and strings of JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        yield from texts([*value.values()])
    elif isinstance(value, Iterable):
        for each in value:
            yield from texts(each)
