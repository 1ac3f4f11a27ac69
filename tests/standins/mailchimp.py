"""A stand-in of Mailchimp: Transactional API 1.3 and Marketing API 3.0.

Written from the reference at mailchimp.com/developer. Errors of Transactional have status 500 and a
name.
"""

import base64
import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from tests.standins.mail_platforms import KEY, REFUSED, MailPlatform
from tests.standins.server import Answer, Call

AUDIENCE = "a1b2c3d4e5"
MARKETING_KEY = "marketing-key-us6"
BASIC = "Basic " + base64.b64encode(f"retention:{MARKETING_KEY}".encode()).decode()
REASONS = {"bounced": "hard-bounce", "complained": "spam", "soft": "soft-bounce"}
ACTIONS = {"opened": "open", "preloaded": "proxy_open", "clicked": "click"}
MOST_MEMBERS = 500  # of one request
LONG_AGO = "2020-01-01T00:00:00+00:00"


class Mailchimp(MailPlatform):
    """E-mails and rejects, and an audience with merge fields and static segments."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.contacts: dict[str, dict[str, Any]] = {}  # by address
        self.segments: dict[int, tuple[str, set[str]]] = {}  # name and addresses
        self.tags = {"FNAME", "LNAME"}
        self.batches: list[int] = []  # numbers of failed operations
        self.rejects: list[dict[str, Any]] = []
        self.reactions: list[tuple[str, str, str]] = []  # address, time, action
        self.most_rejects = 1_000
        self.page_size = 2

    def properties(self) -> dict[str, dict[str, Any]]:
        return {
            contact["merge_fields"]["RET_ID"]: contact["merge_fields"]
            for contact in self.contacts.values()
            if "RET_ID" in contact["merge_fields"]
        }

    def members(self) -> dict[str, set[str]]:
        return {
            name: {self.contacts[address]["merge_fields"]["RET_ID"] for address in addresses}
            for name, addresses in self.segments.values()
        }

    def take_out(self, name: str, customer: str) -> None:
        for known, addresses in self.segments.values():
            if known == name:
                addresses.discard(self.address_of(customer))

    def address_of(self, customer: str) -> str:
        """Return the address of a customer."""
        return next(
            address
            for address, contact in self.contacts.items()
            if contact["merge_fields"].get("RET_ID") == customer
        )

    def happen(self, what: str, customer: str, at: datetime) -> None:
        address = self.address_of(customer)
        if what == "unsubscribed":
            self.contacts[address] |= {"status": what, "last_changed": at.isoformat()}
        elif what in ACTIONS:
            self.reactions.append((address, at.isoformat(), ACTIONS[what]))
        elif what in REASONS:
            time = f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
            reject = {"email": address, "reason": REASONS[what], "detail": ""}
            self.rejects.append(reject | {"created_at": time, "last_event_at": time})

    def respond(self, call: Call) -> Answer:
        if call.path.startswith("/export/"):
            return Answer(200, self._archive(), {"Content-Type": "application/zip"})
        if call.path.startswith("/3.0/"):
            if call.headers.get("authorization") != BASIC:
                return Answer(401, {"title": "API Key Invalid", "status": 401})
            if call.path.startswith("/3.0/reports"):
                return self._report(call)
            if call.path.startswith("/3.0/batches"):
                return self._batch(call)
            return self._marketing(call)
        body = call.json()
        if body["key"] != KEY:
            return Answer(500, {"status": "error", "code": -1, "name": "Invalid_Key"})
        match call.path.removeprefix("/api/1.3/"):
            case "users/info":
                return Answer(200, {"username": "Tea Shop"})
            case "messages/send":
                return self._send(body["message"])
            case "rejects/list":
                return Answer(200, self.rejects[: self.most_rejects])
            case "exports/rejects":
                return Answer(200, {"id": "e1", "state": "waiting", "result_url": None})
            case "exports/info":
                url = f"{self.url}/export/signature"
                return Answer(200, {"id": body["id"], "state": "complete", "result_url": url})
        return Answer(500, {"status": "error", "name": "Unknown_Method"})

    def _send(self, message: dict[str, Any]) -> Answer:
        if message["to"][0]["email"] == REFUSED:
            refused = {"status": "rejected", "reject_reason": "hard-bounce", "_id": "m0"}
            return Answer(200, [refused])
        self.take(message["metadata"]["key"], message)
        return Answer(200, [{"status": "sent", "_id": f"m{len(self.sent)}", "reject_reason": None}])

    def _archive(self) -> bytes:
        text, file = io.StringIO(), io.BytesIO()
        writer = csv.DictWriter(text, list(self.rejects[0]))
        writer.writeheader()
        writer.writerows(self.rejects)
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("rejects.csv", text.getvalue())
        return file.getvalue()

    # ------------------------------------------------------------ reports of campaigns

    def _report(self, call: Call) -> Answer:
        """Report opens and clicks of the audience's only campaign."""
        match call.path.split("/")[3:]:
            case []:
                last = {
                    what: max((at for _, at, _ in each), default="") for what, each in self._did()
                }
                opens, clicks = {"last_open": last["open"]}, {"last_click": last["click"]}
                own = {"id": "c1", "list_id": AUDIENCE, "opens": opens, "clicks": clicks}
                return self._page(call, "reports", [own, {**own, "id": "c2", "list_id": "other"}])
            case ["c1", "open-details"]:
                return self._page(call, "members", self._people(call, "opens", ("open",)))
            case ["c1", "email-activity"]:
                return self._page(call, "emails", self._people(call, "activity", ("open", "click")))
        return Answer(404, {"title": "Resource Not Found", "status": 404})

    def _did(self) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
        for action in ("open", "click"):
            yield action, [one for one in self.reactions if one[2].endswith(action)]

    def _people(self, call: Call, name: str, actions: tuple[str, ...]) -> list[dict[str, Any]]:
        since = datetime.fromisoformat(call.query["since"])
        people: dict[str, list[dict[str, Any]]] = {}
        for address, at, what in self.reactions:
            action = what.removeprefix("proxy_")
            if action in actions and datetime.fromisoformat(at) > since:
                told: dict[str, Any] = {"timestamp": at}
                told |= {"is_proxy_open": what != "open"} if name == "opens" else {"action": action}
                people.setdefault(address, []).append(told)
        return [{"email_address": address, name: each} for address, each in people.items()]

    # ------------------------------------------------------------ the audience

    def _marketing(self, call: Call) -> Answer:
        match (call.method, call.path.split("/")[3:]):
            case "GET", [_]:
                return Answer(200, {"id": AUDIENCE})
            case "POST", [_]:
                return self._write(call.json())
            case "GET", [_, "members"]:
                return self._page(call, "members", self._found(call))
            case "GET", [_, "merge-fields"]:
                return self._page(call, "merge_fields", [{"tag": tag} for tag in sorted(self.tags)])
            case "POST", [_, "merge-fields"]:
                return self._add_field(call.json()["tag"])
            case "GET", [_, "segments"]:
                rows = [{"id": key, "name": name} for key, (name, _) in self.segments.items()]
                return self._page(call, "segments", rows)
            case "POST", [_, "segments"]:
                return self._add_segment(call.json())
            case "GET", [_, "segments", key, "members"]:
                return self._page(call, "members", self._in_segment(call, int(key)))
            case "POST", [_, "members", key, "actions", "delete-permanent"]:
                return self._delete(key)
            case "POST", [_, "segments", key]:
                return self._change(int(key), call.json())
        return Answer(404, {"title": "Resource Not Found", "status": 404})

    def _page(self, call: Call, name: str, rows: list[Any]) -> Answer:
        start = int(call.query["offset"])
        shown = rows[start : start + min(self.page_size, int(call.query["count"]))]
        if start and self.take_fault(call, "missing_page"):
            shown = []
        return Answer(200, {name: shown, "total_items": len(rows)})

    def _found(self, call: Call) -> list[dict[str, Any]]:
        status = call.query.get("status")
        since = datetime.fromisoformat(call.query.get("since_last_changed", "1970-01-01T00:00Z"))
        return [
            contact
            for contact in self.contacts.values()
            if (contact["status"] == status if status else contact["status"] != "archived")
            and datetime.fromisoformat(contact["last_changed"]) > since
        ]

    def _in_segment(self, call: Call, key: int) -> list[dict[str, Any]]:
        shown = {"subscribed", "pending"}
        shown |= {
            status
            for status in ("cleaned", "transactional", "unsubscribed")
            if call.query.get(f"include_{status}") == "true"
        }
        contacts = [self.contacts[address] for address in sorted(self.segments[key][1])]
        return [contact for contact in contacts if contact["status"] in shown]

    def _add_field(self, tag: str) -> Answer:
        if tag in self.tags or len(tag) > 10:
            return Answer(400, {"title": "Invalid Resource", "status": 400})
        self.tags.add(tag)
        return Answer(200, {"tag": tag})

    def _add_segment(self, body: dict[str, Any]) -> Answer:
        key = len(self.segments) + 1
        self.segments[key] = (body["name"], set(body["static_segment"]))
        return Answer(200, {"id": key, "name": body["name"]})

    def _change(self, key: int, body: dict[str, Any]) -> Answer:
        add, remove = body.get("members_to_add", []), body.get("members_to_remove", [])
        if max(len(add), len(remove)) > MOST_MEMBERS:
            return Answer(400, {"title": "Invalid Resource", "status": 400})
        known = {address for address in add if address in self.contacts}
        self.segments[key][1].update(known)
        self.segments[key][1].difference_update(remove)
        return Answer(200, {"members_added": sorted(known), "error_count": len(add) - len(known)})

    def _write(self, body: dict[str, Any]) -> Answer:
        if len(body["members"]) > MOST_MEMBERS:
            return Answer(400, {"title": "Invalid Resource", "status": 400})
        errors = []
        for member in body["members"]:
            contact = self.contacts.get(member["email_address"])
            if error := self._refusal(member, contact, body["update_existing"]):
                errors.append({"email_address": member["email_address"], "error": error})
                continue
            fields = {**(contact["merge_fields"] if contact else {}), **member["merge_fields"]}
            changed = contact["last_changed"] if contact else LONG_AGO
            new = {**member, "merge_fields": fields, "last_changed": changed}
            self.contacts[member["email_address"]] = new
        return Answer(200, {"errors": errors, "error_count": len(errors)})

    def _batch(self, call: Call) -> Answer:
        if call.method == "GET":
            number = int(call.path.rpartition("/")[2])
            errored = self.batches[number - 1]
            done = {"status": "finished", "errored_operations": errored}
            return Answer(200, {"id": str(number), **done})
        results = [self._patch(operation) for operation in call.json()["operations"]]
        self.batches.append(results.count(False))
        return Answer(200, {"id": str(len(self.batches)), "status": "pending"})

    def _patch(self, operation: dict[str, Any]) -> bool:
        """Update a contact; Mailchimp names it by the MD5 hash of its address."""
        folder, _, key = operation["path"].rpartition("/")
        fields = json.loads(operation["body"])["merge_fields"]
        if (operation["method"], folder) != ("PATCH", f"/lists/{AUDIENCE}/members"):
            return False
        address = self._address(key)
        if address is None or not set(fields) <= self.tags:
            return False
        self.contacts[address]["merge_fields"] |= fields
        return True

    def _address(self, key: str) -> str | None:
        hashes = {
            hashlib.md5(each.lower().encode(), usedforsecurity=False).hexdigest(): each
            for each in self.contacts
        }
        return hashes.get(key)

    def _delete(self, key: str) -> Answer:
        if (address := self._address(key)) is None:
            return Answer(404, {"title": "Resource Not Found", "status": 404})
        del self.contacts[address]
        for _, addresses in self.segments.values():
            addresses.discard(address)
        return Answer(204, b"")

    def _refusal(
        self, member: dict[str, Any], contact: dict[str, Any] | None, is_update: bool
    ) -> str:
        if unknown := set(member["merge_fields"]) - self.tags:
            return f"{sorted(unknown)[0]} is no merge field"
        if contact is None:
            return ""
        if not is_update:
            return "already a list member"
        if contact["status"] == "unsubscribed" and member["status"] == "subscribed":
            return "in compliance state"
        return ""
