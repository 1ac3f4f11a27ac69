"""Define the base of all requests, and the types of their fields."""

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from retention import clock
from retention.errors import BadInput
from retention.text import gettext
from workers.typed_times import MAX_DAYS, days, days_or_ever, seconds, utc

if TYPE_CHECKING:
    from retention.db import Transaction
    from retention.settings import Settings

Tier = Literal["high", "medium", "low", "lapsed"]
Days = Annotated[int, BeforeValidator(days), Field(ge=1, le=MAX_DAYS)]
DaysOrEver = Annotated[
    Annotated[int, Field(ge=1, le=MAX_DAYS)] | None, BeforeValidator(days_or_ever)
]
Seconds = Annotated[int, BeforeValidator(seconds), Field(ge=1, le=86_400)]
Moment = Annotated[datetime, BeforeValidator(utc)]
CustomerId = Annotated[str, Field(min_length=1, max_length=255)]
Condition = Annotated[str, Field(max_length=500)]
AudienceName = Annotated[str, Field(min_length=1, max_length=40)]
Queue = Literal["interactive", "batch", "training"]


class Request(BaseModel):
    """Base of all requests."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ClassVar[str]
    title: ClassVar[str]  # of its jobs, for people
    queue: ClassVar[Queue] = "batch"
    demo_queue: ClassVar[Queue | None] = None  # of a demo, if it is another
    role: ClassVar[str] = "analyst"
    deed: ClassVar[str]  # "to … you need analyst"
    # Whether its result or message may. These are kept, because an erasure must find them.
    names_customers: ClassVar[bool] = True
    # Whether it goes on during an erasure. It publishes and writes nothing about customers.
    outlasts_erasures: ClassVar[bool] = False

    @classmethod
    def queue_in(cls, settings: "Settings") -> Queue:
        """Return the queue of its jobs in this installation."""
        return cls.demo_queue if settings.demo and cls.demo_queue else cls.queue

    @property
    def is_private(self) -> bool:
        """Return whether the result goes to the person's direct message, whatever the command."""
        return False

    def check(self, session: "Transaction") -> None:
        """Refuse values that the task would refuse, before a job is stored.

        The person alone hears it, and at once. Extend it for fields whose limits are in the
        settings, the policy or SQL. Only what needs the lake is left to the task.
        """
        for field in ("as_of", "cutoff"):
            at = getattr(self, field, None)
            if at is not None and at > clock.now():
                raise BadInput(
                    gettext(
                        "--{field} is {at:%Y-%m-%d %H:%M}, which is in the future; use a past "
                        "time, or leave it out for now."
                    ).format(
                        field=field.replace("_", "-"), at=at.astimezone(session.settings.zone)
                    ),
                    field=field,
                )
        if name := getattr(self, "audience", None):
            from retention.audiences import store

            store.find(session, name)

    def check_worker_limits(self, settings: "Settings") -> None:
        """Refuse a request that exceeds a worker's limits."""


class Anonymous(Request):
    """A request whose result and messages name no customers, and that outlasts an erasure."""

    names_customers = False
    outlasts_erasures = True


class OfSome(Request):
    """A request about some of the customers."""

    audience: AudienceName | None = None
    where: Condition | None = None  # an audience expression


def all_requests(base: type[Request] = Request) -> Iterator[type[Request]]:
    """Yield the requests of all modules that were imported."""
    for request in base.__subclasses__():
        if "kind" in vars(request):
            yield request
        yield from all_requests(request)
