"""What a person can send in Slack: each command, click, window, shortcut and event, with its role.

`tests.security.test_walk` fails if the app listens to something that is missing here.
"""

import json
import re
from collections.abc import Iterator
from concurrent.futures import Future
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import click
import slack_bolt

from bot.commands.tree import SLACK
from bot.slack.middleware import Listeners
from retention.db import Database
from retention.db.tables import Base
from retention.errors import Refused
from tests.bot.commands import test_tree
from tests.bot.slack.test_click_roles import NEEDED, OPEN
from tests.bot.wire import ADMIN, ANALYST, CHANNEL, LEAD, PAYLOADS
from workers import action_ids
from workers.user_roles import RANKS

FORM, JSON = "application/x-www-form-urlencoded", "application/json"
NOBODY, VIEWER = "U0NOBODY", "U0SEES"
PEOPLE = {
    NOBODY: "viewer",  # the default role
    VIEWER: "viewer",
    ANALYST: "analyst",
    LEAD: "approver",
    ADMIN: "admin",
}
# Tables that any request may change: deliveries that were seen, and who tried what.
BOOKKEEPING = {"audit", "audit_links", "deliveries", "stored_clicks", "processes", "live_senders"}
TARGET, PLACE = "c7:1", json.dumps({"channel": CHANNEL, "root": "1.1"})


@dataclass(frozen=True, slots=True)
class Request:
    """One request of Slack, for any person."""

    name: str
    role: str
    body: dict[str, Any]

    @property
    def is_event(self) -> bool:
        """Whether it is an event, which has no answer of its own."""
        return "event" in self.body

    def sent(
        self, user: str, number: int, *, team: str = "T0DEMO", user_team: str = ""
    ) -> tuple[str, str]:
        """Return the body of a person's request, and its content type."""
        text = json.dumps(self.body).replace("{user}", user).replace("{n}", str(number))
        text = text.replace("{user_team}", user_team or team).replace("{team}", team)
        body = json.loads(text)
        if "command" in body:
            return urlencode(body), FORM
        return (text, JSON) if self.is_event else (urlencode({"payload": text}), FORM)


def recorded(name: str) -> dict[str, Any]:
    """Return a recorded request with places for person, team and number."""
    text = (PAYLOADS / name).read_text()
    body = json.loads(text.replace("U0ANALYST", "{user}").replace("T0DEMO", "{team}"))
    if "user" in body:
        body["user"]["team_id"] = "{user_team}"
    return {name: part for name, part in body.items() if name != "response_url"}


def commands() -> Iterator[Request]:
    """Yield each command with a value for each argument that it needs."""
    for path, command in test_tree.commands():
        needed = [each for each in command.params if each.required]
        words = [
            f"{each.opts[0]} 42" if isinstance(each, click.Option) else "42" for each in needed
        ]
        form = {"command": "/retention", "text": " ".join((*path, *words)), "user_id": "{user}"}
        form |= {"team_id": "{user_team}", "channel_id": CHANNEL, "trigger_id": "{n}.{user}"}
        # Where the terminal alone has a command, Slack refuses everyone.
        role = command.role if SLACK in command.surfaces else "nobody"
        yield Request(f"/{' '.join(path)}", role, form)


# Private metadata of the window that has the button, by the first word of its action id.
OF_WINDOW = {
    "builder": "{}",
    "audience": '{"rows": 1, "name": "x", "expression": "spend > 9", "exclude": false}',
    "campaign.copy": f"{TARGET}:{CHANNEL}",
}


def clicks() -> Iterator[Request]:
    """Yield each button and menu."""
    values = {each: (role, value) for role, own in NEEDED.items() for each, value in own.items()}
    values |= dict.fromkeys(OPEN, ("viewer", "job1"))
    # In a window that needs the role.
    values |= dict.fromkeys((action_ids.PREVIEW_COPY, action_ids.SEND_TO_ME), ("analyst", TARGET))
    for action_id, (role, value) in values.items():
        body = recorded("block_actions.json")
        number = "0" if action_id.endswith(".") else ""
        body["actions"][0] |= {"action_id": action_id + number, "value": value}
        body["actions"][0]["action_ts"] = "{n}.1"
        if metadata := next(
            (value for start, value in OF_WINDOW.items() if action_id.startswith(f"{start}.")), ""
        ):
            state = {"values": {}}
            body["view"] = {"id": "V{n}", "type": "modal", "hash": "h{n}", "state": state}
            body["view"] |= {"private_metadata": metadata, "blocks": []}
        yield Request(action_id, role, body)


WINDOWS = {
    action_ids.EDIT_VIEW: ("analyst", f"{TARGET}:{CHANNEL}", {"name": "x"}),
    action_ids.COPY_VIEW: ("analyst", f"{TARGET}:{CHANNEL}", {"copy": "x"}),
    action_ids.REJECT_VIEW: ("approver", f"{TARGET}:{CHANNEL}", {"reason": "x"}),
    action_ids.STOP_VIEW: ("approver", f"{TARGET}:{CHANNEL}", {"reason": "x"}),
    action_ids.NOTE_VIEW: ("analyst", "card", {"note": "x"}),
    action_ids.CALL_VIEW: ("analyst", "c7|4R1W-HVNA|card", {"note": "x"}),
    action_ids.FEEDBACK_VIEW: (
        *("analyst", f"wrong|4R1W-HVNA|churn-1|2017-12-01|{CHANNEL}"),
        {"reason": "x"},
    ),
    action_ids.DIGEST_VIEW: ("analyst", CHANNEL, {"at": "09:00"}),
    action_ids.POLICY_VIEW: ("admin", "0", {"limits.max_discount": "10"}),
    action_ids.AUDIENCE_VIEW: ("analyst", '{"rows": 0}', {"name": "x", "typed": "spend > 9"}),
    action_ids.AUDIENCE_SAVE_VIEW: (
        *("analyst", '{"job": "job1", "name": "x", "expression": "spend > 9", "exclude": false}'),
        {},
    ),
    action_ids.BUILDER_VIEW: ("viewer", "{}", {}),
    action_ids.WHY_VIEW: ("analyst", PLACE, {"customer": "42"}),
    action_ids.DRAFT_VIEW: ("analyst", PLACE, {"list": "C7"}),
}


def windows() -> Iterator[Request]:
    """Yield each submitted window."""
    for callback, (role, metadata, typed) in WINDOWS.items():
        body = recorded("view_submission.json")
        state = {
            "values": {
                block: {
                    name: {"value": text, "selected_option": {"value": text}, "selected_time": text}
                    for name in ("value", block)
                }
                for block, text in typed.items()
            }
        }
        body["view"] |= {"id": "V{n}", "hash": "h{n}", "callback_id": callback, "state": state}
        body["view"]["private_metadata"] = metadata
        body["view"]["blocks"] = [{"type": "input", "block_id": block} for block in typed]
        yield Request(callback, role, body)


SHORTCUTS = {
    action_ids.WHY_GLOBAL: "viewer",  # it opens a window
    action_ids.WHY_MESSAGE: "analyst",
    action_ids.DRAFT_GLOBAL: "analyst",
    action_ids.DRAFT_MESSAGE: "analyst",
}


def shortcuts() -> Iterator[Request]:
    """Yield each shortcut."""
    for callback, role in SHORTCUTS.items():
        body = {"callback_id": callback, "user": {"id": "{user}", "team_id": "{user_team}"}}
        body |= {"team": {"id": "{team}"}, "trigger_id": "t{n}", "action_ts": "{n}.2"}
        if callback in (action_ids.WHY_MESSAGE, action_ids.DRAFT_MESSAGE):
            body |= {"type": "message_action", "channel": {"id": CHANNEL}}
            body |= {"message": {"ts": "1.1", "text": "4R1W-HVNA", "type": "message"}}
        else:
            body["type"] = "shortcut"
        yield Request(callback, role, body)


EVENTS = {
    "app_mention": ("analyst", {"text": "<@U0BOT> sweep", "ts": "{n}.3"}),
    "message": ("analyst", {"text": "sweep", "ts": "{n}.4", "channel_type": "im"}),
    "app_home_opened": ("viewer", {"tab": "home"}),
    "subteam_members_changed": ("viewer", {"subteam_id": "S0OTHER"}),
}


def events() -> Iterator[Request]:
    """Yield each event."""
    for kind, (role, fields) in EVENTS.items():
        body = recorded("app_home_opened.json")
        body["event_id"] = "Ev{n}"
        body["event"] = {"type": kind, "user": "{user}", "channel": CHANNEL, **fields}
        body["event"]["team"] = "{user_team}"
        yield Request(kind, role, body)


KINDS = (commands, clicks, windows, shortcuts, events)


def everything() -> list[Request]:
    """Return all requests."""
    return [request for kind in KINDS for request in kind()]


def record_listeners(monkeypatch: Any) -> set[str]:
    """Return the set that a new app's listeners put their ids into."""
    ids: set[str] = set()

    def recording(name: str) -> Any:
        real = getattr(slack_bolt.App, name)

        def register(self: slack_bolt.App, constraint: Any, *rest: Any, **options: Any) -> Any:
            is_pattern = isinstance(constraint, re.Pattern)
            ids.add(constraint.pattern if is_pattern else str(constraint))
            return real(self, constraint, *rest, **options)

        return register

    for name in ("action", "view", "shortcut", "event", "command", "options", "message", "step"):
        monkeypatch.setattr(slack_bolt.App, name, recording(name))
    return ids


def run_at_once(monkeypatch: Any) -> None:
    """Let a request return when its listener has ended."""

    def submit(self: Listeners, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(copy_context().run(self._run, fn, *args, **kwargs))
        return done

    monkeypatch.setattr(Listeners, "submit", submit)


def content(database: Database, *others: str) -> dict[str, list[str]]:
    """Return all rows that a refused request must not change, by table.

    `others`: more tables that may change.
    """
    with database.reading() as session:
        return {
            table.name: sorted(repr(tuple(row)) for row in session.execute(table.select()))
            for table in Base.metadata.sorted_tables
            if table.name not in BOOKKEEPING.union(others)
        }


def is_allowed(user: str, role: str) -> bool:
    """Return whether a person has a role."""
    return role in RANKS and RANKS.index(PEOPLE[user]) >= RANKS.index(role)


def record_refusals(monkeypatch: Any) -> list[Refused]:
    """Return the list that each new refusal is put into."""
    made: list[Refused] = []
    usual = Refused.__init__

    def recording(self: Refused, *args: Any, **options: Any) -> None:
        usual(self, *args, **options)
        made.append(self)

    monkeypatch.setattr(Refused, "__init__", recording)
    return made


def is_told(refusals: list[Refused], said: str) -> bool:
    """Return whether an answer has the sentence of a refusal, in whatever form of JSON."""
    words = re.sub(r"[^a-z]+", " ", re.sub(r"\\\\u....|&\w+;|\\\\n", " ", said.lower()))
    sentences = (re.sub(r"[^a-z]+", " ", str(each).lower()).strip() for each in refusals)
    return any(sentence[:40] in words for sentence in sentences)
