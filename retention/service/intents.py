"""Tell what a customer wants of the chat: a person, their orders, their codes, or an answer."""

import re
import tomllib
from pathlib import Path

HANDED_OVER = ("asked", "anger", "cancellation")  # also why a person is called
REFUSED, ORDERS, CODES, ANSWER = "refused", "orders", "codes", "answer"
_FILE = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
_PATTERNS = {
    code: re.compile("|".join(patterns), re.IGNORECASE) for code, patterns in _FILE.items()
}
_GENERAL = _PATTERNS.pop("general")
_HAN = re.compile("[\u3400-\u9fff]")
_ORDER_NAME = re.compile(r"(?<![\w-])#?([A-Za-z]{0,6}-?\d[\w-]{2,30})(?![\w-])", re.ASCII)


def intent_of(text: str) -> str:
    """Return what a message wants; `ANSWER` if it is a question like any other."""
    plain = text.replace("’", "'")
    return next((code for code, pattern in _PATTERNS.items() if pattern.search(plain)), ANSWER)


def is_general(text: str) -> bool:
    """Return whether a policy may answer a question although it names an order."""
    return _GENERAL.search(text) is not None


def language_of(text: str) -> str:
    """Return the language of a message by its script: zh or en."""
    return "zh" if _HAN.search(text) else "en"


def order_names(text: str) -> list[str]:
    """Return what may be numbers of orders in a message."""
    return _ORDER_NAME.findall(text)
