"""Connect SendGrid (API v3). Reference: https://www.twilio.com/docs/sendgrid/api-reference"""

from typing import Any

from retention.connect import web
from retention.connect.contract import ConnectorError, Setting
from retention.connect.sender import SENDER, parse_sender
from retention.outreach.adapter import Message

ADDRESS = "https://api.sendgrid.com"


class SendGrid:
    """One SendGrid account. It has no idempotency key."""

    kind = "sendgrid"
    drops_duplicates = False
    address_words = (b"personalizations",)
    settings = (
        Setting("key", is_secret=True, example="SG.…"),
        SENDER,
        Setting("address", is_required=False, example=ADDRESS),
    )

    def __init__(self, access: Any) -> None:
        self._sender = parse_sender(access["sender"])
        base = web.check_address(access["address"] or ADDRESS, "address")
        self._api = web.Api(base, {"Authorization": f"Bearer {access['key']}"})

    def close(self) -> None:
        """Close the connections."""
        self._api.close()

    def check(self) -> dict[str, str]:
        """Check that the key may send."""
        scopes = self._api.json("GET", "/v3/scopes").get("scopes", ())
        if "mail.send" not in scopes:
            raise ConnectorError("scope_missing", "mail.send")
        return {}

    def mail(self, message: Message) -> str:
        """Send one e-mail."""
        name, address = self._sender
        to = {"email": message.to.email}
        if message.to.name:
            to["name"] = message.to.name
        body = {
            "from": {"email": address, "name": name},
            "personalizations": [{"to": [to], "custom_args": {"key": message.key}}],
            "subject": message.subject,
            "content": [
                {"type": "text/plain", "value": message.text},
                {"type": "text/html", "value": message.html},
            ],
            "headers": {
                "List-Unsubscribe": f"<{message.unsubscribe_url}>",
                "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
            },
            "categories": [message.campaign_id],
        }
        response = self._api.call("POST", "/v3/mail/send", body=body)
        return response.headers.get("x-message-id") or message.key
