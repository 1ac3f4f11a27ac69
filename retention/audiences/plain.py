"""Correct an expression that was written in everyday words."""

import re

from retention.audiences.expression import Expression
from retention.audiences.parse import BadExpression, parse
from retention.text import gettext

_TIER = "high|medium|low"
_NUMBER = r"[$€£]?\s*(\d[\d.,]*%?)"
_DAYS = r"(\d+)\s*(?:days?|d)\b"
# Everyday words → expression, in this order. Each match is replaced everywhere.
_PHRASES = tuple(
    (re.compile(pattern, re.IGNORECASE), replacement)
    for pattern, replacement in (
        (r"\b(?:all |the )?(?:customers?|people|everyone)\b", ""),
        (r"(\d),(\d{3})\b", r"\1\2"),
        (rf"\b(?:(?:at|of|with) )?({_TIER}) risk\b", r"risk >= \1"),
        (rf"\brisk (?:is |of )?(?:at least |over )?({_TIER})\b(?! risk)", r"risk >= \1"),
        (r"\bat risk\b", "risk >= medium"),
        (
            rf"\b(?:silent|quiet|inactive|away|no orders?|not ordered|without (?:an )?orders?)"
            rf" (?:for|in|since)(?: the last)? {_DAYS}",
            r"last_order >= \1d",
        ),
        (rf"\b(?:in|within|over) (?:the )?(?:last|past) {_DAYS}", r"in \1d"),
        (r"\b(opened|clicked)(?: (?:on|an?|our|any|e-?mails?|links?))+", r"\1"),
        (r"\b(?:have |has )?(?:spent|spending|spend)\b", "spent"),
        (r"\b(?:worth|valued? at|(?:with (?:a )?)?value(?: of)?)\b", "value"),
        (r"\border count\b|\bnumber of orders\b", "orders"),
        (rf"\b(spent|value|orders) (?:at least|from) {_NUMBER}", r"\1 >= \2"),
        (rf"\b(spent|value|orders) (?:at most|up to) {_NUMBER}", r"\1 <= \2"),
        (rf"\b(spent|value|orders) (?:is )?(?:over|above|more than) {_NUMBER}", r"\1 > \2"),
        (rf"\b(spent|value|orders) (?:is )?(?:under|below|less than) {_NUMBER}", r"\1 < \2"),
        (rf"\b(?:more than|over) {_NUMBER} orders\b", r"orders > \1"),
        (rf"\bat least {_NUMBER} orders\b", r"orders >= \1"),
        (r"\b(orders|spent) ([<>]=?) (\S+) in (\d+d)\b", r"\1 in \4 \2 \3"),
        (r"\b(?:who )?(?:live |lives )?in (?!campaign\b|list\b|\d)(\w+)$", r"and city = \1"),
        (r",(?= )|\b(?:but|with|who|that)\b", " and"),
        (r"\b(?:are|is)\b", ""),
        (r"\band(?:\s+and)+\b", "and"),
        (r"^\s*and\b", ""),
    )
)


def understand(text: str) -> Expression:
    """Parse an expression; for everyday words, the error proposes one that can be used.

    Examples
    --------
    >>> corrected("high risk and spent over 100")
    'risk >= high and spent > 100'
    """
    try:
        return parse(text)
    except BadExpression as error:
        proposal = corrected(text)
        if proposal is None:
            raise
        sentence = gettext("{text!r} is not exact enough. Did you mean: {proposal}")
        message = sentence.format(text=text, proposal=proposal)
        raise BadExpression(message, error.position, error.word, proposal) from None


def corrected(text: str) -> str | None:
    """Return the expression that everyday words probably mean, or None."""
    for pattern, replacement in _PHRASES:
        text = pattern.sub(replacement, text)
    try:
        return str(parse(" ".join(text.split())))
    except BadExpression:
        return None
