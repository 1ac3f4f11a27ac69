"""Connect Customer.io (App API v1, Track API v1 and v2).

E-mails, reports and segments use the app API key. Profiles are written with the site id and the key
of the Track API, which a connection may lack.

Reference: https://docs.customer.io/integrations/api/app/ and
https://docs.customer.io/integrations/api/track/
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import formataddr, parseaddr
from typing import Any
from urllib.parse import quote

from retention.connect import web
from retention.connect.contract import SENDER, ConnectorError, Profile, Setting
from retention.connect.platforms import contacts
from retention.connect.shops.orders import need, unix_moment
from retention.outreach import tracking
from retention.outreach.adapter import Message
from retention.text import gettext

ADDRESS, TRACK_ADDRESS = "https://api.customer.io", "https://track.customer.io"
LEFT = {"bounced": "bounced", "unsubscribed": "unsubscribed", "spammed": "complained"}
REACTIONS: Mapping[str, tracking.Kind] = {"opened": "open", "clicked": "click"}
# E-mails are found by the time when they were created, and customers may react late.
REACTION, DAY = timedelta(days=60), timedelta(days=1)
MOST_REPORTS, MOST_MEMBERS = 1_000, 30_000  # of one page
MOST_BYTES = 450_000  # of one batch; Customer.io takes 500 kB


class CustomerIo(contacts.NamedLists):
    """One Customer.io workspace; e-mails are transactional. It has no idempotency key.

    Raises `BadInput`: only one of ``site_id`` and ``track_key`` is there.
    """

    kind = "customer.io"
    drops_duplicates = False
    address_words = (b"to is invalid", b"recipient")
    batch_size = remove_size = 1_000
    settings = (
        Setting("key", is_secret=True, example="app API key"),
        SENDER,
        Setting("site_id", is_required=False, example="site id of the Track API"),
        Setting("track_key", is_secret=True, is_required=False, example="Track API key"),
        Setting("address", is_required=False, example=ADDRESS),
        Setting("track_address", is_required=False, example=TRACK_ADDRESS),
    )

    def __init__(self, access: Any) -> None:
        super().__init__(access, ADDRESS, {"Authorization": f"Bearer {access['key']}"})
        self._sender = access["sender"]
        message = gettext("site_id and track_key belong together; give {missing}, too.")
        self.missing_settings = contacts.missing_together(access, ("site_id", "track_key"), message)
        base = web.check_address(access["track_address"] or TRACK_ADDRESS, "track_address")
        self._track = web.Api(base, {}, (access["site_id"], access["track_key"])).patient()

    def close(self) -> None:
        """Close the connections."""
        super().close()
        self._track.close()

    def check(self) -> dict[str, str]:
        """Check that the app API key works."""
        self._api.json("GET", "/v1/workspaces")
        return {}

    def check_profiles(self) -> None:
        """Check that the key of the Track API works, if there is one."""
        if not self.missing_settings:
            self._track.json("GET", "/api/v1/accounts/region")

    def mail(self, message: Message) -> str:
        """Send one e-mail."""
        sender, (_, address) = self._sender, parseaddr(self._sender)
        body = {
            "to": message.to.email,
            "from": formataddr((message.sender_name, address)) if message.sender_name else sender,
            "subject": message.subject,
            "body": message.html,
            "body_plain": message.text,
            "identifiers": {"id": message.customer_id},
            "message_data": {"campaign_id": message.campaign_id, "key": message.key},
            "headers": contacts.unsubscribe_headers(message),
            **({"reply_to": message.reply_to} if message.reply_to else {}),
        }
        answer = self._api.json("POST", "/v1/send/email", body=body)
        return contacts.sent_id(answer, "delivery_id")

    def left(self, since: datetime) -> Iterator[tuple[str, str, datetime]]:
        """Yield what, e-mail address and time of bounces, unsubscribes and complaints.

        Customer.io keeps the reports of six months.
        """
        created = int((since - REACTION).timestamp())
        for metric, kind in LEFT.items():
            query = {"type": "email", "metric": metric, "start_ts": created, "limit": MOST_REPORTS}
            for message in self._pages("/v1/messages", query, "messages"):
                at = unix_moment(need(message, "metrics"), metric)
                if at > since and (email := _address_of(message)):
                    yield kind, email, at

    def reaction_parts(self, since: datetime, until: datetime) -> Iterable[str]:
        """Return the days on which e-mails were created that customers may react to."""
        first = (since - REACTION).date()
        return [f"{first + DAY * number}" for number in range((until.date() - first).days + 1)]

    def reaction_pages(
        self, part: str, since: datetime, until: datetime, position: Any
    ) -> Iterator[tuple[list[contacts.Reaction], Any]]:
        """Yield the first open and click by a person of each e-mail of a day, as one page."""
        day = datetime.fromisoformat(part).replace(tzinfo=UTC)
        period = {"start_ts": int(day.timestamp()), "end_ts": int((day + DAY).timestamp())}
        found = list[contacts.Reaction]()
        for metric, kind in REACTIONS.items():
            query = {"type": "email", "metric": metric, "limit": MOST_REPORTS, **period}
            for message in self._pages("/v1/messages", query, "messages"):
                metrics, email = need(message, "metrics"), _address_of(message)
                if email and f"human_{metric}" in metrics:  # others are by machines
                    found.append((kind, email, unix_moment(metrics, f"human_{metric}")))
        yield found, contacts.END

    # ------------------------------------------------------------ requests of `MailPlatform`

    def delete_profiles(self, ids: Sequence[str], emails: Sequence[str]) -> None:
        """Delete the people with these ids."""
        for customer in ids:
            self._track.unless_gone("DELETE", f"/api/v1/customers/{quote(customer, safe='')}")

    def _all_lists(self) -> list[Any]:
        segments = need(self._bulk.json("GET", "/v1/segments"), "segments")
        return [each for each in segments if need(each, "type") == "manual"]

    def _new_list(self, name: str) -> Any:
        body = {"segment": {"name": name}}
        return need(self._bulk.json("POST", "/v1/segments", body=body), "segment")

    def _members(self, list_id: str) -> Iterator[contacts.Member]:
        path, query = f"/v1/segments/{list_id}/membership", {"limit": MOST_MEMBERS}
        for person in self._pages(path, query, "identifiers"):
            customer = need(person, "id")
            yield contacts.Member(customer, customer or "")

    def _hand_over(self, profiles: Sequence[Profile], list_id: str | None) -> None:
        for batch in contacts.batches([_person(profile) for profile in profiles], MOST_BYTES):
            response = self._track.call("POST", "/api/v2/batch", body={"batch": batch})
            if response.status_code == 207:
                _check_taken(len(batch), web.parse_json(response.content))
        if list_id is not None:
            self._change(list_id, "add_customers", [each.customer_id for each in profiles])

    def _remove(self, list_id: str, ids: Sequence[str]) -> None:
        self._change(list_id, "remove_customers", ids)

    def _change(self, list_id: str, action: str, ids: Sequence[str]) -> None:
        path = f"/api/v1/segments/{list_id}/{action}"
        self._track.call("POST", path, body={"ids": list(ids)})

    def _pages(self, path: str, query: Mapping[str, Any], name: str) -> Iterator[Any]:
        following = dict[str, str]()
        while True:
            page = self._bulk.json("GET", path, query={**query, **following})
            yield from need(page, name)
            if not (start := page.get("next")):
                return
            following = {"start": start}


def _person(profile: Profile) -> dict[str, Any]:
    """Return the request that writes a profile; an empty text clears an attribute."""
    filled = {name: "" if value is None else value for name, value in profile.properties.items()}
    return {
        "type": "person",
        "identifiers": {"id": profile.customer_id},
        "action": "identify",
        "attributes": {**filled, "email": profile.email},
    }


def _check_taken(size: int, answer: Any) -> None:
    """Refuse a batch of which nothing was taken; single profiles may be wrong."""
    errors = need(answer, "errors")
    if size > 1 and len({need(error, "batch_index") for error in errors}) == size:
        reason = f"{errors[0].get('field', '')} {errors[0].get('message', '')}".strip()
        raise ConnectorError("refused", f"/api/v2/batch: {reason}"[:200])


def _address_of(message: Any) -> str:
    """Return the address that an e-mail went to, else the one that the person has now."""
    _, address = parseaddr(str(need(message, "recipient") or ""))
    if "@" in address:
        return address
    return str((message.get("customer_identifiers") or {}).get("email") or "")
