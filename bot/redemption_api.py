"""What the shop's tills and web shop call: ``POST /redemptions``, signed with the key that they share with us."""

import logging
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from bot.buckets import TokenBuckets
from retention import clock
from retention.campaigns import coupons
from retention.campaigns.offers import public_terms
from retention.campaigns.redemptions import CodeUse, outcome_text, redeem
from retention.db import Database
from retention.db.tables import Assignment, Coupon, Redemption
from retention.privacy import signing
from retention.settings import Settings

log = logging.getLogger(__name__)

REDEMPTIONS = "/redemptions"
LARGEST = 10_000  # bytes
# When a code can have been used.
FIRST, LAST = (datetime(year, 1, 1, tzinfo=UTC) for year in (1970, 2100))
AHEAD = timedelta(
    days=1
)  # a till's own time may be told without its zone; files are held to the same
_STATUS = {
    "redeemed": 200,
    "repeated": 200,
    "unknown": 404,
    "expired": 410,
    "void": 410,
}  # else 409

WRONG_CODES, SECONDS = (
    20,
    60,
)  # different unknown codes of all tills together; above this every call waits
REPEAT_SECONDS, MAX_RECENT = (
    60,
    1_000,
)  # in which an unknown code is answered from memory; codes remembered

Answer = tuple[int, dict[str, Any]]


class WrongCodes:
    """Count unknown codes, so that nobody can find a valid code by trying.

    One count covers all tills, because they share one key. The count is in memory: a restart clears it. Calls that are
    judged at the same moment may exceed the limit by the server's threads; that debt is waited for.

    Parameters
    ----------
    buckets : TokenBuckets, optional
        Another limit than `WRONG_CODES` in `SECONDS`.
    """

    def __init__(self, buckets: TokenBuckets | None = None) -> None:
        self._buckets = TokenBuckets(WRONG_CODES, SECONDS) if buckets is None else buckets
        self._recent: OrderedDict[str, float] = (
            OrderedDict()
        )  # unknown codes, and when each was last looked up
        self._lock = Lock()

    def was_unknown(self, code: str) -> bool:
        """Whether this code was unknown a moment ago: a till that repeats one code guesses nothing."""
        with self._lock:
            return time.monotonic() - self._recent.get(code, float("-inf")) < REPEAT_SECONDS

    def wait_seconds(self) -> int:
        """Return the seconds until the next call is judged; 0 where it is judged now."""
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
                "%s unknown codes within %s s: redemptions wait %s s", WRONG_CODES, SECONDS, wait
            )


class _Told(BaseModel):
    """The body of a call."""

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
        if aware is not None and not FIRST <= aware < LAST:
            raise ValueError(
                f"it lies outside the years {FIRST.year} to {LAST.year - 1}; without it, it is now"
            )
        return aware

    @field_validator("code", "customer_id", "order_id", "id")
    @classmethod
    def _storable(cls, text: str | None) -> str | None:
        if text is not None and "\0" in text:
            raise ValueError("it holds the character NUL, which cannot be stored")
        return text


def redemption(
    database: Database,
    settings: Settings,
    headers: Mapping[str, str],
    body: bytes,
    wrong_codes: WrongCodes,
) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Take one redemption. The same call again, however it is signed, is answered alike and changes nothing.

    Parameters
    ----------
    database : Database
        Where codes and redemptions are stored.
    settings : Settings
        Their ``redemption_key`` has to have signed the call.
    headers : mapping
        By their names in lower case.
    body : bytes
        As it was signed.
    wrong_codes : WrongCodes
        The server's count of unknown codes. While it is over the limit no code is looked up, so the answer 429 says
        nothing about the code.

    Returns
    -------
    tuple
        HTTP status, the JSON to answer with, and further headers.
    """
    told = _read(settings, headers, body)
    if isinstance(told, tuple):
        return *told, {}
    if wrong_codes.was_unknown(told.code):
        return _STATUS["unknown"], {"outcome": "unknown", "said": outcome_text("unknown")}, {}
    if wait := wrong_codes.wait_seconds():
        return (
            429,
            {"error": f"too many unknown codes; send this again in {wait} s"},
            {"Retry-After": str(wait)},
        )
    try:
        status, answer = _taken(database, settings, told, body)
    except SQLAlchemyError as error:
        log.error("cannot store a redemption: %s", type(error).__name__)
        return 503, {"error": "it could not be stored; please send it again"}, {}
    if answer["outcome"] == "unknown":
        wrong_codes.add(told.code)
    return status, answer, {}


def _read(settings: Settings, headers: Mapping[str, str], body: bytes) -> _Told | Answer:
    """Return the call where it is signed and complete, else why not."""
    if settings.redemption_key is None:
        return 404, {"error": "redemptions are not taken here: RETENTION_REDEMPTION_KEY is not set"}
    if len(body) > LARGEST:
        return 413, {"error": f"the body has more than {LARGEST:,} bytes"}
    key = settings.redemption_key.get_secret_value().encode()
    stamp, signature = (
        headers.get(name.lower(), "") for name in (signing.TIMESTAMP, signing.SIGNATURE)
    )
    if why := signing.why_not(key, body, stamp, signature, clock.wall()):
        return 401, {"error": why}
    try:
        told = _Told.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the body"
        return 400, {"error": f"{place}: {first['msg'].removeprefix('Value error, ').lower()}"}
    if told.at is not None and told.at > clock.now() + AHEAD:
        when = f"{told.at.astimezone(UTC):%Y-%m-%d %H:%M}"
        return 400, {
            "error": f"at: {when} UTC lies in the future; set the till's clock right, or leave it out: without it, it is now"
        }
    return told


def _key(session: Session, told: _Told, use: CodeUse, body: bytes) -> str:
    """What makes a call one: its ``id`` and code, for a slip may have several codes; without an ``id`` its bytes."""
    if told.id is None:
        return body.decode("utf-8", "replace")
    code, alone = coupons.normalize_code(told.code), f"id:{told.id}"
    # Before, a call was stored by its ``id`` alone: sent again for its code it is that call still.
    stored = Redemption.key == replace(use, key=alone).identity, Redemption.code == code
    return alone if session.scalar(select(Redemption.id).where(*stored)) else f"{alone} {code}"


def _taken(database: Database, settings: Settings, told: _Told, body: bytes) -> Answer:
    use = CodeUse(told.code, told.at or clock.now(), "http", told.customer_id, told.order_id)
    with database.transaction() as session:
        (outcome,) = redeem(session, settings, [replace(use, key=_key(session, told, use, body))])
        answer: dict[str, Any] = {"outcome": outcome, "said": outcome_text(outcome)}
        if outcome in ("redeemed", "repeated"):
            offer = session.execute(
                select(Coupon.campaign_id, Assignment.offer)
                .join(
                    Assignment,
                    (Assignment.campaign_id == Coupon.campaign_id)
                    & (Assignment.customer_id == Coupon.customer_id),
                )
                .where(Coupon.code == coupons.normalize_code(told.code))
            ).one()
            answer |= {"campaign_id": offer.campaign_id, **public_terms(offer.offer)}
    return _STATUS.get(outcome, 409), answer
