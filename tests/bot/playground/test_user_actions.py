"""Test the requests of a person's actions and the display of the app's answers."""

import json
import re

import httpx2
import pytest
from slack_bolt import App
from slack_bolt.adapter.socket_mode.builtin import SocketModeHandler
from slack_bolt.authorization import AuthorizeResult
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.signature import SignatureVerifier

from bot.playground import deliver, seed, workspace
from tests.bot.playground.test_checks import actions, button, plain
from tests.standins.slack import StandIn
from tests.workers.harness import wait

OPTION = {"text": plain("High"), "value": "high"}
SELECT = {"type": "static_select", "action_id": "tier", "options": [OPTION]}
BUTTONS = [{**actions(button(action_id="go", value="7"), SELECT), "block_id": "row"}]
SHARE = {"type": "number_input", "action_id": "value", "is_decimal_allowed": False}
SHARE |= {"min_value": "5", "max_value": "50", "initial_value": "10"}
WHY = {"type": "plain_text_input", "action_id": "value"}
MODAL = {
    "type": "modal",
    "callback_id": "edit",
    "title": plain("Edit"),
    "submit": plain("Save"),
    "notify_on_close": True,
    "blocks": [
        {"type": "input", "block_id": block, "label": plain(block), "element": element}
        for block, element in (("share", SHARE), ("why", WHY))
    ],
}


def texts(slack: StandIn, user: str | None = None) -> list[str]:
    return [message["text"] for message in slack.messages("crm", user=user)]


def typed(text: str, share: str = "20") -> dict:
    return {"share": {"value": {"value": share}}, "why": {"value": {"value": text}}}


# ---------------------------------------------------------------- commands


def test_command_is_signed_and_answered_ephemerally(slack: StandIn, app) -> None:
    app.answer = lambda payload: {"text": f"hello {payload['user_name']}"}
    answer = slack.command("analyst", "crm", "/retention sweep --tier high")
    assert (answer["status"], answer["ack"]) == (200, {"text": "hello analyst"})
    sent = app.received[0]
    assert sent["command"] == "/retention"
    assert (sent["text"], sent["channel_id"]) == ("sweep --tier high", "C0CRM")
    assert SignatureVerifier(seed.SIGNING_SECRET).is_valid_request(app.bodies[0], app.headers[0])
    assert texts(slack, "analyst") == ["hello analyst"]
    assert texts(slack, "lead") == []


def test_mentions_are_sent_as_ids(slack: StandIn, app) -> None:
    slack.command("admin", "crm", "role @lead approver #crm")
    assert app.received[0]["text"] == "role <@U0LEAD|lead> approver <#C0CRM|crm>"


def test_slow_answer_is_a_timeout(slack: StandIn, app, monkeypatch) -> None:
    monkeypatch.setattr(deliver, "ACK_SECONDS", 0.2)
    app.delay = 1
    assert slack.command("analyst", "crm", "help")["status"] == 504
    assert "operation_timeout" in texts(slack, "analyst")[0]


def test_missing_or_failing_app_is_reported(slack: StandIn, app) -> None:
    app.status = 500
    assert slack.command("analyst", "crm", "help")["status"] == 500
    slack.connect("http://127.0.0.1:9/slack/events")
    assert slack.command("analyst", "crm", "help")["status"] == 503
    assert all("dispatch_failed" in text for text in texts(slack, "analyst"))


def test_response_url_expires_after_five_uses_or_thirty_minutes(
    slack: StandIn, http: httpx2.Client, app
) -> None:
    slack.command("analyst", "crm", "help")
    url = app.received[0]["response_url"]
    message = {"text": "hi", "response_type": "in_channel"}
    answers = [http.post(url, json=message) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [404]
    assert answers[5].json()["error"] == "used_url"
    assert len(texts(slack)) == 5
    slack.command("analyst", "crm", "help")
    for url in slack.workspace.response_urls.values():
        url.created_at -= 1801
    late = http.post(app.received[1]["response_url"], json={"text": "late"})
    assert late.json()["error"] == "expired_url"


def test_inviting_the_bot_lets_it_post(slack: StandIn, client: WebClient) -> None:
    with pytest.raises(SlackApiError, match="channel_not_found"):
        client.chat_postMessage(channel="C0PRIVATE", text="x")
    slack.command("lead", "private", "/invite @retention")
    assert client.chat_postMessage(channel="C0PRIVATE", text="thanks")["ok"]


# ---------------------------------------------------------------- buttons


def test_a_button_carries_its_value_and_the_message(slack: StandIn, client: WebClient, app) -> None:
    ts = client.chat_postMessage(channel="C0CRM", text="x", blocks=BUTTONS)["ts"]
    assert slack.press("lead", "crm", ts, "go", value="7", block_id="row")["status"] == 200
    sent = app.received[0]
    action = {**button(action_id="go", value="7"), "block_id": "row", "action_ts": ""}
    assert sent["actions"][0] | {"action_ts": ""} == action
    assert (sent["user"]["id"], sent["container"]["message_ts"]) == ("U0LEAD", ts)
    slack.press("lead", "crm", ts, "tier", value="high")
    assert app.received[1]["actions"][0]["selected_option"]["value"] == "high"


def test_outdated_screen_can_press_old_buttons_only(slack: StandIn, client: WebClient, app) -> None:
    ts = client.chat_postMessage(channel="C0CRM", text="x", blocks=BUTTONS)["ts"]
    client.chat_update(channel="C0CRM", ts=ts, text="decided")
    assert slack.press("lead", "crm", ts, "go", value="7")["status"] == 200
    assert app.received[0]["message"]["text"] == "decided"
    assert slack.press("lead", "crm", ts, "never")["error"] == "action_not_found"
    assert slack.press("lead", "crm", "1.1", "go")["error"] == "message_not_found"


def test_ephemeral_message_can_be_replaced(slack: StandIn, http: httpx2.Client, app) -> None:
    shown = {"text": "one", "blocks": BUTTONS}
    app.answer = lambda payload: shown if "command" in payload else None
    slack.command("analyst", "crm", "x")
    ts = slack.messages("crm", user="analyst")[0]["ts"]
    slack.press("analyst", "crm", ts, "go")
    http.post(app.received[1]["response_url"], json={"text": "two", "replace_original": True})
    assert texts(slack, "analyst") == ["two"]


# ---------------------------------------------------------------- modals


@pytest.fixture
def opened(slack: StandIn, client: WebClient, app):
    """A modal opened by a button."""
    ts = client.chat_postMessage(channel="D0LEAD", text="x", blocks=BUTTONS)["ts"]
    slack.press("lead", "@lead", ts, "go")
    client.views_open(trigger_id=app.received[0]["trigger_id"], view=MODAL)
    return app.received[0]["trigger_id"]


def test_trigger_id_is_valid_once_for_three_seconds(
    slack: StandIn, client: WebClient, opened, monkeypatch
) -> None:
    monkeypatch.setattr(workspace, "TRIGGER_SECONDS", 3)
    with pytest.raises(SlackApiError, match="exchanged_trigger_id"):
        client.views_open(trigger_id=opened, view=MODAL)
    with pytest.raises(SlackApiError, match="invalid_trigger_id"):
        client.views_open(trigger_id="1.2.3", view=MODAL)
    trigger = slack.workspace.trigger("U0LEAD")
    user, created, used = slack.workspace.triggers[trigger]
    slack.workspace.triggers[trigger] = (user, created - 3.1, used)
    with pytest.raises(SlackApiError, match="expired_trigger_id"):
        client.views_open(trigger_id=trigger, view=MODAL)


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"why": "x"}, "'why'"),
        ({"why": {"value": "x"}}, "'why.value'"),
        ({"share": {"value": 5}}, "'share.value'"),
        ({"why": {"value": {"value": 5}}}, "'why.value.value'"),
    ],
)
def test_input_of_another_form_is_named_and_keeps_the_modal_open(
    slack: StandIn, http: httpx2.Client, opened, values: dict, place: str
) -> None:
    form = {"user": "lead", "values": json.dumps(values)}
    response = http.post(f"{slack.url}/playground/views", data=form)
    assert response.status_code == 422
    assert place in response.json()["error"]
    assert http.get(f"{slack.url}/playground/views?user=lead").json()["id"]


def test_submission_sends_all_values_and_closes_the_modal(slack: StandIn, opened, app) -> None:
    assert slack.view("lead")["callback_id"] == "edit"
    slack.submit("lead", {"why": {"value": {"value": "because"}}})
    sent = app.received[-1]
    assert sent["type"] == "view_submission"
    values = sent["view"]["state"]["values"]
    assert values["share"]["value"] == {"type": "number_input", "value": "10"}  # as it opened
    assert values["why"]["value"]["value"] == "because"
    assert slack.view("lead") is None


@pytest.mark.parametrize(
    ("text", "share", "block"), [("", "10", "why"), ("x", "90", "share"), ("x", "1.5", "share")]
)
def test_invalid_inputs_are_refused_before_submission(
    slack: StandIn, opened, app, text, share, block
) -> None:
    answer = slack.submit("lead", typed(text, share))
    assert list(answer["ack"]["errors"]) == [block]
    assert len(app.received) == 1
    assert slack.view("lead") is not None


def test_errors_keep_the_modal_open_and_update_replaces_it(slack: StandIn, opened, app) -> None:
    app.answer = lambda payload: {"response_action": "errors", "errors": {"why": "Too short."}}
    assert slack.submit("lead", typed("x"))["ack"]["errors"] == {"why": "Too short."}
    assert slack.view("lead") is not None
    update = {"response_action": "update", "view": {**MODAL, "callback_id": "next"}}
    app.answer = lambda payload: update
    slack.submit("lead", typed("x"))
    assert slack.view("lead")["callback_id"] == "next"


def test_closing_notifies_the_app_and_update_checks_the_hash(
    slack: StandIn, client: WebClient, opened, app
) -> None:
    view = slack.view("lead")
    with pytest.raises(SlackApiError, match="hash_conflict"):
        client.views_update(view_id=view["id"], hash="old", view=MODAL)
    client.views_update(view_id=view["id"], hash=view["hash"], view=MODAL)
    slack.submit("lead", action="close")
    assert app.received[-1]["type"] == "view_closed"
    assert slack.view("lead") is None


# ---------------------------------------------------------------- events


def test_opening_home_notifies_the_app_and_shows_its_view(
    slack: StandIn, client: WebClient, app
) -> None:
    home = {"type": "home", "blocks": [{"type": "divider"}]}

    def publish(payload: dict) -> dict:
        client.views_publish(user_id=payload["event"]["user"], view=home)
        return {"ok": True}

    app.answer = publish
    assert slack.home("viewer")["blocks"][0]["type"] == "divider"
    assert app.received[0]["event"]["type"] == "app_home_opened"


def test_mention_in_a_thread_carries_the_thread(slack: StandIn, app) -> None:
    parent = slack.say("lead", "crm", "107 customers")
    for name in ("retention", "Retention Desk"):
        app.received.clear()
        slack.say("lead", "crm", f"@{name} draft for these", parent["ts"])
        mention, reply = [payload["event"] for payload in app.received]
        assert (mention["type"], mention["thread_ts"]) == ("app_mention", parent["ts"])
        assert re.fullmatch(rf"<@{seed.BOT_USER}.*> draft for these", mention["text"])
    assert (reply["type"], reply["channel_type"]) == ("message", "channel")


def test_shortcut_sends_its_message_and_a_global_one_no_channel(slack: StandIn, app) -> None:
    message = slack.say("lead", "crm", "G2VX-HM34 is silent")
    slack.shortcut("analyst", "shortcut.why.message", "crm", message["ts"])
    payload = app.received[-1]
    assert (payload["type"], payload["callback_id"]) == ("message_action", "shortcut.why.message")
    assert (payload["message"]["ts"], payload["user"]["id"]) == (message["ts"], "U0ANALYST")
    app.received.clear()
    slack.shortcut("analyst", "shortcut.why")
    (payload,) = app.received
    assert (payload["type"], "channel" in payload) == ("shortcut", False)
    assert payload["trigger_id"]


def test_events_are_retried_until_acknowledged(slack: StandIn, app) -> None:
    slack.slack.delivery.retry_delays = (0.0, 0.05, 0.1)
    app.status = 500
    slack.say("lead", "@lead", "hello")
    wait(lambda: len(app.received) == 4)
    assert [headers.get("x-slack-retry-num") for headers in app.headers] == [None, "1", "2", "3"]
    assert len({event["event_id"] for event in app.received}) == 1
    assert app.headers[1]["x-slack-retry-reason"] == "http_error"


def test_duplicate_delivery_repeats_the_payload(slack: StandIn, app) -> None:
    slack.fault("duplicate_delivery")
    slack.command("analyst", "crm", "sweep")
    slack.command("analyst", "crm", "sweep")
    first, again, other = [payload["trigger_id"] for payload in app.received]
    assert first == again != other


@pytest.mark.nightly
def test_socket_mode_with_bolts_own_client(slack: StandIn) -> None:
    web = WebClient(token=seed.BOT_TOKEN, base_url=slack.api_url)
    bot = {"bot_token": seed.BOT_TOKEN, "bot_id": seed.BOT_ID, "bot_user_id": seed.BOT_USER}
    allowed = AuthorizeResult(enterprise_id=None, team_id=seed.TEAM_ID, **bot)
    options = {"signing_secret": "unused", "token_verification_enabled": False}
    bolt = App(client=web, authorize=lambda: allowed, **options)
    bolt.command("/retention")(lambda ack, command: ack(f"by socket: {command['text']}"))
    handler = SocketModeHandler(bolt, seed.APP_TOKEN, web_client=web)
    handler.connect()
    try:
        wait(lambda: slack.slack.delivery.sockets)
        answer = slack.command("analyst", "crm", "/retention help")
        assert "by socket: help" in json.dumps(answer["ack"])
    finally:
        handler.close()


# ---------------------------------------------------------------- what scripts get wrong


@pytest.mark.nightly_after(6)
@pytest.mark.parametrize(
    ("path", "form", "status", "says"),
    [
        ("/commands", {"user": "nobody", "channel": "crm", "text": "help"}, 404, "nobody"),
        ("/commands", {"user": "lead", "channel": "nowhere", "text": "help"}, 404, "nowhere"),
        ("/commands", {"user": "lead", "channel": "crm"}, 422, "text"),
        ("/commands", {"user": "lead", "channel": "@analyst", "text": "help"}, 403, "@analyst"),
        ("/faults", {"kind": "earthquake"}, 422, "earthquake"),
        ("/views", {"user": "lead", "values": "[1"}, 422, "values"),
        ("/views", {"user": "lead", "values": "[1]"}, 422, "values"),
        ("/views", {"user": "lead", "action": "shout"}, 422, "shout"),
        ("/views", {"user": "lead", "action": "close"}, 404, "no_view_open"),
    ],
)
def test_bad_calls_get_an_error_message(
    slack: StandIn, http: httpx2.Client, path: str, form: dict, status: int, says: str
) -> None:
    response = http.post(f"{slack.url}/playground{path}", data=form)
    assert response.status_code == status
    assert says in response.json()["error"]
