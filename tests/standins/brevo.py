"""A stand-in of Brevo's API v3, written from its public reference (SDK 6.0.3, November 2026).

It has the account, transactional e-mails, blocked contacts, contacts, attributes, folders and
lists. An import is complete at once; at Brevo it runs in the background.
"""

import time
from datetime import date, datetime, timedelta
from itertools import count
from typing import Any
from urllib.parse import unquote

from tests.standins.mail_platforms import KEY, REFUSED, MailPlatform
from tests.standins.server import Answer, Call

CODES = {
    "bounced": "hardBounce",
    "unsubscribed": "unsubscribedViaEmail",
    "complained": "contactFlaggedAsSpam",
}
REACTIONS = {"opened": "opened", "preloaded": "loadedByProxy", "clicked": "clicks"}
MOST = {"blockedContacts": 100, "contacts": 1_000, "lists": 50, "folders": 50, "members": 500}
TYPES: dict[str, Any] = {"text": str, "float": (int, float), "date": str}
EVERYONE = "Retention customers"  # the desk's own list


class Brevo(MailPlatform):
    """One account."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.contacts: dict[str, dict[str, Any]] = {}  # by address
        self.attributes: dict[str, str] = {"FIRSTNAME": "text"}  # types by name
        self.folders: dict[int, str] = {1: "Your first folder"}
        self.lists: dict[int, tuple[str, set[int]]] = {}  # id → name and ids of contacts
        self.blocked: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []  # of transactional e-mails
        self.page_size = 2  # a page never has more than this
        self._numbers = count(1)

    # ------------------------------------------------------------ what tests ask for

    def properties(self) -> dict[str, dict[str, Any]]:
        return {
            each["attributes"]["RETENTION_CUSTOMER_ID"]: each["attributes"]
            for each in self.contacts.values()
        }

    def members(self) -> dict[str, set[str]]:
        """Return the customers of each list but the one of everyone, which an import needs."""
        customers = {
            each["id"]: each["attributes"].get("RETENTION_CUSTOMER_ID", "")
            for each in self.contacts.values()
        }
        return {
            name: {customers[one] for one in ids}
            for name, ids in self.lists.values()
            if name != EVERYONE
        }

    def take_out(self, name: str, customer: str) -> None:
        (ids,) = (ids for known, ids in self.lists.values() if known == name)
        ids.discard(self._contact(customer)["id"])

    def happen(self, what: str, customer: str, at: datetime) -> None:
        if what in CODES:
            row = {
                "email": self._contact(customer)["email"],
                "senderEmail": None,
                "reason": {"code": CODES[what], "message": what},
                "blockedAt": at.isoformat(),
            }
            self.blocked.append(row)
        if what in REACTIONS:
            email = self._contact(customer)["email"]
            event = {"event": REACTIONS[what], "email": email, "date": at.isoformat()}
            self.events.append({**event, "messageId": f"<{len(self.events)}@smtp-relay>"})

    def blocklist(self, customer: str, at: datetime) -> None:
        """Let a customer unsubscribe from one of the account's own campaigns."""
        self._contact(customer).update(emailBlacklisted=True, modifiedAt=at.isoformat())

    def _contact(self, customer: str) -> dict[str, Any]:
        (found,) = (
            each
            for each in self.contacts.values()
            if each["attributes"].get("RETENTION_CUSTOMER_ID") == customer
        )
        return found

    # ------------------------------------------------------------ requests

    def pause(self, seconds: float) -> dict[str, str]:
        return {"x-sib-ratelimit-remaining": "0", "x-sib-ratelimit-reset": f"{seconds:g}"}

    def respond(self, call: Call) -> Answer:
        if call.headers.get("api-key") != KEY:
            return Answer(401, {"code": "unauthorized", "message": "Key not found"})
        match call.method, *call.path.removeprefix("/v3/").split("/"):
            case "GET", "account":
                return Answer(200, {"companyName": "Tea Shop"})
            case "POST", "smtp", "email":
                return self._send(call.json())
            case "GET", "smtp", "blockedContacts":
                rows = sorted(self.blocked, key=lambda row: row["blockedAt"], reverse=True)
                return self._page(call, "contacts", rows, MOST["blockedContacts"])
            case "GET", "smtp", "statistics", "events":
                first, last = call.query["startDate"], call.query["endDate"]
                if date.fromisoformat(last) - date.fromisoformat(first) > timedelta(days=90):
                    return _refused("the date range can not exceed 90 days")
                start = int(call.query["offset"])
                rows = [row for row in self.events if row["event"] == call.query["event"]]
                rows = [row for row in rows if first <= row["date"][:10] <= last]
                rows.sort(key=lambda row: row["date"], reverse=call.query["sort"] == "desc")
                shown = rows[start : start + self.page_size]
                return Answer(200, {"events": shown} if shown else {})
            case "GET", "contacts", "attributes":
                rows = [
                    {"name": name, "category": "normal", "type": kind}
                    for name, kind in self.attributes.items()
                ]
                return Answer(200, {"attributes": rows})
            case "POST", "contacts", "attributes", "normal", name:
                return self._add_attribute(name, call.json())
            case "GET", "contacts", "folders":
                rows = [{"id": key, "name": name} for key, name in self.folders.items()]
                return self._page(call, "folders", rows, MOST["folders"])
            case "POST", "contacts", "folders":
                key = max(self.folders) + 1
                self.folders[key] = call.json()["name"]
                return Answer(201, {"id": key})
            case "GET", "contacts", "lists":
                rows = [{"id": key, "name": name} for key, (name, _) in self.lists.items()]
                order = 1 if call.query.get("sort") == "asc" else -1
                return self._page(call, "lists", rows[::order], MOST["lists"])
            case "POST", "contacts", "lists":
                return self._add_list(call.json())
            case "GET", "contacts", "lists", key, "contacts":
                ids = self.lists[int(key)][1]
                rows = [each for each in self.contacts.values() if each["id"] in ids]
                return self._page(call, "contacts", rows, MOST["members"])
            case "POST", "contacts", "lists", key, "contacts", "remove":
                return self._remove(int(key), call.json()["ids"])
            case "GET", "contacts":
                since = datetime.fromisoformat(call.query["modifiedSince"])
                rows = [
                    each
                    for each in self.contacts.values()
                    if datetime.fromisoformat(each["modifiedAt"]) > since
                ]
                return self._page(call, "contacts", rows, MOST["contacts"])
            case "DELETE", "contacts", email:
                known = {each.lower(): each for each in self.contacts}
                if (address := known.get(unquote(email).lower())) is None:
                    return Answer(404, {"code": "document_not_found", "message": "no contact"})
                contact = self.contacts.pop(address)
                for _, ids in self.lists.values():
                    ids.discard(contact["id"])
                return Answer(204, b"")
            case "POST", "contacts", "import":
                return self._import(call.json())
        return Answer(404, {"code": "document_not_found", "message": "Path not found"})

    def _send(self, body: dict[str, Any]) -> Answer:
        if body["to"][0]["email"] == REFUSED:
            return _refused("email is not valid")
        self.take(body["headers"]["idempotencyKey"], body)
        return Answer(201, {"messageId": f"<{len(self.sent)}@smtp-relay>"})

    def _page(self, call: Call, key: str, rows: list[dict[str, Any]], most: int) -> Answer:
        limit, start = int(call.query.get("limit", 10)), int(call.query.get("offset", 0))
        if not 0 < limit <= most:
            return _refused(f"limit should be between 1 and {most}")
        shown = rows[start : start + min(limit, self.page_size)]
        if start and self.take_fault(call, "missing_page"):
            shown = []
        return Answer(200, {key: shown, "count": len(rows)})

    def _add_attribute(self, name: str, body: dict[str, Any]) -> Answer:
        if name in self.attributes:
            return _refused("Attribute name must be unique")
        if not name.isupper() or body["type"] not in TYPES:
            return _refused("Attribute is not valid")
        self.attributes[name] = body["type"]
        return Answer(201, b"")

    def _add_list(self, body: dict[str, Any]) -> Answer:
        if body["folderId"] not in self.folders:
            return _refused("Folder ID does not exist")
        key = next(self._numbers)
        self.lists[key] = (body["name"], set())
        return Answer(201, {"id": key})

    def _import(self, body: dict[str, Any]) -> Answer:
        if not body.get("listIds") or any(key not in self.lists for key in body["listIds"]):
            return _refused("listIds is missing or does not exist")
        now = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
        for row in body["jsonBody"]:
            new = {"id": next(self._numbers), "attributes": {}, "emailBlacklisted": False}
            contact = self.contacts.setdefault(row["email"], {"email": row["email"], **new})
            contact["modifiedAt"] = now
            contact["attributes"] |= {
                name: value
                for name, value in row["attributes"].items()
                if isinstance(value, TYPES[self.attributes.get(name, "text")])
                and name in self.attributes
            }
            for key in body["listIds"]:
                self.lists[key][1].add(contact["id"])
        return Answer(202, {"processId": next(self._numbers)})

    def _remove(self, key: int, ids: list[int]) -> Answer:
        members = self.lists[key][1]
        if not 0 < len(ids) <= 150:
            return _refused("a maximum of 150 contacts is allowed")
        if not members.intersection(ids):
            return _refused("Contact already removed from list and/or does not exist")
        members.difference_update(ids)
        return Answer(201, {"contacts": {"success": ids, "failure": []}})


def _refused(message: str) -> Answer:
    return Answer(400, {"code": "invalid_parameter", "message": message})
