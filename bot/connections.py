"""Limit how long and how many HTTP connections may wait for the rest of a request.

uvicorn reads headers and body in the event loop, before our code sees the request. A client that sends slowly
therefore costs no thread. This module adds the two limits that uvicorn lacks: a deadline for each request, counted from
its first byte, and a cap on open connections that drops the oldest incomplete request first.
"""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_SECONDS = 10.0  # from the first byte of a request to its last; Slack needs milliseconds
CLOSE_SECONDS = 10.0  # for the client to read its answer
READ_BYTES = (
    16_384  # parsed at once; h11 needs milliseconds for as much, and no other request is served meanwhile
)
KEEP_ALIVE_SECONDS = 30  # a connection without any byte of a request
MOST_CONNECTIONS = 1000


class ConnectionLimits:
    """Open connections of one server, by what each one is doing.

    A connection is *incomplete* while it has sent part of a request, *idle* between two requests, and *busy* while its
    request is answered. Dictionaries keep their insertion order, so the first key is the oldest.
    """

    def __init__(self, most: int = MOST_CONNECTIONS, request_seconds: float = REQUEST_SECONDS) -> None:
        self.most = most
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
        """Drop one connection if there are too many: the oldest incomplete, else the oldest idle, else the newest."""
        if len(self) <= self.most:
            return
        for group in (self.incomplete, self.idle):
            oldest = next((connection for connection in group if connection is not newest), None)
            if oldest is not None:
                oldest.drop()
                return
        newest.drop()


class Connection(H11Protocol):
    """One HTTP connection with a deadline; subclass with `limits` set (see `limited`)."""

    limits: ConnectionLimits

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        transport.max_size = READ_BYTES  # type: ignore[attr-defined]  # of asyncio's selector transports
        super().connection_made(transport)
        self._set_idle()
        self.limits.make_room(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_deadline()
        self._cancel_unread()
        self._unset_keepalive_if_required()
        self.limits.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self in self.limits.idle:
            self._set_incomplete()
        super().data_received(data)
        self._note_completion()

    def on_response_complete(self) -> None:
        # An early answer (such as 413) may precede the end of the body: then the deadline goes on.
        if self.conn.their_state is h11.DONE:
            self._set_idle()
        super().on_response_complete()  # may already start the next, pipelined request
        if self in self.limits.idle and (not self.cycle.response_complete or self.conn.trailing_data[0]):
            self._set_incomplete()
        self._note_completion()
        if self.transport.is_closing():
            self._expect_read()

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

    def _note_completion(self) -> None:
        """Mark the request as busy once its last byte is here; an answered one as idle."""
        if self not in self.limits.incomplete or self.cycle is None:
            return
        if self.cycle.response_complete:
            if self.conn.their_state is not h11.SEND_BODY and not self.conn.trailing_data[0]:
                self._set_idle()
        elif not self.cycle.more_body:
            self._cancel_deadline()
            self.limits.forget(self)
            self.limits.busy.add(self)

    def _set_incomplete(self) -> None:
        self._unset_keepalive_if_required()
        self.limits.forget(self)
        self.limits.incomplete[self] = None
        self._cancel_deadline()
        self._deadline = self.loop.call_later(self.limits.request_seconds, self.drop)

    def _set_idle(self) -> None:
        """Wait for a request; uvicorn itself starts this timer only after a response."""
        self._cancel_deadline()
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )
        self.limits.forget(self)
        self.limits.idle[self] = None

    def _expect_read(self) -> None:
        """Drop the connection if the client does not read its answer: asyncio would wait for that for ever."""
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
    """Return a protocol class for uvicorn whose connections share these limits."""
    return type("LimitedConnection", (Connection,), {"limits": limits})
