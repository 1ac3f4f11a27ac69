"""What a customer is called in the results of jobs, in messages and in files, and the first two without them."""

import csv
import io
import json
import re
from collections.abc import Iterable
from html import escape
from typing import Any, Self

from sqlalchemy import ColumnElement, Text, cast, or_

from retention.csv import unmarked
from retention.privacy import pseudonym
from retention.settings import Settings

ERASED = "erased"
# In a text such an id may be a count, a price, an order or a campaign's name, unless it is called a customer: now, and as
# earlier versions wrote in dry runs and of codes. Messages that are about one customer are known by their job.
_COUNT = re.compile(r"\d{1,6}")
_EARLIER = ("*{}* ·", "*{}*\nSubject:", "by {}, order", "by {}; it is", "it is {}'s")
_CALLED = ("customer {}", "Customer {}", "customer '{}", *_EARLIER)
# What holds customers, in results and in messages: elsewhere the same word is an item's or an order's id.
_WHOSE = frozenset(
    {
        None,
        "customer_id",
        "customer",
        "customers",
        "other_id",
        "same_as",
        "merged",
        "used_by",
        "text",
        "value",
    }
)


class Names:
    """Everything that names a customer. In running text it is looked for as whole words, addresses in any case of letters.

    Parameters
    ----------
    ids : iterable of str
        Where a value is one of these and nothing else, its key says whether that is a customer; an address is always.
    unique : iterable of str
        What names nothing else: addresses, pseudonyms.
    """

    def __init__(self, ids: Iterable[str], unique: Iterable[str] = ()) -> None:
        ids, unique = frozenset(ids), frozenset(unique)
        self._by_key = frozenset(one for one in ids if "@" not in one) - unique
        self._counts = frozenset(one for one in ids | unique if _COUNT.fullmatch(one))
        called = (form.format(one) for one in self._counts for form in _CALLED)
        self._told = (ids | unique) - self._counts | frozenset(called)
        self._word = _words(self._told)

    @classmethod
    def of(cls, settings: Settings, ids: Iterable[str], contacts: Iterable[str]) -> Self:
        """Ids and addresses, and the pseudonyms that go with the ids, under older keys too."""
        ids = list(ids)
        return cls(
            ids, [*contacts, *(pseudonym(key, one) for key in settings.keys.all for one in ids)]
        )

    def within(self, column: Any) -> ColumnElement[bool]:
        """Rows that may name them, by the text of a column; what it finds is looked at more closely here."""
        text = cast(column, Text)
        told = {form for one in self._told for form in (one, *_written(one))} | set(
            map(json.dumps, self._counts)
        )
        addresses = {one.lower() for one in told if "@" in one}
        return or_(
            *(text.contains(one, autoescape=True) for one in sorted(told)),
            *(text.icontains(one, autoescape=True) for one in sorted(addresses)),
        )

    def named_in(self, text: str, key: str | None = None) -> bool:
        """Whether a text, under this key, is one of the names, or speaks of one."""
        return key in _WHOSE if text in self._by_key else bool(self._word.search(text))

    def listed_in(self, sheet: str) -> bool:
        """Whether a CSV file names them: its header says which columns hold customers."""
        sheet = unmarked(sheet)
        rows = csv.reader(io.StringIO(sheet, newline=""))
        theirs = [number for number, name in enumerate(next(rows, [])) if name in _WHOSE]
        cells = {
            row[number].removeprefix("'") for row in rows for number in theirs if number < len(row)
        }
        return not cells.isdisjoint(self._by_key) or bool(self._word.search(sheet))

    def out_of(self, data: Any) -> Any:
        """JSON without them: what names them is left out of lists, anything else says "erased"."""
        return self._without(data, None)

    def _without(self, data: Any, key: str | None) -> Any:
        if isinstance(data, str):
            return ERASED if self.named_in(data, key) else data
        if isinstance(data, dict):
            return {key: self._without(value, key) for key, value in data.items()}
        return (
            [one for one in data if not self._held_by(one, key)] if isinstance(data, list) else data
        )

    def _held_by(self, data: Any, key: str | None) -> bool:
        if isinstance(data, str):
            return self.named_in(data, key)
        if isinstance(data, dict):
            return any(self._held_by(value, key) for key, value in data.items())
        return isinstance(data, list) and any(self._held_by(one, key) for one in data)


def _words(told: Iterable[str]) -> re.Pattern[str]:
    forms = sorted(
        {form for one in told for form in (one, escape(one, quote=False))}, key=len, reverse=True
    )
    words = "|".join(
        f"(?i:{re.escape(form)})" if "@" in form else re.escape(form) for form in forms
    )
    # A dot goes on with a word (an address, 0.20) unless it ends the sentence.
    return re.compile(rf"(?<![\w.+@-])(?:{words})(?![\w+@-]|\.\w)" if forms else r"(?!)")


def _written(name: str) -> tuple[str, str]:
    """A name as it stands within a JSON string: a result's, and a message's, where ``& < >`` are escaped."""
    return json.dumps(name)[1:-1], json.dumps(escape(name, quote=False))[1:-1]
