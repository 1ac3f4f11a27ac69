"""Record the values of messages and report pages from the tests' own runs.

``python -m tests.bot.record_messages tests/bot tests/workers`` runs these tests and writes
``tests/bot/message_values.json``: for each template the values of its longest text, as the code of
today makes them. Longer values that are stored already stay, such as those of the demo's shop; to
replace them, delete them first. Run it after a template needs other values.
"""

import json
import re
import sys
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import jinja2
import pytest

FILE = Path(__file__).with_name("message_values.json")
MAX_ITEMS = 25  # of a list; a longer one adds nothing to a message
# One pixel; the size of a chart does not matter here.
PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhf"
    "DwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
RECORDED = re.compile(r"slack/(?P<message>.*)\.yaml\.j2|(?P<page>reports/.*)\.html\.j2")


class Recorder:
    """Remember the values of the longest text of each template."""

    def __init__(self) -> None:
        self.values: dict[str, dict[str, Any]] = {}
        self._length: dict[str, int] = {}
        self._render = jinja2.Template.render

    def __call__(self, template: jinja2.Template, *args: Any, **kwargs: Any) -> str:
        text = self._render(template, *args, **kwargs)
        if named := RECORDED.fullmatch(template.name or ""):
            name = named["message"] or named["page"]
            if len(text) > self._length.get(name, 0) and self._is_message_or_page(name, text):
                self._length[name] = len(text)
                self.values[name] = json.loads(json.dumps(_short(kwargs), default=_plain))
        return text

    def _is_message_or_page(self, name: str, text: str) -> bool:
        return name.startswith("reports/") or not re.search(r"^type: (modal|home)", text, re.M)


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _short(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_short(inner) for inner in list(value)[:MAX_ITEMS]]
    return PICTURE if isinstance(value, str) and value.startswith("data:image/") else value


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    return value.item() if hasattr(value, "item") else str(value)


if __name__ == "__main__":
    recorder = Recorder()
    jinja2.Template.render = lambda *args, **kwargs: recorder(*args, **kwargs)
    pytest.main(["-q", "-n", "0", "-p", "no:randomly", "-m", "not browser", *sys.argv[1:]])
    known = json.loads(FILE.read_text(encoding="utf-8"))
    longer = {
        name: values
        for name, values in known.items()
        if len(str(values)) >= len(str(recorder.values.get(name, "")))
    }
    values = recorder.values | longer
    FILE.write_text(json.dumps(values, ensure_ascii=False, indent=1, sort_keys=True))
