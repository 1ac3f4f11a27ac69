"""What no database keeps, taken out of what people type before anything reads it."""

import re
from collections.abc import Callable
from typing import Any

from slack_bolt import BoltRequest, BoltResponse

# NUL, which PostgreSQL refuses, and halves of a character, which are no text: a field may be cut in the middle of an emoji.
_UNKEPT = re.compile("[\0\ud800-\udfff]")
UNKNOWN = "\N{REPLACEMENT CHARACTER}"


def kept(text: str) -> str:
    """The text with a sign in the place of each character that cannot be stored."""
    return _UNKEPT.sub(UNKNOWN, text)


def whole_characters(request: BoltRequest, next: Callable[[], BoltResponse]) -> BoltResponse:
    """Bolt middleware: whatever a request says can be stored."""
    request.body.update(_kept(request.body))
    return next()


def _kept(value: Any) -> Any:
    if isinstance(value, str):
        return kept(value)
    if isinstance(value, dict):
        return {key: _kept(inner) for key, inner in value.items()}
    return [_kept(inner) for inner in value] if isinstance(value, list) else value
