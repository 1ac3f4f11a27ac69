"""Keep customers and audiences as the contacts and lists of a mail platform.

Platforms differ in their requests only. What to add and remove, the names of the properties, and
the size of a batch are the same.
"""

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from retention.connect.contract import Profile, Setting
from retention.errors import BadInput
from retention.text import gettext

FieldType = Literal["text", "number", "date"]
CUSTOMER_ID = "retention_customer_id"
# Properties of `retention.campaigns.platform_sync`, which some platforms want to know beforehand.
FIELDS: Mapping[str, FieldType] = {
    CUSTOMER_ID: "text",
    "retention_risk": "text",
    "retention_churn_probability": "number",
    "retention_expected_value": "number",
    "retention_next_order": "date",
    "retention_items": "text",
    "retention_as_of": "text",
}
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


class ContactLists(ABC):
    """Lists of contacts; a platform implements the requests.

    ``batch_size`` is the largest number of contacts of one request, ``remove_size`` that of ids
    that leave a list.
    """

    batch_size: int
    remove_size: int
    missing_settings: tuple[str, ...]

    def push_profiles(self, profiles: Sequence[Profile]) -> None:
        """Write up to ``batch_size`` profiles; repeating changes nothing."""
        if profiles:
            self._hand_over(profiles, None)

    def list_members(self, name: str, addresses: Mapping[str, str] | None = None) -> Iterator[str]:
        """Yield the customer ids of a list; none if there is no such list.

        Parameters
        ----------
        name : str
            Name of the list.
        addresses : mapping of str to str, optional
            Present address of each wanted customer. A contact counts for every wanted customer
            with its address, because two customers may share one. A customer who has only
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

        Parameters
        ----------
        name : str
            Name of the list; it is created if there is none.
        add, remove : sequence of Profile
            Customers.
        keep : collection of str, optional
            Addresses that stay in the list, like those of ``add``. A customer to remove may share
            a contact with a member.
        """
        list_id = self._find_list(name)
        if list_id is None:
            list_id = self._create_list(name)
        unwanted = {profile.customer_id for profile in remove}
        stays = {address.lower() for address in (*keep, *(profile.email for profile in add))}
        members = self._members(list_id) if unwanted else ()
        ids = [
            member.contact
            for member in members
            if member.customer in unwanted and member.address.lower() not in stays
        ]
        for start in range(0, len(add), self.batch_size):
            self._hand_over(add[start : start + self.batch_size], list_id)
        for start in range(0, len(ids), self.remove_size):
            self._remove(list_id, ids[start : start + self.remove_size])

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


def await_end(status: Callable[[], str], unfinished: Sequence[str], most_seconds: float) -> str:
    """Ask for the status of a platform's job until it ends or the time is up.

    Parameters
    ----------
    status : callable
        Returns the present status.
    unfinished : sequence of str
        Statuses of a job that still runs.
    most_seconds : float
        Longest wait.

    Returns
    -------
    str
        The last status.
    """
    ends_at, pause = time.monotonic() + most_seconds, 0.2
    while (found := status()) in unfinished and time.monotonic() < ends_at:
        time.sleep(pause)
        pause = min(2 * pause, 10.0)
    return found


def missing_settings(profiles: str) -> tuple[str, ...]:
    """Return the setting that a connection needs to take profiles, if it does not say yes.

    Parameters
    ----------
    profiles : str
        Value of the setting `PROFILES`.

    Raises
    ------
    BadInput
        It is neither yes nor no.
    """
    if profiles not in ("", "yes", "no"):
        raise BadInput(
            gettext("profiles is {text!r}; write yes or no.").format(text=profiles),
            field="profiles",
        )
    return () if profiles == "yes" else (PROFILES.key,)
