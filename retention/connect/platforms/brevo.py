"""Connect Brevo (API v3).

Brevo has no list that suppresses one campaign. The hold-out group is a list that the account's own
campaigns exclude. Brevo names the pause after a refusal in ``x-sib-ratelimit-reset``.

Reference: https://developers.brevo.com/reference
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any
from urllib.parse import quote

from retention.connect.contract import SENDER, ConnectorError, Profile, Setting, parse_sender
from retention.connect.platforms import contacts
from retention.connect.platforms.contacts import CUSTOMER_ID, FIELDS, Member, NamedLists, Reaction
from retention.connect.shops.orders import moment, need
from retention.outreach import tracking
from retention.outreach.adapter import Message

ADDRESS = "https://api.brevo.com"
FOLDER = "Retention"  # Brevo keeps lists in folders
EVERYONE = "Retention customers"  # an import needs a list
TYPES = {"text": "text", "number": "float", "date": "date"}
MOST_BYTES = 7_500_000  # Brevo recommends 8 MB
LIST_PAGE, MEMBER_PAGE, BLOCKED_PAGE, CONTACT_PAGE = 50, 500, 100, 1_000
# Pictures that a mail program loads ahead are events of their own.
REACTIONS: Mapping[str, tracking.Kind] = {"opened": "open", "clicks": "click"}
EVENT_PAGE, MOST_DAYS = 2_500, timedelta(days=89)
# Other reasons are unsubscribes, or blocks by the account's staff.
REASONS = {"hardBounce": "bounced", "contactFlaggedAsSpam": "complained"}


class Brevo(NamedLists):
    """One Brevo account; e-mails are transactional.

    Brevo remembers an idempotency key for 15 minutes only, so an uncertain e-mail is not repeated.
    """

    kind = "brevo"
    drops_duplicates = False
    address_words = (b"email is not valid", b"blacklisted")
    batch_size, remove_size = 10_000, 150
    settings = (
        Setting("key", is_secret=True, example="xkeysib-…"),
        SENDER,
        contacts.PROFILES,
        Setting("address", is_required=False, example=ADDRESS),
    )

    def __init__(self, access: Any) -> None:
        super().__init__(access, ADDRESS, {"api-key": access["key"]})
        self._sender = parse_sender(access["sender"])
        self.missing_settings = contacts.missing_settings(access["profiles"])

    def check(self) -> dict[str, str]:
        """Return the company's name."""
        account = self._api.json("GET", "/v3/account")
        return {"name": str(account.get("companyName", ""))}

    def mail(self, message: Message) -> str:
        """Send one e-mail."""
        name, address = self._sender
        body: dict[str, Any] = {
            "sender": {"name": message.sender_name or name, "email": address},
            "to": [{"email": message.to.email, "name": message.to.name[:70] or message.to.email}],
            "subject": message.subject,
            "htmlContent": message.html,
            "textContent": message.text,
            "headers": {"idempotencyKey": message.key, **contacts.unsubscribe_headers(message)},
            "tags": [message.campaign_id],
            **({"replyTo": {"email": message.reply_to}} if message.reply_to else {}),
        }
        answer = self._api.json("POST", "/v3/smtp/email", body=body)
        return contacts.sent_id(answer, "messageId")

    def left(self, since: datetime) -> Iterator[tuple[str, str, datetime]]:
        """Yield what, e-mail address and time of bounces, unsubscribes and complaints.

        Brevo blocks an address for transactional e-mails with a reason. A customer who unsubscribes
        from one of the account's own campaigns becomes a contact that is blocklisted.
        """
        # Brevo blocklists bounced addresses, too, and handing over scores modifies their contacts.
        # So the reasons of old blocks tell bounces from unsubscribes.
        bounced = set[str]()
        for row in self._pages("/v3/smtp/blockedContacts", "contacts", BLOCKED_PAGE, sort="desc"):
            at = moment(need(row, "blockedAt"), "blockedAt")
            what = REASONS.get(str(need(need(row, "reason"), "code")), "unsubscribed")
            email = str(need(row, "email"))
            if what == "bounced":
                bounced.add(email.lower())
            if at >= since:
                yield what, email, at
        modified = f"{since.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.000Z"
        for row in self._pages("/v3/contacts", "contacts", CONTACT_PAGE, modifiedSince=modified):
            address = row.get("email") or ""
            if need(row, "emailBlacklisted") and address and address.lower() not in bounced:
                yield "unsubscribed", address, moment(need(row, "modifiedAt"), "modifiedAt")

    def reaction_parts(self, since: datetime, until: datetime) -> Iterable[str]:
        """Return the kinds of events."""
        return REACTIONS

    def reaction_pages(
        self, part: str, since: datetime, until: datetime, position: Any
    ) -> Iterator[tuple[list[Reaction], Any]]:
        """Yield opens or clicks of transactional e-mails, each page with the next one's offset."""
        first = max(since - timedelta(days=1), until - MOST_DAYS)  # days of any time zone
        period = {"startDate": f"{first:%Y-%m-%d}", "endDate": f"{until:%Y-%m-%d}"}
        query = {"event": part, "limit": EVENT_PAGE, "sort": "asc", **period}
        offset, path = position or 0, "/v3/smtp/statistics/events"
        while rows := self._bulk.json("GET", path, query={**query, "offset": offset}).get("events"):
            offset += len(rows)
            yield (
                [
                    (REACTIONS[part], str(need(row, "email")), moment(need(row, "date"), "date"))
                    for row in rows
                ],
                offset,
            )

    # ------------------------------------------------------------ contacts and lists

    def delete_profiles(self, ids: Sequence[str], emails: Sequence[str]) -> None:
        """Delete the contacts of these addresses."""
        for email in emails:
            self._bulk.unless_gone("DELETE", f"/v3/contacts/{quote(email, safe='')}")

    def _hand_over(self, profiles: Sequence[Profile], list_id: str | None) -> None:
        _ = self._fields  # creates those that are missing
        list_id = list_id or self._find_list(EVERYONE) or self._create_list(EVERYONE)
        rows = [
            {
                "email": profile.email,
                # An import can also erase empty attributes, but Brevo does not say which ones.
                "attributes": {
                    name.upper(): value
                    for name, value in contacts.plain_values(profile).items()
                    if value is not None
                },
            }
            for profile in profiles
        ]
        for batch in contacts.batches(rows, MOST_BYTES):
            body = {
                "jsonBody": batch,
                "listIds": [int(list_id)],
                "updateExistingContacts": True,
                "disableNotification": True,
            }
            need(self._bulk.json("POST", "/v3/contacts/import", body=body), "processId")

    @cached_property
    def _fields(self) -> set[str]:
        """Names of the fields; those that are missing are created."""
        answer = self._bulk.json("GET", "/v3/contacts/attributes")
        present = {str(need(each, "name")).upper() for each in need(answer, "attributes")}
        for name, kind in FIELDS.items():
            if name.upper() not in present:
                path = f"/v3/contacts/attributes/normal/{name.upper()}"
                self._bulk.call("POST", path, body={"type": TYPES[kind]})
        return present

    def _all_lists(self) -> Iterator[dict[str, Any]]:
        return self._pages("/v3/contacts/lists", "lists", LIST_PAGE, sort="asc")  # the older first

    def _new_list(self, name: str) -> Any:
        body = {"name": name, "folderId": self._folder}
        return self._bulk.json("POST", "/v3/contacts/lists", body=body)

    @cached_property
    def _folder(self) -> int:
        for row in self._pages("/v3/contacts/folders", "folders", LIST_PAGE, sort="asc"):
            if need(row, "name") == FOLDER:
                return int(need(row, "id"))
        answer = self._bulk.json("POST", "/v3/contacts/folders", body={"name": FOLDER})
        return int(need(answer, "id"))

    def _members(self, list_id: str) -> Iterator[Member]:
        path = f"/v3/contacts/lists/{list_id}/contacts"
        for row in self._pages(path, "contacts", MEMBER_PAGE, sort="asc"):
            customer = need(row, "attributes").get(CUSTOMER_ID.upper())
            yield Member(customer, str(need(row, "id")), str(row.get("email") or ""))

    def _remove(self, list_id: str, ids: Sequence[str]) -> None:
        path = f"/v3/contacts/lists/{list_id}/contacts/remove"
        try:
            self._bulk.call("POST", path, body={"ids": [int(each) for each in ids]})
        except ConnectorError as error:
            if b"already removed" not in error.answer:
                raise

    def _pages(self, path: str, key: str, limit: int, **query: str) -> Iterator[dict[str, Any]]:
        def page_at(offset: int) -> Any:
            given = {"limit": limit, "offset": offset, **query}
            return self._bulk.json("GET", path, query=given)

        return contacts.pages(page_at, key, "count")
