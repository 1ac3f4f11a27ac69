"""What a customer is called in the results of jobs and in messages, and both without them."""

import json
import re
from collections.abc import Callable, Iterable
from html import escape
from typing import Any, Self

from sqlalchemy import ColumnElement, Text, cast, or_

from retention.privacy import pseudonym
from retention.settings import Settings

ERASED = "erased"
Named = Callable[[str, str | None], bool]
_COUNT = re.compile(r"\d{1,6}")  # an id like this stands in a text as a count, too
# What holds customers, in results and in messages: elsewhere the same word is an item's or an order's id.
_WHOSE = frozenset({
    None, "customer_id", "customer", "customers", "other_id", "same_as", "merged", "used_by", "text", "value",
})  # fmt: skip


class Names:
    """Everything that names a customer. In running text it is looked for as whole words.

    Parameters
    ----------
    ids : iterable of str
        Where a value is one of these and nothing else, its key says whether that is a customer; an address is always.
    unique : iterable of str
        What names nothing else: addresses, pseudonyms.
    """

    def __init__(self, ids: Iterable[str], unique: Iterable[str] = ()) -> None:
        ids, unique = frozenset(ids), frozenset(unique)
        self._all = ids | unique
        self._by_key = frozenset(one for one in ids if "@" not in one) - unique
        self._distinct = frozenset(one for one in self._all if not _COUNT.fullmatch(one))
        self._word, self._distinct_word = _words(self._all), _words(self._distinct)

    @classmethod
    def of(cls, settings: Settings, ids: Iterable[str], contacts: Iterable[str]) -> Self:
        """Ids and addresses, and the pseudonyms that go with the ids, under older keys too."""
        ids = list(ids)
        return cls(ids, [*contacts, *(pseudonym(key, one) for key in settings.keys.all for one in ids)])

    def within(self, column: Any) -> ColumnElement[bool]:
        """Rows that may name them, by the text of a column; what it finds is looked at more closely here."""
        told = {form for one in self._distinct for form in (one, *_written(one))}
        told |= {json.dumps(one) for one in self._all - self._distinct}
        return or_(*(cast(column, Text).contains(one, autoescape=True) for one in sorted(told)))

    def named_in(self, text: str, key: str | None = None) -> bool:
        """Whether a text, under this key, is one of the names, or speaks of one; a short number in a text is taken for a count."""
        return key in _WHOSE if text in self._by_key else bool(self._distinct_word.search(text))

    def spoken_of_in(self, text: str, key: str | None = None) -> bool:
        """Whether a text holds any of the names, short numbers too: for texts that are known to name people by their ids."""
        return bool(self._word.search(text))

    def out_of(self, data: Any, *, closely: bool = False) -> Any:
        """JSON without them: what names them is left out of lists, anything else says "erased".

        Parameters
        ----------
        closely : bool
            By `spoken_of_in`, not by `named_in`.
        """
        return _without(data, self.spoken_of_in if closely else self.named_in)


def _without(data: Any, named: Named, key: str | None = None) -> Any:
    if isinstance(data, str):
        return ERASED if named(data, key) else data
    if isinstance(data, dict):
        return {key: _without(value, named, key) for key, value in data.items()}
    return [one for one in data if not _holds(one, named, key)] if isinstance(data, list) else data


def _holds(data: Any, named: Named, key: str | None) -> bool:
    if isinstance(data, str):
        return named(data, key)
    if isinstance(data, dict):
        return any(_holds(value, named, key) for key, value in data.items())
    return isinstance(data, list) and any(_holds(one, named, key) for one in data)


def _words(told: Iterable[str]) -> re.Pattern[str]:
    forms = sorted({form for one in told for form in (one, escape(one, quote=False))}, key=len, reverse=True)
    # A dot goes on with a word (an address, 0.20) unless it ends the sentence.
    return re.compile(
        rf"(?<![\w.+@-])(?:{'|'.join(map(re.escape, forms))})(?![\w+@-]|\.\w)" if forms else r"(?!)"
    )


def _written(name: str) -> tuple[str, str]:
    """A name as it stands within a JSON string: a result's, and a message's, where ``& < >`` are escaped."""
    return json.dumps(name)[1:-1], json.dumps(escape(name, quote=False))[1:-1]
