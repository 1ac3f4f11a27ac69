"""Keep customers and audiences as the contacts and lists of a mail platform.

Platforms differ in their requests only. What to add and remove, the names of the properties, and
the size of a batch are the same.
"""

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, Literal, NamedTuple

from retention.connect import web
from retention.connect.contract import ConnectorError, Profile, Setting, chunks
from retention.connect.shops.orders import need
from retention.errors import BadInput
from retention.outreach import tracking
from retention.outreach.adapter import Message
from retention.text import gettext

FieldType = Literal["text", "number", "date"]
CUSTOMER_ID = "retention_customer_id"
# Properties of `retention.connect.platforms.platform_sync`, which some platforms want to know
# beforehand.
FIELDS: Mapping[str, FieldType] = {
    CUSTOMER_ID: "text",
    "retention_risk": "text",
    "retention_churn_probability": "number",
    "retention_expected_value": "number",
    "retention_next_order": "date",
    "retention_items": "text",
    "retention_as_of": "text",
}
Reaction = tuple[tracking.Kind, str, datetime]  # of an e-mail address, and when
END = "end"  # of a part: nothing is left to read
# Contacts cost money at some platforms, so an operator asks for them.
PROFILES = Setting("profiles", is_required=False, example="yes")


class Member(NamedTuple):
    """A contact of a list.

    ``contact`` is the platform's id. ``address`` is empty where a contact keeps its id when the
    customer's address changes.
    """

    customer: str | None
    contact: str
    address: str = ""


class MailPlatform(ABC):
    """A platform that sends our e-mails, and has customers and audiences as contacts and lists.

    ``drops_duplicates``: a repeated key is sent once, however late it is repeated. A refusal with
    one of ``address_words`` is about the address. ``batch_size`` is the largest number of contacts
    of one request, ``remove_size`` that of ids that leave a list. As long as one of
    ``missing_settings``, which are optional, is missing, no contact is handed over.
    """

    kind: str
    settings: tuple[Setting, ...]
    drops_duplicates: bool
    address_words: tuple[bytes, ...]
    batch_size: int
    remove_size: int
    missing_settings: tuple[str, ...] = ()

    def __init__(self, access: Any, address: str, headers: Mapping[str, str]) -> None:
        self._base = web.check_address(access["address"] or address, "address")
        self._api = web.Api(self._base, headers)
        self._bulk = self._api.patient()

    def close(self) -> None:
        """Close the connections."""
        self._api.close()

    @abstractmethod
    def check(self) -> dict[str, str]:
        """Ask the platform whether the key works; return facts for the person who connects."""

    def check_profiles(self) -> None:  # noqa: B027 - most have one access
        """Check an access for contacts that is not the one for e-mails; `check` leaves it out."""

    @abstractmethod
    def mail(self, message: Message) -> str:
        """Hand over one e-mail, and return the platform's id of it."""

    @abstractmethod
    def left(self, since: datetime) -> Iterator[tuple[str, str, datetime]]:
        """Yield what, e-mail address and time of bounces, unsubscribes and complaints.

        They are about customers who cannot or do not want to get e-mails. Repeating is harmless.
        """

    def reaction_parts(self, since: datetime, until: datetime) -> Iterable[str]:
        """Return the parts in which opens and clicks of ``[since, until)`` are read.

        They are the same whenever it is called; further ones may come.
        """
        return ()

    def reaction_pages(
        self, part: str, since: datetime, until: datetime, position: Any
    ) -> Iterator[tuple[list[Reaction], Any]]:
        """Yield the pages of a part, each with the JSON position from which reading goes on.

        They have opens and clicks by people, as far as the platform tells them from machines; also
        some of other times. Repeating is harmless.

        `position`: None reads the part from its beginning. It is never `END`.
        """
        return iter(())

    def push_profiles(self, profiles: Sequence[Profile]) -> None:
        """Write up to ``batch_size`` profiles; repeating changes nothing."""
        if profiles:
            self._hand_over(profiles, None)

    def list_members(self, name: str, addresses: Mapping[str, str] | None = None) -> Iterator[str]:
        """Yield the customer ids of a list; none if there is no such list.

        `addresses`: present address of each wanted customer. A contact counts for every wanted
        customer with its address, because two customers may share one. A customer who has only
        contacts with another address is missing in the list.
        """
        wanted = addresses or {}
        owners = dict[str, list[str]]()
        for customer, address in wanted.items():
            owners.setdefault(address.lower(), []).append(customer)
        list_id = self._find_list(name)
        for member in self._members(list_id) if list_id is not None else ():
            if member.address.lower() in owners:
                yield from owners[member.address.lower()]
            elif member.customer and not (member.address and member.customer in wanted):
                yield member.customer

    def change_list(
        self,
        name: str,
        add: Sequence[Profile],
        remove: Sequence[Profile],
        keep: Collection[str] = (),
    ) -> None:
        """Add customers to a list, and remove others; repeating changes nothing.

        `keep`: addresses that stay in the list, like those of ``add``. A customer to remove may
        share a contact with a member.
        """
        list_id = self._find_list(name) or self._create_list(name)
        unwanted = {profile.customer_id for profile in remove}
        stays = {address.lower() for address in (*keep, *(profile.email for profile in add))}
        members = self._members(list_id) if unwanted else ()
        ids = [
            member.contact
            for member in members
            if member.customer in unwanted and member.address.lower() not in stays
        ]
        for profiles in chunks(add, self.batch_size):
            self._hand_over(profiles, list_id)
        for some in chunks(ids, self.remove_size):
            self._remove(list_id, some)

    @abstractmethod
    def delete_profiles(self, ids: Sequence[str], emails: Sequence[str]) -> None:
        """Delete the contacts of customers for good; those that are gone are no error."""

    @abstractmethod
    def _find_list(self, name: str) -> str | None:
        """Return the id of a list; None if there is none."""

    @abstractmethod
    def _create_list(self, name: str) -> str:
        """Create a list, and return its id."""

    @abstractmethod
    def _members(self, list_id: str) -> Iterator[Member]:
        """Yield each contact of a list."""

    @abstractmethod
    def _hand_over(self, profiles: Sequence[Profile], list_id: str | None) -> None:
        """Create or update contacts, and add them to a list."""

    @abstractmethod
    def _remove(self, list_id: str, ids: Sequence[str]) -> None:
        """Remove contacts from a list; those that are gone are no error."""


class NamedLists(MailPlatform):
    """Lists at a platform that finds none by its name: all of them are read once."""

    @cached_property
    def _lists(self) -> dict[str, str]:
        lists = dict[str, str]()
        for row in self._all_lists():
            lists.setdefault(str(need(row, "name")), str(need(row, "id")))
        return lists

    def _find_list(self, name: str) -> str | None:
        return self._lists.get(name)

    def _create_list(self, name: str) -> str:
        self._lists[name] = str(need(self._new_list(name), "id"))
        return self._lists[name]

    @abstractmethod
    def _all_lists(self) -> Iterable[dict[str, Any]]:
        """Return each list with its ``id`` and ``name``; of two with one name, the first counts."""

    @abstractmethod
    def _new_list(self, name: str) -> dict[str, Any]:
        """Create a list, and return it with its ``id``."""


def plain_values(profile: Profile) -> dict[str, str | float | None]:
    """Return the properties of a profile as texts and numbers, with the customer's id.

    Examples
    --------
    >>> plain_values(Profile("k1", "ann@example.com", properties={"retention_items": ["a", "b"]}))
    {'retention_customer_id': 'k1', 'retention_items': 'a, b'}
    """
    return {
        CUSTOMER_ID: profile.customer_id,
        **{
            name: ", ".join(map(str, value)) if isinstance(value, list) else value
            for name, value in profile.properties.items()
        },
    }


def batches(rows: Sequence[Any], most_bytes: int) -> Iterator[list[Any]]:
    """Yield the rows in batches whose JSON has up to ``most_bytes``.

    Examples
    --------
    >>> list(batches(["a", "b", "c"], 8))
    [['a', 'b'], ['c']]
    """
    batch, size = list[Any](), 0
    for row in rows:
        length = len(json.dumps(row)) + 1  # not fewer than in UTF-8
        if batch and size + length > most_bytes:
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += length
    if batch:
        yield batch


def await_end(
    ask: Callable[[], Any], key: str, unfinished: Sequence[str], most_seconds: float
) -> Any:
    """Ask for a platform's job until its status, at a key, is an end or the time is up."""
    ends_at, pause = time.monotonic() + most_seconds, 0.2
    while need(answer := ask(), key) in unfinished and time.monotonic() < ends_at:
        time.sleep(pause)
        pause = min(2 * pause, 10.0)
    return answer


def pages(page_at: Callable[[int], Any], name: str, total: str) -> Iterator[dict[str, Any]]:
    """Yield the records of all pages; the number of all shows that none is missing.

    `page_at`: returns the page from an offset on, with records at ``name``.
    """
    offset, count = 0, 1
    while offset < count and (page := page_at(offset)):  # Brevo's is empty where there is nothing
        count = int(need(page, total))
        rows = need(page, name) if offset < count else ()
        if not rows and offset < count:
            raise ConnectorError("changed_schema", f"{name}: a page is missing")
        yield from rows
        offset += len(rows)


def sent_id(answer: Any, key: str) -> str:
    """Return the platform's id of an e-mail; without it, the e-mail may be on its way."""
    if not isinstance(answer, dict) or not answer.get(key):
        raise ConnectorError("changed_schema", key, is_uncertain=True)
    return str(answer[key])


def unsubscribe_headers(message: Message) -> dict[str, str]:
    """Return the headers for a mail program's button (RFC 8058)."""
    return {
        "List-Unsubscribe": f"<{message.unsubscribe_url}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }


def missing_together(access: Any, keys: Sequence[str], message: str) -> tuple[str, ...]:
    """Return the keys without a value; refuse that only one is missing."""
    missing = tuple(key for key in keys if not access[key])
    if len(missing) == 1:
        raise BadInput(message.format(missing=missing[0]), field=missing[0])
    return missing


def missing_settings(profiles: str) -> tuple[str, ...]:
    """Return the setting that a connection needs to take profiles, if it does not say yes."""
    if profiles not in ("", "yes", "no"):
        message = gettext("profiles is {text!r}; write yes or no.")
        raise BadInput(message.format(text=profiles), field="profiles")
    return () if profiles == "yes" else (PROFILES.key,)
