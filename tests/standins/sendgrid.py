"""A stand-in of SendGrid's API v3, written from its public OpenAPI (twilio/sendgrid-oai, 2026).

It has the scopes, mail/send, suppressions, and the contacts, custom fields and lists of Marketing
Campaigns. A contact has one row per address, in lower case. Imports and exports are jobs. The file
of an export is CSV that is compressed; its address has its own signature.
"""

import csv
import gzip
import io
import time
import uuid
from datetime import datetime
from typing import Any

from tests.standins.mail_platforms import KEY, REFUSED, MailPlatform
from tests.standins.server import Answer, Call

KINDS = {"bounced": "bounces", "unsubscribed": "unsubscribes", "complained": "spam_reports"}
CUSTOMER = "retention_customer_id"
MOST_BYTES = 6_000_000


class SendGrid(MailPlatform):
    """One account."""

    scopes = ("mail.send",)

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.contacts: dict[str, dict[str, Any]] = {}  # by address
        self.fields: dict[str, tuple[str, str]] = {}  # id → name and type
        self.lists: dict[str, tuple[str, set[str]]] = {}  # id → name and addresses
        self.suppressions: dict[str, list[dict[str, Any]]] = {
            name: [] for name in (*KINDS.values(), "invalid_emails")
        }
        self.page_size = 2  # a page of suppressions never has more than this
        self.pages = True  # an older version of the API ignored the offset of bounces
        self.polls_until_done = 0
        self.failing = ""  # "import" or "export"
        self.compresses = True
        self._jobs: dict[str, int] = {}  # number of polls
        self._files: dict[str, bytes] = {}

    # ------------------------------------------------------------ what tests ask for

    def properties(self) -> dict[str, dict[str, Any]]:
        found = {}
        for each in self.contacts.values():
            values = {self.fields[key][0]: value for key, value in each["custom_fields"].items()}
            found[values[CUSTOMER]] = values
        return found

    def members(self) -> dict[str, set[str]]:
        customers = {self.contacts[each]["email"]: each for each in self.contacts}
        names = {customers[each["email"]]: self._customer(each) for each in self.contacts.values()}
        return {name: {names[one] for one in emails} for name, emails in self.lists.values()}

    def take_out(self, name: str, customer: str) -> None:
        (emails,) = (emails for known, emails in self.lists.values() if known == name)
        emails.discard(self._email(customer))

    def happen(self, what: str, customer: str, at: datetime) -> None:
        if what in KINDS:
            row = {"created": int(at.timestamp()), "email": self._email(customer)}
            self.suppressions[KINDS[what]].append(row)

    def _email(self, customer: str) -> str:
        (found,) = (key for key, each in self.contacts.items() if self._customer(each) == customer)
        return found

    def _customer(self, contact: dict[str, Any]) -> str:
        values = {self.fields[key][0]: value for key, value in contact["custom_fields"].items()}
        return str(values.get(CUSTOMER, ""))

    # ------------------------------------------------------------ requests

    def pause(self, seconds: float) -> dict[str, str]:
        at = int(time.time() + seconds)
        return {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(at)}

    def respond(self, call: Call) -> Answer:
        if call.path.startswith("/files/"):
            return self._file(call)
        if call.headers.get("authorization") != f"Bearer {KEY}":
            return Answer(401, {"errors": [{"message": "The provided authorization is invalid"}]})
        match call.method, *call.path.removeprefix("/v3/").split("/"):
            case "GET", "scopes":
                return Answer(200, {"scopes": list(self.scopes)})
            case "POST", "mail", "send":
                return self._send(call.json())
            case "GET", "suppression", name:
                return self._suppressed(call, name)
            case "GET", "marketing", "field_definitions":
                rows = [
                    {"id": key, "name": name, "field_type": kind}
                    for key, (name, kind) in self.fields.items()
                ]
                reserved = [{"id": "_rf2_T", "name": "email", "field_type": "Text"}]
                custom = {"custom_fields": rows} if rows else {}
                return Answer(200, {**custom, "reserved_fields": reserved})
            case "POST", "marketing", "field_definitions":
                return self._add_field(call.json())
            case "GET", "marketing", "lists":
                rows = [{"id": key, "name": name} for key, (name, _) in self.lists.items()]
                return Answer(200, {"result": rows, "_metadata": {}})
            case "POST", "marketing", "lists":
                key, name = str(uuid.uuid4()), call.json()["name"]
                if len(name) > 100:
                    return _refused("name")
                self.lists[key] = (name, set())
                return Answer(201, {"id": key, "name": name, "contact_count": 0})
            case "DELETE", "marketing", "lists", key, "contacts":
                ids = call.query["contact_ids"].split(",")
                emails = {each["email"] for each in self.contacts.values() if each["id"] in ids}
                self.lists[key][1].difference_update(emails)
                return Answer(202, {"job_id": self._job()})
            case "POST", "marketing", "contacts", "search", "emails":
                return self._search(call.json()["emails"])
            case "DELETE", "marketing", "contacts":
                ids = call.query["ids"].split(",")
                gone = {email for email, each in self.contacts.items() if each["id"] in ids}
                for _, emails in self.lists.values():
                    emails -= gone
                for email in gone:
                    del self.contacts[email]
                return Answer(202, {"job_id": self._job()})
            case "PUT", "marketing", "contacts":
                return self._import(call)
            case "GET", "marketing", "contacts", "imports", job:
                failed = self.failing == "import"
                return Answer(200, {"status": self._status(job, "completed", failed)})
            case "POST", "marketing", "contacts", "exports":
                return self._export(call.json())
            case "GET", "marketing", "contacts", "exports", job:
                status = self._status(job, "ready", self.failing == "export")
                urls = [f"{self.url}/files/{job}.csv"] if status == "ready" else []
                return Answer(200, {"id": job, "status": status, "urls": urls})
        return Answer(404, {"errors": [{"message": "not found"}]})

    def _send(self, body: dict[str, Any]) -> Answer:
        person = body["personalizations"][0]
        if person["to"][0]["email"] == REFUSED:
            return Answer(400, {"errors": [{"field": "personalizations.0.to"}]})
        self.take(person["custom_args"]["key"], body)
        return Answer(202, b"", {"X-Message-Id": f"sg-{len(self.sent)}"})

    def _suppressed(self, call: Call, name: str) -> Answer:
        start, limit = int(call.query["offset"]), int(call.query["limit"])
        if not 0 < limit <= 500:
            return _refused("limit")
        since = int(call.query["start_time"])
        rows = [row for row in self.suppressions[name] if row["created"] >= since]
        shown = rows[start : start + min(limit, self.page_size)] if self.pages else rows
        return Answer(200, shown)

    def _add_field(self, body: dict[str, Any]) -> Answer:
        if body["field_type"] not in ("Text", "Number", "Date"):
            return _refused("field_type")
        if body["name"] in [name for name, _ in self.fields.values()]:
            return _refused("name")
        key = f"w_{body['name']}_{body['field_type'][0]}"
        self.fields[key] = (body["name"], body["field_type"])
        return Answer(200, {"id": key, **body})

    def _import(self, call: Call) -> Answer:
        body = call.json()
        rows = body["contacts"]
        if not 0 < len(rows) <= 30_000 or len(call.body) > MOST_BYTES:
            return _refused("contacts")
        for row in rows:
            for key, value in row["custom_fields"].items():
                if key not in self.fields or not _fits(value, self.fields[key][1]):
                    return _refused(f"custom_fields.{key}")
        for row in rows if self.failing != "import" else ():
            email = row["email"].lower()
            new = {"email": email, "id": str(uuid.uuid4()), "custom_fields": {}}
            self.contacts.setdefault(email, new)["custom_fields"] |= row["custom_fields"]
            for key in body.get("list_ids", ()):
                self.lists[key][1].add(email)
        return Answer(202, {"job_id": self._job()})

    def _search(self, emails: list[str]) -> Answer:
        if not 0 < len(emails) <= 100:
            return _refused("emails")
        found = {
            email: {"contact": self.contacts[email.lower()]}
            if email.lower() in self.contacts
            else {"error": "contact not found"}
            for email in emails
        }
        is_known = any("contact" in each for each in found.values())
        return Answer(200, {"result": found}) if is_known else Answer(404, {"errors": []})

    def _export(self, body: dict[str, Any]) -> Answer:
        (key,), job = body["list_ids"], self._job()
        names = [name for name, _ in self.fields.values()]
        file = io.StringIO()
        writer = csv.writer(file)
        writer.writerow(["EMAIL", "FIRST_NAME", "CONTACT_ID", *names])
        for email in sorted(self.lists[key][1]):
            contact = self.contacts[email]
            values = {self.fields[one][0]: value for one, value in contact["custom_fields"].items()}
            writer.writerow([email, "", contact["id"], *(values.get(name, "") for name in names)])
        content = file.getvalue().encode()
        self._files[f"/files/{job}.csv"] = gzip.compress(content) if self.compresses else content
        return Answer(202, {"id": job, "_metadata": {}})

    def _file(self, call: Call) -> Answer:
        if "authorization" in call.headers:  # as the store of the files does
            return Answer(400, b"only one way of authorization is allowed")
        return Answer(200, self._files[call.path], {"Content-Type": "application/octet-stream"})

    def _job(self) -> str:
        job = str(uuid.uuid4())
        self._jobs[job] = 0
        return job

    def _status(self, job: str, done: str, is_failing: bool) -> str:
        self._jobs[job] += 1
        if self._jobs[job] <= self.polls_until_done:
            return "pending"
        return {"completed": "failed", "ready": "failure"}[done] if is_failing else done


def _fits(value: Any, kind: str) -> bool:
    if kind == "Number":
        return isinstance(value, int | float)
    if kind == "Date":
        return value is None or bool(datetime.fromisoformat(value).tzinfo)
    return isinstance(value, str)


def _refused(field: str) -> Answer:
    return Answer(400, {"errors": [{"field": field, "message": "invalid"}]})
