"""Test what the team writes in the thread of a customer's chat."""

import json

import pytest
from sqlalchemy import select

from bot.slack.chat_replies import plain
from retention.db.tables import ChatMessage, Conversation, Outbox, StoredClick
from retention.service import store
from tests.bot.wire import ANALYST, CHANNEL, VIEWER
from tests.standins.slack_api import TEAM
from tests.workers.harness import wait
from tests.world import scalars
from workers import action_ids
from workers.delivery import render

ROOT, REPLY = "1500000000.000100", "1500000000.000200"


@pytest.fixture
def chat(workspace, database):
    """A customer's chat that waits for a person."""
    with database.transaction() as session:
        found = store.begin(session, "a1" * 32)
        store.add(session, found, store.CUSTOMER, "customer:1", "A person, please")
        found.state, found.channel = store.WAITING, CHANNEL
        key = store.thread_key(found.id)
        root = Outbox(key=key, channel=CHANNEL, channel_id=CHANNEL, payload={}, ts=ROOT)
        session.add(root)
        root.state = "sent"
        return found.id


def reply(workspace, text, user=ANALYST, ts=REPLY, thread=ROOT, **fields):
    event = {"type": "message", "channel_type": "channel", "channel": CHANNEL, "text": text}
    event |= {"user": user, "ts": ts, "thread_ts": thread, **fields}
    body = {"type": "event_callback", "team_id": TEAM, "api_app_id": "A0", "event": event}
    body["authorizations"] = [{"team_id": TEAM, "user_id": "U0BOT", "is_bot": True}]
    return workspace.send(json.dumps(body | {"event_id": f"Ev{ts}"}), "application/json").status


def said(database):
    messages = scalars(database, select(ChatMessage).order_by(ChatMessage.seq))
    return [(one.author, one.text) for one in messages if one.author != store.CUSTOMER]


def state(database):
    return scalars(database, select(Conversation))[0].state


def test_reply_is_stored_once_before_slack_has_an_answer(workspace, database, chat):
    assert reply(workspace, "I look into it &amp; call <https://x.example|you>") == 200
    assert said(database) == [("team", "I look into it & call you")]
    assert reply(workspace, "I look into it") == 200  # Slack sends the event again
    assert len(said(database)) == 1
    assert state(database) == store.ANSWERED


def test_reply_of_a_viewer_does_not_reach_the_customer(workspace, database, chat):
    assert reply(workspace, "I am only looking", user=VIEWER) == 200
    assert said(database) == []
    [notice] = [one for one in scalars(database, select(Outbox)) if "slack:" in one.key]
    assert notice.thread_key == store.thread_key(chat)


def test_messages_of_apps_and_edits_do_not_reach_the_customer(workspace, database, chat):
    reply(workspace, "I am a bot", bot_id="B1")
    reply(workspace, "edited", subtype="message_changed")
    assert said(database) == []


@pytest.mark.parametrize("text", ["/close", "close", "Close.", "关闭"])
def test_close_ends_the_chat_once(workspace, database, chat, text):
    reply(workspace, text)
    reply(workspace, text, ts="1500000000.000300")
    assert state(database) == store.CLOSED
    assert [author for author, _ in said(database)] == ["desk"]


def test_button_ends_the_chat_for_analysts_only(workspace, database, chat):
    workspace.press(action_ids.CLOSE_CHAT, chat, user=VIEWER)
    wait(lambda: scalars(database, select(StoredClick)) == [])
    assert state(database) == store.WAITING
    workspace.press(action_ids.CLOSE_CHAT, chat, user=ANALYST)
    wait(lambda: state(database) == store.CLOSED)


def test_message_of_another_thread_is_no_reply(workspace, database, chat):
    reply(workspace, "hello", thread="1499999999.000100")
    assert said(database) == []


def test_mentions_of_people_are_not_shown_to_the_customer():
    assert plain("<@U0ANALYST> ask <mailto:a@b.example|a@b.example>") == "ask a@b.example"


def test_texts_of_customers_mention_nobody_in_slack():
    shown = render.message(
        "service/message", author="customer", text="<!channel> <@U0ANALYST> <https://x.example|y>"
    )
    for text in (shown.text, str(shown.blocks)):
        assert "&lt;!channel&gt; &lt;@U0ANALYST&gt; &lt;https://x.example|y&gt;" in text
        assert "<" not in text
