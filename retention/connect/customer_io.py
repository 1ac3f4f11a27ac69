"""Connect Customer.io (App API v1). Reference: https://docs.customer.io/integrations/api/app/"""

from typing import Any

from retention.connect import web
from retention.connect.contract import ConnectorError, Setting
from retention.connect.sender import SENDER
from retention.outreach.adapter import Message

ADDRESS = "https://api.customer.io"


class CustomerIo:
    """One Customer.io workspace; e-mails are transactional. It has no idempotency key."""

    kind = "customer.io"
    drops_duplicates = False
    address_words = (b"to is invalid", b"recipient")
    settings = (
        Setting("key", is_secret=True, example="app API key"),
        SENDER,
        Setting("address", is_required=False, example=ADDRESS),
    )

    def __init__(self, access: Any) -> None:
        self._sender = access["sender"]
        base = web.check_address(access["address"] or ADDRESS, "address")
        self._api = web.Api(base, {"Authorization": f"Bearer {access['key']}"})

    def close(self) -> None:
        """Close the connections."""
        self._api.close()

    def check(self) -> dict[str, str]:
        """Check that the key works."""
        self._api.json("GET", "/v1/workspaces")
        return {}

    def mail(self, message: Message) -> str:
        """Send one e-mail."""
        body = {
            "to": message.to.email,
            "from": self._sender,
            "subject": message.subject,
            "body": message.html,
            "body_plain": message.text,
            "identifiers": {"id": message.customer_id},
            "message_data": {"campaign_id": message.campaign_id, "key": message.key},
            "headers": {
                "List-Unsubscribe": f"<{message.unsubscribe_url}>",
                "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
            },
        }
        answer = self._api.json("POST", "/v1/send/email", body=body)
        if not isinstance(answer, dict) or not answer.get("delivery_id"):
            raise ConnectorError("changed_schema", "delivery_id", is_uncertain=True)
        return str(answer["delivery_id"])
