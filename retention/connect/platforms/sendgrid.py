"""Connect SendGrid (API v3).

SendGrid suppresses addresses for all e-mails or for a kind of e-mail, not for one campaign. The
hold-out group is a list that the account's own campaigns exclude. SendGrid names the end of a pause
in ``X-RateLimit-Reset``.

Reference: https://www.twilio.com/docs/sendgrid/api-reference
"""

import csv
import gzip
import io
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import cached_property, partial
from typing import IO, Any

from retention import clock
from retention.connect import web
from retention.connect.contract import (
    SENDER,
    ConnectorError,
    ListUnavailable,
    Profile,
    Setting,
    chunks,
    parse_sender,
)
from retention.connect.platforms import contacts
from retention.connect.platforms.contacts import CUSTOMER_ID, FIELDS, Member, NamedLists
from retention.connect.shops.orders import need, unix_moment
from retention.outreach.adapter import Message
from retention.privacy import unpacking

ADDRESS = "https://api.sendgrid.com"
MOST_BYTES = 5_500_000  # of 6 MB
PAGE, LIST_PAGE = 500, 1_000  # an account has up to 1,000 lists
# Blocks are missing: they are about one message, and SendGrid goes on sending to the address.
SUPPRESSIONS = {
    "bounces": "bounced",
    "invalid_emails": "bounced",
    "unsubscribes": "unsubscribed",
    "spam_reports": "complained",
}
MOST_SEARCHED = 100  # addresses of one search
IMPORT_WAIT, EXPORT_WAIT = 20.0, 180.0  # seconds
LATER = timedelta(minutes=15)


class SendGrid(NamedLists):
    """One SendGrid account. It has no idempotency key."""

    kind = "sendgrid"
    drops_duplicates = False
    address_words = (b"personalizations",)
    batch_size, remove_size = 30_000, 100
    settings = (
        Setting("key", is_secret=True, example="SG.…"),
        SENDER,
        contacts.PROFILES,
        Setting("address", is_required=False, example=ADDRESS),
    )

    def __init__(self, access: Any) -> None:
        super().__init__(access, ADDRESS, {"Authorization": f"Bearer {access['key']}"})
        self._sender = parse_sender(access["sender"])
        self.missing_settings = contacts.missing_settings(access["profiles"])
        self._exports = dict[str, list[Member]]()  # members by list

    def check(self) -> dict[str, str]:
        """Check that the key may send."""
        scopes = self._api.json("GET", "/v3/scopes").get("scopes", ())
        if "mail.send" not in scopes:
            raise ConnectorError("scope_missing", "mail.send")
        return {}

    def mail(self, message: Message) -> str:
        """Send one e-mail."""
        name, address = self._sender
        to = {"email": message.to.email}
        if message.to.name:
            to["name"] = message.to.name
        body = {
            "from": {"email": address, "name": message.sender_name or name},
            "personalizations": [{"to": [to], "custom_args": {"key": message.key}}],
            "subject": message.subject,
            "content": [
                {"type": "text/plain", "value": message.text},
                {"type": "text/html", "value": message.html},
            ],
            "headers": contacts.unsubscribe_headers(message),
            "categories": [message.campaign_id],
            **({"reply_to": {"email": message.reply_to}} if message.reply_to else {}),
        }
        response = self._api.call("POST", "/v3/mail/send", body=body)
        return response.headers.get("x-message-id") or message.key

    def left(self, since: datetime) -> Iterator[tuple[str, str, datetime]]:
        """Yield what, e-mail address and time of bounces, unsubscribes and complaints."""
        for name, what in SUPPRESSIONS.items():
            for row in self._suppressions(name, since):
                yield what, str(need(row, "email")), unix_moment(row, "created")

    def _suppressions(self, name: str, since: datetime) -> Iterator[dict[str, Any]]:
        seen = set[tuple[Any, Any]]()
        offset = 0
        while True:
            query = {"start_time": int(since.timestamp()), "limit": PAGE, "offset": offset}
            rows = self._bulk.json("GET", f"/v3/suppression/{name}", query=query)
            if not isinstance(rows, list):
                raise ConnectorError("changed_schema", f"{name} is no list")
            new = {(need(row, "email"), need(row, "created")) for row in rows} - seen
            if not new:  # the end; or a list that ignores the offset, which some did
                return
            yield from rows
            seen |= new
            offset += len(rows)

    # ------------------------------------------------------------ contacts and lists

    def delete_profiles(self, ids: Sequence[str], emails: Sequence[str]) -> None:
        """Delete the contacts of these addresses, which SendGrid does in the background."""
        path = "/v3/marketing/contacts"
        for some in chunks(emails, MOST_SEARCHED):
            body = {"emails": list(some)}
            answer = self._bulk.unless_gone("POST", f"{path}/search/emails", body=body)
            if answer is None:  # none of them is known
                continue
            rows = need(web.parse_json(answer.content), "result").values()
            known = [need(row, "contact") for row in rows if "error" not in row]
            if contact_ids := ",".join(str(need(contact, "id")) for contact in known):
                self._bulk.call("DELETE", path, query={"ids": contact_ids})

    def _hand_over(self, profiles: Sequence[Profile], list_id: str | None) -> None:
        fields = self._fields
        rows = [
            {
                "email": profile.email,
                "custom_fields": {
                    fields[name]: _value(name, value)
                    for name, value in contacts.plain_values(profile).items()
                },
            }
            for profile in profiles
        ]
        for batch in contacts.batches(rows, MOST_BYTES):
            body: dict[str, Any] = {"contacts": batch}
            if list_id is not None:
                body["list_ids"] = [list_id]
                self._exports.pop(list_id, None)
            job = need(self._bulk.json("PUT", "/v3/marketing/contacts", body=body), "job_id")
            path = f"/v3/marketing/contacts/imports/{job}"
            # Long jobs end by themselves. One that fails at once refuses all contacts.
            if self._end(path, IMPORT_WAIT)["status"] == "failed":
                raise ConnectorError("refused", "SendGrid could not import the contacts")

    @cached_property
    def _fields(self) -> dict[str, str]:
        """Ids of the custom fields by name; those that are missing are created."""
        path = "/v3/marketing/field_definitions"
        answer = self._bulk.json("GET", path)
        need(answer, "reserved_fields")
        rows = answer.get("custom_fields") or ()  # missing without any
        ids = {str(need(row, "name")).lower(): str(need(row, "id")) for row in rows}
        for name, kind in FIELDS.items():
            if name not in ids:
                body = {"name": name, "field_type": kind.title()}
                ids[name] = str(need(self._bulk.json("POST", path, body=body), "id"))
        return ids

    def _all_lists(self) -> Any:
        answer = self._bulk.json("GET", "/v3/marketing/lists", query={"page_size": LIST_PAGE})
        return need(answer, "result")

    def _new_list(self, name: str) -> Any:
        return self._bulk.json("POST", "/v3/marketing/lists", body={"name": name})

    def _members(self, list_id: str) -> Iterator[Member]:
        if list_id not in self._exports:
            self._exports[list_id] = list(self._export(list_id))
        return iter(self._exports[list_id])

    def _export(self, list_id: str) -> Iterator[Member]:
        """Read the members of a list from an export; other requests show 50 at most."""
        body = {"list_ids": [list_id], "file_type": "csv", "notifications": {"email": False}}
        job = need(self._bulk.json("POST", "/v3/marketing/contacts/exports", body=body), "id")
        answer = self._end(f"/v3/marketing/contacts/exports/{job}", EXPORT_WAIT)
        if answer["status"] == "pending":
            raise ListUnavailable(
                "rate_limited", "the export still runs", retry_at=clock.wall() + LATER
            )
        if answer["status"] != "ready":
            raise ListUnavailable("unavailable", f"the export: {answer['status']}")
        for url in need(answer, "urls"):
            with web.downloaded(str(url)) as file:
                try:
                    yield from _contacts(file)
                except (*_NO_EXPORT, unpacking.TooLargeUnpacked):
                    raise ConnectorError("changed_schema", "the export is no CSV") from None

    def _remove(self, list_id: str, ids: Sequence[str]) -> None:
        self._exports.pop(list_id, None)
        path = f"/v3/marketing/lists/{list_id}/contacts"
        self._bulk.call("DELETE", path, query={"contact_ids": ",".join(ids)})

    def _end(self, path: str, most_seconds: float) -> Any:
        """Return a job's state when it has ended or the time is up."""
        ask = partial(self._bulk.json, "GET", path)
        return contacts.await_end(ask, "status", ("pending",), most_seconds)


_NO_EXPORT = (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error)


def _contacts(file: IO[bytes]) -> Iterator[Member]:
    """Yield the contact of each row of an export."""
    is_compressed = file.read(2) == b"\x1f\x8b"
    packed = file.seek(0, io.SEEK_END)
    file.seek(0)
    plain: Any = file
    if is_compressed:
        plain = gzip.GzipFile(fileobj=file)
        pieces = iter(partial(plain.read, 1 << 20), b"")
        deque(unpacking.limited("the export", packed, pieces), maxlen=0)
        plain.seek(0)
    reader = csv.DictReader(io.TextIOWrapper(plain, "utf-8-sig", newline=""))
    names = {name.lower(): name for name in reader.fieldnames or ()}
    for row in reader:
        by_name = {lower: row[name] for lower, name in names.items()}
        customer, contact = need(by_name, CUSTOMER_ID), need(by_name, "contact_id")
        yield Member(customer or None, str(contact), str(need(by_name, "email")))


def _value(name: str, value: str | float | None) -> str | float | None:
    if FIELDS[name] == "date":
        return f"{value}T00:00:00Z" if value else None
    return "" if value is None and FIELDS[name] == "text" else value
