"""Test that the sender posts each message once and in order."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from sqlalchemy import insert, select, update
from sqlalchemy.exc import OperationalError

from retention import clock
from retention.campaigns.lifecycle.view import version_data
from retention.campaigns.measurement import money_picture
from retention.db.tables import File, Outbox
from retention.errors import Conflict
from retention.settings import Settings
from tests.retention.campaigns.samples import a_body
from tests.standins.slack import StandIn
from tests.workers.harness import ADMIN, CHANNEL, PRIVATE, ask, row, wait
from tests.world import change, execute, one, scalar, scalars
from workers.delivery import outbox, threads
from workers.delivery.sender import Pacing, Sender
from workers.delivery.slack_client import is_channel
from workers.job_requests import Sweep
from workers.queue import completion, jobs
from workers.tasks.interface import Attachment, Post

QUICK = Pacing(channel_gap=0.0, recheck_after=0.2, idle_wait=0.01)
PICTURE = b"\x89PNG\r\n\x1a\n and pixels"
CODES = Attachment("c.csv", "text/csv", b"a,b", sensitive=True)
MONEY = money_picture.describe_money(
    version_data(a_body()) | {"result": None, "verdict": None, "currency": "EUR"}
)


@pytest.fixture
def sender(slack: StandIn, database) -> Sender:
    """A sender in a hurry, at the stand-in that this test's settings know."""
    settings = Settings(home=database.url.database.rpartition("/")[0], admins=ADMIN, _env_file=None)
    return Sender(database.using(settings), pacing=QUICK)


@pytest.fixture
def loses_an_answer(slack: StandIn, sender):
    """``loses_an_answer(method)``: the next step has its effect, but gives up waiting for Slack."""

    def step(method: str) -> None:
        web = sender._transport._web
        patience = web.timeout
        slack.fault("timeout_after_accept", 1, method)
        web.timeout = 0.5
        sender.step()
        web.timeout = patience

    return step


def test_only_channel_ids_count_as_channels():
    """In others nobody reads along."""
    ids = ("C0CRM", "G0SECRET", "D0ANA", "U0ANA", "W0ANA", "crm", "")
    assert [slack_id for slack_id in ids if is_channel(slack_id)] == ["C0CRM", "G0SECRET"]


def put(database, sentence: str, key: str, channel: str = CHANNEL, **more) -> None:
    post = Post("job/refused", {"sentence": sentence}, key=key, **more)
    change(database, outbox.put, post, default_channel=channel)


def step_by_step(sender: Sender) -> None:
    while sender.step():
        pass


def drain(sender: Sender, database) -> None:
    """Deliver until nothing waits."""

    def is_done() -> bool:
        step_by_step(sender)
        return not scalar(database, outbox.undelivered())

    wait(is_done)


def end_lease(database) -> None:
    """Let the lease of a sender that was killed run out."""
    execute(database, update(Outbox).values(lease_until=clock.wall()))


def texts(slack: StandIn, channel: str = "crm", user: str | None = None) -> list[str]:
    return [message["text"] for message in slack.messages(channel, user=user)]


def test_sender_delivers_until_it_is_stopped_and_waits_for_the_database(
    sender, slack, database, monkeypatch
):
    put(database, "first", "1")
    stop, step = threading.Event(), sender.step
    errors = iter([OperationalError("", {}, Exception("away"))])

    def step_or_fail() -> bool:
        for error in errors:
            raise error
        if not (busy := step()):
            stop.set()
        return busy

    monkeypatch.setattr(sender, "step", step_or_fail)
    monkeypatch.setattr(stop, "wait", lambda seconds: None)
    sender.run(stop)
    assert texts(slack) == ["first"]


def test_same_key_updates_the_message(sender, slack, database):
    put(database, "first", "k")
    drain(sender, database)
    put(database, "second", "k")
    put(database, "third", "k")
    drain(sender, database)
    assert texts(slack) == ["third"]
    post = row(database, "k")
    assert (post.revision, post.sent_revision) == (3, 3)


def test_revision_written_during_a_call_is_delivered(sender, slack, database):
    put(database, "first", "k")
    post = sender._transport.deliver

    def meanwhile(parcel):
        sent = post(parcel)
        if parcel.row.revision == 1:
            put(database, "second", "k")
        return sent

    sender._transport.deliver = meanwhile
    drain(sender, database)
    assert texts(slack) == ["second"]


def test_failed_job_posts_a_new_message_below_its_progress(sender, slack, database):
    queued_job = ask(database, Sweep(), "k")
    drain(sender, database)
    put(database, "written meanwhile", "other")
    drain(sender, database)
    for attempt in (1, 2):
        claimed = change(database, jobs.claim, queued_job.id, "t")
        completion.fail(database, claimed, f"Reason {attempt}.", "REF")
        drain(sender, database)
        change(database, jobs.retry, queued_job.id, ADMIN)
        drain(sender, database)
    claimed = change(database, jobs.claim, queued_job.id, "t")
    completion.fail(database, claimed, "Reason 3.")
    drain(sender, database)
    again, last = "At-risk list failed and runs again", "At-risk list failed: Reason 3."
    assert texts(slack) == ["At-risk list failed", "written meanwhile", again, again, last]


def test_replies_wait_for_their_parent(sender, slack, database):
    put(database, "reply", "r", thread_key="p")
    put(database, "parent", "p")
    drain(sender, database)
    parent, reply = row(database, "p"), row(database, "r")
    shown = {message["text"]: message.get("thread_ts") for message in slack.messages("crm")}
    assert reply.thread_ts == shown["reply"] == parent.ts


@pytest.mark.parametrize(
    ("mime", "stored_content", "content"),
    [
        ("image/png", PICTURE, PICTURE),
        (money_picture.MONEY, MONEY, money_picture.draw_money(MONEY)),
    ],
    ids=["a picture", "one to draw"],
)
def test_image_is_shown_in_the_message(mime, stored_content, content, sender, slack, database):
    chart = Attachment("chart.png", mime, stored_content, alt_text="a chart")
    with database.transaction() as session:
        post = Post("job/refused", {"sentence": "see"}, key="k", images={"chart": chart})
        outbox.put(session, post, default_channel=CHANNEL)
        stored = session.scalars(select(Outbox)).one()
        image = {"type": "image", "slack_file": {"image": "chart"}, "alt_text": "a chart"}
        stored.payload = {**stored.payload, "blocks": [*stored.payload["blocks"], image]}
    drain(sender, database)
    shown = slack.messages("crm")[0]["blocks"][-1]["slack_file"]["id"]
    assert slack.file(shown) == content
    assert one(database, select(File.slack_file_id)) == shown


def test_file_is_sent_once_and_its_content_dropped(sender, slack, database):
    put(database, "codes", "k", channel=ADMIN, file=CODES)
    drain(sender, database)
    (message,) = slack.messages("@admin", user="admin")
    assert slack.file(message["files"][0]["id"]) == b"a,b"
    assert one(database, select(File.content)) is None


def test_delivery_and_dropped_content_are_one_transaction(sender, database, monkeypatch):
    """Killed between the two, the codes stayed for good."""
    put(database, "codes", "k", channel=ADMIN, file=CODES)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(outbox, "drop_sensitive_content", killed)
    with pytest.raises(KeyboardInterrupt):
        sender.step()
    assert row(database, "k").state == "sending"
    end_lease(database)
    monkeypatch.undo()
    drain(sender, database)
    assert one(database, select(File.content)) is None


def test_file_is_sent_once_although_the_database_is_away_amid_its_upload(
    sender, slack, database, monkeypatch
):
    put(database, "here it is", "k", file=CODES)

    def away(*_, **__):
        raise OperationalError("UPDATE files", {}, Exception("the server closed the connection"))

    with monkeypatch.context() as outage:
        outage.setattr(sender._transport, "_store_upload", away)
        with pytest.raises(OperationalError):
            sender.step()
    end_lease(database)
    drain(sender, database)
    assert (row(database, "k").state, texts(slack)) == ("sent", ["here it is"])


def test_file_without_content_is_not_sent(sender, slack, database):
    put(database, "codes", "k", channel=ADMIN, file=CODES)
    change(database, outbox.drop_sensitive_content)
    drain(sender, database)
    assert slack.messages("@admin", user="admin") == []
    post = row(database, "k")
    assert (post.state, "dropped" in post.error) == ("failed", True)


@pytest.mark.nightly_after(2)
@pytest.mark.parametrize("kind", ["rate_limited", "server_error", "timeout_after_accept"])
def test_one_message_is_visible_after_any_failure(sender, slack, database, loses_an_answer, kind):
    put(database, "once", "k")
    put(database, "next", "k2")
    if kind == "timeout_after_accept":
        loses_an_answer("chat.postMessage")
    else:
        slack.fault(kind, 1, "chat.postMessage")
    drain(sender, database)
    assert texts(slack) == ["once", "next"]


def test_answer_goes_to_the_thread_of_a_persons_message(sender, slack, database):
    asked = slack.say("lead", "crm", "who is at risk?")
    key = threads.thread_key(CHANNEL, asked["ts"])
    put(database, "answer", "a", thread_key=key)
    put(database, "reply to the answer", "b", thread_key="a")
    drain(sender, database)
    places = {message["text"]: message.get("thread_ts") for message in slack.messages("crm")}
    assert places["answer"] == asked["ts"]
    assert places["reply to the answer"] == asked["ts"]


def test_ambiguous_reply_is_found_in_its_thread(sender, slack, database, loses_an_answer):
    put(database, "parent", "p")
    drain(sender, database)
    put(database, "reply", "r", thread_key="p")
    loses_an_answer("chat.postMessage")
    assert row(database, "r").state == "ambiguous"
    drain(sender, database)
    assert texts(slack).count("reply") == 1


def test_ambiguous_file_is_shared_once(sender, slack, database, loses_an_answer):
    put(database, "codes", "k", channel=ADMIN, file=Attachment("c.csv", "text/csv", b"a,b"))
    loses_an_answer("files.completeUploadExternal")
    drain(sender, database)
    assert len(slack.messages("@admin", user="admin")) == 1


def test_lookup_prevents_a_second_message(sender, slack, database, loses_an_answer, monkeypatch):
    """The control that must fail: without the look-up the same fault doubles the message."""
    monkeypatch.setattr("workers.delivery.slack_client.find_post", lambda *_, **__: None)
    put(database, "twice", "k")
    loses_an_answer("chat.postMessage")
    drain(sender, database)
    assert texts(slack) == ["twice", "twice"]


def test_revision_of_an_ambiguous_message_is_delivered(sender, slack, database, loses_an_answer):
    put(database, "first", "k")
    loses_an_answer("chat.postMessage")
    assert row(database, "k").state == "ambiguous"
    put(database, "second", "k")
    drain(sender, database)
    assert texts(slack) == ["second"]


def test_sender_killed_after_a_post_leaves_it_ambiguous(sender, slack, database):
    put(database, "once", "k")
    sender._transport.deliver(sender._claim())  # … and then it was killed
    end_lease(database)
    drain(sender, database)
    assert texts(slack) == ["once"]
    assert row(database, "k").ts == slack.messages("crm")[0]["ts"]


def test_message_held_after_four_ambiguous_attempts_is_shown_once_released(sender, slack, database):
    slack.fault("server_error", 4, "chat.postMessage")
    put(database, "late", "k")
    drain(sender, database)
    assert (row(database, "k").state, row(database, "k").ambiguous) == ("held", 4)
    with database.transaction() as session:
        (held,) = outbox.stuck(session)
        assert outbox.release(session, held.id).state == "ambiguous"  # looked for first
    drain(sender, database)
    assert texts(slack) == ["late"]
    with database.reading() as session, pytest.raises(Conflict, match="is sent"):
        outbox.release(session, held.id)


def test_result_goes_to_direct_message_if_bot_is_no_member(sender, slack, database):
    queued_job = ask(database, Sweep(), "k", channel=PRIVATE, announce=False)
    post = Post("job/refused", {"sentence": "the cohort"})
    change(database, outbox.put, post, default_channel=PRIVATE, job_id=queued_job.id)
    drain(sender, database)
    (message,) = slack.messages("@admin", user="admin")
    assert "/invite @retention" in str(message["blocks"])
    assert message["text"] == "the cohort"


def test_message_fails_without_a_direct_message(sender, slack, database):
    put(database, "lost", "k", channel=PRIVATE)
    drain(sender, database)
    assert row(database, "k").state == "failed"


def test_deleted_message_is_posted_again_on_update(sender, slack, database):
    put(database, "bar", "k")
    drain(sender, database)
    with database.transaction() as session:
        session.scalars(select(Outbox)).one().ts = "1.000001"  # as if it were gone
    put(database, "result", "k")
    drain(sender, database)
    assert "result" in texts(slack)


def test_claim_is_fast_with_many_messages(sender, database):
    """One that led through all rows of a channel for each of them took seconds."""
    ago = clock.wall() - timedelta(days=1)
    alike = {"channel": CHANNEL, "payload": {"text": "x" * 1000}, "next_at": ago}
    sent = {"state": "sent", "sent_at": ago, "allowance_used_until": ago}
    waits = {"state": "pending", "sent_at": None, "allowance_used_until": None}
    states = [sent] * 3000 + [waits] * 1000
    rows = [{"key": f"k{number}", **alike, **state} for number, state in enumerate(states)]
    with database.transaction() as session:
        session.execute(insert(Outbox), rows)
    thousands = []  # of SQLite's instructions
    with database.reading() as session:
        sqlite = session.connection().connection.driver_connection
        sqlite.set_progress_handler(lambda: thousands.append(1), 1000)
        due = select(Outbox.key).where(*sender._due(clock.wall()))
        assert session.scalars(due).all() == ["k3000"]
        sqlite.set_progress_handler(None, 0)
    assert len(thousands) < 1000


def test_two_senders_send_each_message_once(sender, slack, database):
    other = Sender(database, sender._transport._web, QUICK)
    for number in range(8):
        put(database, f"m{number}", f"k{number}")
    thread = threading.Thread(target=drain, args=(other, database))
    thread.start()
    drain(sender, database)
    thread.join()
    assert texts(slack) == [f"m{number}" for number in range(8)]


def sender_at(url: str, database) -> Sender:
    """A sender that takes what answers at this address for Slack."""
    settings = database.settings.model_copy(update={"slack_api_url": url})
    return Sender(database.using(settings), pacing=QUICK)


def test_message_waits_while_slack_is_down(slack, database):
    put(database, "later", "k")
    assert sender_at("http://127.0.0.1:9/api/", database).step()
    post = row(database, "k")
    assert (post.state, post.ambiguous) == ("pending", 0)


class NotSlack(BaseHTTPRequestHandler):
    """What answers in Slack's place: a proxy, a login page, half a connection."""

    status, headers_, body = 200, {}, b""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.status)
        for name, value in {**self.headers_, "Content-Length": str(len(self.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None: ...


@contextmanager
def in_slacks_place(status: int, headers: dict[str, str], body: bytes) -> Iterator[str]:
    """The address of a Web API that answers everything alike."""
    handler = type("Answer", (NotSlack,), {"status": status, "headers_": headers, "body": body})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/api/"
        server.shutdown()


@pytest.mark.nightly_after(2)
@pytest.mark.parametrize(
    ("status", "headers", "body", "state"),
    [
        (200, {}, b"<html>Please log in to the guest network</html>", "ambiguous"),
        (200, {}, b'{"ok": true, "chann', "ambiguous"),
        (200, {}, b"", "ambiguous"),
        (502, {}, b"\xff\xfe", "ambiguous"),
        (403, {}, b"<html>Forbidden by the proxy</html>", "pending"),
        (429, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, b"{}", "rate_limited"),
    ],
)
def test_answers_without_an_error_code_lose_no_message(
    sender, slack, database, status, headers, body, state
):
    put(database, "not lost", "k")
    with in_slacks_place(status, headers, body) as url:
        assert sender_at(url, database).step()
    assert row(database, "k").state == state
    execute(database, update(Outbox).values(next_at=clock.wall()))
    drain(sender, database)
    assert texts(slack) == ["not lost"]


def test_message_too_large_for_a_proxy_does_not_block_others(sender, slack, database):
    """It was tried for ever, and its channel fell silent."""
    put(database, "large", "k1")
    put(database, "small", "k2")
    with in_slacks_place(413, {}, b"<html>Request Entity Too Large</html>") as url:
        assert sender_at(url, database).step()
    assert (row(database, "k1").state, row(database, "k1").error) == ("failed", "http_413")
    drain(sender, database)
    assert texts(slack) == ["small"]


@pytest.mark.parametrize("lost", [{"state": "sending", "attempts": 1}, {"state": "pending"}])
def test_times_of_a_wrong_clock_do_not_delay_messages(sender, slack, database, lost):
    """A clock that was a year ahead silenced the channel for a year."""
    ahead = clock.wall() + timedelta(days=365)
    put(database, "sent then", "k1")
    drain(sender, database)
    put(database, "claimed or put then", "k2")
    sent = {"sent_at": ahead, "allowance_used_until": ahead}
    for key, times in {"k1": sent, "k2": {"lease_until": ahead, "next_at": ahead, **lost}}.items():
        execute(database, update(Outbox).where(Outbox.key == key).values(**times))
    put(database, "now", "k3")
    drain(sender, database)
    assert texts(slack) == ["sent then", "claimed or put then", "now"]


@pytest.fixture
def paused(monkeypatch) -> list[str]:
    """Answer the first post and update with a Retry-After; return the calls."""
    called: list[str] = []
    real = WebClient.api_call

    def call(self, api_method, **options):
        called.append(api_method)
        if called.count(api_method) > 1 or not api_method.startswith("chat."):
            return real(self, api_method, **options)
        answer = {"data": {"ok": False, "error": "ratelimited"}, "headers": {"Retry-After": "30"}}
        raise SlackApiError("told to wait", SimpleNamespace(status_code=429, **answer))

    monkeypatch.setattr(WebClient, "api_call", call)
    return called


def test_retry_after_pauses_only_its_method(sender, database, paused):
    with database.transaction() as session:
        shown = {"kind": "message", "channel": CHANNEL, "channel_id": CHANNEL, "ts": "1.000001"}
        payload = {"text": "news", "blocks": []}
        session.add_all(Outbox(key=f"k{number}", payload=payload, **shown) for number in range(3))
    put(database, "to one", "k9", channel=ADMIN)
    step_by_step(sender)
    assert paused == ["chat.update", "conversations.open", "chat.postMessage"]
    rows = scalars(database, select(Outbox))
    assert {row.state for row in rows} == {"rate_limited"}
    assert min(row.next_at for row in rows) > clock.wall() + timedelta(seconds=20)


def test_pause_for_posts_is_per_channel(sender, slack, database, paused):
    put(database, "a", "k1")
    put(database, "b", "k2", thread_key="another thread")
    put(database, "c", "k3", channel=ADMIN)
    step_by_step(sender)
    assert paused == ["chat.postMessage", "conversations.open", "chat.postMessage"]
    assert texts(slack) == []
    assert row(database, "k3").state == "sent"


def test_modal_is_replaced_once_and_a_closed_one_needs_nothing(sender, database):
    """A card opens as a waiting modal, which the sender fills when the job is done."""
    calls = []

    def update(**arguments):
        calls.append(arguments)
        if arguments["view_id"] == "V2":
            raise SlackApiError("closed", {"ok": False, "error": "not_found"})
        return {"ok": True}

    sender._transport._web = SimpleNamespace(views_update=update)
    for view_id in ("V1", "V2"):
        place = {"key": f"view:{view_id}", "channel": "U0ANA", "view_id": view_id}
        post = Post("score/failed", {"error": "No."}, **place)
        change(database, outbox.put, post, default_channel=None)
    drain(sender, database)
    assert [call["view_id"] for call in calls] == ["V1", "V2"]
    assert "No." in str(calls[0]["view"])
    assert {row(database, f"view:{view_id}").state for view_id in ("V1", "V2")} == {"sent"}
    with database.transaction() as session:  # as an erasure does
        outbox.put(session, Post("bot/erased", {}, key="view:V1"), default_channel="U0ANA")
    drain(sender, database)
    assert len(calls) == 2
    assert "No." not in str(row(database, "view:V1").payload)
