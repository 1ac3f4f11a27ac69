"""A stand-in of Customer.io: App API v1, Track API v1 and v2.

Written from the vendor's OpenAPI documents of 2026-08. It answers at once, and the real Track API
applies changes later.
"""

import base64
import json
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from tests.standins.mail_platforms import KEY, REFUSED, MailPlatform
from tests.standins.server import Answer, Call

SITE = "site-1"
TRACK_KEY = "track-key-of-the-site"
BASIC = "Basic " + base64.b64encode(f"{SITE}:{TRACK_KEY}".encode()).decode()
METRICS = {
    "complained": ["spammed"],
    "opened": ["opened", "human_opened"],
    "preloaded": ["opened", "prefetch_opened"],
    "clicked": ["clicked", "human_clicked"],
}


class CustomerIo(MailPlatform):
    """Transactional e-mails, deliveries with metrics, people and manual segments."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.people: dict[str, dict[str, Any]] = {}
        self.segments: dict[int, tuple[str, set[str]]] = {1: ("Signed up", {"k0"})}
        self.deliveries: list[dict[str, Any]] = []
        self.page_size = 2
        self.refused: set[str] = set()  # people whose profile is wrong

    def properties(self) -> dict[str, dict[str, Any]]:
        return self.people

    def members(self) -> dict[str, set[str]]:
        return {name: ids for number, (name, ids) in self.segments.items() if number > 1}

    def take_out(self, name: str, customer: str) -> None:
        self.members()[name].discard(customer)

    def happen(self, what: str, customer: str, at: datetime) -> None:
        email = self.people[customer]["email"]
        self.deliveries.append(
            {
                "id": f"d{len(self.deliveries)}",
                "customer_identifiers": {"id": customer, "email": email, "cio_id": "c"},
                "recipient": email,
                "metrics": dict.fromkeys(METRICS.get(what, [what]), int(at.timestamp())),
                "created": int(at.timestamp()) - 3600,
                "type": "email",
            }
        )

    def respond(self, call: Call) -> Answer:
        is_track = call.path.startswith("/api/")
        wanted = BASIC if is_track else f"Bearer {KEY}"
        if call.headers.get("authorization") != wanted:
            return Answer(401, {"meta": {"error": "unauthorized"}})
        return self._track(call) if is_track else self._app(call)

    def _app(self, call: Call) -> Answer:
        match (call.method, call.path.split("/")[2:]):
            case "GET", ["workspaces"]:
                return Answer(200, {"workspaces": []})
            case "POST", ["send", "email"]:
                return self._send(call.json())
            case "GET", ["messages"]:
                return self._messages(call)
            case "GET", ["segments"]:
                found = [self._segment(number) for number in self.segments]
                return Answer(200, {"segments": found})
            case "POST", ["segments"]:
                number = max(self.segments) + 1
                self.segments[number] = (call.json()["segment"]["name"], set())
                return Answer(200, {"segment": self._segment(number)})
            case "GET", ["segments", number, "membership"]:
                return self._membership(call, int(number))
        return Answer(404, {"errors": [{"detail": "not found"}]})

    def _send(self, body: dict[str, Any]) -> Answer:
        if body["to"] == REFUSED:
            return Answer(400, {"meta": {"error": "to is invalid"}})
        self.take(body["message_data"]["key"], body)
        return Answer(200, {"delivery_id": f"cio-{len(self.sent)}"})

    def _segment(self, number: int) -> dict[str, Any]:
        name, kind = self.segments[number][0], "manual" if number > 1 else "dynamic"
        return {"id": number, "name": name, "type": kind, "state": "finished"}

    def _page(self, call: Call, name: str, rows: list[Any]) -> Answer:
        start = int(call.query.get("start", 0))
        end = start + min(self.page_size, int(call.query["limit"]))
        following = str(end) if end < len(rows) else ""
        return Answer(200, {name: rows[start:end], "next": following})

    def _messages(self, call: Call) -> Answer:
        first, last = int(call.query["start_ts"]), int(call.query.get("end_ts", 1 << 40))
        found = [
            delivery
            for delivery in reversed(self.deliveries)
            if call.query["metric"] in delivery["metrics"] and first <= delivery["created"] <= last
        ]
        return self._page(call, "messages", found)

    def _membership(self, call: Call, number: int) -> Answer:
        found = [
            {"id": customer, "email": self.people[customer]["email"], "cio_id": "c"}
            for customer in sorted(self.segments[number][1])
        ]
        return self._page(call, "identifiers", found)

    def _track(self, call: Call) -> Answer:
        match (call.method, call.path.split("/")[3:]):
            case "GET", ["accounts", "region"]:
                return Answer(200, {"region": "us", "environment_id": 1})
            case "DELETE", ["customers", customer]:
                self.people.pop(unquote(customer), None)
                for _, ids in self.segments.values():
                    ids.discard(unquote(customer))
                return Answer(200, {})
            case "POST", ["batch"]:
                return self._batch(call)
            case "POST", ["segments", number, action]:
                ids = call.json()["ids"]
                if not 0 < len(ids) <= 1_000:
                    return Answer(400, {"meta": {"errors": ["1 to 1000 ids"]}})
                members = self.segments[int(number)][1]
                if action == "add_customers":
                    members.update(customer for customer in ids if customer in self.people)
                else:
                    members.difference_update(ids)
                return Answer(200, {})
        return Answer(404, {"errors": []})

    def _batch(self, call: Call) -> Answer:
        if len(call.body) > 500_000:
            return Answer(400, {"errors": [{"reason": "too large"}]})
        errors = []
        for number, each in enumerate(call.json()["batch"]):
            customer = each["identifiers"]["id"]
            if customer in self.refused or len(json.dumps(each)) > 32_000:
                error = {"reason": "invalid", "field": "email", "message": "is not an address"}
                errors.append({"batch_index": number, **error})
            else:
                self.people.setdefault(customer, {}).update(each["attributes"])
        return Answer(207, {"errors": errors}) if errors else Answer(200, {})
