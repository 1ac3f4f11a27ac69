"""Connect Brevo (API v3). Reference: https://developers.brevo.com/reference/sendtransacemail"""

from typing import Any

from retention.connect import web
from retention.connect.contract import ConnectorError, Setting
from retention.connect.sender import SENDER, parse_sender
from retention.outreach.adapter import Message

ADDRESS = "https://api.brevo.com"


class Brevo:
    """One Brevo account; e-mails are transactional.

    Brevo remembers an idempotency key for 15 minutes only, so an uncertain e-mail is not repeated.
    """

    kind = "brevo"
    drops_duplicates = False
    address_words = (b"email is not valid", b"blacklisted")
    settings = (
        Setting("key", is_secret=True, example="xkeysib-…"),
        SENDER,
        Setting("address", is_required=False, example=ADDRESS),
    )

    def __init__(self, access: Any) -> None:
        self._sender = parse_sender(access["sender"])
        base = web.check_address(access["address"] or ADDRESS, "address")
        self._api = web.Api(base, {"api-key": access["key"]})

    def close(self) -> None:
        """Close the connections."""
        self._api.close()

    def check(self) -> dict[str, str]:
        """Return the company's name."""
        account = self._api.json("GET", "/v3/account")
        return {"name": str(account.get("companyName", ""))}

    def mail(self, message: Message) -> str:
        """Send one e-mail."""
        name, address = self._sender
        body = {
            "sender": {"name": name, "email": address},
            "to": [{"email": message.to.email, "name": message.to.name[:70] or message.to.email}],
            "subject": message.subject,
            "htmlContent": message.html,
            "textContent": message.text,
            "headers": {
                "idempotencyKey": message.key,
                "List-Unsubscribe": f"<{message.unsubscribe_url}>",
                "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
            },
            "tags": [message.campaign_id],
        }
        answer = self._api.json("POST", "/v3/smtp/email", body=body)
        if not isinstance(answer, dict) or not answer.get("messageId"):
            raise ConnectorError("changed_schema", "messageId", is_uncertain=True)
        return str(answer["messageId"])
