"""Run our traffic against npm's emulate, and count the calls that it accepts.

``make emulate`` installs and runs it. Slack's answers in the other tests are our own.
"""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from PIL import Image
from pydantic import SecretStr
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from sqlalchemy import select

from bot.slack.app import build_app
from retention.db import Database
from retention.db.tables import DirectoryEntry, Outbox, RoleGrant
from retention.privacy import pseudonym
from retention.settings import Settings
from tests.bot.campaign import KEY, drafted
from tests.bot.message_samples import samples
from tests.bot.slack.test_messages import messages
from tests.bot.slack.test_slash import until
from tests.bot.wire import PAYLOADS, SECRET, Workspace, words
from tests.emulate.emulator import NOT_IMPLEMENTED, TOKEN, Emulator, emulator
from workers import action_ids
from workers.delivery import outbox, render
from workers.delivery.sender import Pacing, Sender
from workers.delivery.slack_client import client
from workers.tasks.interface import Attachment, Post

# Methods that our code calls and emulate 0.12.2 lacks.
UNKNOWN_TO_EMULATE: set[str] = {"auth.revoke", "usergroups.users.list"}
# A call of slack_sdk's client, such as `client.views_open(`.
CALL = re.compile(
    r"\.((?:auth|chat|conversations|files|reactions|team|usergroups|users|views)_\w+)\("
)
QUICK = Pacing(channel_gap=0.0, recheck_after=0.2, lease=5, idle_wait=0.01)
ROOT = Path(__file__).parents[2]
SAMPLES = samples()
MESSAGES = messages()


@pytest.fixture(scope="module")
def emulate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with emulator(tmp_path_factory.mktemp("emulate")) as started:
        yield started
        print(f"\n{started.table()}")


@pytest.fixture
def settings(tmp_path: Path, emulate: Emulator) -> Settings:
    emulate.earlier += emulate.calls
    emulate.calls.clear()
    return Settings(
        home=tmp_path / "home",
        admins=emulate.people["admin"],
        slack_bot_token=SecretStr(TOKEN),
        slack_signing_secret=SecretStr(SECRET),
        slack_api_url=emulate.api_url,
        _env_file=None,
    )


@pytest.fixture
def sender(settings: Settings, database: Database) -> Sender:
    return Sender(database, client(database), QUICK)


def drain(sender: Sender, database: Database) -> None:
    """Deliver all that is due, and fail on a message that Slack refused."""
    while sender.step():
        pass
    with database.reading() as session:
        refused = [
            (row.key, row.state, row.error)
            for row in session.scalars(select(Outbox).where(Outbox.state != "sent"))
        ]
    assert refused == []


def put(database: Database, settings: Settings, post: Post, channel: str) -> None:
    with database.transaction() as session:
        outbox.put(session, post, default_channel=channel)


def picture(name: str) -> Attachment:
    content = io.BytesIO()
    Image.new("RGB", (40, 20), "white").save(content, "PNG")
    return Attachment(f"{name}.png", "image/png", content.getvalue(), f"The chart {name}")


def post_of(name: str, number: int) -> Post:
    """A message with its sample and the pictures that it shows."""
    shown = render.message(name, **SAMPLES[name])
    images = {image: picture(image) for image in _images(shown.blocks)}
    return Post(name, SAMPLES[name], key=f"sample:{number}", images=images)


def _images(node: Any) -> list[str]:
    if isinstance(node, list):
        return [name for one in node for name in _images(one)]
    if not isinstance(node, dict):
        return []
    own = [node["slack_file"]["image"]] if "slack_file" in node else []
    return own + [name for one in node.values() for name in _images(one)]


def test_methods_that_emulate_lacks_are_known(emulate):
    """Everything else that our code calls is in the emulator."""
    code = [path for package in ("bot", "workers") for path in (ROOT / package).rglob("*.py")]
    called = {
        name
        for path in code
        if "playground" not in path.parts
        for name in CALL.findall(path.read_text(encoding="utf-8"))
        if hasattr(WebClient, name)
    }
    methods = {name.replace("usergroups_users_", "usergroups.users.") for name in called}
    methods = {name.replace("_", ".", 1) for name in methods}
    assert {name for name in methods if not emulate.implements(name)} == UNKNOWN_TO_EMULATE


def accepted(emulate: Emulator) -> dict[str, int]:
    """Return accepted calls per method; fail on one that was refused."""
    unknown = {method for method, outcome in emulate.calls if outcome == NOT_IMPLEMENTED}
    assert unknown == UNKNOWN_TO_EMULATE & {method for method, _ in emulate.calls}
    refused = [call for call in emulate.calls if call[1] not in ("ok", NOT_IMPLEMENTED)]
    assert refused == []
    methods = [method for method, outcome in emulate.calls if outcome == "ok"]
    return {method: methods.count(method) for method in methods}


# ---------------------------------------------------------------- what the sender sends


def test_every_message_is_accepted_and_stored_as_it_was_sent(emulate, settings, database, sender):
    crm = emulate.channels["crm"]
    for number, name in enumerate(MESSAGES):
        put(database, settings, post_of(name, number), crm)
    drain(sender, database)
    assert accepted(emulate)["chat.postMessage"] == len(MESSAGES)
    with database.reading() as session:
        sent = {row.ts: row.payload for row in session.scalars(select(Outbox))}
    stored = _history(emulate, crm)
    for ts, payload in sent.items():
        assert stored[ts]["text"] == payload["text"]
        assert len(stored[ts]["blocks"]) == len(payload["blocks"])
        assert stored[ts]["metadata"]["event_payload"]["key"].startswith("sample:")


def _history(emulate: Emulator, channel: str) -> dict[str, Any]:
    pages = emulate.web.conversations_history(channel=channel, limit=200, include_all_metadata=True)
    return {message["ts"]: message for page in pages for message in page["messages"]}


def test_message_grows_in_place_and_replies_stay_in_its_thread(emulate, settings, database, sender):
    crm = emulate.channels["crm"]
    names = ("job/progress", "sweep/cohort", "digest/report")
    first, second, reply = (post_of(name, number) for number, name in enumerate(names))
    put(database, settings, first, crm)
    drain(sender, database)
    put(database, settings, Post(second.template, second.values, first.key), crm)
    put(
        database,
        settings,
        Post(reply.template, reply.values, "reply", thread_key=first.key, images=reply.images),
        crm,
    )
    drain(sender, database)
    counts = accepted(emulate)
    assert (counts["chat.postMessage"], counts["chat.update"]) == (2, 1)
    with database.reading() as session:
        root = session.scalars(select(Outbox).where(Outbox.key == first.key)).one()
    thread = emulate.web.conversations_replies(channel=crm, ts=root.ts)["messages"]
    assert thread[0]["text"] == root.payload["text"]
    assert len(thread) == 2


def test_file_and_direct_message_reach_the_person(emulate, settings, database, sender):
    table = Attachment("at_risk.csv", "text/csv", b"customer,risk\nA7F3,0.9\n", sensitive=True)
    analyst = emulate.people["analyst"]
    post = Post("sweep/file", SAMPLES["sweep/file"], "file", file=table)
    put(database, settings, post, analyst)
    drain(sender, database)
    counts = accepted(emulate)
    assert counts["conversations.open"] == counts["files.getUploadURLExternal"] == 1
    direct = emulate.web.conversations_open(users=analyst)["channel"]["id"]
    (message,) = _history(emulate, direct).values()
    assert [file["name"] for file in message["files"]] == ["at_risk.csv"]


def test_ambiguous_post_is_found_by_its_metadata(emulate, settings, database, sender):
    """After a time-out the sender looks for its message instead of posting it again."""
    crm = emulate.channels["crm"]
    put(database, settings, Post("job/refused", {"sentence": "Once."}, "once"), crm)
    drain(sender, database)
    with database.transaction() as session:
        row = session.scalars(select(Outbox).where(Outbox.key == "once")).one()
        ts, row.ts, row.state, row.ambiguous = row.ts, None, "pending", True
    drain(sender, database)
    counts = accepted(emulate)
    assert (counts["chat.postMessage"], counts["conversations.history"]) == (1, 1)
    with database.reading() as session:
        assert session.scalars(select(Outbox.ts).where(Outbox.key == "once")).one() == ts


# ---------------------------------------------------------------- what the bot answers


class Desk:
    """The bot, whose people click in emulate's workspace."""

    def __init__(self, emulate: Emulator, settings: Settings, database: Database) -> None:
        self.emulate = emulate
        self.workspace = Workspace(build_app(settings, database), emulate)  # type: ignore[arg-type]

    def command(self, text: str, name: str) -> Any:
        """Type ``/retention …``."""
        user = self.emulate.people[name]
        channel = self.emulate.channels["crm"]
        body = self.workspace.form(text, user, channel, self.emulate.trigger(user))
        body = body.replace("T0DEMO", self.emulate.team_id)
        answer = self.workspace.send(body, "application/x-www-form-urlencoded")
        assert answer.status == 200
        return json.loads(answer.body) if answer.body else None

    def event(self, recording: str, name: str, change: Any = lambda payload: None) -> None:
        """Send a recorded event or interaction of this person."""
        user = self.emulate.people[name]
        recorded = (PAYLOADS / recording).read_text().replace("T0DEMO", self.emulate.team_id)
        payload = json.loads(recorded.replace("C0CRM", self.emulate.channels["crm"]))
        payload.pop("response_url", None)  # the bot then answers by chat.postEphemeral
        if "event" in payload:
            payload["event"]["user"] = user
            answer = self.workspace.send(json.dumps(payload), "application/json")
        else:
            payload["user"]["id"] = user
            payload["trigger_id"] = self.emulate.trigger(user)
            change(payload)
            form = urlencode({"payload": json.dumps(payload)})
            answer = self.workspace.send(form, "application/x-www-form-urlencoded")
        assert answer.status == 200, answer.body

    def press(self, action_id: str, value: str, name: str) -> None:
        """Press a button of the campaign's card."""

        def change(payload: dict[str, Any]) -> None:
            payload["actions"][0] |= {
                "action_id": action_id,
                "value": value,
                "action_ts": payload["trigger_id"],
            }

        self.event("block_actions.json", name, change)

    def waited(self, method: str, count: int = 1) -> None:
        until(lambda: [call[0] for call in self.emulate.calls].count(method) >= count)


@pytest.fixture
def desk(emulate: Emulator, settings: Settings, database: Database) -> Desk:
    with database.transaction() as session:
        for name, role in (("analyst", "analyst"), ("lead", "approver")):
            session.add(
                RoleGrant(
                    team_id=settings.team_id,
                    user_id=emulate.people[name],
                    role=role,
                    granted_by=emulate.people["admin"],
                )
            )
        session.add(DirectoryEntry(customer_id="42", pseudonym=pseudonym(settings.key, "42")))
    return Desk(emulate, settings, database)


def test_commands_modals_and_app_home_are_accepted(desk, emulate):
    assert "help" in words(desk.command("help", "viewer")["blocks"])
    desk.command("", "analyst")
    desk.waited("views.open")
    for name in ("viewer", "analyst", "lead", "admin"):
        desk.event("app_home_opened.json", name)
    desk.waited("views.publish", 4)
    counts = accepted(emulate)
    assert (counts["views.open"], counts["views.publish"]) == (1, 4)


def test_campaign_goes_from_draft_to_approval(desk, emulate, settings, database, sender):
    crm = emulate.channels["crm"]
    drafted(database, settings, author=emulate.people["analyst"], channel=crm)
    drain(sender, database)
    desk.press(action_ids.EDIT_CAMPAIGN, "c7:1", "analyst")
    desk.waited("views.open")
    desk.press(action_ids.SUBMIT_CAMPAIGN, "c7:1", "analyst")
    desk.waited("chat.postEphemeral")
    drain(sender, database)
    desk.press(action_ids.APPROVE_CAMPAIGN, "c7:1", "lead")
    desk.waited("chat.postEphemeral", 2)
    drain(sender, database)
    counts = accepted(emulate)
    assert counts["chat.update"] >= 2
    with database.reading() as session:
        card = session.scalars(select(Outbox).where(Outbox.key == KEY)).one()
    shown = words(_history(emulate, crm)[card.ts]["blocks"])
    assert f"<@{emulate.people['lead']}>" in shown


def test_call_without_its_scope_is_refused(emulate):
    """The check of our manifest's scopes is not vacuous."""
    with pytest.raises(SlackApiError, match="missing_scope"):
        emulate.web.reactions_add(channel=emulate.channels["crm"], name="tada", timestamp="1.0")
