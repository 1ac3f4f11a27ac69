"""A campaign of 100 customers, and readers of its modals and messages."""

import json

from sqlalchemy import select

from retention import clock
from retention.campaigns.draft import Draft, store
from retention.db.tables import Campaign, Outbox
from tests.bot.wire import ANALYST, CHANNEL, words
from tests.retention.campaigns.samples import a_body
from workers import campaign_messages
from workers.delivery import outbox

KEY = "job:drafting"


def drafted(database, settings, *, author=ANALYST, channel=CHANNEL, **body) -> str:
    rows = [
        {
            "customer_id": f"k{number}",
            "arm": "audience",
            "bucket": (2 * number + 1) * 50,
            "tier": "high",
            "churn_probability": 0.6,
            "expected_value": 50.0,
            "offer": {"action": "coupon", "discount": 0.1, "rule": "High risk", "items": []},
        }
        for number in range(100)
    ]
    with database.transaction() as session:
        created = store(
            session,
            settings,
            Draft("c7", "salt", "May", None, a_body(**body), rows),
            author=author,
            channel=channel,
            post_key=KEY,
            now=clock.now(),
        )
        outbox.put(
            session,
            settings,
            campaign_messages.card_post(settings, created),
            default_channel=channel,
        )
    return "c7"


def state(database) -> str:
    with database.reading() as session:
        return session.scalar(select(Campaign.state))


def message(database, key: str = KEY) -> str:
    with database.reading() as session:
        return json.dumps(session.scalar(select(Outbox.payload).where(Outbox.key == key)))


def whispered(api) -> str:
    return words(api.wait("response_url")["blocks"])


def opened(api) -> dict:
    """Return the opened modal."""
    view = api.wait("views.open")["view"]
    return json.loads(view) if isinstance(view, str) else view


def stands(view) -> dict[str, str | None]:
    """Return the initial values of its inputs."""
    return {
        b["block_id"]: b["element"].get("initial_value")
        for b in view["blocks"]
        if b["type"] == "input"
    }


LABELS = {
    "discount": "Discount %",
    "holdout": "Hold-out %",
    "expires": "Codes expire after",
    "copy": "Copy text",
    "budget": "Budget in EUR",
    "send_on": "Send not before",
    "amount": "Money off in EUR",
    "min_order": "From order value",
}


def fill(workspace, callback, metadata, user, hash_="h1", **typed):
    def change(payload):
        payload["view"] |= {"callback_id": callback, "private_metadata": metadata, "hash": hash_}
        payload["view"]["state"]["values"] = {
            block: _element(block, text) for block, text in typed.items()
        }
        payload["view"]["blocks"] = [
            {
                "type": "input",
                "block_id": block,
                "label": {"type": "plain_text", "text": LABELS.get(block, block)},
                "element": {"type": "plain_text_input", "action_id": "value"},
            }
            for block in typed
        ]

    return workspace.interact("view_submission.json", user, change)


def _element(block, text):
    """A modal's input as Slack sends it; a dict is sent as it is."""
    if isinstance(text, dict):
        value = text
    elif block == "offer" and text:
        value = {"selected_option": {"value": text}}
    else:
        value = {"value": text}
    return {"value": value}
