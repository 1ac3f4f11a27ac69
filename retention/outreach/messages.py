"""What carries a campaign's copies: one small interface, and what can become of one copy."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

State = Literal["sent", "again", "bounced", "failed", "doubtful"]


@dataclass(frozen=True, slots=True)
class Contact:
    """How to reach a customer, as the lake says; empty where it does not. ``timezone`` is an IANA name."""

    email: str = ""
    name: str = ""
    timezone: str = ""
    phone: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One customer's copy. ``key`` is the same however often it is tried, and is no other copy's."""

    key: str
    campaign_id: str
    customer_id: str
    to: Contact
    subject: str
    text: str
    html: str
    unsubscribe_url: str
    offer: dict[str, Any] = field(default_factory=dict)  # action, discount, code, expires_at, items


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one try.

    ``sent``: accepted, under ``message_id``. ``again``: certainly not accepted; later it may be. ``bounced``: refused
    for good. ``failed``: cannot be sent at all. ``doubtful``: nobody knows whether it was accepted.
    """

    state: State
    said: str = ""
    message_id: str | None = None
    retry_at: datetime | None = None  # real time: until then the other side takes no copy at all
    of_message: bool = (
        False  # what was refused is the message, of which others get theirs, not whom it is to
    )
    # The other side ended the connection; if it does so to the next copy as well, it is about us.
    hung_up: bool = False
    of_all: bool = (
        False  # as far as is known it holds for every copy, until one of the campaign's was taken
    )


class Unreachable(Exception):
    """The other side takes nothing at present, from anybody. The copy at hand was certainly not accepted.

    ``until`` is the moment of real time before which it does not want to be asked, where it says so.
    """

    def __init__(self, said: str, until: datetime | None = None) -> None:
        super().__init__(said)
        self.until = until


class Adapter(Protocol):
    """A carrier of copies. Used by one thread at a time."""

    channel: str
    repeats: bool  # whether a doubtful copy may be sent again under its key without the customer getting two

    def open(self) -> None:
        """Reach the other side.

        Raises
        ------
        Unreachable
        """

    def send(self, message: Message) -> Verdict:
        """Try one copy; takes at most about a minute whatever the other side does.

        Raises
        ------
        Unreachable
            It certainly was not accepted, and no other copy would be.
        """

    def close(self) -> None:
        """Say goodbye; never raises."""


@contextmanager
def deadline(seconds: float, cut: Callable[[], None]) -> Iterator[None]:
    """Call ``cut`` (shut the socket) should the block take longer: a time-out for each read does not bound a slow drip."""
    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
