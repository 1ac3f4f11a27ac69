"""Stand-ins of mail platforms, written from their public documentation.

Klaviyo's is here (2026-10-15), and what all have in common. Others have a file of their own.
``sent`` has the keys of all e-mails in the order of their arrival. None can show whether the real
service delivers an e-mail.
"""

import json
import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from tests.standins.server import Answer, Call, StandIn

KEY = "secret-key-of-the-platform"
SENDER = "Tea Shop <hello@shop.example>"
REFUSED = "refused@example.com"
METRICS = {  # Klaviyo's names
    "bounced": "Bounced Email",
    "unsubscribed": "Unsubscribed from Email Marketing",
    "complained": "Marked Email as Spam",
    "opened": "Opened Email",
    "preloaded": "Opened Email",
    "clicked": "Clicked Email",
}


class MailPlatform(StandIn):
    """What all have in common.

    Those that take profiles have `properties`, `members`, `take_out` and `happen`, so that one test
    fits all of them.
    """

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.sent: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.renamed: dict[str, str] = {}  # fields of answers that are called otherwise now

    def answer(self, call: Call) -> Answer | None:
        answer = super().answer(call)
        if answer is None or not self.renamed:
            return answer
        body = answer.body().decode()
        for old, new in self.renamed.items():
            body = body.replace(f'"{old}":', f'"{new}":')
        return Answer(answer.status, body.encode(), answer.headers)

    def properties(self) -> dict[str, dict[str, Any]]:
        """Return the properties of each customer."""
        raise NotImplementedError

    def members(self) -> dict[str, set[str]]:
        """Return the customers of each list, by its name."""
        raise NotImplementedError

    def take_out(self, name: str, customer: str) -> None:
        """Let a person at the platform take a customer out of a list."""
        raise NotImplementedError

    def happen(self, what: str, customer: str, at: datetime) -> None:
        """Let a customer bounce, unsubscribe or complain (``bounced`` …), or open an e-mail."""
        raise NotImplementedError

    def take(self, key: str, body: dict[str, Any]) -> None:
        """Send an e-mail."""
        self.sent.append(key)
        self.bodies.append(body)


class Klaviyo(MailPlatform):
    """Klaviyo's events, profiles and lists. An event's ``unique_id`` counts once per profile."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.profiles: dict[str, dict[str, Any]] = {}  # by external id
        self.lists: dict[str, tuple[str, set[str]]] = {}  # id → name and external ids
        self.happened: list[tuple[str, str, str]] = []  # metric, external id, time
        self.by_machines: list[str] = []  # times of opens
        self.page_size = 2
        self._seen: set[tuple[str, str]] = set()

    def properties(self) -> dict[str, dict[str, Any]]:
        return {customer: each["properties"] for customer, each in self.profiles.items()}

    def members(self) -> dict[str, set[str]]:
        return dict(self.lists.values())

    def take_out(self, name: str, customer: str) -> None:
        self.members()[name].discard(customer)

    def happen(self, what: str, customer: str, at: datetime) -> None:
        self.happened.append((METRICS[what], customer, at.isoformat()))
        if what == "preloaded":
            self.by_machines.append(at.isoformat())

    def respond(self, call: Call) -> Answer:
        if call.headers.get("authorization") != f"Klaviyo-API-Key {KEY}":
            return Answer(401, {"errors": [{"code": "authentication_failed"}]})
        if not call.headers.get("revision"):
            return Answer(400, {"errors": [{"code": "missing_revision"}]})
        parts = call.path.removeprefix("/api/").split("/")
        handler = getattr(self, f"_{call.method.lower()}_{parts[0].replace('-', '_')}", None)
        return handler(call, parts[1:]) if handler else Answer(404, {"errors": []})

    def _get_accounts(self, call: Call, rest: list[str]) -> Answer:
        attributes = {
            "contact_information": {"organization_name": "Tea Shop"},
            "preferred_currency": "GBP",
        }
        return Answer(200, {"data": [{"type": "account", "id": "A", "attributes": attributes}]})

    def _post_events(self, call: Call, rest: list[str]) -> Answer:
        attributes = call.json()["data"]["attributes"]
        profile = attributes["profile"]["data"]["attributes"]
        if profile["email"] == REFUSED:
            return Answer(400, {"errors": [{"code": "invalid", "detail": "Invalid email"}]})
        seen = (profile["external_id"], attributes["unique_id"])
        if seen not in self._seen:
            self._seen.add(seen)
            self.take(attributes["unique_id"], attributes)
        return Answer(202, b"")

    def _post_profile_bulk_import_jobs(self, call: Call, rest: list[str]) -> Answer:
        data = call.json()["data"]
        ids = set()
        for one in data["attributes"]["profiles"]["data"]:
            self.profiles[one["attributes"]["external_id"]] = one["attributes"]
            ids.add(one["attributes"]["external_id"])
        for each in data.get("relationships", {}).get("lists", {}).get("data", ()):
            self.lists[each["id"]][1].update(ids)
        return Answer(202, {"data": {"type": "profile-bulk-import-job", "id": "J"}})

    def _get_profiles(self, call: Call, rest: list[str]) -> Answer:
        wanted = json.loads(call.query["filter"].removeprefix("equals(external_id,")[:-1])
        data = [
            {"type": "profile", "id": f"P-{each}", "attributes": {"email": profile["email"]}}
            for each, profile in self.profiles.items()
            if each == wanted
        ]
        return Answer(200, {"data": data, "links": {"next": None}})

    def _post_data_privacy_deletion_jobs(self, call: Call, rest: list[str]) -> Answer:
        data = call.json()["data"]
        profile = data["attributes"]["profile"]["data"]
        wanted = (profile.get("attributes") or {}).get("email", "").lower()
        if data["type"] != "data-privacy-deletion-job" or bool(wanted) == ("id" in profile):
            return Answer(400, {"errors": [{"code": "invalid"}]})
        for each in list(self.profiles):
            if self.profiles[each]["email"].lower() == wanted or profile.get("id") == f"P-{each}":
                del self.profiles[each]
                for _, ids in self.lists.values():
                    ids.discard(each)
        return Answer(202, b"")

    def _get_lists(self, call: Call, rest: list[str]) -> Answer:
        if rest:
            return self._members(call, rest[0])
        wanted = json.loads(call.query["filter"].removeprefix("equals(name,").removesuffix(")"))
        found = [
            {"type": "list", "id": key, "attributes": {"name": name}}
            for key, (name, _) in self.lists.items()
            if name == wanted
        ]
        return Answer(200, {"data": found, "links": {"next": None}})

    def _post_lists(self, call: Call, rest: list[str]) -> Answer:
        key = f"L{len(self.lists) + 1}"
        name = call.json()["data"]["attributes"]["name"]
        self.lists[key] = (name, set())
        return Answer(201, {"data": {"type": "list", "id": key, "attributes": {"name": name}}})

    def _delete_lists(self, call: Call, rest: list[str]) -> Answer:
        for one in call.json()["data"]:
            self.lists[rest[0]][1].discard(one["id"].removeprefix("P-"))
        return Answer(204, b"")

    def _members(self, call: Call, list_id: str) -> Answer:
        members = sorted(self.lists[list_id][1])
        start = int(call.query.get("page[cursor]", 0))
        shown = members[start : start + self.page_size]
        data = [
            {"type": "profile", "id": f"P-{each}", "attributes": {"external_id": each}}
            for each in shown
        ]
        after = start + self.page_size
        more = after < len(members) and not self.take_fault(call, "missing_page")
        link = f"{self.url}{call.path}?page[cursor]={after}" if more else None
        return Answer(200, {"data": data, "links": {"next": link}})

    def _get_metrics(self, call: Call, rest: list[str]) -> Answer:
        names = sorted({metric for metric, _, _ in self.happened})
        data = [
            {"type": "metric", "id": f"M-{name}", "attributes": {"name": name}} for name in names
        ]
        return Answer(200, {"data": data, "links": {"next": None}})

    def _get_events(self, call: Call, rest: list[str]) -> Answer:
        found = re.findall(
            r"(greater-or-equal|less-than)\(datetime,([^)]+)\)", call.query["filter"]
        )
        limits = {operator: datetime.fromisoformat(at) for operator, at in found}
        until = limits.get("less-than", datetime.max.replace(tzinfo=UTC))
        every = [
            (customer, at)
            for metric, customer, at in sorted(self.happened, key=lambda one: one[2])
            if f'"M-{metric}"' in call.query["filter"]
            and limits["greater-or-equal"] <= datetime.fromisoformat(at) < until
        ]
        start = int(call.query.get("page[cursor]", 0))
        after = start + self.page_size
        shown = every[start:after]
        query = urlencode({"filter": call.query["filter"], "page[cursor]": after})
        following = f"{self.url}{call.path}?{query}" if after < len(every) else None
        data, included = [], []
        for number, (customer, at) in enumerate(shown):
            profile = {"type": "profile", "id": customer}
            facts = {"machine_open": at in self.by_machines}
            told = {"datetime": at, "event_properties": facts}
            event = {"type": "event", "id": f"E{number}", "attributes": told}
            data.append({**event, "relationships": {"profile": {"data": profile}}})
            included.append({**profile, "attributes": {"email": self.profiles[customer]["email"]}})
        return Answer(200, {"data": data, "included": included, "links": {"next": following}})
