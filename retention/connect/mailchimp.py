"""Connect Mailchimp Transactional (API 1.3).

Reference: https://mailchimp.com/developer/transactional/api/messages/
"""

from typing import Any

from retention.connect import web
from retention.connect.contract import ConnectorError, Setting
from retention.connect.sender import SENDER, parse_sender
from retention.outreach.adapter import Message

ADDRESS = "https://mandrillapp.com"


class Mailchimp:
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
    )

    def __init__(self, access: Any) -> None:
        self._sender, self._key = parse_sender(access["sender"]), access["key"]
        self._api = web.Api(web.check_address(access["address"] or ADDRESS, "address"), {})

    def close(self) -> None:
        """Close the connections."""
        self._api.close()

    def check(self) -> dict[str, str]:
        """Return the account's name."""
        account = self._call("/api/1.3/users/info", {})
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
            "headers": {
                "List-Unsubscribe": f"<{message.unsubscribe_url}>",
                "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
            },
            "tags": [message.campaign_id],
            "metadata": {"key": message.key},
        }
        answer = self._call("/api/1.3/messages/send", {"message": content, "async": False})
        if not isinstance(answer, list) or not answer or "status" not in answer[0]:
            raise ConnectorError("changed_schema", "status", is_uncertain=True)
        result = answer[0]
        if result["status"] in ("rejected", "invalid"):
            reason = str(result.get("reject_reason") or result["status"])
            raise ConnectorError("refused", reason, answer=reason.encode())
        return str(result["_id"])

    def _call(self, path: str, body: dict[str, Any]) -> Any:
        try:
            return self._api.json("POST", path, body={"key": self._key, **body})
        except ConnectorError as error:
            if b'"Invalid_Key"' in error.answer:
                raise ConnectorError("access_denied", "Invalid_Key") from None
            if b'"PaymentRequired"' in error.answer:
                raise ConnectorError("plan_limit", "PaymentRequired") from None
            raise
