"""Which thread a listener runs in.

Bolt hands a listener to another thread and looks every 10 ms whether it has acknowledged. That is right for a button,
which acknowledges first and then works. A slash command stores and acknowledges in milliseconds: it runs in the
thread that received it, and is answered at once.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import local
from typing import Any

from slack_bolt import BoltResponse

_here = local()


def in_this_thread(body: dict[str, Any], next: Callable[[], BoltResponse]) -> BoltResponse:
    """Bolt middleware: a slash command's listener runs where the request arrived."""
    _here.run = (
        "command" in body
    )  # Bolt goes on to the listener, in this same thread, after the middleware returns
    return next()


class Listeners(ThreadPoolExecutor):
    """Bolt's pool of threads for listeners, except for what `in_this_thread` keeps."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if not getattr(_here, "run", False):
            return super().submit(fn, *args, **kwargs)
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done
