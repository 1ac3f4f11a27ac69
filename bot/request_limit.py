"""Limit how many commands and clicks one person may send, whatever they do."""

from collections.abc import Callable
from typing import Any

from slack_bolt import BoltContext, BoltResponse

from bot.buckets import TokenBuckets
from retention.errors import TooManyRequests
from retention.text import gettext

REQUESTS, SECONDS = 30, 10


class RequestLimit:
    """Bolt middleware that refuses a person's commands, clicks and modals above the limit.

    Bolt verifies the signature first, so nobody can use up somebody else's requests. Events pass, because Slack sends
    them and has no place for an answer.
    """

    def __init__(self, buckets: TokenBuckets | None = None) -> None:
        self._buckets = TokenBuckets(REQUESTS, SECONDS) if buckets is None else buckets

    def __call__(
        self, body: dict[str, Any], context: BoltContext, next: Callable[[], BoltResponse]
    ) -> BoltResponse:
        """Pass the request on, or refuse it.

        Raises
        ------
        TooManyRequests
            Naming the limit and what to do.
        """
        is_event = "event" in body
        if context.user_id and not is_event and not self._buckets.take(context.user_id):
            raise TooManyRequests(
                gettext(
                    "One person can send at most {requests} commands and clicks in {seconds} "
                    "seconds, so wait {seconds} seconds and try again."
                ).format(requests=REQUESTS, seconds=SECONDS)
            )
        return next()
