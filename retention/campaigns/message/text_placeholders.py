"""Validate and fill in the text of a campaign.

`email_content.message_text` chooses the text.

A person may edit the text and its ``{placeholders}``. Values come from a fixed table. Nothing in
the text or the data is evaluated.
"""

import re
from typing import Any

from retention import templating
from retention.errors import BadInput
from retention.text import gettext

PLACEHOLDERS = ("name", "discount", "conditions", "code", "expires", "items", "shop")
MAX_CHARACTERS = 2_000
_PLACEHOLDER = re.compile(r"\{(\w*)\}")
_BRACES = re.compile(r"\{+[^{}\n]*\}*|\w*\}+")  # possibly meant as a placeholder
_SPACED_PLACEHOLDER = re.compile(r"( ?)\{(\w*)\}")
_ITEMS_PHRASE = re.compile(  # the items with the phrase that announces them
    r"(?:(?:(?<=[.!?])|\s*[,;–—]|\s-)\s[^{}.,;!?–—]*|[\s:]*)\{items\}\s*$"
)


def validate_text(text: str, field: str = "copy_text") -> str:
    """Validate a text that a person typed.

    Returns: the text without surrounding space.
    Raises `BadInput`: the text is empty or too long, or a placeholder is unknown or not closed.
    """
    text = text.strip()
    if not text:
        problem = gettext("The copy text is empty; write what the customer shall read.")
        raise BadInput(problem, field=field)
    if len(text) > MAX_CHARACTERS:
        problem = gettext("The copy text has {count:,} characters; use at most {longest:,}.")
        raise BadInput(problem.format(count=len(text), longest=MAX_CHARACTERS), field=field)
    known = [f"{{{name}}}" for name in PLACEHOLDERS]
    if unknown := [place for place in _BRACES.findall(text) if place not in known]:
        shown = ", ".join(templating.shorten(place, 40) for place in dict.fromkeys(unknown[:3]))
        sentence = (
            gettext("The copy text has {unknown}, which means nothing here; use {known}.")
            if len(unknown) == 1
            else gettext("The copy text has {unknown}, which mean nothing here; use {known}.")
        )
        raise BadInput(sentence.format(unknown=shown, known=", ".join(known)), field=field)
    return text


def fill_text(text: str, values: dict[str, Any]) -> str:
    """Fill in the text for one customer.

    An empty placeholder also removes the space before it (``Hello,``). Without items, the phrase
    that announces them at the end of a line is removed.
    """
    lines = text.split("\n") if values.get("items") else map(_without_items, text.split("\n"))

    def value(place: re.Match[str]) -> str:
        text_value = str(values.get(place[2]) or "")
        return place[1] + text_value if text_value else ""

    return _SPACED_PLACEHOLDER.sub(value, "\n".join(line for line in lines if line is not None))


def _without_items(line: str) -> str | None:
    """Remove the phrase that announces items; None if nothing remains."""
    is_alone = {*_PLACEHOLDER.findall(line)} == {"items"}
    is_last = line.rstrip().endswith("{items}")
    return None if is_last and is_alone else _ITEMS_PHRASE.sub("", line)
