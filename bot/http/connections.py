"""Limit slow and excess HTTP connections.

uvicorn reads headers and body in the event loop, before our code sees the request. So a slow
client costs no thread. This module adds two limits that uvicorn lacks. Each request has a
deadline, counted from its first byte. Open connections have a cap, and the oldest incomplete
request is dropped first.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

REQUEST_SECONDS = 10.0  # from the first byte of a request to its last; Slack needs milliseconds
CLOSE_SECONDS = 10.0  # for the client to read its answer
MAX_PIPELINED = 100  # waiting requests of one connection; Slack sends none
MAX_HEAD_BYTES = 32_768  # of the request line and the headers; httptools itself has no limit
KEEP_ALIVE_SECONDS = 30  # a connection without any byte of a request
MAX_CONNECTIONS = 1000


class ConnectionLimits:
    """Open connections of one server, grouped by state.

    A connection is *incomplete* after the first byte of a request, *idle* between two requests, and
    *busy* while its request is answered. Dictionaries keep their insertion order, so the first key
    is the oldest.
    """

    def __init__(
        self, max_connections: int = MAX_CONNECTIONS, request_seconds: float = REQUEST_SECONDS
    ) -> None:
        self.max_connections = max_connections
        self.request_seconds = request_seconds
        self.incomplete: dict[Connection, None] = {}
        self.idle: dict[Connection, None] = {}
        self.busy: set[Connection] = set()
        self.dropped = 0

    def __len__(self) -> int:
        return len(self.incomplete) + len(self.idle) + len(self.busy)

    def forget(self, connection: "Connection") -> None:
        """Remove a closed connection."""
        self.incomplete.pop(connection, None)
        self.idle.pop(connection, None)
        self.busy.discard(connection)

    def make_room(self, newest: "Connection") -> None:
        """Drop one connection if there are too many.

        The oldest incomplete connection goes first, then the oldest idle one, then the newest.
        """
        if len(self) <= self.max_connections:
            return
        for group in (self.incomplete, self.idle):
            oldest = next((connection for connection in group if connection is not newest), None)
            if oldest is not None:
                oldest.drop()
                return
        newest.drop()


class Connection(HttpToolsProtocol):
    """One HTTP connection with a deadline. `limited` sets ``limits`` in a subclass."""

    limits: ConnectionLimits

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._has_begun = False  # a request has begun since the connection was idle
        self._in_head = False
        self._in_request = False
        self._is_chunked = False
        self._head_bytes = 0
        self._unanswered: list[RequestResponseCycle] = []

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._set_idle()
        self.limits.make_room(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_deadline()
        self._cancel_unread()
        self._unset_keepalive_if_required()
        self.limits.forget(self)
        # uvicorn tells only the newest of several pipelined requests. The others would write to a
        # closed connection, which is an error in the log.
        for cycle in self._unanswered:
            cycle.disconnected = True
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self in self.limits.idle:
            self._set_incomplete()
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES:
            self.drop()
        elif self._has_begun:  # stray line ends begin no request, and extend no deadline
            self._update_state()

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= MAX_PIPELINED:  # one read can hold thousands
            # uvicorn answers 400 and closes the connection.
            raise ValueError("too many pipelined requests")
        self._has_begun = self._in_head = self._in_request = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._is_chunked = any(name == b"transfer-encoding" for name, _ in self.headers)
        super().on_headers_complete()
        self._unanswered.append(self.cycle)

    def on_body(self, body: bytes) -> None:
        if not self._is_chunked:  # `bot.http.server` refuses such a request by its headers
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_request = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self._unanswered = [cycle for cycle in self._unanswered if not cycle.response_complete]
        super().on_response_complete()  # may already start the next, pipelined request
        self._update_state()

    def _update_state(self) -> None:
        """Move the connection to its current group."""
        if self.transport.is_closing():
            self._expect_read()
        elif self._in_request:  # also after an early 413
            if self not in self.limits.incomplete:
                self._set_incomplete()
        elif self.cycle is not None and not self.cycle.response_complete:
            self._cancel_deadline()
            self.limits.forget(self)
            self.limits.busy.add(self)
        else:
            self._set_idle()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect_read()

    def resume_writing(self) -> None:
        self._cancel_unread()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._expect_read()

    def send_400_response(self, msg: str) -> None:
        super().send_400_response(msg)
        self._expect_read()

    def drop(self) -> None:
        """Close the connection at once, without an answer."""
        self.limits.dropped += 1
        self.limits.forget(self)
        self.transport.abort()

    def _set_incomplete(self) -> None:
        self._unset_keepalive_if_required()
        self.limits.forget(self)
        self.limits.incomplete[self] = None
        self._cancel_deadline()
        self._deadline = self.loop.call_later(self.limits.request_seconds, self.drop)

    def _set_idle(self) -> None:
        """Wait for a request. Uvicorn starts this timer only after a response."""
        self._cancel_deadline()
        self._has_begun = False
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )
        self.limits.forget(self)
        self.limits.idle[self] = None

    def _expect_read(self) -> None:
        """Drop a connection with an unread answer. asyncio itself would wait without limit."""
        if self._unread is None:
            self._unread = self.loop.call_later(CLOSE_SECONDS, self.drop)

    def _cancel_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def limited(limits: ConnectionLimits) -> type[Connection]:
    """Return uvicorn's protocol class with these limits."""
    return type("LimitedConnection", (Connection,), {"limits": limits})
