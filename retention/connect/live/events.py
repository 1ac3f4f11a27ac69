"""Check live events row by row.

A row is a canonical event of the lake's table ``events``. A bad row is rejected with a code and a
sentence; the other rows of its batch are accepted.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import blake2b
from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic needs it before Python 3.12

from retention.errors import BadInput
from retention.lake.importing.quarantine_reasons import Reason, ReasonCode
from retention.lake.schema import EARLIEST, EVENT_TYPES, EVENTS
from retention.text import gettext

MAX_EVENTS = 1_000  # of one call
MAX_TEXT, MAX_QUERY, MAX_WRITTEN = 255, 1_000, 10_000  # characters
MAX_DEPTH = 32  # of JSON; the context of a tracking library has about five levels
MAX_NUMBER = 1e12  # of an amount or a quantity; a larger one is no price
MAX_CLOCK_SKEW = timedelta(days=1)  # as for imported files
BROWSER_TYPES = frozenset({"view", "search", "cart"})
# Anyone can send events of a page. They get ids of their own, so that none can be an order's id.
PAGE_ID = "page:"
SEGMENT_ID = "segment:"  # with a secret key too: a shopper's browser chooses the messageId
PAGE_SINCE = timedelta(days=7)  # as long as `inbox` knows an id; an app may have been offline
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST = datetime(EARLIEST.year, EARLIEST.month, EARLIEST.day, tzinfo=UTC)

Text = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT)]
Number = Annotated[float, Field(allow_inf_nan=False, ge=-MAX_NUMBER, le=MAX_NUMBER)]


class CanonicalEvent(TypedDict):
    """An event as a shop sends it; columns of `retention.lake.schema.EVENTS`."""

    __pydantic_config__ = ConfigDict(  # type: ignore[misc]
        extra="forbid", coerce_numbers_to_str=True, str_strip_whitespace=True
    )

    event_id: NotRequired[Text | None]
    customer_id: Text
    event_type: Literal[EVENT_TYPES]  # type: ignore[valid-type]
    occurred_at: datetime
    available_at: NotRequired[datetime | None]
    item_id: NotRequired[Text | None]
    order_id: NotRequired[Text | None]
    quantity: NotRequired[Number | None]
    amount: NotRequired[Number | None]
    discount: NotRequired[Number | None]
    currency: NotRequired[Annotated[str, StringConstraints(max_length=8)] | None]
    duration_s: NotRequired[Number | None]
    rating: NotRequired[Number | None]
    query: NotRequired[Annotated[str, StringConstraints(max_length=MAX_QUERY)] | None]
    channel: NotRequired[Annotated[str, StringConstraints(max_length=MAX_TEXT)] | None]
    source: NotRequired[Annotated[str, StringConstraints(max_length=MAX_TEXT)] | None]
    store: NotRequired[Annotated[str, StringConstraints(max_length=MAX_TEXT)] | None]
    # Of a review or a contact with support: a row of `schema.TEXTS`, too.
    text: NotRequired[Annotated[str, StringConstraints(max_length=MAX_WRITTEN)] | None]
    language: NotRequired[Annotated[str, StringConstraints(max_length=16)] | None]


@dataclass(frozen=True, slots=True)
class Rejection:
    """A row that was not accepted.

    `index`: place in the call, from 0.
    `code`: a code of `retention.lake.importing.quarantine_reasons.ReasonCode`, or
    ``not_an_object``, ``unknown_field``, ``too_long``, ``too_large``, ``not_text``,
    ``not_allowed``, ``unknown_event``.
    `text`: the reason as a sentence without a full stop.
    """

    index: int
    code: str
    text: str

    def as_dict(self) -> dict[str, Any]:
        """Return the rejection for the JSON answer."""
        return {"index": self.index, "code": self.code, "text": self.text}


@dataclass(frozen=True, slots=True)
class CheckedRows:
    """Rows that can be stored, with their keys, and the rejected ones.

    ``earlier_keys`` are those that earlier versions gave to rows whose ids have a prefix now.
    """

    rows: Sequence[dict[str, Any]]
    keys: Sequence[str]
    rejected: Sequence[Rejection]
    earlier_keys: Sequence[str] = ()


def parse_json(text: bytes) -> Any:
    """Parse JSON that is nested no deeper than an event can be."""
    parsed = json.loads(text)
    level = [parsed]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for each in level
            if isinstance(each, dict | list)
            for child in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return parsed
    raise ValueError("nested too deep")


def read_rows(body: bytes) -> list[Any]:
    """Read a JSON array, one JSON object, or NDJSON.

    A line that is not JSON becomes None, which `check_rows` rejects.
    """
    text = body.strip()
    try:
        if text.startswith(b"["):
            rows = parse_json(text)
        else:
            lines = [line for line in text.split(b"\n") if line.strip()]
            rows = [_line(line) for line in lines[: MAX_EVENTS + 1]]
    except (ValueError, RecursionError):
        raise BadInput(
            gettext("the body is no JSON; send a JSON array, or one JSON object per line")
        ) from None
    if not rows:
        raise BadInput(gettext("the body has no event"))
    if len(rows) > MAX_EVENTS:
        message = gettext("the body has more than {limit:,} events; send them in several calls")
        raise BadInput(message.format(limit=MAX_EVENTS))
    return list(rows)


def _line(line: bytes) -> Any:
    try:
        return parse_json(line)
    except (ValueError, RecursionError):
        return None


def check_rows(
    rows: Sequence[Any], now: datetime, *, source: str, is_page: bool = False, id_prefix: str = ""
) -> CheckedRows:
    """Check events and bring them into the form that the inbox stores.

    A `Rejection` among the rows stays one, with its place. Times become microseconds since 1970.
    ``source`` is that of events that name none. ``is_page``: anyone can have sent them.
    ``id_prefix`` is put before their ids; those of a page get `PAGE_ID`.
    """
    prefix = PAGE_ID if is_page else id_prefix
    accepted: list[dict[str, Any]] = []
    keys: list[str] = []
    earlier_keys: list[str] = []
    rejected: list[Rejection] = []
    for index, row in enumerate(rows):
        found = row if isinstance(row, Rejection) else _checked(row, now, is_page)
        if isinstance(found, Rejection):
            rejected.append(Rejection(index, found.code, found.text))
            continue
        found["source"] = found.get("source") or source
        if id_prefix and not is_page:
            earlier_keys.append(event_key(found))
        if found.get("event_id"):
            found["event_id"] = prefix + found["event_id"]
        accepted.append(found)
        keys.append(event_key(found))  # of the time as sent, which a repeated call has too
        if is_page:
            _mend_clock(found, now)
    return CheckedRows(accepted, keys, rejected, earlier_keys)


def _mend_clock(row: dict[str, Any], now: datetime) -> None:
    """Replace times of a device whose clock is wrong: the event has just arrived."""
    for name in ("occurred_at", "available_at"):
        at = row.get(name)
        if at is not None and not _micros(now - PAGE_SINCE) <= at <= _micros(now + MAX_CLOCK_SKEW):
            row[name] = _micros(now)


def _micros(at: datetime) -> int:
    return (at - EPOCH) // timedelta(microseconds=1)


def event_key(row: Mapping[str, Any]) -> str:
    """Return the hash of an event's identity.

    The identity is the event's id, else its content as in `schema.EVENT_IDENTITY`.
    """
    if event_id := row.get("event_id"):
        return content_key("id", event_id)
    return content_key(
        "content",
        row["source"],
        row["customer_id"],
        row["event_type"],
        row["occurred_at"],
        row.get("order_id"),
        row.get("item_id"),
        *(None if row.get(name) is None else int(row[name] * 10_000) for name in _SCALED),
    )


_SCALED = ("quantity", "amount")


def content_key(*parts: Any) -> str:
    """Return the hash of some values."""
    text = "\x1f".join("" if part is None else str(part) for part in parts)
    return blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()


@cache
def _adapter() -> TypeAdapter[CanonicalEvent]:
    return TypeAdapter(CanonicalEvent)


def _checked(row: Any, now: datetime, is_page: bool) -> dict[str, Any] | Rejection:
    """Return an event as it is stored; a rejection has no place yet."""
    if not isinstance(row, dict):
        return Rejection(0, "not_an_object", gettext("the row is no JSON object"))
    try:
        event: dict[str, Any] = dict(_adapter().validate_python(row))
    except ValidationError as error:
        return _rejection(error)
    if is_page and event["event_type"] not in BROWSER_TYPES:
        message = gettext("event_type is {value!r}; this key may send only {allowed}")
        allowed = ", ".join(sorted(BROWSER_TYPES))
        text = message.format(value=event["event_type"], allowed=allowed)
        return Rejection(0, "not_allowed", text)
    for name, value in event.items():
        if isinstance(value, str) and "\0" in value:
            values = gettext("the texts without the character NUL")
            return _reason(ReasonCode.UNKNOWN_VALUE, column=name, values=values)
    for name in ("occurred_at", "available_at"):
        at = event.get(name)
        if at is None:
            continue
        try:
            at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
        except OverflowError:  # before the year 1 or after 9999; refused below
            at = at.replace(tzinfo=UTC)
        if at < _EARLIEST and not is_page:
            return _reason(ReasonCode.IMPOSSIBLE_DATE, earliest=str(EARLIEST.year))
        if name == "occurred_at" and at > now + MAX_CLOCK_SKEW and not is_page:
            return _reason(ReasonCode.FUTURE_TIME)
        event[name] = _micros(at)
    if event.get("currency"):
        event["currency"] = event["currency"].upper()
    if is_page:
        event.pop("source", None)
    return {name: value for name, value in event.items() if value is not None and value != ""}


def _reason(code: ReasonCode, **data: str) -> Rejection:
    return Rejection(0, code.value, Reason(code, data).text)


# Pydantic's types of errors of a number.
_NO_NUMBER = ("float_type", "float_parsing", "finite_number")


def _rejection(error: ValidationError) -> Rejection:
    """Return the first fault of a row."""
    first = error.errors(include_url=False, include_input=True)[0]
    kind, column = first["type"], str(first["loc"][0]) if first["loc"] else ""
    is_missing = first.get("input") is None and column in EVENTS.required
    if is_missing or kind in ("missing", "string_too_short"):
        missing = Reason.missing(column)
        return Rejection(0, missing.code.value, missing.text)
    if kind == "literal_error":
        return _reason(ReasonCode.UNKNOWN_VALUE, column=column, values=", ".join(EVENT_TYPES))
    if kind in _NO_NUMBER:
        return _reason(ReasonCode.NOT_A_NUMBER, column=column)
    if column in ("occurred_at", "available_at"):
        return _reason(ReasonCode.NOT_A_TIME, column=column)
    if kind == "extra_forbidden":
        message = gettext("{column} is no column of an event; use {columns}")
        text = message.format(column=column[:40], columns=", ".join(CanonicalEvent.__annotations__))
        return Rejection(0, "unknown_field", text)
    if kind == "string_too_long":
        message = gettext("{column} has more than {limit} characters")
        text = message.format(column=column, limit=first["ctx"]["max_length"])
        return Rejection(0, "too_long", text)
    if kind in ("greater_than_equal", "less_than_equal"):
        text = gettext("{column} is beyond ±{limit:,.0f}").format(column=column, limit=MAX_NUMBER)
        return Rejection(0, "too_large", text)
    return Rejection(0, "not_text", gettext("{column} is no text").format(column=column))
