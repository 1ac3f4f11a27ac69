"""Connect Mailchimp: e-mails by Transactional (API 1.3), scores and audiences by Marketing (3.0).

Scores are merge fields of contacts, and our audiences are static segments, which Mailchimp shows as
tags. The desk never changes whether a contact is subscribed: an update carries no status. Requests
go out one after the other; Mailchimp allows ten at a time.

Reference: https://mailchimp.com/developer/transactional/api/ and
https://mailchimp.com/developer/marketing/api/
"""

import csv
import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property, partial
from typing import Any

from retention.connect import web
from retention.connect.contract import (
    SENDER,
    ConnectorError,
    ErrorCode,
    Profile,
    Setting,
    parse_sender,
)
from retention.connect.platforms import contacts
from retention.connect.shops.orders import moment, need
from retention.errors import BadInput
from retention.outreach import tracking
from retention.outreach.adapter import Message
from retention.privacy import unpacking
from retention.text import gettext

ADDRESS = "https://mandrillapp.com"
MOST_REJECTS = 1_000  # that one answer has; it has no pages
EXPORT_WAIT = 300.0  # seconds
# Reasons of the list of rejects. A soft bounce says nothing about the address.
ERRORS: dict[str, ErrorCode] = {"Invalid_Key": "access_denied", "PaymentRequired": "plan_limit"}
LEFT = {
    "hard-bounce": "bounced",
    "invalid": "bounced",
    "unsub": "unsubscribed",
    "spam": "complained",
}
PAGE, REPORT_PAGE = 1_000, 500  # reports are slow
REACTION = timedelta(days=60)  # after sending
# Of a campaign's report: where it says when the last one was, and who reacted when.
LAST: Mapping[tracking.Kind, tuple[str, str]] = {
    "open": ("opens", "last_open"),
    "click": ("clicks", "last_click"),
}
REPORTS: Mapping[tracking.Kind, tuple[str, str, str]] = {
    "open": ("open-details", "members", "opens"),
    "click": ("email-activity", "emails", "activity"),
}
MOST_TEXT = 255  # characters of a merge field
UNFINISHED = ("pending", "preprocessing", "started", "finalizing")  # states of a batch
UPDATE_WAIT = 20.0  # seconds
MANY = 10  # refused contacts of one request that are no single mistakes
# Merge tags of the properties; Mailchimp allows ten characters.
TAGS = {
    contacts.CUSTOMER_ID: "RET_ID",
    "retention_risk": "RET_RISK",
    "retention_churn_probability": "RET_CHURN",
    "retention_expected_value": "RET_VALUE",
    "retention_next_order": "RET_NEXT",
    "retention_items": "RET_ITEMS",
    "retention_as_of": "RET_AS_OF",
}
NEW = "transactional"  # Mailchimp's name of a contact that is not subscribed
# Writing to an unsubscribed contact would report the unsubscribe again each night, and one whose
# confirmation is pending would get another request to confirm.
WRITABLE = ("subscribed", NEW)
AUDIENCE_LEFT = {"cleaned": "bounced", "unsubscribed": "unsubscribed"}
_CENTRE = re.compile(r".+-([a-z]{2}[0-9]{1,3})")


class Mailchimp(contacts.NamedLists):
    """One Mailchimp Transactional account, and an audience if the connection names one.

    Transactional has no idempotency key. Its errors come with status 500 and a name, also for a
    wrong key.

    Raises `BadInput`: only one of ``marketing_key`` and ``audience`` is there, or the key names no
    data centre.
    """

    kind = "mailchimp"
    drops_duplicates = False
    address_words = (b"hard-bounce", b"invalid", b"unsub", b"spam")
    batch_size = remove_size = 500
    settings = (
        Setting("key", is_secret=True, example="md-…"),
        SENDER,
        Setting("address", is_required=False, example=ADDRESS),
        Setting("marketing_key", is_secret=True, is_required=False, example="…-us6"),
        Setting("audience", is_required=False, example="a1b2c3d4e5"),
        Setting("marketing_address", is_required=False, example="https://us6.api.mailchimp.com"),
    )

    def __init__(self, access: Any) -> None:
        super().__init__(access, ADDRESS, {})
        self._sender, self._key = parse_sender(access["sender"]), access["key"]
        key, audience = access["marketing_key"], access["audience"]
        message = gettext("marketing_key and audience belong together; give {missing}, too.")
        self.missing_settings = contacts.missing_together(
            access, ("marketing_key", "audience"), message
        )
        if audience and not audience.isalnum():
            message = gettext("audience is {audience!r}; write its id, like a1b2c3d4e5.")
            raise BadInput(message.format(audience=audience), field="audience")
        base = access["marketing_address"] or address_of(key)
        base = web.check_address(base, "marketing_address")
        self._marketing = web.Api(base, {}, ("retention", key)).patient()
        self._audience, self._path = audience, f"/3.0/lists/{audience}"
        self._takes_updates = False

    def close(self) -> None:
        """Close the connections."""
        super().close()
        self._marketing.close()

    def check(self) -> dict[str, str]:
        """Return the account's name."""
        account = self._call(self._api, "/api/1.3/users/info", {})
        return {"name": str(account.get("username", ""))}

    def mail(self, message: Message) -> str:
        """Send one e-mail."""
        name, address = self._sender
        reply_to = {"Reply-To": message.reply_to} if message.reply_to else {}
        content = {
            "from_email": address,
            "from_name": message.sender_name or name,
            "to": [{"email": message.to.email, "name": message.to.name, "type": "to"}],
            "subject": message.subject,
            "html": message.html,
            "text": message.text,
            "headers": contacts.unsubscribe_headers(message) | reply_to,
            "tags": [message.campaign_id],
            "metadata": {"key": message.key},
        }
        body = {"message": content, "async": False}
        answer = self._call(self._api, "/api/1.3/messages/send", body)
        if not isinstance(answer, list) or not answer or "status" not in answer[0]:
            raise ConnectorError("changed_schema", "status", is_uncertain=True)
        result = answer[0]
        if result["status"] in ("rejected", "invalid"):
            reason = str(result.get("reject_reason") or result["status"])
            raise ConnectorError("refused", reason, answer=reason.encode())
        return str(result["_id"])

    def check_profiles(self) -> None:
        """Check that the key reaches the audience, if the connection names one."""
        if not self.missing_settings:
            self._marketing.json("GET", self._path, query={"fields": "id"})

    def left(self, since: datetime) -> Iterator[tuple[str, str, datetime]]:
        """Yield what, e-mail address and time of bounces, unsubscribes and complaints."""
        rejects = self._call(self._bulk, "/api/1.3/rejects/list", {"include_expired": True})
        if not isinstance(rejects, list):
            raise ConnectorError("changed_schema", "rejects")
        for reject in rejects if len(rejects) < MOST_REJECTS else self._exported_rejects():
            kind, address = LEFT.get(need(reject, "reason")), str(need(reject, "email"))
            at = moment(need(reject, "last_event_at"), "last_event_at")
            if kind is not None and at > since:
                yield kind, address, at
        if self.missing_settings:
            return
        for status, kind in AUDIENCE_LEFT.items():
            query = {"status": status, "since_last_changed": since.isoformat()}
            for contact in self._contacts("email_address", "last_changed", **query):
                at = moment(need(contact, "last_changed"), "last_changed")
                yield kind, str(need(contact, "email_address")), at

    def reaction_parts(self, since: datetime, until: datetime) -> Iterable[str]:
        """Yield campaign and kind, where a campaign of the audience has news."""
        if self.missing_settings:
            return
        sent = {"since_send_time": since - REACTION, "before_send_time": until}
        query = {name: at.isoformat() for name, at in sent.items()}
        fields = ("id", "list_id", *(f"{names}.{last}" for names, last in LAST.values()))
        for report in self._pages("reports", fields, query, "/3.0/reports"):
            for kind, (names, last) in LAST.items():
                at = need(report, names).get(last)  # empty before the first one
                if need(report, "list_id") == self._audience and at and moment(at, last) >= since:
                    yield f"{need(report, 'id')} {kind}"

    def reaction_pages(
        self, part: str, since: datetime, until: datetime, position: Any
    ) -> Iterator[tuple[list[contacts.Reaction], Any]]:
        """Yield opens or clicks of a campaign, each page with the next one's offset.

        Mailchimp marks opens by proxies, and no clicks by scanners.
        """
        campaign, _, word = part.partition(" ")
        kind: tracking.Kind = "click" if word == "click" else "open"
        report, name, actions = REPORTS[kind]
        path, offset = f"/3.0/reports/{campaign}/{report}", position or 0
        query = {
            "since": (since - timedelta(seconds=1)).isoformat(),
            "fields": f"{name}.email_address,{name}.{actions}",
            "count": REPORT_PAGE,
        }
        while people := need(
            self._marketing.json("GET", path, query={**query, "offset": offset}), name
        ):
            offset += len(people)
            yield (
                [
                    (
                        kind,
                        str(need(person, "email_address")),
                        moment(need(action, "timestamp"), "timestamp"),
                    )
                    for person in people
                    for action in need(person, actions)
                    if action.get("action", kind) == kind and not action.get("is_proxy_open")
                ],
                offset,
            )

    # ------------------------------------------------------------ requests of `MailPlatform`

    def delete_profiles(self, ids: Sequence[str], emails: Sequence[str]) -> None:
        """Delete the contacts of these addresses; Mailchimp takes no such contact again."""
        for email in emails:
            path = f"{self._path}/members/{_hash(email)}/actions/delete-permanent"
            self._marketing.unless_gone("POST", path)

    def _all_lists(self) -> Iterator[dict[str, Any]]:
        return self._pages("segments", ("id", "name"), {"type": "static"})

    def _new_list(self, name: str) -> Any:
        body = {"name": name, "static_segment": []}
        return self._marketing.json("POST", f"{self._path}/segments", body=body)

    def _members(self, list_id: str) -> Iterator[contacts.Member]:
        hidden = ("include_cleaned", "include_transactional", "include_unsubscribed")
        fields, query = ("email_address", "merge_fields"), dict.fromkeys(hidden, "true")
        for contact in self._pages(
            "members", fields, query, f"{self._path}/segments/{list_id}/members"
        ):
            customer = need(contact, "merge_fields").get(TAGS[contacts.CUSTOMER_ID])
            address = str(need(contact, "email_address"))
            yield contacts.Member(customer or None, address, address)

    def _hand_over(self, profiles: Sequence[Profile], list_id: str | None) -> None:
        _ = self._fields  # creates those that are missing
        statuses = self._statuses
        known, new = list[dict[str, Any]](), list[dict[str, Any]]()
        # One request must not have an address twice.
        for address, profile in {each.email.lower(): each for each in profiles}.items():
            contact = {"email_address": profile.email, "merge_fields": _merge_fields(profile)}
            if address not in statuses:
                new.append({**contact, "status": NEW})
            elif statuses[address] in WRITABLE:
                known.append(contact)
        self._update(known)
        self._create(new)
        statuses.update({each["email_address"].lower(): NEW for each in new})
        addresses = [each["email_address"] for each in (*known, *new)]
        if list_id is not None and addresses:
            self._change(list_id, {"members_to_add": addresses})

    def _remove(self, list_id: str, ids: Sequence[str]) -> None:
        self._change(list_id, {"members_to_remove": list(ids)})

    def _change(self, list_id: str, body: Mapping[str, Any]) -> None:
        self._marketing.call("POST", f"{self._path}/segments/{list_id}", body=body)

    def _update(self, known: Sequence[Mapping[str, Any]]) -> None:
        """Write the merge fields of known contacts, whatever their status is by then.

        Mailchimp updates many contacts in one request only with their statuses. So each contact
        has an operation of a batch, which Mailchimp runs in the background.
        """
        if not known:
            return
        path = self._path.removeprefix("/3.0")
        operations = [
            {
                "method": "PATCH",
                "path": f"{path}/members/{_hash(contact['email_address'])}",
                "params": {"skip_merge_validation": "true"},
                "body": json.dumps({"merge_fields": contact["merge_fields"]}),
            }
            for contact in known
        ]
        answer = self._marketing.json("POST", "/3.0/batches", body={"operations": operations})
        batch = f"/3.0/batches/{need(answer, 'id')}"
        if self._takes_updates:  # later batches end by themselves
            return

        ask = partial(self._marketing.json, "GET", batch)
        answer = contacts.await_end(ask, "status", UNFINISHED, UPDATE_WAIT)
        if answer["status"] == "finished":
            errors = int(need(answer, "errored_operations"))
            if errors == len(known) >= MANY:
                raise ConnectorError("refused", f"{batch}: no contact could be updated")
        self._takes_updates = True

    def _create(self, new: Sequence[Mapping[str, Any]]) -> None:
        """Create contacts; one that appeared meanwhile stays as it is."""
        if not new:
            return
        body = {"members": new, "update_existing": False}
        query = {"skip_merge_validation": "true"}
        errors = need(self._marketing.json("POST", self._path, query=query, body=body), "errors")
        if len(errors) == len(new) >= MANY:
            reason = str(errors[0].get("error", ""))
            raise ConnectorError("refused", f"{self._path}: {reason}"[:200])

    @cached_property
    def _fields(self) -> set[str]:
        """Tags of the merge fields; those that are missing are created."""
        fields = self._pages("merge_fields", ("tag",), {}, f"{self._path}/merge-fields")
        present = {str(need(field, "tag")) for field in fields}
        for name, tag in TAGS.items():
            if tag not in present:
                body = {"tag": tag, "name": name, "type": contacts.FIELDS[name], "public": False}
                self._marketing.call("POST", f"{self._path}/merge-fields", body=body)
        return present

    @cached_property
    def _statuses(self) -> dict[str, str]:
        """Statuses of all contacts by address."""
        return {
            str(need(contact, "email_address")).lower(): need(contact, "status")
            for query in ({}, {"status": "archived"})  # the first one leaves those out
            for contact in self._contacts("email_address", "status", **query)
        }

    def _contacts(self, *fields: str, **query: str) -> Iterator[dict[str, Any]]:
        order = {"sort_field": "timestamp_signup", "sort_dir": "ASC"}  # new ones come last
        return self._pages("members", fields, {**order, **query})

    def _pages(
        self, name: str, fields: Sequence[str], query: Mapping[str, str], path: str = ""
    ) -> Iterator[dict[str, Any]]:
        wanted = ",".join(("total_items", *(f"{name}.{field}" for field in fields)))

        def page_at(offset: int) -> Any:
            given = {**query, "fields": wanted, "count": PAGE, "offset": offset}
            return self._marketing.json("GET", path or f"{self._path}/{name}", query=given)

        return contacts.pages(page_at, name, "total_items")

    # ------------------------------------------------------------ requests of Transactional

    def _exported_rejects(self) -> list[dict[str, str]]:
        """Return all rejects, which Mailchimp writes to a file."""
        export = self._call(self._bulk, "/api/1.3/exports/rejects", {})
        body = {"id": need(export, "id")}
        ask = partial(self._call, self._bulk, "/api/1.3/exports/info", body)
        export = contacts.await_end(ask, "state", ("waiting", "working"), EXPORT_WAIT)
        if export["state"] != "complete":
            raise ConnectorError("unavailable", "the export of the rejects did not end")
        with web.downloaded(str(need(export, "result_url"))) as file:
            try:
                with unpacking.open_zip(file, "the export") as archive:
                    text = archive.read("rejects.csv").decode("utf-8-sig")
            except (zipfile.BadZipFile, unpacking.TooLargeUnpacked, KeyError, UnicodeDecodeError):
                raise ConnectorError("changed_schema", "rejects.csv") from None
        return list(csv.DictReader(io.StringIO(text)))

    def _call(self, api: web.Api, path: str, body: dict[str, Any]) -> Any:
        try:
            return api.json("POST", path, body={"key": self._key, **body})
        except ConnectorError as error:
            for name, code in ERRORS.items():
                if f'"{name}"'.encode() in error.answer:
                    raise ConnectorError(code, name) from None
            raise


def _hash(address: str) -> str:
    """Return Mailchimp's id of a contact."""
    return hashlib.md5(address.lower().encode(), usedforsecurity=False).hexdigest()


def _merge_fields(profile: Profile) -> dict[str, str | float]:
    """Return the merge fields of a contact; an empty text clears one."""
    fields = dict[str, str | float]()
    for name, value in contacts.plain_values(profile).items():
        text = "" if value is None else value
        if isinstance(text, str) and len(text) > MOST_TEXT:
            text = text[:MOST_TEXT].rpartition(", ")[0]
        fields[TAGS[name]] = text
    return fields


def address_of(key: str) -> str:
    """Return the address of the data centre that a key names."""
    if not key:
        return "https://api.mailchimp.com"
    if not (centre := _CENTRE.fullmatch(key)):
        message = gettext(
            "marketing_key names no data centre; copy all of it, with an end like -us6."
        )
        raise BadInput(message, field="marketing_key")
    return f"https://{centre[1]}.api.mailchimp.com"
