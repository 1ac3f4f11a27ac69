"""Test the demo's environment, set-up and clock."""

import asyncio
import os
import signal
import socket
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import IO

import httpx2
import pytest
from sqlalchemy import select, update

from bot.playground import demo, loading, seed
from bot.playground.server import free_port
from retention import clock
from retention.db.tables import BusinessClock, Job, RoleGrant, Schedule
from retention.errors import BadInput, Refused
from retention.outreach.dispatch import configured_channel
from retention.outreach.smtp import parse_smtp_url
from retention.settings import Settings
from tests import world
from tests.workers.harness import set_job
from workers import user_roles
from workers.queue import jobs

START = datetime(2017, 10, 2, 13, tzinfo=UTC)


@pytest.fixture
def business_time(database, settings) -> None:
    offset = (START - clock.wall()).total_seconds()
    world.add(database, BusinessClock(team_id=settings.team_id, offset_seconds=offset))


def test_environment_points_every_process_at_the_playground(tmp_path, monkeypatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = taken.getsockname()[1]
        settings = Settings(home=tmp_path, port=busy, playground_port=8765, _env_file=None)
        result = demo.environment(settings)
    for name, value in result.items():
        monkeypatch.setenv(name, value)
    settings = Settings(_env_file=None)
    assert settings.slack_api_url == "http://127.0.0.1:8765/api/"
    assert settings.home == tmp_path
    assert settings.demo
    assert settings.port != busy  # somebody else's server stays untouched
    assert (settings.timezone, settings.default_role) == ("America/New_York", "viewer")
    assert not settings.slack_app_token


def test_emails_go_to_the_mailbox_whatever_mail_server_is_set(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("RETENTION_SMTP_URL", "smtps://mail.shop.example/?from=a@shop.example")
    monkeypatch.setenv("RETENTION_WEBHOOK_URL", "https://platform.example/send")
    monkeypatch.setenv("RETENTION_MAIL_CONNECTION", "brevo")
    for name, value in demo.environment(Settings(home=tmp_path, _env_file=None)).items():
        monkeypatch.setenv(name, value)
    settings = Settings(_env_file=None, **demo.credentials())
    assert configured_channel(settings) == "email"
    assert settings.smtp_url is not None
    assert parse_smtp_url(settings.smtp_url.get_secret_value()).host == "127.0.0.1"
    assert settings.public_url == f"http://127.0.0.1:{settings.port}"  # links to unsubscribe work


def test_each_run_signs_requests_with_a_new_secret(tmp_path, database) -> None:
    """With a known secret, DNS rebinding would let a web page command the bot."""
    given = [demo.credentials() for _ in range(2)]
    secrets = {credentials["slack_signing_secret"] for credentials in given}
    assert len(secrets | {seed.SIGNING_SECRET}) == 3
    settings = Settings(home=tmp_path, _env_file=None, **given[0])
    running = demo._Demo(database.using(settings))
    assert running.slack.delivery.secret == given[0]["slack_signing_secret"]
    variables = {**demo.environment(settings), **running._environments.of("run")}
    assert not {*given[0].values()} & {*variables.values()}


def test_log_is_opened_for_appending(tmp_path, database, monkeypatch):
    """Without append mode, a truncated log would be padded with NULs."""
    log = tmp_path / "logs" / "run.log"
    log.parent.mkdir()
    log.write_text("of the run before")

    async def spawn(*_: str, stdout: IO[bytes], **__: object) -> None:
        stdout.write(b"long")
        stdout.flush()
        os.truncate(log, 0)
        stdout.write(b"short")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", spawn)
    asyncio.run(demo._Demo(database.using(Settings(home=tmp_path, _env_file=None)))._start())
    assert log.read_bytes() == b"short"


def test_taken_port_is_named(tmp_path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadInput, match=f"Port {port} is taken"):
            demo.main(Settings(home=tmp_path, playground_port=port, _env_file=None))


def test_roles_and_digest_are_seeded_once_and_changes_persist(
    database, settings, business_time
) -> None:
    demo._seed(database)
    demoted = update(RoleGrant).where(RoleGrant.user_id == "U0LEAD").values(role="viewer")
    world.execute(database, demoted)
    demo._seed(database)
    weekly = world.one(database, select(Schedule))
    assert (weekly.weekday, weekly.at, weekly.channel) == (0, "09:00", "C0CRM")
    assert world.read(database, user_roles.role_of, "U0ANALYST") == "analyst"
    assert world.read(database, user_roles.role_of, "U0LEAD") == "viewer"


def test_completion_offers_what_the_persons_role_may_do(
    database, settings, business_time, monkeypatch
) -> None:
    for name, value in demo.environment(settings).items():
        monkeypatch.setenv(name, value)
    settings = Settings(_env_file=None)
    demo._seed(database.using(settings))
    running = demo._Demo(database.using(settings))

    def offered(user: str) -> str:
        about = asyncio.run(overview(user))
        return "\n".join(one["usage"] for one in about["commands"])

    async def overview(user: str) -> dict:
        transport, url = httpx2.ASGITransport(running.server.config.app), running.slack.url
        running.ready.set()
        async with httpx2.AsyncClient(transport=transport, base_url=url) as client:
            return (await client.get("/playground/workspace", params={"user": user})).json()

    commands = ("/retention status", "/retention sweep", "campaign approve", "role grant")
    for number, user in enumerate(("viewer", "analyst", "lead", "admin"), 1):
        usages = offered(user)
        assert tuple(command for command in commands if command in usages) == commands[:number]


def test_clock_stops_while_the_demo_is_stopped(database, settings, business_time) -> None:
    running = demo._Demo(database)
    before = clock.now()
    running._store_clock()
    with database.transaction() as session:  # a night passes
        session.get_one(BusinessClock, settings.team_id).offset_seconds += 8 * 3600
    running._resume_clock()
    assert abs(clock.now() - before) < timedelta(seconds=5)


def test_welcome_message_is_posted_once(database, business_time) -> None:
    running = demo._Demo(database)
    running._welcome()
    running._welcome()
    (greeting,) = running.slack.workspace.messages["C0CRM"].values()
    assert "/retention sweep" in greeting.text
    assert greeting.shown_at.startswith("2017-10-02")


async def _asked(running: demo._Demo, calls: list[tuple[str, str]]) -> list[httpx2.Response | None]:
    """Return the answers, None for a request that waits."""
    transport, url = httpx2.ASGITransport(running.server.config.app), running.slack.url
    async with httpx2.AsyncClient(transport=transport, base_url=url) as client:
        tasks = [
            asyncio.create_task(client.request(verb, path, data=form[0] if form else None))
            for verb, path, *form in calls
        ]
        await asyncio.wait(tasks, timeout=1, return_when=asyncio.ALL_COMPLETED)
        for task in tasks:
            if not task.done():
                task.cancel()
        return [task.result() if task.done() else None for task in tasks]


def test_commands_wait_until_the_bot_can_answer(database, business_time):
    """The first command came up to two seconds too early and got ``dispatch_failed``."""
    running = demo._Demo(database)
    calls = [
        ("GET", "/"),
        ("GET", "/playground/workspace?user=lead"),
        # The bot calls Slack's own routes while it starts.
        ("POST", "/api/auth.test"),
        ("POST", "/playground/commands"),
        ("GET", "/playground/clock"),
    ]
    answers = asyncio.run(_asked(running, calls))
    assert [answer is None for answer in answers] == [False, False, False, True, True]


def test_page_is_open_while_the_data_is_loading(database):
    running = demo._Demo(database)
    running._show(loading.Step(3, "bringing in households"))
    calls = [("GET", "/playground/workspace?user=lead"), ("POST", "/playground/actions")]
    page, click = asyncio.run(_asked(running, calls))
    sentence = "The demo's data is still loading: step 3 of 5 (bringing in households)."
    assert page.json()["loading"] == sentence
    assert page.json()["clock"] is None  # nobody has set it
    assert (click.status_code, click.json()) == (503, {"error": sentence})
    typed = {"user": "analyst", "channel": "crm", "text": "sweep"}
    (command,) = asyncio.run(_asked(running, [("POST", "/playground/commands", typed)]))
    assert command.json()["ack"]["text"] == sentence
    (shown,) = running.slack.workspace.seen_by("C0CRM", "U0ANALYST")
    assert shown.text == sentence


@pytest.mark.parametrize("failure", [None, "The home holds later events."])
def test_a_worker_loads_the_data(database, monkeypatch, failure):
    monkeypatch.setattr(loading.broker, "is_reachable", lambda _: True)
    monkeypatch.setattr(loading, "POLL_SECONDS", 0)
    shown = []

    def show(step: loading.Step) -> None:
        shown.append(step)
        end = {"state": "failed" if failure else "done", "error": failure}
        world.execute(database, update(Job).values(**end))

    def wake(_: Settings, job: Job) -> None:
        begun = {"state": "running", "progress_done": 3, "progress_text": "bringing in purchases"}
        set_job(database, job.id, **begun)

    monkeypatch.setattr(jobs, "wake", wake)
    with pytest.raises(Refused, match="later") if failure else nullcontext():
        loading.load(database, show, lambda: False)
    assert shown == [loading.Step(5, "bringing in purchases")]


def test_stopping_the_demo_ends_the_loading(database):
    loading.load(database, lambda _: None, lambda: True)
    assert not loading.is_loaded(database)


@pytest.fixture
def idle(database, settings, business_time, monkeypatch) -> demo._Demo:
    """A demo at a free port whose processes do nothing."""

    async def processes() -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec("sleep", "60")

    place = {"home": settings.home, "playground_port": free_port(), "_env_file": None}
    running = demo._Demo(database.using(Settings(**place, **demo.credentials())))
    monkeypatch.setattr(running, "_start", processes)
    return running


def test_demo_stops_quietly_while_a_page_is_open(idle, monkeypatch, caplog):
    """Ctrl-C printed the traceback of the page's stream."""
    monkeypatch.setattr(idle, "_is_ready", lambda: True)

    async def scenario() -> bool:
        ending = asyncio.create_task(idle.run())
        await idle.ready.wait()
        url = f"{idle.slack.url}/playground/stream?user=lead"
        async with httpx2.AsyncClient() as client, client.stream("GET", url) as stream:
            lines = stream.aiter_lines()
            await anext(lines)
            os.kill(os.getpid(), signal.SIGINT)
            assert await ending
            return [line async for line in lines] == [""]

    assert asyncio.run(scenario())
    assert caplog.records == []


def test_bot_that_never_answers_ends_the_demo(idle, monkeypatch, capsys):
    """After two minutes the terminal said that the page is open, and every command failed."""
    monkeypatch.setattr(idle, "_is_ready", lambda: False)
    monkeypatch.setattr(demo, "START_SECONDS", 0)
    assert not asyncio.run(idle.run())
    assert "bot.log" in capsys.readouterr().err
