"""Bolt middleware for text, threads and acknowledgements.

Bolt runs a listener in another thread and polls every 10 ms for its acknowledgement. That suits
buttons, which acknowledge first and then work. A slash command stores and acknowledges in
milliseconds, so it runs in the thread that received it and is answered at once.

If a listener fails after its acknowledgement, Bolt 1.30 resets ``ack.response`` to None. A
waiting thread that has not polled yet then lets Slack's three seconds pass.
`acknowledged_once` keeps the first answer.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from threading import local
from typing import Any

from slack_bolt import Ack, BoltContext, BoltRequest, BoltResponse

from retention.text import replace_unstorable

_thread = local()


def clean_text(request: BoltRequest, next: Callable[[], BoltResponse]) -> BoltResponse:
    """Replace unstorable characters in a request."""
    request.body.update(_clean(request.body))
    return next()


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return replace_unstorable(value)
    if isinstance(value, dict):
        return {key: _clean(inner) for key, inner in value.items()}
    return [_clean(inner) for inner in value] if isinstance(value, list) else value


def run_commands_inline(body: dict[str, Any], next: Callable[[], BoltResponse]) -> BoltResponse:
    """Run slash commands in the receiving thread.

    Without a text the command opens a window. It acknowledges first and then waits for Slack, so it
    runs in another thread.
    """
    # Bolt calls the listener in this thread after the middleware returns.
    _thread.runs_inline = "command" in body and bool((body.get("text") or "").strip())
    return next()


class _FirstAck(Ack):
    """Bolt's ``ack`` with a final first answer."""

    _answer: BoltResponse | None = None

    @property
    def response(self) -> BoltResponse | None:
        return self._answer

    @response.setter
    def response(self, value: BoltResponse | None) -> None:
        self._answer = self._answer or value


def acknowledged_once(context: BoltContext, next: Callable[[], BoltResponse]) -> BoltResponse:
    """Keep the acknowledgement even if the listener fails afterwards."""
    context["ack"] = _FirstAck()
    return next()


class Listeners(ThreadPoolExecutor):
    """Bolt's thread pool for listeners, without inline slash commands.

    ``after`` runs in the listener's thread when the listener has ended.
    """

    def __init__(self, after: Callable[[], None], **options: Any) -> None:
        super().__init__(**options)
        self._after = after

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if not getattr(_thread, "runs_inline", False):
            # The listener speaks the language that the request's middleware set.
            return super().submit(copy_context().run, self._run, fn, *args, **kwargs)
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done

    def _run(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        try:
            fn(*args, **kwargs)
        finally:
            self._after()
