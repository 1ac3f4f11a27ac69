"""Parse the condition of an alert.

A condition is one of four phrases, or an audience expression that customers begin to meet.
"""

import difflib
import re
from dataclasses import dataclass

from retention.audiences.expression import KEYWORDS, Expression
from retention.audiences.parse import BadExpression, parse_days
from retention.audiences.plain import corrected, understand
from retention.audiences.words import in_words
from retention.errors import BadInput
from retention.text import gettext

LATE_DAYS = 2  # without events
LAPSES, HARM, LATE, DECAYED = "lapses rise", "campaign harm", "data late", "model decayed"
PHRASES = (LAPSES, HARM, LATE, DECAYED)
_SYNONYMS = {"campaign harms": HARM, "campaign does harm": HARM, "lapse rise": LAPSES}
_LATE = re.compile(rf"{LATE}\s*>\s*(.+)")


@dataclass(frozen=True, slots=True)
class Condition:
    """What an alert waits for.

    `kind`: ``customers``, or one of `PHRASES`.
    `days`: days without events after which data is late.
    """

    kind: str
    expression: Expression | None = None
    days: int = LATE_DAYS

    def __str__(self) -> str:
        if self.expression is not None:
            return str(self.expression)
        return f"{LATE} > {self.days}d" if self.kind == LATE else self.kind

    @property
    def in_words(self) -> str:
        """The expression as people read it, or the phrase."""
        return str(self) if self.expression is None else in_words(self.expression)

    @property
    def takes_audience(self) -> bool:
        """Whether an audience can narrow the condition."""
        return self.kind in ("customers", LAPSES)


def parse_condition(text: str) -> Condition:
    """Parse the value of ``--when``.

    `text`: such as ``risk >= high and value > 200`` or ``data late > 3d``.
    """
    words = " ".join(text.lower().replace("_", " ").split())
    words = _SYNONYMS.get(words, words)
    if words in PHRASES:
        return Condition(words)
    if match := _LATE.fullmatch(words):
        days = parse_days(match[1])
        if days is None or not 1 <= days <= 365:
            message = gettext("{text!r} is not a time; write it like: data late > 2d")
            raise BadInput(message.format(text=match[1]))
        return Condition(LATE, days=days)
    if words.split(" ")[0] in ("lapses", "lapse", "campaign", "data", "model"):
        nearest = difflib.get_close_matches(words, PHRASES, 1, cutoff=0.5)
        if nearest and not set(words.split()) & {"=", "!=", "<", ">", ">=", "<=", *KEYWORDS[:4]}:
            message = gettext("{text!r} is no condition. Did you mean {nearest}?")
            raise BadInput(message.format(text=text, nearest=nearest[0]))
    try:
        return Condition("customers", understand(text))
    except BadExpression as error:
        if error.nearest and error.nearest == corrected(text):
            raise BadInput(str(error), field="condition") from None
        message = gettext("{error} A condition is an audience expression, or one of: {phrases}.")
        phrases = ", ".join(PHRASES)
        raise BadInput(message.format(error=error, phrases=phrases), field="condition") from None
