"""Call a platform's HTTP API.

The client turns each failure into a `ConnectorError` with a code. It never repeats a request that
may have had an effect: the job that called decides, because it knows whether a repeat can do harm.
"""

import base64
import copy
import hashlib
import hmac
import json
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import IO, Any, TypeVar

import httpx2

from retention import clock
from retention.connect.contract import ConnectorError, ErrorCode
from retention.errors import BadInput
from retention.outreach.adapter import requested_pause, secure_parts
from retention.text import gettext

TIMEOUT = httpx2.Timeout(20.0, connect=5.0)
MAX_ANSWER = 32 * 2**20  # bytes
MAX_DOWNLOAD = 4 << 30  # bytes
MAX_REASON = 2_000  # bytes of a refusal that are kept
DEFAULT_PAUSE = timedelta(seconds=10)
MAX_WAIT = 60.0  # seconds; a longer wait ends the job, and the next one continues
MAX_ATTEMPTS = 6
# Headers of platforms without Retry-After: SendGrid's has a Unix time, Brevo's has seconds.
RESET_HEADERS = ("x-ratelimit-reset", "x-sib-ratelimit-reset")
_OF_PACKED = ("content-encoding", "content-length", "transfer-encoding")
T = TypeVar("T")
# The request did not arrive.
_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
_CODES: dict[int, ErrorCode] = {
    401: "access_denied",
    402: "plan_limit",
    403: "scope_missing",
    408: "unavailable",
    425: "unavailable",
}


def check_address(url: str, field: str) -> str:
    """Return a platform's address without a slash at its end.

    Raises `BadInput`: it is no HTTPS address; plain HTTP is allowed on this machine only.
    """
    if secure_parts(url) is None:
        message = gettext("{field} is {url!r}; write it like https://shop.example.")
        raise BadInput(message.format(field=field, url=url), field=field)
    return url.rstrip("/")


def when_allowed(request: Callable[[], T]) -> T:
    """Send a request, and repeat it after each short pause that a platform's limit asks for.

    A platform does nothing of a request that it refuses for its limit, so repeating it is safe.

    Raises `ConnectorError`: ``rate_limited`` if the pause is longer than `MAX_WAIT`, or the limit
    stays.
    """
    for _ in range(MAX_ATTEMPTS - 1):
        try:
            return request()
        except ConnectorError as error:
            if error.code != "rate_limited" or error.retry_at is None:
                raise
            wait = max((error.retry_at - clock.wall()).total_seconds(), 0.0)
            if wait > MAX_WAIT:
                raise
        time.sleep(wait)
    return request()


class Api:
    """One platform's HTTP API.

    `base`: address, without a slash at its end.
    """

    def __init__(
        self, base: str, headers: Mapping[str, str], auth: tuple[str, str] | None = None
    ) -> None:
        # A redirect could carry the key to another host.
        self._is_patient = False
        self._client = httpx2.Client(
            base_url=base, headers=dict(headers), auth=auth, timeout=TIMEOUT, follow_redirects=False
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def patient(self) -> "Api":
        """Return the same API, which waits for short limits (`when_allowed`).

        E-mails must not wait like this, because others could be sent meanwhile.
        """
        other = copy.copy(self)
        other._is_patient = True
        return other

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx2.Response:
        """Call the API once.

        Returns: of status 2xx.
        Raises `ConnectorError`: ``is_uncertain`` if the request may have had its effect.
        """

        once = partial(self._call, method, path, params=query, json=body, headers=headers)
        return when_allowed(once) if self._is_patient else once()

    def _call(self, method: str, path: str, **request: Any) -> httpx2.Response:
        try:
            with self._client.stream(method, path, **request) as answer:
                body = b"".join(_limited(answer.iter_bytes(), MAX_ANSWER))
        except httpx2.HTTPError as error:
            is_uncertain = method != "GET" and not isinstance(error, _NOT_SENT)
            name = type(error).__name__
            raise ConnectorError("unavailable", name, is_uncertain=is_uncertain) from None
        # The body is unpacked already.
        headers = [pair for pair in answer.headers.multi_items() if pair[0] not in _OF_PACKED]
        response = httpx2.Response(
            answer.status_code, headers=headers, content=body, request=answer.request
        )
        if not response.is_success:
            raise _refusal(method, response)
        return response

    def unless_gone(self, method: str, path: str, **options: Any) -> httpx2.Response | None:
        """Call the API once; None if the record of the path does not exist."""
        try:
            return self.call(method, path, **options)
        except ConnectorError as error:
            if error.status != 404:
                raise
        return None

    def json(self, method: str, path: str, **options: Any) -> Any:
        """Call the API once and return its JSON answer."""
        return parse_json(self.call(method, path, **options).content)


def parse_json(body: bytes) -> Any:
    """Parse JSON of a platform.

    Raises `ConnectorError`: ``changed_schema``.
    """
    try:
        return json.loads(body)
    except ValueError:
        raise ConnectorError("changed_schema", "the answer is not JSON") from None


def _limited(pieces: Iterable[bytes], most: int) -> Iterator[bytes]:
    """Yield the unpacked pieces of an answer, up to a number of bytes."""
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > most:
            raise ConnectorError("changed_schema", f"an answer of more than {most} bytes")
        yield piece


def _refusal(method: str, response: httpx2.Response) -> ConnectorError:
    status, answer = response.status_code, response.content[:MAX_REASON]
    detail = f"{method} {response.url.path}: {status}"
    if code := _CODES.get(status):
        return ConnectorError(code, detail)
    if status == 429:
        return ConnectorError("rate_limited", detail, retry_at=retry_at(response.headers))
    if status >= 500:
        at = retry_at(response.headers) if "retry-after" in response.headers else None
        is_uncertain = method != "GET"
        return ConnectorError(
            "unavailable", detail, retry_at=at, is_uncertain=is_uncertain, answer=answer
        )
    return ConnectorError("refused", detail, answer=answer, status=status)


def retry_at(headers: Mapping[str, str]) -> datetime:
    """Return the real time that a header of a refusal asks to wait for."""
    found = (headers.get(name) for name in ("retry-after", *RESET_HEADERS))
    wait = requested_pause(next((each for each in found if each), ""))
    return clock.wall() + (DEFAULT_PAUSE if wait is None else wait)


@contextmanager
def downloaded(url: str) -> Iterator[IO[bytes]]:
    """Download a file that a platform made, to a temporary file.

    Reading its records takes longer than the server would wait. The address has its own signature,
    so the key of the platform is not sent.
    """
    try:
        check_address(url, "url")
    except BadInput:
        raise ConnectorError("changed_schema", "url") from None
    with tempfile.TemporaryFile(prefix="retention-") as file:
        try:
            with httpx2.stream("GET", url, timeout=TIMEOUT, follow_redirects=False) as answer:
                if not answer.is_success:
                    raise ConnectorError("unavailable", f"result: {answer.status_code}")
                file.writelines(_limited(answer.iter_bytes(), MAX_DOWNLOAD))
        except httpx2.HTTPError as error:
            raise ConnectorError("unavailable", f"result: {type(error).__name__}") from None
        file.seek(0)
        yield file


def verify_delivery(
    secret: str, headers: Mapping[str, str], body: bytes, *, signature: str, delivery: str
) -> str:
    """Check a delivery's base64 HMAC-SHA256 of the raw body, and return its id.

    A delivery is accepted at any age: a shop repeats one after an outage with its first time, which
    the signature does not cover. Old content changes nothing that is newer.

    `secret`: shared secret; without one nothing is accepted.
    Raises `ConnectorError`: ``access_denied``: the signature is wrong, or there is no id.
    """
    expected = base64.b64encode(hmac.digest(secret.encode(), body, hashlib.sha256))
    given = headers.get(signature, "").encode("utf-8", "replace")
    if not secret or not hmac.compare_digest(expected, given):
        raise ConnectorError("access_denied", "signature")
    delivery_id = headers.get(delivery, "")
    if not delivery_id:
        raise ConnectorError("access_denied", "no delivery id")
    return delivery_id
