"""Find and remove names of customers.

Works on job results, messages and files.
"""

import csv
import io
import json
import re
from collections.abc import Iterable
from html import escape
from typing import Any, Self

from sqlalchemy import ColumnElement, Text, cast, or_

from retention.csv_text import unescape_cells
from retention.privacy import pseudonym
from retention.settings import Settings

ERASED = "erased"
# In a text, a short number may be a count, a price, an order or a campaign's name. It is a customer
# id only in these forms. _EARLIER_FORMS are from dry runs and coupon messages of earlier versions.
_COUNT = re.compile(r"\d{1,6}")
_EARLIER_FORMS = ("*{}* ·", "*{}*\nSubject:", "by {}, order", "by {}; it is", "it is {}'s")
_CUSTOMER_FORMS = ("customer {}", "Customer {}", "customer '{}", *_EARLIER_FORMS)
# Keys of customers in results and messages. Under other keys, the same id is an item or an order.
_CUSTOMER_KEYS = frozenset(
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


class CustomerNames:
    """All names of customers, for searching and redacting.

    In running text, names match as whole words, and addresses in any case.

    `unique`: names without other meanings: addresses and pseudonyms.
    """

    def __init__(self, ids: Iterable[str], unique: Iterable[str] = ()) -> None:
        ids, unique = frozenset(ids), frozenset(unique)
        self._ids = frozenset(name for name in ids if "@" not in name) - unique
        self._counts = frozenset(name for name in ids | unique if _COUNT.fullmatch(name))
        phrases = (form.format(name) for name in self._counts for form in _CUSTOMER_FORMS)
        self._forms = (ids | unique) - self._counts | frozenset(phrases)
        self._pattern = _word_pattern(self._forms)

    @classmethod
    def of(cls, settings: Settings, ids: Iterable[str], contacts: Iterable[str]) -> Self:
        """Collect ids, addresses, and pseudonyms under all keys."""
        ids = list(ids)
        pseudonyms = (
            pseudonym(key, customer_id) for key in settings.keys.all for customer_id in ids
        )
        return cls(ids, [*contacts, *pseudonyms])

    def may_mention(self, column: Any) -> ColumnElement[bool]:
        """Return SQL that preselects rows with a name. It may select a few rows without one."""
        text = cast(column, Text)
        names = {form for name in self._forms for form in (name, *_json_forms(name))} | set(
            map(json.dumps, self._counts)
        )
        addresses = {name.lower() for name in names if "@" in name}
        return or_(
            *(text.contains(name, autoescape=True) for name in sorted(names)),
            *(text.icontains(address, autoescape=True) for address in sorted(addresses)),
        )

    def is_mentioned_in(self, text: str, key: str | None = None) -> bool:
        """Return whether a text has a name."""
        return key in _CUSTOMER_KEYS if text in self._ids else bool(self._pattern.search(text))

    def masked(self, text: str, star: str = "") -> str:
        """Return a text with "erased" in the place of each name.

        `star`: instead, so many of this character that the text has as many bytes.
        """
        return self._pattern.sub(lambda name: star * len(name[0].encode()) or ERASED, text)

    def is_listed_in(self, sheet: str) -> bool:
        """Return whether a CSV file lists a name. Only columns of customers count."""
        sheet = unescape_cells(sheet)
        rows = csv.reader(io.StringIO(sheet, newline=""))
        columns = [number for number, name in enumerate(next(rows, [])) if name in _CUSTOMER_KEYS]
        cells = {
            row[number].removeprefix("'") for row in rows for number in columns if number < len(row)
        }
        return not cells.isdisjoint(self._ids) or bool(self._pattern.search(sheet))

    def redact(self, data: Any) -> Any:
        """Return JSON without names.

        List entries are dropped, and other values become "erased". An entry that has a name only
        in a list of its own, such as a block with a select, loses the entry of that list.
        """
        return self._redact(data, None)

    def _redact(self, data: Any, key: str | None) -> Any:
        if isinstance(data, str):
            return ERASED if self.is_mentioned_in(data, key) else data
        if isinstance(data, dict):
            return {key: self._redact(value, key) for key, value in data.items()}
        if isinstance(data, list):
            redacted = (self._redact_entry(entry, key) for entry in data)
            return [entry for entry in redacted if entry is not None]
        return data

    def _redact_entry(self, entry: Any, key: str | None) -> Any:
        """Return a list entry without names; None if it must go."""
        if not self._has_name(entry, key):
            return entry
        if not isinstance(entry, dict) or self._is_about(entry):
            return None
        redacted = self._redact(entry, key)
        return None if _has_emptied_list(entry, redacted) else redacted

    def _is_about(self, data: dict[str, Any]) -> bool:
        """Return whether an object has a name outside of its lists."""
        return any(
            self._is_about(value)
            if isinstance(value, dict)
            else isinstance(value, str) and self.is_mentioned_in(value, key)
            for key, value in data.items()
        )

    def _has_name(self, data: Any, key: str | None) -> bool:
        if isinstance(data, str):
            return self.is_mentioned_in(data, key)
        if isinstance(data, dict):
            return any(self._has_name(value, key) for key, value in data.items())
        return isinstance(data, list) and any(self._has_name(entry, key) for entry in data)


def _has_emptied_list(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Return whether a list lost all its entries: Slack refuses empty ones."""
    return any(
        bool(value) and not after[key]
        if isinstance(value, list)
        else isinstance(value, dict) and _has_emptied_list(value, after[key])
        for key, value in before.items()
    )


def _word_pattern(names: Iterable[str]) -> re.Pattern[str]:
    forms = sorted(
        {form for name in names for form in (name, escape(name, quote=False))},
        key=len,
        reverse=True,
    )
    words = "|".join(
        f"(?i:{re.escape(form)})" if "@" in form else re.escape(form) for form in forms
    )
    # A dot inside a word (an address, 0.20) continues it; a dot at the end of a sentence does not.
    return re.compile(rf"(?<![\w.+@-])(?:{words})(?![\w+@-]|\.\w)" if forms else r"(?!)")


def _json_forms(name: str) -> tuple[str, str]:
    """Return the JSON forms of a name. Results have the plain form. Messages escape ``& < >``."""
    return json.dumps(name)[1:-1], json.dumps(escape(name, quote=False))[1:-1]
