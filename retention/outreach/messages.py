"""Define messages, delivery verdicts and the adapter interface."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

State = Literal["sent", "again", "bounced", "failed", "doubtful"]


@dataclass(frozen=True, slots=True)
class Contact:
    """Contact data of a customer; empty fields are unknown.

    ``timezone`` is an IANA name.
    """

    email: str = ""
    name: str = ""
    timezone: str = ""
    phone: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One e-mail to one customer.

    ``key`` is unique per send and equal in all attempts.
    """

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
    """Result of one attempt to send.

    ``sent``: accepted under ``message_id``. ``again``: not accepted, may be later. ``bounced``:
    refused for good. ``failed``: cannot be sent. ``doubtful``: unknown whether accepted.
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
    """The server accepts nothing at present.

    The present e-mail was not accepted. ``until`` is the real time before which the server wants no
    request.
    """

    def __init__(self, said: str, until: datetime | None = None) -> None:
        super().__init__(said)
        self.until = until


class Adapter(Protocol):
    """Sends e-mails through one channel; one thread at a time."""

    channel: str
    repeats: bool  # whether a doubtful copy may be sent again under its key without the customer getting two

    def open(self) -> None:
        """Connect.

        Raises
        ------
        Unreachable
            The server cannot be reached or used.
        """

    def send(self, message: Message) -> Verdict:
        """Try to send one e-mail, for at most about a minute.

        Raises
        ------
        Unreachable
            It was not accepted, and others would not be either.
        """

    def close(self) -> None:
        """Disconnect; never raises."""


@contextmanager
def deadline(seconds: float, cut: Callable[[], None]) -> Iterator[None]:
    """Call ``cut`` if the block takes too long.

    Timeouts of single reads do not limit a slow drip of data.

    Parameters
    ----------
    seconds : float
        Time limit of the block.
    cut : callable
        Shuts the socket.
    """
    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
