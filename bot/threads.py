"""Which thread a listener runs in, and how the thread that received the request learns of its answer.

Bolt hands a listener to another thread and looks every 10 ms whether it has acknowledged. That is right for a button,
which acknowledges first and then works. A slash command stores and acknowledges in milliseconds: it runs in the
thread that received it, and is answered at once.

Where a listener fails after it has acknowledged, Bolt 1.30 takes the acknowledgement back (``ack.response = None``), and
the waiting thread, if it has not looked yet, lets Slack's three seconds pass. `acknowledged_once` keeps the first answer.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import local
from typing import Any

from slack_bolt import Ack, BoltContext, BoltResponse

_here = local()


def in_this_thread(body: dict[str, Any], next: Callable[[], BoltResponse]) -> BoltResponse:
    """Bolt middleware: a slash command's listener runs where the request arrived."""
    _here.run = (
        "command" in body
    )  # Bolt goes on to the listener, in this same thread, after the middleware returns
    return next()


class _Kept(Ack):
    """Bolt's ``ack``, whose answer cannot be taken back."""

    _given: BoltResponse | None = None

    @property
    def response(self) -> BoltResponse | None:
        return self._given

    @response.setter
    def response(self, value: BoltResponse | None) -> None:
        self._given = self._given or value


def acknowledged_once(context: BoltContext, next: Callable[[], BoltResponse]) -> BoltResponse:
    """Bolt middleware: what was acknowledged stays so, also if the listener fails afterwards."""
    context["ack"] = _Kept()
    return next()


class Listeners(ThreadPoolExecutor):
    """Bolt's pool of threads for listeners, except for what `in_this_thread` keeps."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if not getattr(_here, "run", False):
            return super().submit(fn, *args, **kwargs)
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done
