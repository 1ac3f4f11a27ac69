"""Answer ``POST /redemptions``.

Tills and web shops sign these calls.
"""

import logging
import time
from collections import OrderedDict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from bot.http.rate_limit import TokenBuckets
from bot.http.requests import Reply, Request, error_reply, json_reply
from retention import clock
from retention.campaigns.codes import coupons
from retention.campaigns.codes.redemptions import CodeUse, outcome_text, redeem
from retention.campaigns.planning.offer_terms import public_terms
from retention.db import Database, Transaction
from retention.db.tables import Assignment, Coupon, Redemption
from retention.privacy import signing
from retention.settings import Settings
from retention.text import gettext

log = logging.getLogger(__name__)

PATH = "/redemptions"
MAX_BODY_BYTES = 10_000
# The time of a redemption must lie in this range.
MIN_TIME, MAX_TIME = (datetime(year, 1, 1, tzinfo=UTC) for year in (1970, 2100))
# A till may send its local time without a zone. Imported files have the same limit.
MAX_CLOCK_SKEW = timedelta(days=1)
# HTTP status by outcome; 409 for any other outcome.
_STATUS = {"redeemed": 200, "repeated": 200, "unknown": 404, "expired": 410, "void": 410}

# Limit of different unknown codes of all tills together; above it every call waits.
MAX_UNKNOWN_CODES, WINDOW_SECONDS = 20, 60
# How long, and for how many codes, a repeated unknown code is answered from memory.
REPEAT_SECONDS, MAX_RECENT = 60, 1_000


class UnknownCodes:
    """Limit unknown codes against guessing.

    One count covers all tills, because they share one key. The count is in memory, and a restart
    clears it. Calls at the same moment may exceed the limit by the server's threads. Later calls
    wait for that debt.

    `buckets`: replaces the limit of `MAX_UNKNOWN_CODES` in `WINDOW_SECONDS`.
    """

    def __init__(self, buckets: TokenBuckets | None = None) -> None:
        self._buckets = (
            TokenBuckets(MAX_UNKNOWN_CODES, WINDOW_SECONDS) if buckets is None else buckets
        )
        # Unknown codes and the time of their latest lookup.
        self._recent: OrderedDict[str, float] = OrderedDict()
        self._lock = Lock()

    def was_unknown(self, code: str) -> bool:
        """Return whether this code was unknown a moment ago.

        A till that repeats one code does not guess.
        """
        with self._lock:
            return time.monotonic() - self._recent.get(code, float("-inf")) < REPEAT_SECONDS

    def wait_seconds(self) -> int:
        """Return the wait until the next lookup. The unit is seconds; 0 means no wait."""
        return self._buckets.wait_seconds("")

    def add(self, code: str) -> None:
        """Count one unknown code."""
        with self._lock:
            self._recent[code] = time.monotonic()
            while len(self._recent) > MAX_RECENT:
                self._recent.popitem(last=False)
        self._buckets.spend("")
        if wait := self.wait_seconds():
            log.warning(
                "%s unknown codes within %s s: redemptions wait %s s",
                MAX_UNKNOWN_CODES,
                WINDOW_SECONDS,
                wait,
            )


class _RedemptionCall(BaseModel):
    model_config = ConfigDict(extra="forbid")

    code: Annotated[str, Field(min_length=1, max_length=64)]
    customer_id: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    order_id: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    at: datetime | None = None
    id: Annotated[str, Field(min_length=1, max_length=255)] | None = None

    @field_validator("at")
    @classmethod
    def _aware(cls, at: datetime | None) -> datetime | None:
        aware = at if at is None or at.tzinfo else at.replace(tzinfo=UTC)
        if aware is not None and not MIN_TIME <= aware < MAX_TIME:
            text = gettext("it lies outside the years {first} to {last}; without it, it is now")
            raise ValueError(text.format(first=MIN_TIME.year, last=MAX_TIME.year - 1))
        return aware

    @field_validator("code", "customer_id", "order_id", "id")
    @classmethod
    def _storable(cls, text: str | None) -> str | None:
        if text is not None and "\0" in text:
            raise ValueError(gettext("it holds the character NUL, which cannot be stored"))
        return text


class RedemptionApi:
    """The route of redemptions. Without a key it answers 404."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.unknown_codes = UnknownCodes()

    def handle(self, request: Request) -> Reply:
        """Record one redemption.

        A repeated call, with any valid signature, gets the same answer and changes nothing. Above
        the limit of unknown codes none is looked up, so the answer 429 reveals nothing about the
        code.
        """
        call = _parse_call(self._database.settings, request)
        if isinstance(call, Reply):
            return call
        unknown = {"outcome": "unknown", "said": outcome_text("unknown")}
        if self.unknown_codes.was_unknown(call.code):
            return json_reply(_STATUS["unknown"], unknown)
        if wait := self.unknown_codes.wait_seconds():
            text = gettext("too many unknown codes; send this again in {seconds} s")
            return error_reply(429, text.format(seconds=wait), {"Retry-After": str(wait)})
        try:
            answer = _redeem_code(self._database, call, request.body)
        except SQLAlchemyError as error:
            log.error("cannot store a redemption: %s", type(error).__name__)
            return error_reply(503, gettext("it could not be stored; please send it again"))
        if answer["outcome"] == "unknown":
            self.unknown_codes.add(call.code)
        return json_reply(_STATUS.get(answer["outcome"], 409), answer)


def _parse_call(settings: Settings, request: Request) -> _RedemptionCall | Reply:
    """Return the call, or the error answer."""
    if settings.redemption_key is None:
        text = gettext("redemptions are not taken here: RETENTION_REDEMPTION_KEY is not set")
        return error_reply(404, text)
    if len(request.body) > MAX_BODY_BYTES:
        text = gettext("the body has more than {limit:,} bytes").format(limit=MAX_BODY_BYTES)
        return error_reply(413, text)
    key = settings.redemption_key.get_secret_value().encode()
    stamp, signature = (
        request.header(name.lower()) for name in (signing.TIMESTAMP, signing.SIGNATURE)
    )
    if fault := signing.signature_fault(key, request.body, stamp, signature, clock.wall()):
        return error_reply(401, fault)
    try:
        call = _RedemptionCall.model_validate_json(request.body)
    except ValidationError as invalid:
        first = invalid.errors()[0]
        place = ".".join(map(str, first["loc"])) or gettext("the body")
        return error_reply(400, f"{place}: {first['msg'].removeprefix('Value error, ').lower()}")
    if call.at is not None and call.at > clock.now() + MAX_CLOCK_SKEW:
        text = gettext(
            "at: {time} UTC lies in the future; set the till's clock right, "
            "or leave it out: without it, it is now"
        )
        return error_reply(400, text.format(time=f"{call.at.astimezone(UTC):%Y-%m-%d %H:%M}"))
    return call


def _idempotency_key(session: Transaction, call: _RedemptionCall, use: CodeUse, body: bytes) -> str:
    """Return the call's idempotency key.

    It is its ``id`` and code, or else its bytes. A receipt may have several codes.
    """
    if call.id is None:
        return body.decode("utf-8", "replace")
    code, id_key = coupons.normalize_code(call.code), f"id:{call.id}"
    # Earlier versions stored a call by its ``id`` alone.
    stored = Redemption.key == replace(use, key=id_key).identity, Redemption.code == code
    return id_key if session.scalar(select(Redemption.id).where(*stored)) else f"{id_key} {code}"


def _redeem_code(database: Database, call: _RedemptionCall, body: bytes) -> dict[str, Any]:
    use = CodeUse(call.code, call.at or clock.now(), "http", call.customer_id, call.order_id)
    with database.transaction() as session:
        key = _idempotency_key(session, call, use, body)
        (outcome,) = redeem(session, [replace(use, key=key)])
        answer: dict[str, Any] = {"outcome": outcome, "said": outcome_text(outcome)}
        if outcome in ("redeemed", "repeated"):
            offer = session.execute(
                select(Coupon.campaign_id, Assignment.offer)
                .join(Assignment, coupons.OF_CUSTOMER)
                .where(Coupon.code == coupons.normalize_code(call.code))
            ).one()
            answer |= {"campaign_id": offer.campaign_id, **public_terms(offer.offer)}
    return answer
