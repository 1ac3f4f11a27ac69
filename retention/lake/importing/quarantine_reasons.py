"""Define the reasons for quarantine and their remedies."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from retention.text import gettext


class ReasonCode(StrEnum):
    """Codes of reasons, as stored and printed by ``--json``."""

    MISSING_CUSTOMER = "missing_customer"
    MISSING_VALUE = "missing_value"
    NOT_A_NUMBER = "not_a_number"
    NOT_A_TIME = "not_a_time"
    NOT_A_FLAG = "not_a_flag"
    NOT_JSON = "not_json"
    UNKNOWN_VALUE = "unknown_value"
    FUTURE_TIME = "future_time"
    IMPOSSIBLE_DATE = "impossible_date"
    UNKNOWN_COUPON = "unknown_coupon"
    UNKNOWN_RECIPIENT = "unknown_recipient"
    UNKNOWN_MEMBER = "unknown_member"
    BROKEN_LINE = "broken_line"
    PLACEHOLDER_CUSTOMER = "placeholder_customer"
    TEST_ORDER = "test_order"
    BOOKKEEPING = "bookkeeping"
    CONTRADICTORY_SIGNS = "contradictory_signs"
    NOTHING_PAID = "nothing_paid"
    DUPLICATE_ORDER = "duplicate_order"
    DUPLICATE_LINE_TIME = "duplicate_line_time"
    DUPLICATE_LINE_AMOUNT = "duplicate_line_amount"
    BOT = "bot"
    UNUSUAL_PRICE = "unusual_price"
    OTHER = "other"  # a sentence of an earlier version that no pattern matches


@dataclass(frozen=True, slots=True)
class Reason:
    """Reason for a row's quarantine."""

    code: ReasonCode
    data: Mapping[str, str] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash(self.key)

    @classmethod
    def missing(cls, column: str) -> "Reason":
        """Return the reason for a missing value."""
        if column == "customer_id":
            return cls(ReasonCode.MISSING_CUSTOMER)
        return cls(ReasonCode.MISSING_VALUE, {"column": column})

    @classmethod
    def parse(cls, text: str) -> "Reason":
        """Parse a `key` or a sentence of earlier versions."""
        code, _, data = text.partition(" ")
        if code in _CODES and (not data or data.startswith("{")):
            return cls(ReasonCode(code), json.loads(data or "{}"))
        for pattern, known in _EARLIER_SENTENCES:
            if match := re.fullmatch(pattern, text, re.DOTALL):
                return cls(known, match.groupdict())
        return cls(ReasonCode.OTHER, {"text": text})

    @property
    def data_json(self) -> str:
        """The data as JSON; empty without data."""
        if not self.data:
            return ""
        return json.dumps(self.data, ensure_ascii=False, sort_keys=True, separators=(",", ":"))

    @property
    def key(self) -> str:
        """Code and data as one text, for SQL."""
        return f"{self.code} {self.data_json}".rstrip()

    @property
    def text(self) -> str:
        """The reason as a sentence without a full stop."""
        return _SENTENCES[self.code]().format(**self.data)

    @property
    def remedy(self) -> str:
        """The remedy as a sentence without a full stop."""
        return _REMEDIES[self.code]().format(**self.data)


_CODES = frozenset(ReasonCode)

# Functions, because the language is known only at run time.
_SENTENCES: dict[ReasonCode, Callable[[], str]] = {
    ReasonCode.MISSING_CUSTOMER: lambda: gettext("customer_id is missing"),
    ReasonCode.MISSING_VALUE: lambda: gettext("{column} is missing"),
    ReasonCode.NOT_A_NUMBER: lambda: gettext("{column} is no number"),
    ReasonCode.NOT_A_TIME: lambda: gettext("{column} is no date or time"),
    ReasonCode.NOT_A_FLAG: lambda: gettext("{column} is neither yes nor no"),
    ReasonCode.NOT_JSON: lambda: gettext("{column} is no JSON"),
    ReasonCode.UNKNOWN_VALUE: lambda: gettext("{column} is none of {values}"),
    ReasonCode.FUTURE_TIME: lambda: gettext("occurred_at lies in the future"),
    ReasonCode.IMPOSSIBLE_DATE: lambda: gettext("occurred_at lies before {earliest}"),
    ReasonCode.UNKNOWN_COUPON: lambda: gettext("no code of ours"),
    ReasonCode.UNKNOWN_RECIPIENT: lambda: gettext(
        "nobody to whom a copy of ours had gone in the two weeks before"
    ),
    ReasonCode.UNKNOWN_MEMBER: lambda: gettext("no customer has this id or address"),
    ReasonCode.BROKEN_LINE: lambda: gettext("the line is broken: {fault}"),
    ReasonCode.PLACEHOLDER_CUSTOMER: lambda: gettext(
        "customer_id stands for everybody who has none"
    ),
    ReasonCode.TEST_ORDER: lambda: gettext("a test order"),
    ReasonCode.BOOKKEEPING: lambda: gettext("a line of the accounts, not a sale"),
    ReasonCode.CONTRADICTORY_SIGNS: lambda: gettext("amount and quantity contradict each other"),
    ReasonCode.NOTHING_PAID: lambda: gettext("nothing was paid for the whole order"),
    ReasonCode.DUPLICATE_ORDER: lambda: gettext("the same order twice under different ids"),
    ReasonCode.DUPLICATE_LINE_TIME: lambda: gettext(
        "the same line of an order twice at nearly the same time"
    ),
    ReasonCode.DUPLICATE_LINE_AMOUNT: lambda: gettext(
        "the same line of an order twice for nearly the same amount"
    ),
    ReasonCode.BOT: lambda: gettext("browsing faster than a person can look"),
    ReasonCode.UNUSUAL_PRICE: lambda: gettext("a price far from the item's own"),
    ReasonCode.OTHER: lambda: "{text}",
}

_REMEDIES: dict[ReasonCode, Callable[[], str]] = {
    ReasonCode.MISSING_CUSTOMER: lambda: gettext(
        "guests cannot be won back; map another column onto customer_id if there is one, "
        "then `retention data release`"
    ),
    ReasonCode.MISSING_VALUE: lambda: gettext(
        "map a column that has it onto {column}, or complete the source and import it again"
    ),
    ReasonCode.NOT_A_NUMBER: lambda: gettext(
        "write {column} in the source as a plain number, or make it one in the map's `from`, "
        "and import the file again"
    ),
    ReasonCode.NOT_A_TIME: lambda: gettext(
        "write {column} in the source like 2010-12-31 08:26, or make it so in the map's `from`, "
        "and import the file again"
    ),
    ReasonCode.NOT_A_FLAG: lambda: gettext(
        "map {column} with {{ sql = … }} to true or false, then `retention data release`"
    ),
    ReasonCode.NOT_JSON: lambda: gettext(
        "mend {column} in the source, or leave it out of the map, then `retention data release`"
    ),
    ReasonCode.UNKNOWN_VALUE: lambda: gettext(
        "translate {column} in the map with {{ sql = 'CASE …' }}, then `retention data release`"
    ),
    ReasonCode.FUTURE_TIME: lambda: gettext(
        "see that the map's time zone and the order of day and month are right, "
        "then `retention data release`"
    ),
    ReasonCode.IMPOSSIBLE_DATE: lambda: gettext(
        "a default stands where no date was known; mend the source, or set earliest of "
        "[impossible_date] in clean.toml, then `retention data release`"
    ),
    ReasonCode.UNKNOWN_COUPON: lambda: gettext(
        "see whether it was typed right (a check character tells), or is another system's; "
        "mend it and import the file again"
    ),
    ReasonCode.UNKNOWN_RECIPIENT: lambda: gettext(
        "mend the source or the map, then `retention data release`"
    ),
    ReasonCode.UNKNOWN_MEMBER: lambda: gettext(
        "correct it in the file, or import the customer first, and import the list again"
    ),
    ReasonCode.BROKEN_LINE: lambda: gettext(
        "mend the line in the file (a quote or a delimiter too many) and import the file again"
    ),
    ReasonCode.PLACEHOLDER_CUSTOMER: lambda: gettext(
        "map another column onto customer_id; or, if it is one customer, take the word out of "
        "[placeholder_customer] in clean.toml, then `retention data release`"
    ),
    ReasonCode.TEST_ORDER: lambda: gettext(
        "nothing to do; if it is none, change [test_order] in clean.toml, "
        "then `retention data release`"
    ),
    ReasonCode.BOOKKEEPING: lambda: gettext(
        "nothing to do; if it is a product, change [bookkeeping] in clean.toml, "
        "then `retention data release`"
    ),
    ReasonCode.CONTRADICTORY_SIGNS: lambda: gettext(
        "say in the map what is a return (event_type); or set [negative] to keep in clean.toml, "
        "then `retention data release`"
    ),
    ReasonCode.NOTHING_PAID: lambda: gettext(
        "if samples count as orders, set [nothing_paid] to keep in clean.toml, "
        "then `retention data release`"
    ),
    ReasonCode.DUPLICATE_ORDER: lambda: gettext(
        "nothing to do; if both are real, lower or switch off [order_twice] in clean.toml, "
        "then `retention data release`"
    ),
    ReasonCode.DUPLICATE_LINE_TIME: lambda: gettext(
        "nothing to do; if both are real, lower or switch off [near_duplicate] in clean.toml, "
        "then `retention data release`"
    ),
    ReasonCode.DUPLICATE_LINE_AMOUNT: lambda: gettext(
        "nothing to do; if both are real, lower or switch off [near_duplicate] in clean.toml, "
        "then `retention data release`"
    ),
    ReasonCode.BOT: lambda: gettext(
        "nothing to do; if it is a person, raise the limits of [bot] in clean.toml, "
        "then `retention data release`"
    ),
    ReasonCode.UNUSUAL_PRICE: lambda: gettext(
        "check the amount; if it is right, the operator can accept such prices: a higher `factor` "
        "under `[price]` in clean.toml, then `retention data release`"
    ),
    ReasonCode.OTHER: lambda: gettext("mend the source or the map, then `retention data release`"),
}

# Stored data: earlier versions wrote these sentences and no codes. Do not change them together
# with the sentences above. The first match applies.
_EARLIER_SENTENCES: tuple[tuple[str, ReasonCode], ...] = (
    (r"customer_id is missing", ReasonCode.MISSING_CUSTOMER),
    (r"(?P<column>\w+) is missing", ReasonCode.MISSING_VALUE),
    (r"(?P<column>.+) is no number", ReasonCode.NOT_A_NUMBER),
    (r"(?P<column>.+) is no date or time", ReasonCode.NOT_A_TIME),
    (r"(?P<column>.+) is neither yes nor no", ReasonCode.NOT_A_FLAG),
    (r"(?P<column>.+) is no JSON", ReasonCode.NOT_JSON),
    (r"(?P<column>\w+) is none of (?P<values>.*)", ReasonCode.UNKNOWN_VALUE),
    (r"occurred_at lies in the future", ReasonCode.FUTURE_TIME),
    (r"occurred_at lies before (?P<earliest>.*)", ReasonCode.IMPOSSIBLE_DATE),
    (r"no code of ours", ReasonCode.UNKNOWN_COUPON),
    (
        r"nobody to whom a copy of ours had gone in the two weeks before",
        ReasonCode.UNKNOWN_RECIPIENT,
    ),
    (r"the line is broken: (?P<fault>.*)", ReasonCode.BROKEN_LINE),
    (r"customer_id stands for everybody who has none", ReasonCode.PLACEHOLDER_CUSTOMER),
    (r"a test order", ReasonCode.TEST_ORDER),
    (r"a line of the accounts, not a sale", ReasonCode.BOOKKEEPING),
    (r"amount and quantity contradict each other", ReasonCode.CONTRADICTORY_SIGNS),
    (r"nothing was paid for the whole order", ReasonCode.NOTHING_PAID),
    (r"the same order twice under different ids", ReasonCode.DUPLICATE_ORDER),
    (r"the same line of an order twice at nearly the same time", ReasonCode.DUPLICATE_LINE_TIME),
    (
        r"the same line of an order twice for nearly the same amount",
        ReasonCode.DUPLICATE_LINE_AMOUNT,
    ),
    (r"browsing faster than a person can look", ReasonCode.BOT),
    (r"a price far from the item's own", ReasonCode.UNUSUAL_PRICE),
)


def by_code(counts: Mapping[Reason, int]) -> dict[str, int]:
    """Sum row counts by code, most frequent first."""
    return _totals((reason.code.value, rows) for reason, rows in counts.items())


def by_text(counts: Mapping[Reason, int]) -> dict[str, int]:
    """Sum row counts by sentence, most frequent first."""
    return _totals((reason.text, rows) for reason, rows in counts.items())


def _totals(counts: Iterable[tuple[str, int]]) -> dict[str, int]:
    totals: Counter[str] = Counter()
    for name, rows in counts:
        totals[name] += rows
    return dict(totals.most_common())
