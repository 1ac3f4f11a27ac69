"""Connect Klaviyo (API revision 2026-10-15).

Klaviyo sends no single e-mail by its API. An e-mail is an event of the metric `METRIC`, and a flow
at Klaviyo sends what the event carries. The event's ``unique_id`` is the send's key, and Klaviyo
takes a repeated one once.

Reference: https://developers.klaviyo.com/en/reference/api_overview
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from retention import clock
from retention.connect import web
from retention.connect.contract import ConnectorError, Profile, Setting
from retention.connect.orders import moment, need
from retention.outreach.adapter import Message

REVISION = "2026-10-15"
ADDRESS = "https://a.klaviyo.com"
METRIC = "Retention campaign"
MOST_IDS = 1_000  # profiles of one change of a list
LEFT = ("Bounced Email", "Unsubscribed from Email Marketing", "Marked Email as Spam")


class Klaviyo:
    """One Klaviyo account.

    Parameters
    ----------
    access : mapping
        Settings and secrets by name (`retention.connect.connections.Access`).
    """

    kind = "klaviyo"
    drops_duplicates = True
    address_words = (b"email", b"Email")
    batch_size = 5_000
    missing_settings = ()
    settings = (
        Setting("key", is_secret=True, example="pk_…"),
        Setting("address", is_required=False, example=ADDRESS),
    )

    def __init__(self, access: Any) -> None:
        base = web.check_address(access["address"] or ADDRESS, "address")
        headers = {
            "Authorization": f"Klaviyo-API-Key {access['key']}",
            "revision": REVISION,
            "Accept": "application/vnd.api+json",
        }
        self._base, self._api = base, web.Api(base, headers)
        self._bulk = self._api.patient()

    def close(self) -> None:
        """Close the connections."""
        self._api.close()

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
        attributes = {
            "unique_id": message.key,
            "time": clock.wall().isoformat(),
            "properties": {
                "campaign_id": message.campaign_id,
                "subject": message.subject,
                "html": message.html,
                "text": message.text,
                "unsubscribe_url": message.unsubscribe_url,
                **message.offer,
            },
            "metric": {"data": {"type": "metric", "attributes": {"name": METRIC}}},
            "profile": {
                "data": {
                    "type": "profile",
                    "attributes": {
                        "email": message.to.email,
                        "external_id": message.customer_id,
                    },
                }
            },
        }
        body = {"data": {"type": "event", "attributes": attributes}}
        self._api.call("POST", "/api/events", body=body)
        return message.key

    # ------------------------------------------------------------ profiles and lists

    def push_profiles(self, profiles: Sequence[Profile]) -> None:
        """Write up to ``batch_size`` profiles; repeating changes nothing."""
        self._import(profiles, None)

    def list_members(self, name: str) -> Iterator[str]:
        """Yield the customer ids of a list; none if there is no such list."""
        list_id = self._list_id(name)
        if list_id is not None:
            for profile in self._profiles_of(list_id):
                if customer := need(profile, "attributes").get("external_id"):
                    yield customer

    def change_list(self, name: str, add: Sequence[Profile], remove: Sequence[Profile]) -> None:
        """Add customers to a list, and remove others; repeating changes nothing."""
        list_id = self._list_id(name)
        if list_id is None:
            body = {"data": {"type": "list", "attributes": {"name": name}}}
            created = need(self._bulk.json("POST", "/api/lists", body=body), "data")
            list_id = str(need(created, "id"))
        for start in range(0, len(add), self.batch_size):
            self._import(add[start : start + self.batch_size], list_id)
        unwanted = {profile.customer_id for profile in remove}
        ids = [
            profile["id"]
            for profile in (self._profiles_of(list_id) if unwanted else ())
            if need(profile, "attributes").get("external_id") in unwanted
        ]
        for start in range(0, len(ids), MOST_IDS):
            data = [{"type": "profile", "id": each} for each in ids[start : start + MOST_IDS]]
            path = f"/api/lists/{list_id}/relationships/profiles"
            self._bulk.call("DELETE", path, body={"data": data})

    def suppress(self, name: str, profiles: Sequence[Profile]) -> None:
        """Put customers into a list that the account's own campaigns exclude.

        Klaviyo's suppression is for all e-mails for ever, which a hold-out group is not.
        """
        self.change_list(name, profiles, ())

    def left(self, since: datetime) -> Iterator[tuple[str, str, datetime]]:
        """Yield what, e-mail address and time of bounces, unsubscribes and complaints.

        Parameters
        ----------
        since : datetime
            Only later ones.
        """
        metrics = {
            need(need(metric, "attributes"), "name"): need(metric, "id")
            for metric in self._pages("/api/metrics", {})
        }
        for name, kind in zip(LEFT, ("bounced", "unsubscribed", "complained"), strict=True):
            if name not in metrics:
                continue
            query = {
                "filter": f'equals(metric_id,"{metrics[name]}"),greater-than(datetime,'
                f"{since:%Y-%m-%dT%H:%M:%SZ})",
                "include": "profile",
                "fields[profile]": "email",
                "sort": "datetime",
            }
            yield from self._left(kind, query)

    def _left(self, kind: str, query: dict[str, str]) -> Iterator[tuple[str, str, datetime]]:
        path: str | None = "/api/events"
        given: dict[str, str] | None = query
        while path:
            page = self._bulk.json("GET", path, query=given)
            emails = {
                need(one, "id"): need(need(one, "attributes"), "email")
                for one in page.get("included", ())
            }
            for event in need(page, "data"):
                relation = need(need(event, "relationships"), "profile")
                profile = need(need(relation, "data"), "id")
                at = moment(need(need(event, "attributes"), "datetime"), "datetime")
                if emails.get(profile):
                    yield kind, emails[profile], at
            path, given = self._next(page), None

    def _import(self, profiles: Sequence[Profile], list_id: str | None) -> None:
        if not profiles:
            return
        data: dict[str, Any] = {
            "type": "profile-bulk-import-job",
            "attributes": {"profiles": {"data": [_profile(each) for each in profiles]}},
        }
        if list_id is not None:
            lists = [{"type": "list", "id": list_id}]
            data["relationships"] = {"lists": {"data": lists}}
        self._bulk.call("POST", "/api/profile-bulk-import-jobs", body={"data": data})

    def _list_id(self, name: str) -> str | None:
        quoted = name.replace("\\", "\\\\").replace('"', '\\"')
        query = {"filter": f'equals(name,"{quoted}")'}
        found = need(self._bulk.json("GET", "/api/lists", query=query), "data")
        return str(need(found[0], "id")) if found else None

    def _profiles_of(self, list_id: str) -> Iterator[dict[str, Any]]:
        query = {"fields[profile]": "external_id", "page[size]": "100"}
        return self._pages(f"/api/lists/{list_id}/profiles", query)

    def _pages(self, path: str, query: dict[str, str]) -> Iterator[dict[str, Any]]:
        following: str | None = path
        given: dict[str, str] | None = query
        while following:
            page = self._bulk.json("GET", following, query=given)
            yield from need(page, "data")
            following, given = self._next(page), None

    def _next(self, page: dict[str, Any]) -> str | None:
        """Return the next page's path; another host never gets the key."""
        following = (page.get("links") or {}).get("next")
        if not following:
            return None
        if not str(following).startswith(f"{self._base}/"):
            raise ConnectorError("changed_schema", "the next page is at another host")
        return str(following).removeprefix(self._base)


def _profile(profile: Profile) -> dict[str, Any]:
    attributes = {
        "email": profile.email,
        "external_id": profile.customer_id,
        "properties": dict(profile.properties),
    }
    if profile.phone:
        attributes["phone_number"] = profile.phone
    return {"type": "profile", "attributes": attributes}
