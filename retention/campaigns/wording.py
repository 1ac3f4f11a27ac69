"""The copy of a campaign: a text with ``{placeholders}`` that a person may edit, filled in for each customer.

Placeholders are looked up in a fixed table; nothing a person or the data writes is ever evaluated.
"""

import re
from typing import Any

from retention import templating
from retention.errors import BadInput
from retention.text import gettext

PLACEHOLDERS = ("name", "discount", "conditions", "code", "expires", "items", "shop")
LONGEST = 2_000
_PLACE = re.compile(r"\{(\w*)\}")
_BRACES = re.compile(r"\{+[^{}\n]*\}*|\w*\}+")  # what a person may have meant for a placeholder
_SPACED = re.compile(r"( ?)\{(\w*)\}")
_ANNOUNCING = re.compile(  # the items, with what of their sentence leads to them alone
    r"(?:(?:(?<=[.!?])|\s*[,;–—]|\s-)\s[^{}.,;!?–—]*|[\s:]*)\{items\}\s*$"
)


def default(action: str = "coupon") -> str:
    """The text a draft starts with, from ``templates/campaigns/``."""
    return templating.text(f"campaigns/{action}.txt.j2").strip()


def checked(text: str) -> str:
    """A text that a person wrote, if it can be used.

    Raises
    ------
    BadInput
        Empty, too long, or with a placeholder that does not exist or is not closed: the customer would read its braces.
    """
    text = text.strip()
    if not text:
        raise BadInput(
            gettext("The copy text is empty; write what the customer shall read."),
            field="copy_text",
        )
    if len(text) > LONGEST:
        raise BadInput(
            gettext("The copy text has {count:,} characters; use at most {longest:,}.").format(
                count=len(text), longest=LONGEST
            ),
            field="copy_text",
        )
    known = [f"{{{name}}}" for name in PLACEHOLDERS]
    if wrong := [place for place in _BRACES.findall(text) if place not in known]:
        found = ", ".join(templating.shorten(place, 40) for place in dict.fromkeys(wrong[:3]))
        means = "means" if len(wrong) == 1 else "mean"
        raise BadInput(
            gettext("The copy text has {found}, which {means} nothing here; use {known}.").format(
                found=found, means=means, known=", ".join(known)
            ),
            field="copy_text",
        )
    return text


def filled(text: str, values: dict[str, Any]) -> str:
    """The text for one customer; a placeholder without a value leaves nothing behind, nor the space before it (``Hello,``).

    Where there are no items, what ends a line with them is left out: it would announce what does not come.
    """
    lines = text.split("\n") if values.get("items") else map(_without_items, text.split("\n"))

    def value(place: re.Match[str]) -> str:
        found = str(values.get(place[2]) or "")
        return place[1] + found if found else ""

    return _SPACED.sub(value, "\n".join(line for line in lines if line is not None))


def _without_items(line: str) -> str | None:
    """A line less what announces the items at its end; None where it fills in nothing else."""
    ends = line.rstrip().endswith("{items}")
    return None if ends and {*_PLACE.findall(line)} == {"items"} else _ANNOUNCING.sub("", line)
