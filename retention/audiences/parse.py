"""Parse audience expressions.

The grammar, from the loosest to the tightest operator::

    expression = both {"or" both}
    both       = single {"and" single}
    single     = "not" single | "(" expression ")" | condition
    condition  = "bought" product ["in" DAYS] ["at" "store" value]
               | "viewed" product ["in" DAYS]
               | ("opened" | "clicked") ["in" DAYS]
               | "in" ("campaign" | "list") value
               | field operator value
               | field ["not"] "in" "(" value {"," value} ")"
    product    = ("category" | "item" | "brand") value
    field      = ("orders" | "spent") ["in" DAYS] | FIELD

Keywords and field names ignore case. A value of several words needs quotes. An attribute may be
called ``viewed``, ``opened`` or ``clicked``: then a comparison follows.
"""

import difflib
import re
from collections.abc import Collection
from dataclasses import dataclass
from math import isclose
from typing import Literal

from retention.audiences.expression import (
    CONSENT,
    ENGAGED,
    FIELDS,
    IN_PERIOD,
    KEYWORDS,
    OPERATORS,
    PRODUCT_KINDS,
    STORE,
    TIERS,
    And,
    AtStore,
    Bought,
    Comparison,
    Engaged,
    Expression,
    InCampaign,
    InList,
    Not,
    OneOf,
    Or,
    Value,
    kind_of,
)
from retention.errors import BadInput
from retention.text import gettext

MAX_LENGTH = 1_000  # characters; also keeps the nesting below Python's limit
MAX_DEPTH = 50
MAX_DAYS = 36_500
_UNITS = {"d": 1, "w": 7, "m": 30, "y": 365}
_DURATION = re.compile(r"(\d+)\s*([dwmy])(?:ays?|eeks?|onths?|ears?)?", re.IGNORECASE)
_TOKEN = re.compile(
    r"""(?P<text>"[^"]*"|'[^']*')
    |(?P<duration>\d+[dwmyDWMY]\b)
    |(?P<percent>\d+(?:\.\d+)?\s?%)
    |(?P<literal>\d[\w.]*(?:[-+/][\w.]*)+)
    |(?P<number>-?\d+(?:\.\d+)?(?![\w]))
    |(?P<operator><=|>=|!=|<>|==|=|<|>)
    |(?P<mark>[(),])
    |(?P<word>[^\W\d][\w.]*(?:-\w[\w.]*)*)""",
    re.VERBOSE,
)
_SAME_OPERATOR = {"==": "=", "<>": "!="}
_TYPOGRAPHIC = str.maketrans({"≥": ">=", "≤": "<=", "≠": "!=", **dict.fromkeys("“”„‟", '"')})
_SAME_CONSENT = {"yes": "given", "true": "given", "no": "refused", "false": "refused"}


class BadExpression(BadInput):
    """Refuse an expression.

    `position`: position of the wrong word, from 1.
    `word`: the wrong word; empty at the end of the text.
    """

    def __init__(self, message: str, position: int, word: str, nearest: str | None = None) -> None:
        super().__init__(message, field="expression")
        self.position = position
        self.word = word
        self.nearest = nearest


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int  # from 1

    @property
    def word(self) -> str:
        """The token in lower case if it is a plain word."""
        return self.text.lower() if self.kind == "word" else ""

    def wrong(self, message: str, nearest: str | None = None, **values: object) -> BadExpression:
        """Return the error about this token."""
        text = message.format(word=self.text, position=self.at, nearest=nearest, **values)
        return BadExpression(text, self.at, self.text, nearest)


def parse(text: str, attributes: Collection[str] | None = None) -> Expression:
    """Parse an audience expression.

    `text`: such as ``risk >= medium and city = Berlin and not bought category Coffee in 90d``.

    Examples
    --------
    >>> str(parse("risk >= medium AND value>200"))
    'risk >= medium and value > 200'
    """
    text = text.translate(_TYPOGRAPHIC)
    if len(text) > MAX_LENGTH:
        message = gettext(
            "The expression has {length:,} characters; use at most {limit:,}. Save parts of "
            "it as audiences of their own."
        )
        raise BadExpression(message.format(length=len(text), limit=MAX_LENGTH), MAX_LENGTH, "")
    return _Parser(_tokens(text), attributes).whole()


def parse_days(text: str) -> int | None:
    """Return the days of a duration such as ``90d``, ``12 weeks`` or ``6m``; None if it is none."""
    match = _DURATION.fullmatch(text.strip())
    return int(match[1]) * _UNITS[match[2].lower()] if match else None


def _tokens(text: str) -> list[_Token]:
    tokens, at = [], 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        match = _TOKEN.match(text, at)
        if match is None:
            raise _unreadable(text, at)
        kind = str(match.lastgroup)
        tokens.append(_Token(kind, match[0], at + 1))
        at = match.end()
    return [*tokens, _Token("end", "", len(text) + 1)]


def _unreadable(text: str, at: int) -> BadExpression:
    word = text[at:].split()[0]
    if text[at] in "\"'":
        message = gettext(
            "The quote at position {position} is never closed; add {quote} after the value."
        ).format(position=at + 1, quote=text[at])
    else:
        message = gettext(
            "{word!r} at position {position} cannot be read; put values with other characters "
            'than letters and digits in quotes, like "{word}".'
        ).format(word=word, position=at + 1)
    return BadExpression(message, at + 1, word)


class _Parser:
    """A recursive-descent parser; each method reads one rule of the grammar."""

    def __init__(self, tokens: list[_Token], attributes: Collection[str] | None) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0
        self._attributes = attributes

    @property
    def _now(self) -> _Token:
        return self._tokens[self._at]

    @property
    def _after(self) -> _Token:
        return self._tokens[min(self._at + 1, len(self._tokens) - 1)]

    @property
    def _is_compared(self) -> bool:
        """Whether a comparison follows the next word, so that this word is a field."""
        after = self._after
        is_listed = after.word == "in" and self._tokens[self._at + 2].text == "("
        return after.kind == "operator" or after.word in ("is", "equals", "not") or is_listed

    def _next(self) -> _Token:
        token = self._now
        self._at += token.kind != "end"
        return token

    def _takes(self, word: str) -> bool:
        """Read a keyword or mark if it comes next."""
        is_next = self._now.word == word or (self._now.kind == "mark" and self._now.text == word)
        if is_next:
            self._next()
        return is_next

    def whole(self) -> Expression:
        if self._now.kind == "end":
            message = gettext(
                "The expression is empty; write one like risk >= medium and value > 200."
            )
            raise BadExpression(message, 1, "")
        expression = self._either()
        if self._now.kind != "end":
            if self._now.text == ")":
                text = gettext(
                    "The bracket ) at position {position} closes nothing; delete it, or open "
                    "one before."
                )
                raise self._now.wrong(text)
            raise self._expected(gettext("and, or, or the end"), ("and", "or"))
        return expression

    def _either(self) -> Expression:
        expression = self._both()
        while self._takes("or"):
            expression = Or(expression, self._both())
        return expression

    def _both(self) -> Expression:
        expression = self._single()
        while self._takes("and"):
            expression = And(expression, self._single())
        return expression

    def _single(self) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            text = gettext("The expression is nested too deeply at position {position}.")
            raise self._now.wrong(text)
        try:
            if self._takes("not"):
                return Not(self._single())
            opening = self._now
            if self._takes("("):
                expression = self._either()
                if not self._takes(")"):
                    message = gettext(
                        "The bracket ( at position {position} is never closed; add ) after "
                        "the last condition in it."
                    )
                    raise opening.wrong(message)
                return expression
            return self._condition()
        finally:
            self._depth -= 1

    def _condition(self) -> Expression:
        if self._takes("bought"):
            return self._product("bought")
        if self._takes("in"):
            if self._takes("list"):
                return InList(self._text(gettext("the name of a list")).lower())
            if not self._takes("campaign"):
                raise self._expected(gettext("campaign or list"), ("campaign", "list"))
            return InCampaign(self._text(gettext("the name or id of a campaign")))
        if self._now.word in ("viewed", *ENGAGED) and not self._is_compared:
            action = self._next().word
            if action == "viewed":
                return self._product("viewed")
            days = self._duration() if self._takes("in") else None
            return Engaged(action, days)  # type: ignore[arg-type]
        return self._comparison()

    def _product(self, action: Literal["bought", "viewed"]) -> Expression:
        kind = self._now
        if kind.word not in PRODUCT_KINDS:
            raise self._expected(gettext("category, item or brand"), PRODUCT_KINDS)
        self._next()
        name = self._text(gettext("the name of the {kind}").format(kind=kind.word))
        days = self._duration() if self._takes("in") else None
        store = None
        if action == "bought" and self._takes("at"):
            if not self._takes(STORE):
                raise self._expected(STORE, (STORE,))
            store = self._text(gettext("the name of the store"))
        return Bought(kind.word, name, days, store, action)  # type: ignore[arg-type]

    def _duration(self) -> int:
        token = self._next()
        text = token.text
        if token.kind == "number" and self._now.kind == "word":  # "in 90 days"
            text = f"{text} {self._next().text}"
        days = parse_days(text)
        if days is None or not 1 <= days <= MAX_DAYS:
            message = gettext(
                "{word!r} at position {position} is not a time; write it like 90d, 12w or 6m."
            )
            raise BadExpression(message.format(word=text, position=token.at), token.at, text)
        return days

    def _comparison(self) -> Expression:
        name, days = self._field(), None
        if name.text in IN_PERIOD and self._now.word == "in" and self._after.text != "(":
            self._next()
            days = self._duration()
        negated = self._takes("not")
        if self._takes("in"):
            values = self._values(name.text)
            if name.text == STORE:
                found: Expression = AtStore(tuple(map(str, values)))
            else:
                found = OneOf(name.text, values, days)
            return Not(found) if negated else found
        if negated:
            raise self._expected("in", ("in",))
        if self._now.kind == "word" and self._now.word in ("is", "equals"):
            self._next()
            operator = "="
        elif self._now.kind == "operator":
            operator = self._next().text
            operator = _SAME_OPERATOR.get(operator, operator)
        else:
            text = gettext("a comparison ({operators} or in)")
            raise self._expected(text.format(operators=" ".join(OPERATORS)), ("in",))
        is_size = name.text == STORE and operator not in ("=", "!=")  # of the customers' own column
        value = self._attribute_value() if is_size else self._value(name.text)
        if isinstance(value, str) and operator not in ("=", "!=") and kind_of(name.text) != "tier":
            text = gettext(
                "{field} {operator} {value!r} at position {position} compares the size of a "
                "text; use = or !=, or a number."
            )
            raise name.wrong(text, "=", field=name.text, operator=operator, value=value)
        if name.text == STORE and not is_size:
            at_store = AtStore((str(value),))
            return at_store if operator == "=" else Not(at_store)
        return Comparison(name.text, operator, value, days)

    def _field(self) -> _Token:
        token = self._now
        if token.kind != "word" or token.word in KEYWORDS:
            raise self._expected(gettext("a field, bought, in campaign, not or ("), ())
        self._next()
        if token.word in FIELDS:
            return _Token("word", token.word, token.at)
        if self._attributes is None:
            return token
        by_lower = {name.lower(): name for name in self._attributes}
        if token.word in by_lower:
            return _Token("word", by_lower[token.word], token.at)
        valid = [*FIELDS, "bought", "viewed", *ENGAGED, *sorted(by_lower)]
        nearest = _nearest(token.word, valid)
        message = (
            gettext("There is no field {word!r} (position {position}). Did you mean {nearest}?")
            if nearest
            else gettext("There is no field {word!r} (position {position}); use one of {fields}.")
        )
        raise token.wrong(message, nearest, fields=", ".join(valid))

    def _values(self, field: str) -> tuple[Value, ...]:
        if not self._takes("("):
            raise self._expected(gettext("( and a list of values, like (Berlin, Hamburg)"), ())
        values = [self._value(field)]
        while self._takes(","):
            values.append(self._value(field))
        if not self._takes(")"):
            raise self._expected(gettext("a comma or )"), ())
        return tuple(dict.fromkeys(values))

    def _text(self, expected: str) -> str:
        token = self._now
        if token.kind == "text" and token.text[1:-1].strip():
            return self._next().text[1:-1]
        if token.kind in ("number", "duration", "literal") or (
            token.kind == "word" and token.word not in KEYWORDS
        ):
            return self._next().text
        raise self._expected(expected, ())

    def _value(self, field: str) -> Value:
        kind, token = kind_of(field), self._now
        if kind == "tier" and token.text.strip("\"'").lower() == "lapsed":
            text = gettext(
                "risk is lapsed at position {position}, but only active customers have a "
                "risk; use last_order > 90d, or list lapsed customers with `--tier lapsed`."
            )
            raise token.wrong(text)
        if kind == "tier":
            return self._one_of(TIERS)
        if kind == "consent":
            if token.word in _SAME_CONSENT:
                return _SAME_CONSENT[self._next().word]
            return self._one_of(CONSENT)
        if kind == "text":
            return self._text(gettext("a value"))
        if kind == "attribute":
            return self._attribute_value()
        if kind == "days":
            return self._number_of_days(token)
        return self._number(token, field, is_share=kind == "share")

    def _one_of(self, words: tuple[str, ...]) -> str:
        token = self._now
        plain = token.text.strip("\"'").lower()
        if token.kind in ("word", "text") and plain in words:
            self._next()
            return plain
        raise self._expected(gettext("one of {words}").format(words=", ".join(words)), words)

    def _attribute_value(self) -> Value:
        token = self._now
        if token.kind == "number":
            return float(self._next().text)
        return self._text(gettext("a value"))

    def _number_of_days(self, token: _Token) -> float:
        if token.kind == "duration":
            return float(parse_days(self._next().text) or 0)
        if token.kind == "number" and not token.text.startswith("-"):
            number = float(self._next().text)
            if self._now.word in ("day", "days", "d"):
                self._next()
            return number
        raise self._expected(gettext("a number of days, like 30d"), ())

    def _number(self, token: _Token, field: str, *, is_share: bool) -> float:
        if token.kind == "percent" and is_share:
            number = float(self._next().text.rstrip("%").strip()) / 100
        elif token.kind == "number":
            number = float(self._next().text)
        else:
            raise self._expected(gettext("a number for {field}").format(field=field), ())
        if is_share and not (0 <= number <= 1 or isclose(number, 1)):
            text = gettext(
                "{field} is {word} at position {position}; use a share from 0 to 1, or a "
                "percentage like 50%."
            )
            raise token.wrong(text, field=field)
        return number

    def _expected(self, expected: str, valid: tuple[str, ...]) -> BadExpression:
        """Build the error for the next token."""
        token = self._now
        nearest = _nearest(token.text, valid)
        if token.kind == "end":
            message = gettext("The expression ends at position {position}; add {expected}.")
        elif nearest:
            message = gettext(
                "{word!r} at position {position} is not {expected}. Did you mean {nearest}?"
            )
        else:
            message = gettext("{word!r} at position {position} should be {expected}.")
        return token.wrong(message, nearest, expected=expected)


def _nearest(word: str, valid: Collection[str]) -> str | None:
    matches = difflib.get_close_matches(word.lower(), valid, 1, cutoff=0.6)
    return matches[0] if matches else None
