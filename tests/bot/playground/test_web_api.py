"""Test the fake Slack's Web API with slack_sdk's client."""

import json

import httpx2
import pytest
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.web import SlackResponse

from bot.playground import seed
from bot.playground.rate_limits import POST_BURST, POST_SPACING, RateLimiter
from tests.standins.slack import StandIn

SECTION = {"type": "section", "text": {"type": "mrkdwn", "text": "hello"}}


def refused(call, *args, **kwargs) -> SlackResponse:
    with pytest.raises(SlackApiError) as caught:
        call(*args, **kwargs)
    return caught.value.response


def error(call, *args, **kwargs) -> str:
    return refused(call, *args, **kwargs)["error"]


def texts(messages: list[dict]) -> list[str]:
    return [message["text"] for message in messages]


def test_each_token_gets_its_answer(slack: StandIn, http: httpx2.Client) -> None:
    def answer(token: str) -> dict:
        return http.post(f"{slack.api_url}auth.test", data={"token": token}).json()

    named = answer(seed.BOT_TOKEN)
    assert (named["user_id"], named["team_id"]) == (seed.BOT_USER, seed.TEAM_ID)
    assert answer("xoxb-wrong") == {"ok": False, "error": "invalid_auth"}
    assert answer("") == {"ok": False, "error": "not_authed"}
    assert answer(seed.APP_TOKEN) == {"ok": False, "error": "not_allowed_token_type"}


def test_history_returns_metadata_only_on_request(client: WebClient) -> None:
    metadata = {"event_type": "retention_post", "event_payload": {"key": "job:1"}}
    posted = client.chat_postMessage(
        channel="C0CRM", text="hello", blocks=[SECTION], metadata=metadata
    )
    request = {"channel": "C0CRM", "limit": 1}
    (plain,) = client.conversations_history(**request)["messages"]
    (full,) = client.conversations_history(**request, include_all_metadata=True)["messages"]
    assert plain["ts"] == posted["ts"]
    assert "metadata" not in plain
    assert full["metadata"] == metadata


def test_replies_are_only_in_the_thread(client: WebClient, slack: StandIn) -> None:
    slack.slack.web_api.api.rate_limiter.strict = False
    parent = client.chat_postMessage(channel="C0CRM", text="parent")["ts"]
    metadata = {"event_type": "e", "event_payload": {"key": "k"}}
    place = {"channel": "C0CRM", "thread_ts": parent}
    client.chat_postMessage(text="reply", metadata=metadata, **place)
    (shown,) = client.conversations_history(channel="C0CRM")["messages"]
    assert (shown["ts"], shown["reply_count"]) == (parent, 1)
    request = {"channel": "C0CRM", "include_all_metadata": True}
    thread = client.conversations_replies(ts=parent, **request)["messages"]
    assert texts(thread) == ["parent", "reply"]
    assert thread[1]["metadata"] == metadata
    assert error(client.conversations_replies, ts="1.1", **request) == "thread_not_found"


def test_errors_equal_slacks(client: WebClient) -> None:
    post, update, missing = client.chat_postMessage, client.chat_update, "channel_not_found"
    assert error(client.api_call, "chat.nonsense") == "unknown_method"
    assert error(post, channel="C0NOWHERE", text="x") == missing
    assert error(post, channel="C0GENERAL", text="x") == "not_in_channel"
    assert error(post, channel="C0PRIVATE", text="x") == missing
    assert error(post, channel="C0CRM", text="") == "no_text"
    assert error(update, channel="C0CRM", ts="1.1", text="x") == "message_not_found"
    assert error(client.conversations_info, channel="C0PRIVATE") == missing
    assert client.conversations_info(channel="C0GENERAL")["channel"]["is_member"] is False


def test_only_own_messages_can_be_updated(client: WebClient, slack: StandIn) -> None:
    ts = slack.say("lead", "crm", "mine")["ts"]
    theirs = {"channel": "C0CRM", "ts": ts}
    assert error(client.chat_update, text="x", **theirs) == "cant_update_message"
    assert error(client.chat_delete, **theirs) == "cant_delete_message"


def test_text_update_drops_blocks_and_needs_the_channel_id(
    client: WebClient, slack: StandIn
) -> None:
    ts = client.chat_postMessage(channel="#crm", text="one", blocks=[SECTION])["ts"]
    assert error(client.chat_update, channel="#crm", ts=ts, text="two") == "channel_not_found"
    client.chat_update(channel="C0CRM", ts=ts, text="two")
    shown = slack.messages("crm")[0]
    assert (shown["text"], shown["blocks"]) == ("two", [])
    assert shown["edited"]["user"] == seed.BOT_USER


def test_one_message_per_second_and_channel_after_a_burst(client: WebClient) -> None:
    for _ in range(POST_BURST):
        client.chat_postMessage(channel="C0CRM", text="one")
    refusal = refused(client.chat_postMessage, channel="C0CRM", text="two")
    assert (refusal.status_code, refusal["error"]) == (429, "ratelimited")
    assert int(refusal.headers["Retry-After"]) >= 1
    client.chat_postMessage(channel="D0LEAD", text="another channel")


def test_channel_that_rested_takes_a_burst_again() -> None:
    now = 0.0
    limiter = RateLimiter(lambda: now)
    assert [limiter.post("C0CRM") for _ in range(POST_BURST + 1)] == [0] * POST_BURST + [1]
    now = POST_SPACING
    assert [limiter.post("C0CRM") for _ in range(2)] == [0, 1]
    now = POST_SPACING * (POST_BURST + 1)
    assert [limiter.post("C0CRM") for _ in range(POST_BURST + 1)] == [0] * POST_BURST + [1]


def test_updates_are_limited_by_tier(client: WebClient) -> None:
    ts = client.chat_postMessage(channel="C0CRM", text="0")["ts"]
    for number in range(50):
        client.chat_update(channel="C0CRM", ts=ts, text=str(number))
    assert refused(client.chat_update, channel="C0CRM", ts=ts, text="more").status_code == 429


def test_user_id_names_the_direct_message(client: WebClient, slack: StandIn) -> None:
    assert client.conversations_open(users="U0LEAD")["channel"]["id"] == "D0LEAD"
    assert client.chat_postMessage(channel="U0LEAD", text="for you")["channel"] == "D0LEAD"
    assert slack.messages("@lead")[0]["text"] == "for you"


def test_ephemeral_message_is_visible_to_one_person(client: WebClient, slack: StandIn) -> None:
    client.chat_postEphemeral(channel="C0CRM", user="U0LEAD", text="psst")
    assert [message["ephemeral"] for message in slack.messages("crm", user="lead")] == [True]
    assert slack.messages("crm", user="analyst") == []


def test_history_pages_by_cursor_and_time(client: WebClient, slack: StandIn) -> None:
    slack.slack.web_api.api.rate_limiter.strict = False
    stamps = [client.chat_postMessage(channel="C0CRM", text=n)["ts"] for n in "01234"]
    page = {"channel": "C0CRM", "limit": 3}
    first = client.conversations_history(**page)
    cursor = first["response_metadata"]["next_cursor"]
    second = client.conversations_history(**page, cursor=cursor)
    assert texts([*first["messages"], *second["messages"]]) == [*"43210"]
    after = client.conversations_history(channel="C0CRM", oldest=stamps[3])["messages"]
    assert texts(after) == ["4"]


def test_file_upload_in_three_steps(client: WebClient, slack: StandIn) -> None:
    answer = client.files_upload_v2(
        channel="C0CRM", filename="cohort.csv", content="a,b\n1,2\n", initial_comment="Here"
    )
    file_id = answer["file"]["id"]
    assert slack.file(file_id) == b"a,b\n1,2\n"
    shown = slack.messages("crm")[0]
    assert (shown["text"], shown["files"][0]["name"]) == ("Here", "cohort.csv")
    shares = client.files_info(file=file_id)["file"]["shares"]["public"]
    assert shares["C0CRM"][0]["ts"] == shown["ts"]


def test_an_image_block_needs_a_completed_upload(client: WebClient) -> None:
    image = {"type": "image", "alt_text": "chart", "slack_file": {"id": "F0NONE"}}
    message = {"channel": "C0CRM", "text": "x", "blocks": [image]}
    assert error(client.chat_postMessage, **message) == "invalid_blocks"
    (file,) = client.files_upload_v2(filename="chart.png", content=b"\x89PNG").data["files"]
    image["slack_file"] = {"id": file["id"]}
    assert client.chat_postMessage(**message)["ok"]


@pytest.mark.nightly
def test_faults_strike_n_times_and_accept_before_they_hang(
    client: WebClient, slack: StandIn
) -> None:
    for fault, status in (("server_error", 500), ("rate_limited", 429)):
        slack.fault(fault, 1)
        refusal = refused(client.chat_postMessage, channel="C0CRM", text="x")
        assert refusal.status_code == status
    slack.fault("timeout_after_accept", 1)
    slack.slack.web_api.hang_seconds = 3
    impatient = WebClient(
        token=seed.BOT_TOKEN, base_url=slack.api_url, timeout=1, retry_handlers=[]
    )
    with pytest.raises(TimeoutError):
        impatient.chat_postMessage(channel="C0CRM", text="arrived")
    assert texts(slack.messages("crm")) == ["arrived"]
    slack.fault("history_lag", 1)
    assert client.conversations_history(channel="C0CRM")["messages"] == []
    assert len(client.conversations_history(channel="C0CRM")["messages"]) == 1


def test_messages_survive_a_restart(tmp_path, client: WebClient) -> None:
    path = tmp_path / "slack.db"
    with StandIn.start(store=path) as first:
        web = WebClient(token=seed.BOT_TOKEN, base_url=first.api_url)
        ts = web.chat_postMessage(channel="C0CRM", text="still here", blocks=[SECTION])["ts"]
        file_id = web.files_upload_v2(filename="a.txt", content="x").data["files"][0]["id"]
    with StandIn.start(store=path) as second:
        web = WebClient(token=seed.BOT_TOKEN, base_url=second.api_url)
        web.chat_update(channel="C0CRM", ts=ts, text="updated", blocks=[SECTION])
        assert texts(second.messages("crm")) == ["updated"]
        assert second.file(file_id) == b"x"


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "127.0.0.1:1"},
        {"origin": "https://evil.example"},
        {"origin": "http://127.0.0.1:1"},
        {"sec-fetch-site": "cross-site"},
    ],
)
def test_foreign_origins_and_hosts_are_refused(
    slack: StandIn, http: httpx2.Client, headers: dict[str, str]
) -> None:
    for path in ("/playground/workspace", "/api/auth.test"):
        assert http.get(slack.url + path, headers=headers).status_code == 403


def test_json_and_form_bodies_are_equivalent(slack: StandIn, http: httpx2.Client) -> None:
    bearer = {"authorization": f"Bearer {seed.BOT_TOKEN}"}
    form = {"channel": "C0CRM", "text": "a", "blocks": json.dumps([SECTION])}
    assert http.post(f"{slack.api_url}chat.postMessage", data=form, headers=bearer).json()["ok"]
    body = {"channel": "D0LEAD", "text": "b", "blocks": [SECTION]}
    assert http.post(f"{slack.api_url}chat.postMessage", json=body, headers=bearer).json()["ok"]
