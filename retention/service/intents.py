"""Tell what a customer wants of the chat: a person, their orders, their codes, or an answer."""

import re
import tomllib
from pathlib import Path

HANDED_OVER = ("asked", "anger", "cancellation")  # also why a person is called
REFUSED, ORDERS, CODES, ANSWER = "refused", "orders", "codes", "answer"
_FILE = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
_PATTERNS, _HINTS = (
    {each["code"]: re.compile("|".join(each["patterns"]), re.IGNORECASE) for each in _FILE[kind]}
    for kind in ("intent", "hint")
)
_HAN = re.compile("[\u3400-\u9fff]")
_ORDER_NAME = re.compile(r"(?<![\w-])#?([A-Za-z]{0,6}-?\d[\w-]{2,30})(?![\w-])", re.ASCII)


def intent_of(text: str) -> str:
    """Return what a message wants; `ANSWER` if it is a question like any other."""
    found = (code for code, pattern in _PATTERNS.items() if pattern.search(_plain(text)))
    return next(found, ANSWER)


def is_about_goods(text: str) -> bool:
    """Return whether a question sounds as if it were about a product."""
    return _HINTS["goods"].search(_plain(text)) is not None


def is_general(text: str) -> bool:
    """Return whether a policy may answer a question that names an order."""
    return _HINTS["general"].search(_plain(text)) is not None


def is_own(text: str) -> bool:
    """Return whether a message speaks of the customer: `my`, `I`."""
    return _HINTS["own"].search(_plain(text)) is not None


def _plain(text: str) -> str:
    return text.replace("’", "'")


def language_of(text: str) -> str:
    """Return the language of a message by its script: zh or en."""
    return "zh" if _HAN.search(text) else "en"


def order_names(text: str) -> list[str]:
    """Return what may be numbers of orders in a message."""
    return _ORDER_NAME.findall(text)
