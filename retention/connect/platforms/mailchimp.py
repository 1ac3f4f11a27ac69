"""Connect Mailchimp: e-mails by Transactional (API 1.3), scores and audiences by Marketing.

Reference: https://mailchimp.com/developer/transactional/api/
"""

import csv
import io
import zipfile
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from typing import Any

from retention.connect import web
from retention.connect.contract import SENDER, ConnectorError, ErrorCode, Setting, parse_sender
from retention.connect.platforms.contacts import await_end, unsubscribe_headers
from retention.connect.platforms.mailchimp_audience import SETTINGS, MailchimpAudience
from retention.connect.shops.orders import moment, need
from retention.outreach.adapter import Message

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


class Mailchimp(MailchimpAudience):
    """One Mailchimp Transactional account. It has no idempotency key.

    Errors come with status 500 and a name, also for a wrong key.
    """

    kind = "mailchimp"
    drops_duplicates = False
    address_words = (b"hard-bounce", b"invalid", b"unsub", b"spam")
    settings = (
        Setting("key", is_secret=True, example="md-…"),
        SENDER,
        Setting("address", is_required=False, example=ADDRESS),
        *SETTINGS,
    )

    def __init__(self, access: Any) -> None:
        super().__init__(access, ADDRESS, {})
        self._sender, self._key = parse_sender(access["sender"]), access["key"]

    def check(self) -> dict[str, str]:
        """Return the account's name."""
        account = self._call(self._api, "/api/1.3/users/info", {})
        return {"name": str(account.get("username", ""))}

    def mail(self, message: Message) -> str:
        """Send one e-mail."""
        name, address = self._sender
        content = {
            "from_email": address,
            "from_name": name,
            "to": [{"email": message.to.email, "name": message.to.name, "type": "to"}],
            "subject": message.subject,
            "html": message.html,
            "text": message.text,
            "headers": unsubscribe_headers(message),
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
        if not self.missing_settings:
            yield from self.left_audience(since)

    def _exported_rejects(self) -> list[dict[str, str]]:
        """Return all rejects, which Mailchimp writes to a file."""
        export = self._call(self._bulk, "/api/1.3/exports/rejects", {})
        body = {"id": need(export, "id")}
        ask = partial(self._call, self._bulk, "/api/1.3/exports/info", body)
        export = await_end(ask, "state", ("waiting", "working"), EXPORT_WAIT)
        if export["state"] != "complete":
            raise ConnectorError("unavailable", "the export of the rejects did not end")
        with web.downloaded(str(need(export, "result_url"))) as file:
            try:
                with zipfile.ZipFile(file) as archive:
                    text = archive.read("rejects.csv").decode("utf-8-sig")
            except (zipfile.BadZipFile, KeyError, UnicodeDecodeError):
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
