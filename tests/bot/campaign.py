"""A campaign of 100 customers, and readers of its modals and messages."""

import json

from sqlalchemy import select

from retention import clock
from retention.campaigns.lifecycle.edits import Changes
from retention.campaigns.lifecycle.states import Step
from retention.db.tables import Campaign, Outbox
from tests.bot.wire import ANALYST, CHANNEL, LEAD, words
from tests.retention.campaigns.samples import a_body, store_draft
from tests.world import change, scalar
from workers import action_ids
from workers.campaigns import decisions, messages
from workers.delivery import outbox

KEY = "job:drafting"


def drafted(database, settings, *, author=ANALYST, channel=CHANNEL, **body) -> str:
    options = {"by": author, "channel": channel, "post_key": KEY, "now": clock.now()}
    with database.transaction() as session:
        created = store_draft(session, "c7", **options, **body)
        outbox.put(session, messages.card_post(session, created), default_channel=channel)
    return "c7"


def campaign_row(**values) -> Campaign:
    """A campaign that is not stored."""
    usual = {
        "id": "c7",
        "name": "May",
        "state": "draft",
        "version": 1,
        "post_key": KEY,
        "salt": "s",
    }
    usual |= {"drafted_by": ANALYST, "created_at": clock.wall(), "body": a_body()}
    row = usual | values
    return Campaign(**row | {"body": row["body"].model_dump(mode="json")})


def reply(workspace, command: str, user=ANALYST, **place) -> str:
    """The words that a command answers."""
    return workspace.says(f"campaign {command}".strip(), user, **place)


def submit(database, version=1) -> None:
    change(database, decisions.submit, Step("c7", ANALYST, version))


def approve(database, user=LEAD, version=1) -> None:
    change(database, decisions.approve, Step("c7", user, version))


def edit(database, version=1, **changes) -> None:
    change(database, decisions.edit, Step("c7", ANALYST, version), Changes(**changes))


def refused_inputs(workspace, user=ANALYST, metadata="c7:1:C0CRM", **typed) -> dict[str, str]:
    """The errors of the modal that edits the campaign, by input."""
    answer = json.loads(fill(workspace, action_ids.EDIT_VIEW, metadata, user, **typed).body)
    assert answer["response_action"] == "errors"
    return answer["errors"]


def state(database) -> str:
    return scalar(database, select(Campaign.state))


def message(database, key: str = KEY) -> str:
    return json.dumps(scalar(database, select(Outbox.payload).where(Outbox.key == key)))


def whispered(api) -> str:
    return words(api.wait("response_url")["blocks"])


def opened(api) -> dict:
    """Return the opened modal."""
    view = api.wait("views.open")["view"]
    return json.loads(view) if isinstance(view, str) else view


def stands(view) -> dict[str, str | None]:
    """Return the initial values of its inputs."""
    inputs = (block for block in view["blocks"] if block["type"] == "input")
    return {block["block_id"]: block["element"].get("initial_value") for block in inputs}


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
    def fill_in(payload):
        payload["view"] |= {"callback_id": callback, "private_metadata": metadata, "hash": hash_}
        payload["view"]["state"]["values"] = {
            block: _element(block, text) for block, text in typed.items()
        }
        element = {"type": "plain_text_input", "action_id": "value"}
        payload["view"]["blocks"] = [
            {"type": "input", "block_id": block, "label": _label(block), "element": element}
            for block in typed
        ]

    return workspace.interact("view_submission.json", user, fill_in)


def _label(block):
    return {"type": "plain_text", "text": LABELS.get(block, block)}


def _element(block, text):
    """A modal's input as Slack sends it; a dict is sent as it is."""
    if isinstance(text, dict):
        return {"value": text}
    chosen = block == "offer" and text
    return {"value": {"selected_option": {"value": text}} if chosen else {"value": text}}
