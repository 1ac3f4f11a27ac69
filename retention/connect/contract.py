"""Define what a connector of a platform can do.

A connector is one class in one file of this package: a `ConnectedShop`, or a mail platform
(`retention.connect.platforms.contacts.MailPlatform`). It declares its settings and secrets.
`tests/retention/connect/test_contract.py` runs the same tests on every shop.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from email.utils import parseaddr
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

from retention.errors import BadInput
from retention.text import gettext

ErrorCode = Literal[
    "access_denied",  # the key is wrong
    "scope_missing",  # the key may not do this
    "rate_limited",
    "unavailable",  # no answer, or 5xx
    "plan_limit",  # the platform's plan allows no more
    "changed_schema",  # an answer lacks a field or has another type
    "refused",  # the request itself is wrong
]
# Trying again later can help.
TEMPORARY: frozenset[str] = frozenset({"rate_limited", "unavailable"})
# What the desk notes in a connection's settings, beside those that a person gave: the address at
# which the platform was asked for webhooks; what was handed over and read; what a hand-over, or a
# reading of opens and clicks, that needs a further job has completed.
NOTES = (
    WEBHOOKS_AT := "webhooks_at",
    LISTS := "pushed_lists",
    READ_UNTIL := "left_read_until",
    REACTED_UNTIL := "reactions_read_until",
    UNFINISHED := "unfinished_hand_over",
    UNREAD := "unread_reactions",
)


class ConnectorError(Exception):
    """A platform did not do what was asked.

    `code`: decides what happens next. A catalogue has the sentence for people.
    `detail`: for the log and the details of a message; never has a secret.
    `retry_at`: real time before which the platform wants no request.
    `status`: HTTP status of a refusal; 0 without one.
    """

    def __init__(
        self,
        code: ErrorCode,
        detail: str = "",
        *,
        retry_at: datetime | None = None,
        is_uncertain: bool = False,
        answer: bytes = b"",
        status: int = 0,
    ) -> None:
        super().__init__(detail or code)
        self.code = code
        self.detail = detail
        self.retry_at = retry_at
        self.is_uncertain = is_uncertain
        self.answer = answer
        self.status = status

    @property
    def is_temporary(self) -> bool:
        """Whether another attempt can succeed."""
        return self.code in TEMPORARY


class ListUnavailable(ConnectorError):
    """A platform cannot show one list yet; others are not concerned."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of a connection.

    ``key`` is its name on the command line and in the stored row. The value of a secret is
    encrypted and never shown. ``is_made``: the desk chooses it at random if nobody gives one.
    """

    key: str
    is_secret: bool = False
    is_required: bool = True
    example: str = ""
    is_made: bool = False


# From an order's id and the time of its last change to when it was first seen as cancelled.
FirstCancelled = Callable[[str, datetime], datetime]


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a platform's records.

    `rows`: rows with canonical column names; times are aware UTC.
    `watermark`: where the next pull of the connection continues. Stored only after the page is
    imported.
    """

    table: Literal["events", "customers", "items"]
    rows: Sequence[dict[str, Any]]
    watermark: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Notice:
    """A verified webhook delivery."""

    delivery_id: str
    topic: str
    pages: Sequence[Page] = ()
    forget: Sequence[str] = ()
    export: Sequence[str] = ()
    forget_all: bool = False


@dataclass(frozen=True, slots=True)
class DiscountCode:
    """One code of a customer. Platforms that bind a code to an address need ``email``."""

    code: str
    customer_id: str
    email: str = ""


@dataclass(frozen=True, slots=True)
class Discount:
    """The discount that the codes of one offer give.

    ``reference`` is unique per campaign and offer. It is stored on the platform, so that a job
    that resumes after a crash finds what it began. ``value`` is 15 for 15%, or an amount.
    ``is_for_guests``: its customers have no account, so each code is valid once for whoever has it.
    """

    reference: str
    title: str
    kind: Literal["percent", "amount", "free_shipping"]
    value: Decimal
    currency: str
    minimum: Decimal | None
    starts_at: datetime
    ends_at: datetime
    category: str = ""  # of the items that it is limited to
    is_for_guests: bool = False


@dataclass(frozen=True, slots=True)
class CodeBatch:
    """The state of a request for codes.

    `batch_id`: the platform's id of the request; empty if it was done at once.
    """

    batch_id: str = ""
    is_done: bool = True
    made: Sequence[str] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    limit: str = ""


@dataclass(frozen=True, slots=True)
class Profile:
    """A customer's scores for a mail platform.

    It has no phone number, because consent to e-mails is no consent to text messages.
    """

    customer_id: str
    email: str
    properties: Mapping[str, Any] = field(default_factory=dict)


class Connector(Protocol):
    """What every connector has."""

    kind: str
    settings: tuple[Setting, ...]

    def check(self) -> dict[str, str]:
        """Ask the platform whether the key works.

        Returns: facts for the person who connects, e.g. the shop's name and currency.
        """

    def close(self) -> None:
        """Close its HTTP connections."""


@runtime_checkable
class ConnectedShop(Connector, Protocol):
    """A shop whose data is pulled, and which sends webhooks.

    ``signed_with`` is the key of the setting that signs the webhooks.
    """

    signed_with: str

    def pull(self, watermark: Mapping[str, Any]) -> Iterator[Page]:
        """Read what changed since a watermark; an empty one reads all."""

    def verify(self, headers: Mapping[str, str], body: bytes) -> str:
        """Return the delivery's id; its age does not matter.

        Raises `ConnectorError`: ``access_denied``: the signature is wrong, or there is no id.
        """

    def topic(self, headers: Mapping[str, str]) -> str:
        """Return what a delivery is about, in the platform's own words."""

    def read(self, topic: str, body: bytes, delivery_id: str) -> Notice:
        """Read a verified delivery; may ask the platform for details.

        Raises `ConnectorError`: ``changed_schema``.
        """

    def add_webhooks(self, address: str) -> dict[str, int]:
        """Ask the platform for webhooks at an address; repeating adds nothing.

        Returns: numbers of webhooks that were ``added`` and that were ``present``. A platform that
        switches webhooks off gives the number of those ``switched_on``, too.
        """


class MakesCodes(Protocol):
    """Makes discount codes for the checkout.

    Every step may be repeated. A code is unique on a platform, so a repeated request makes no
    second one.
    """

    batch_size: int
    needs_email: bool  # whether a code is bound to an address

    def close(self) -> None:
        """Close the connections."""

    def refusal(self, code: DiscountCode) -> str:
        """Return why the platform cannot have this code, for people; empty if it can."""

    def find_discount(self, reference: str, first: DiscountCode) -> str | None:
        """Return the platform's id of a discount that an earlier attempt created."""

    def create_discount(self, discount: Discount, first: DiscountCode) -> str:
        """Create a discount with its first code, and return the platform's id."""

    def allow(self, discount_id: str, discount: Discount, customers: Sequence[str]) -> None:
        """Let these customers use the discount, each once; repeating changes nothing."""

    def add_codes(
        self, discount_id: str, discount: Discount, codes: Sequence[DiscountCode]
    ) -> CodeBatch:
        """Ask for up to ``batch_size`` codes."""

    def batch(self, batch_id: str) -> CodeBatch:
        """Return the state of an unfinished batch."""

    def codes(self, discount_id: str) -> Iterator[tuple[str, int]]:
        """Yield each code of a discount and how often it was used; none if it is gone."""

    def end_discount(self, discount_id: str) -> None:
        """Make all codes of a discount invalid at once, where the platform can."""

    def delete_codes(self, discount_id: str, codes: Sequence[str]) -> None:
        """Delete codes; those that are gone already are no error."""

    def delete_discount(self, discount_id: str) -> None:
        """Delete a discount without used codes; one that is gone already is no error."""


T = TypeVar("T")


def chunks(rows: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield the rows, so many at a time."""
    return (rows[start : start + size] for start in range(0, len(rows), size))


SENDER = Setting("sender", example="Tea Shop <hello@shop.example>")


def parse_sender(text: str) -> tuple[str, str]:
    """Return the name and the address of a sender.

    Examples
    --------
    >>> parse_sender("Tea Shop <hello@shop.example>")
    ('Tea Shop', 'hello@shop.example')
    """
    name, address = parseaddr(text)
    if "@" not in address:
        message = gettext("sender is {text!r}; write it like {example}.")
        raise BadInput(message.format(text=text, example=SENDER.example), field="sender")
    return name, address
