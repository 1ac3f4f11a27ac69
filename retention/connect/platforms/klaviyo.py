"""Connect Klaviyo (API revision 2026-10-15).

Klaviyo sends no single e-mail by its API. An e-mail is an event of the metric `METRIC`, and a flow
at Klaviyo sends what the event carries. The event's ``unique_id`` is the send's key, and Klaviyo
takes a repeated one once.

Reference: https://developers.klaviyo.com/en/reference/api_overview
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from retention import clock
from retention.connect.contract import ConnectorError, Profile, Setting
from retention.connect.platforms.contacts import END, MailPlatform, Member, Reaction
from retention.connect.shops.orders import moment, need
from retention.outreach import tracking
from retention.outreach.adapter import Message

REVISION = "2026-10-15"
ADDRESS = "https://a.klaviyo.com"
METRIC = "Retention campaign"
LEFT = {
    "Bounced Email": "bounced",
    "Unsubscribed from Email Marketing": "unsubscribed",
    "Marked Email as Spam": "complained",
}

REACTIONS: Mapping[str, tracking.Kind] = {"Opened Email": "open", "Clicked Email": "click"}
MACHINE = ("machine_open", "Apple Privacy Open", "Bot Click")  # properties of such events


class Klaviyo(MailPlatform):
    """One Klaviyo account."""

    kind = "klaviyo"
    drops_duplicates = True
    address_words = (b"email", b"Email")
    batch_size, remove_size = 5_000, 1_000
    settings = (
        Setting("key", is_secret=True, example="pk_…"),
        Setting("address", is_required=False, example=ADDRESS),
    )

    def __init__(self, access: Any) -> None:
        key = f"Klaviyo-API-Key {access['key']}"
        headers = {"revision": REVISION, "Accept": "application/vnd.api+json"}
        super().__init__(access, ADDRESS, {"Authorization": key, **headers})

    def check(self) -> dict[str, str]:
        """Return the account's name and currency."""
        (account, *_) = need(self._api.json("GET", "/api/accounts"), "data")
        attributes = account["attributes"]
        return {
            "name": str(attributes["contact_information"]["organization_name"]),
            "currency": str(attributes.get("preferred_currency", "")),
        }

    def mail(self, message: Message) -> str:
        """Create the event that makes a flow send the e-mail."""
        profile = {"email": message.to.email, "external_id": message.customer_id}
        attributes = {
            "unique_id": message.key,
            "time": clock.wall().isoformat(),
            "properties": {
                "campaign_id": message.campaign_id,
                "sender_name": message.sender_name,
                "subject": message.subject,
                "html": message.html,
                "text": message.text,
                "reply_to": message.reply_to,
                "unsubscribe_url": message.unsubscribe_url,
                **message.offer,
            },
            "metric": {"data": {"type": "metric", "attributes": {"name": METRIC}}},
            "profile": {"data": {"type": "profile", "attributes": profile}},
        }
        body = {"data": {"type": "event", "attributes": attributes}}
        self._api.call("POST", "/api/events", body=body)
        return message.key

    def left(self, since: datetime) -> Iterator[tuple[str, str, datetime]]:
        """Yield what, e-mail address and time of bounces, unsubscribes and complaints."""
        for name, kind in LEFT.items():
            for people, _ in self._people(name, since):
                yield from ((kind, email, at) for email, at in people)

    def reaction_parts(self, since: datetime, until: datetime) -> Iterable[str]:
        """Return the metrics."""
        return REACTIONS

    def reaction_pages(
        self, part: str, since: datetime, until: datetime, position: Any
    ) -> Iterator[tuple[list[Reaction], Any]]:
        """Yield opens or clicks by people, each page with the time that it reaches."""
        first = moment(position, "position") if position else since
        for people, last in self._people(part, first, until):
            following = last.isoformat() if last else END
            yield [(REACTIONS[part], email, at) for email, at in people], following

    @cached_property
    def _metrics(self) -> dict[str, str]:
        return {
            need(need(metric, "attributes"), "name"): need(metric, "id")
            for metric in self._rows("/api/metrics", {})
        }

    def _people(
        self, metric: str, since: datetime, until: datetime | None = None
    ) -> Iterator[tuple[list[tuple[str, datetime]], datetime | None]]:
        """Yield addresses and times of the events of a metric, by page.

        Each page comes with the time of its last event; the last page without.
        """
        if metric not in self._metrics:
            return
        period = f"greater-or-equal(datetime,{_utc(since)})"
        period += f",less-than(datetime,{_utc(until)})" if until else ""
        query = {
            "filter": f"{_equals('metric_id', self._metrics[metric])},{period}",
            "include": "profile",
            "fields[profile]": "email",
            "sort": "datetime",
        }
        at = since
        for page in self._pages("/api/events", query):
            people = []
            emails = {
                need(one, "id"): need(need(one, "attributes"), "email")
                for one in page.get("included", ())
            }
            for event in need(page, "data"):
                relation = need(need(event, "relationships"), "profile")
                profile = need(need(relation, "data"), "id")
                attributes = need(event, "attributes")
                at = moment(need(attributes, "datetime"), "datetime")
                facts = attributes.get("event_properties") or {}
                if emails.get(profile) and not any(facts.get(name) for name in MACHINE):
                    people.append((emails[profile], at))
            yield people, at if self._next(page) else None

    # ------------------------------------------------------------ profiles and lists

    def delete_profiles(self, ids: Sequence[str], emails: Sequence[str]) -> None:
        """Ask for the deletion of profiles, which Klaviyo carries out in the background."""
        wanted: list[dict[str, Any]] = [{"attributes": {"email": email}} for email in emails]
        addresses = {email.lower() for email in emails}
        for customer in ids:  # a profile may have an earlier address
            query = {"filter": _equals("external_id", customer), "fields[profile]": "email"}
            wanted += [
                {"id": str(need(profile, "id"))}
                for profile in self._rows("/api/profiles", query)
                if str(need(profile, "attributes").get("email")).lower() not in addresses
            ]
        for profile in wanted:
            attributes = {"profile": {"data": {"type": "profile", **profile}}}
            data = {"type": "data-privacy-deletion-job", "attributes": attributes}
            path = "/api/data-privacy-deletion-jobs"
            self._bulk.unless_gone("POST", path, body={"data": data})

    def _hand_over(self, profiles: Sequence[Profile], list_id: str | None) -> None:
        data: dict[str, Any] = {
            "type": "profile-bulk-import-job",
            "attributes": {"profiles": {"data": [_profile(each) for each in profiles]}},
        }
        if list_id is not None:
            data["relationships"] = {"lists": {"data": [{"type": "list", "id": list_id}]}}
        self._bulk.call("POST", "/api/profile-bulk-import-jobs", body={"data": data})

    def _create_list(self, name: str) -> str:
        body = {"data": {"type": "list", "attributes": {"name": name}}}
        answer = self._bulk.json("POST", "/api/lists", body=body)
        return str(need(need(answer, "data"), "id"))

    def _remove(self, list_id: str, ids: Sequence[str]) -> None:
        data = [{"type": "profile", "id": each} for each in ids]
        path = f"/api/lists/{list_id}/relationships/profiles"
        self._bulk.call("DELETE", path, body={"data": data})

    def _find_list(self, name: str) -> str | None:
        query = {"filter": _equals("name", name)}
        found = need(self._bulk.json("GET", "/api/lists", query=query), "data")
        return str(need(found[0], "id")) if found else None

    def _members(self, list_id: str) -> Iterator[Member]:
        query = {"fields[profile]": "external_id", "page[size]": "100"}
        for profile in self._rows(f"/api/lists/{list_id}/profiles", query):
            yield Member(need(profile, "attributes").get("external_id"), str(need(profile, "id")))

    def _rows(self, path: str, query: dict[str, str]) -> Iterator[dict[str, Any]]:
        return (row for page in self._pages(path, query) for row in need(page, "data"))

    def _pages(self, path: str | None, query: dict[str, str] | None) -> Iterator[dict[str, Any]]:
        while path:
            page = self._bulk.json("GET", path, query=query)
            yield page
            path, query = self._next(page), None

    def _next(self, page: dict[str, Any]) -> str | None:
        """Return the next page's path; another host never gets the key."""
        following = (page.get("links") or {}).get("next")
        if not following:
            return None
        if not str(following).startswith(f"{self._base}/"):
            raise ConnectorError("changed_schema", "the next page is at another host")
        return str(following).removeprefix(self._base)


def _utc(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _equals(field: str, value: str) -> str:
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'equals({field},"{quoted}")'


def _profile(profile: Profile) -> dict[str, Any]:
    attributes = {
        "email": profile.email,
        "external_id": profile.customer_id,
        "properties": dict(profile.properties),
    }
    return {"type": "profile", "attributes": attributes}
