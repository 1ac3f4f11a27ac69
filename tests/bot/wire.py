"""Signed requests of people in Slack, for the bot's tests."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode

from slack_bolt import App, BoltRequest, BoltResponse
from slack_sdk.signature import SignatureVerifier
from sqlalchemy import select

from retention.db import Database
from tests.standins.slack_api import Api
from tests.world import scalars

PAYLOADS = Path(__file__).parents[1] / "payloads"
SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
VIEWER, ANALYST, LEAD, ADMIN = "U0VIEWER", "U0ANALYST", "U0LEAD", "U0ADMIN"
CHANNEL = "C0CRM"
T = TypeVar("T")


def signature(body: str, *, age: float = 0, secret: str = SECRET) -> dict[str, str]:
    """Return Slack's two signature headers."""
    stamp = str(int(time.time() - age))
    value = SignatureVerifier(secret).generate_signature(timestamp=stamp, body=body)
    return {"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": value or ""}


def slash_command(text: str, user: str = ADMIN, **fields: str) -> str:
    """Return the recorded slash command with another text and its own trigger."""
    recorded = dict(parse_qsl((PAYLOADS / "slash_command.urlencoded").read_text().strip()))
    trigger = {"trigger_id": f"{time.monotonic_ns()}.0"}
    return urlencode(recorded | {"text": text, "user_id": user} | trigger | fields)


@dataclass
class Workspace:
    """People who use the app."""

    app: App
    api: Api
    count: int = 0

    def send(self, body: str, kind: str, *, age: float = 0, secret: str = SECRET) -> BoltResponse:
        """Send a signed request."""
        signed = signature(body, age=age, secret=secret) | {"content-type": kind}
        headers = {name: [value] for name, value in signed.items()}
        return self.app.dispatch(BoltRequest(body=body, headers=headers))

    def form(
        self, text: str, user: str = ANALYST, channel: str = CHANNEL, trigger: str | None = None
    ) -> str:
        """Return the recorded slash command with another text."""
        self.count += 1
        trigger = trigger or f"trigger.{self.count}"
        return slash_command(text, user, channel_id=channel, trigger_id=trigger)

    def run(self, text: str, user: str = ANALYST, **where: Any) -> dict[str, Any]:
        """Type ``/retention …`` and return the answer."""
        answer = self.send(self.form(text, user, **where), "application/x-www-form-urlencoded")
        assert answer.status == 200, answer.body
        said = json.loads(answer.body)
        assert said["response_type"] == "ephemeral"
        return said

    def says(self, text: str, user: str = ANALYST, **where: Any) -> str:
        """Type ``/retention …`` and return the words of the answer's blocks."""
        return words(self.run(text, user, **where)["blocks"])

    def press(
        self, action_id: str, value: str, user: str = ANALYST, at: str | None = None
    ) -> BoltResponse:
        """Press a button of a message."""
        self.count += 1
        action = {"action_id": action_id, "value": value, "action_ts": at or f"1.{self.count}"}
        return self._act(action, user)

    def choose(
        self, action_id: str, value: str, user: str = ANALYST, at: str = "3.3"
    ) -> BoltResponse:
        """Choose in a menu of a message."""
        option = {"text": {"type": "plain_text", "text": "Chosen"}, "value": value}
        action = {"type": "overflow", "action_id": action_id, "value": None, "action_ts": at}
        return self._act({**action, "selected_option": option}, user)

    def _act(
        self, action: dict[str, Any], user: str, recording: str = "block_actions.json"
    ) -> BoltResponse:
        def change(payload: dict[str, Any]) -> None:
            if "response_url" in payload:
                payload["response_url"] = self.api.url + "response_url"
            payload["actions"][0] |= action

        return self.interact(recording, user, change)

    def press_at_home(self, action_id: str, value: str, user: str) -> BoltResponse:
        """Press a button of App Home."""

        self.count += 1
        action = {"action_id": action_id, "value": value, "action_ts": f"1.{self.count}"}
        return self._act(action, user, "home_action.json")

    def submit(
        self, callback: str, metadata: str, inputs: dict[str, Any], user: str = ANALYST, **view: Any
    ) -> dict[str, Any]:
        """Submit a modal and return the answer.

        `inputs`: by block, the element named ``value``.
        """
        self.count += 1

        def change(payload: dict[str, Any]) -> None:
            state = {"values": {block: {"value": typed} for block, typed in inputs.items()}}
            shown = {"id": "V2", "hash": f"h{self.count}", "callback_id": callback, "state": state}
            shown["blocks"] = [{"type": "input", "block_id": block} for block in inputs]
            payload["view"] |= {**shown, "private_metadata": metadata, **view}

        answer = self.interact("view_submission.json", user, change)
        assert answer.status == 200
        return json.loads(answer.body) if answer.body else {}

    def interact(
        self,
        recording: str,
        user: str,
        change: Callable[[dict[str, Any]], None] = lambda payload: None,
    ) -> BoltResponse:
        """Send a recorded interaction as this person."""
        payload = json.loads((PAYLOADS / recording).read_text())
        payload["user"]["id"] = user
        change(payload)
        return self.send(
            urlencode({"payload": json.dumps(payload)}), "application/x-www-form-urlencoded"
        )

    def open_home(self, user: str = ANALYST) -> dict[str, Any]:
        """Open the Home tab and return the published view."""
        self.api.calls.clear()
        payload = json.loads((PAYLOADS / "app_home_opened.json").read_text())
        payload["event"]["user"] = user
        assert self.send(json.dumps(payload), "application/json").status == 200
        return self.api.wait("views.publish")["view"]


def stored(database: Database, table: type[T], *conditions: Any) -> list[T]:
    """Return the rows of a table."""
    return scalars(database, select(table).where(*conditions))


def words(blocks: Any) -> str:
    """Return all text of some blocks."""
    if isinstance(blocks, dict):
        own = [blocks["text"]] if isinstance(blocks.get("text"), str) else []
        own += [f"<@{blocks['user_id']}>"] if "user_id" in blocks else []
        return " ".join(
            own + [words(value) for key, value in blocks.items() if isinstance(value, dict | list)]
        )
    return " ".join(words(block) for block in blocks) if isinstance(blocks, list) else ""
