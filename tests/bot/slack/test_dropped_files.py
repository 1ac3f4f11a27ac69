"""Test files in the bot's direct message: real HTTP between Slack's stand-in, bot and worker."""

import json
from io import BytesIO

import pytest
from slack_bolt import BoltRequest
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bot.playground import seed
from bot.slack.app import build_app
from bot.slack.interactions.dropped_files import Drop
from retention.audiences import store
from retention.db.tables import Job
from retention.lake import Lake
from retention.settings import Settings
from retention.texts import speech
from tests.bot.wire import stored, words
from tests.standins.slack import StandIn, in_thread, listen
from tests.workbooks import write_workbook
from tests.workers.harness import ADMIN, wait
from tests.world import read
from workers import action_ids
from workers.data import slack_files
from workers.delivery.sender import Pacing, Sender
from workers.delivery.slack_client import client
from workers.tasks import runner
from workers.tasks.data import voice

QUICK = Pacing(channel_gap=0.0, recheck_after=0.2, lease=0.5, idle_wait=0.01)
DM = "@admin"
ORDERS = "Order ID,Customer ID,Order Date,SKU,Qty,Line Total\n" + "".join(
    f"{n},C{n % 9},2025-07-{1 + n % 20:02} 10:00,A{n % 4},1,{n}.50\n" for n in range(40)
)


class Desk:
    """The stand-in for Slack, the bot's app behind HTTP, a worker and a sender."""

    def __init__(self, slack: StandIn, settings: Settings, database) -> None:
        self.slack, self.settings, self.database = slack, settings, database
        self.sender = Sender(database, client(database), QUICK)

    def run(self, kind: str) -> dict:
        """Run the queued job of a kind, post its messages, and return its row's result."""

        is_queued = Job.kind == kind, Job.state == "queued"
        (job,) = wait(lambda: stored(self.database, Job, *is_queued))
        runner.run_job(self.database, job.id, "t")
        self.deliver()
        (job,) = stored(self.database, Job, Job.id == job.id)
        return job.result or {}

    def deliver(self) -> None:
        while self.sender.step():
            pass

    def said(self, user: str = "admin") -> list[dict]:
        return [one for one in self.slack.messages(f"@{user}", user=user) if one.get("bot_id")]

    def last(self) -> dict:
        return self.said()[-1]

    def answered(self, user: str = "admin") -> str:
        """Deliver until the bot has answered, and return its words."""

        def answer():
            self.deliver()
            said = self.said(user)
            return said and words(said[-1]["blocks"])

        return wait(answer)

    def press(self, action: str, value: str, user: str = "admin") -> None:
        self.slack.press(user, f"@{user}", self.last()["ts"], action, value)


def button(message: dict, action: str) -> str:
    for block in message["blocks"]:
        for element in block.get("elements", []):
            if element.get("action_id") == action:
                return element["value"]
    raise AssertionError(json.dumps(message["blocks"])[:2000])


@pytest.fixture
def desk(tmp_path, database, monkeypatch):
    with StandIn.start(strict=False) as slack:
        for name, value in slack.environment.items():
            monkeypatch.setenv(name, value)
        home = database.url.database.rpartition("/")[0]
        settings = Settings(home=home, admins=ADMIN, _env_file=None)
        database = database.using(settings)
        app = build_app(settings, database)

        async def handle(request: Request) -> Response:
            headers = {key: [value] for key, value in request.headers.items()}
            body = (await request.body()).decode()
            answer = await run_in_threadpool(app.dispatch, BoltRequest(body=body, headers=headers))
            return Response(answer.body, answer.status)

        listener = listen()
        slack.connect(f"http://127.0.0.1:{listener.getsockname()[1]}/slack/events")
        routes = [Route("/slack/events", handle, methods=["POST"])]
        with in_thread(Starlette(routes=routes), listener):
            yield Desk(slack, settings, database)


def events(desk: Desk) -> int:
    return int(Lake.open(desk.settings).table("events").count().execute())


def test_dropped_orders_are_shown_and_imported_once_on_two_clicks(desk):
    assert desk.slack.drop("admin", "orders.csv", ORDERS.encode())["http"] == 200
    proposal = desk.run("file_propose")
    message = desk.last()
    shown = words(message["blocks"])
    assert "40 rows of 40" in shown
    (table,) = [block for block in message["blocks"] if block["type"] == "table"]
    assert len(table["rows"]) == 6
    assert "C1" in json.dumps(table)
    del proposal["file_id"], proposal["proposal"]  # ids are random
    assert "C1" not in json.dumps(proposal)
    assert events(desk) == 0
    for _ in range(2):
        desk.press(action_ids.FILE_IMPORT, button(message, action_ids.FILE_IMPORT))
    desk.run("file_import")
    assert len(stored(desk.database, Job, Job.kind == "file_import")) == 1
    assert "40 new rows of 40" in desk.answered()
    assert events(desk) == 40
    assert not list((desk.settings.home / "uploads").rglob("*.csv"))
    assert desk.slack.messages("crm") == []


@pytest.mark.nightly
def test_dropped_column_of_customers_becomes_an_audience_of_the_file_name(desk):
    for name, content in (("orders.csv", ORDERS), ("VIPs 2025.csv", "C1\nC2\nnobody\n")):
        desk.slack.drop("admin", name, content.encode())
        desk.run("file_propose")
        desk.press(action_ids.FILE_IMPORT, button(desk.last(), action_ids.FILE_IMPORT))
        desk.run("file_import")
    (audience,) = read(desk.database, store.saved)
    shown = (audience.name, audience.expression, audience.customers)
    assert shown == ("vips-2025", "in list vips-2025", 2)
    assert "vips-2025" in words(desk.last()["blocks"])


@pytest.mark.nightly
def test_workbook_is_read_and_cancelled(desk):
    book = BytesIO()
    write_workbook(book, {"Orders": [line.split(",") for line in ORDERS.splitlines()]})
    desk.slack.drop("admin", "orders.xlsx", book.getvalue())
    desk.run("file_propose")
    message = desk.last()
    assert "40 rows of 40" in words(message["blocks"])
    desk.press(action_ids.FILE_CANCEL, button(message, action_ids.FILE_CANCEL))
    wait(lambda: "did not import" in desk.answered())
    assert events(desk) == 0


@pytest.mark.nightly_after(2)
@pytest.mark.parametrize(
    ("name", "text", "table"),
    [
        ("codes.csv", "Coupon code,Used at,Order\nK7M2-9QRT,2025-07-01 10:00,31\n", "redemptions"),
        ("bounces.csv", "Email,Time\nann@example.com,2025-07-01 10:00\n", "bounces"),
        (
            "people.csv",
            "Customer ID,Email,First Name\nC1,a@x.org,Ann\nC2,b@x.org,Bob\n",
            "customers",
        ),
        ("items.csv", "SKU,Title,Price\nA1,Mug,5.50\nA2,Bag,12.00\n", "items"),
    ],
)
def test_table_is_recognised_by_its_columns(desk, name, text, table):
    desk.slack.drop("admin", name, text.encode())
    assert desk.run("file_propose")["table"] == table


def test_person_can_choose_another_table(desk):
    desk.slack.drop("admin", "orders.csv", ORDERS.encode())
    job_id = desk.run("file_propose")["proposal"]
    desk.press(action_ids.FILE_TABLE, f"items|{job_id}")
    assert desk.run("file_propose")["table"] == "items"
    first = desk.last()
    assert words(first["blocks"]).count("looks like") == 1


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [("photo.png", b"\x89PNG", "is no table"), ("orders.csv", b"x" * 200, "MB")],
)
def test_unusable_file_gets_one_sentence(desk, monkeypatch, name, content, named):
    monkeypatch.setattr(slack_files, "MAX_BYTES", 100)
    desk.slack.drop("admin", name, content)
    assert named in desk.answered()


def test_text_that_is_no_table_gets_one_sentence(desk):
    desk.slack.drop("admin", "letter.txt", b"Dear all,\n\nplease find attached nothing.\n")
    desk.run("file_propose")
    assert "cannot be imported like this" in words(desk.last()["blocks"])


def test_only_admins_import_files(desk):
    desk.slack.drop("analyst", "orders.csv", ORDERS.encode())
    assert "admin" in desk.answered("analyst")
    assert stored(desk.database, Job) == []


def test_bot_token_goes_to_slack_only(settings):
    allowed = "https://files.slack.com/files-pri/T1-F1/download/orders.csv"
    assert slack_files.is_slack_file(allowed, settings)
    foreign = "https://files.slack.com.evil.example/x", "http://files.slack.com/x", "", "file:///"
    assert not any(slack_files.is_slack_file(url, settings) for url in foreign)


def test_files_of_bots_and_of_channels_are_ignored():
    event = {"files": [{"id": "F1"}], "user": "U1", "channel": "D1", "ts": "1.1"}
    assert Drop.of({**event, "channel_type": "im", "subtype": "file_share"})
    assert not Drop.of({**event, "channel_type": "channel"})
    assert not Drop.of({**event, "channel_type": "im", "bot_id": seed.BOT_ID})
    assert not Drop.of({**event, "channel_type": "im", "files": []})


# ---------------------------------------------------------------- voice messages

RECORDING = "audio_message.m4a"


@pytest.fixture
def _quick_checks(monkeypatch):
    monkeypatch.setattr(voice, "CHECK_EVERY", 0)


def kinds(desk: Desk) -> set[str]:
    return {job.kind for job in stored(desk.database, Job)}


def heard(desk: Desk, transcript: str) -> str:
    """Record a message, and return the value of the button below its words."""
    desk.slack.drop("admin", RECORDING, b"sound", transcript=transcript)
    assert desk.run("voice")["text"] == transcript
    message = desk.said("admin")[-1]
    assert transcript in words(message["blocks"])
    return button(message, action_ids.ASK_HEARD)


def ask(desk: Desk, job: str) -> None:
    desk.press(action_ids.ASK_HEARD, job)


@pytest.mark.usefixtures("_quick_checks")
@pytest.mark.parametrize("more", ["", " please" * 30], ids=["preview", "WebVTT file"])
def test_words_of_a_voice_message_are_asked_once_on_a_click(desk, more):
    job = heard(desk, f"who is at risk{more}")
    assert kinds(desk) == {"voice"}
    for _ in range(2):
        ask(desk, job)
    wait(lambda: kinds(desk) == {"voice", "sweep"}, 20)
    assert len(stored(desk.database, Job, Job.kind == "sweep")) == 1


@pytest.mark.usefixtures("_quick_checks")
def test_spoken_change_waits_for_its_own_click(desk):
    job = heard(desk, "draft a campaign for the customers at risk")
    ask(desk, job)

    def proposal():
        desk.deliver()
        return [one for one in desk.said("admin") if action_ids.ASK_RUN in json.dumps(one)]

    wait(proposal, 20)
    assert kinds(desk) == {"voice"}


@pytest.mark.usefixtures("_quick_checks")
@pytest.mark.parametrize(
    ("name", "transcript", "named"),
    [
        (RECORDING, None, "retention-desk[voice]"),
        ("call.wav", None, "retention-desk[voice]"),
        (RECORDING, "well " * 200, "too long"),
    ],
)
def test_voice_message_without_a_command_gets_one_sentence(
    desk, monkeypatch, name, transcript, named
):
    monkeypatch.setattr(speech, "moonshine_voice", None)
    words_of = {"transcript": transcript} if transcript else {}
    desk.slack.drop("admin", name, b"sound", **words_of)
    desk.run("voice")
    assert named in desk.answered("admin")
    assert not list((desk.settings.home / "uploads").glob("*"))
