"""Test the demo's environment, set-up and clock."""

import asyncio
import os
import socket
from datetime import UTC, datetime, timedelta
from typing import IO

import httpx
import pytest
from sqlalchemy import func, select

from bot.playground import demo, seed
from retention import clock
from retention.db.tables import BusinessClock, RoleGrant, Schedule
from retention.errors import BadInput
from retention.settings import Settings
from workers import roles

START = datetime(2017, 10, 2, 13, tzinfo=UTC)


@pytest.fixture
def business_time(database, settings) -> None:
    with database.transaction() as session:
        offset = (START - clock.wall()).total_seconds()
        session.add(BusinessClock(team_id=settings.team_id, offset_seconds=offset))


def test_environment_points_every_process_at_the_playground(tmp_path, monkeypatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        busy = taken.getsockname()[1]
        result = demo.environment(
            Settings(home=tmp_path, port=busy, playground_port=8765, _env_file=None)
        )
    for name, value in result.items():
        monkeypatch.setenv(name, value)
    settings = Settings(_env_file=None)
    assert settings.slack_api_url == "http://127.0.0.1:8765/api/"
    assert settings.home == tmp_path
    assert settings.demo
    assert settings.port != busy  # somebody else's server stays untouched
    assert (settings.timezone, settings.default_role) == ("America/New_York", "viewer")
    assert not settings.slack_app_token


def test_each_run_signs_requests_with_a_new_secret(tmp_path, database) -> None:
    """With a known secret, DNS rebinding would let a web page command the bot."""
    given = [demo.credentials() for _ in range(2)]
    assert (
        len({*(credentials["slack_signing_secret"] for credentials in given), seed.SIGNING_SECRET})
        == 3
    )
    settings = Settings(home=tmp_path, _env_file=None, **given[0])
    running = demo._Demo(settings, database)
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
    asyncio.run(demo._Demo(Settings(home=tmp_path, _env_file=None), database)._start())
    assert log.read_bytes() == b"short"


def test_taken_port_is_named(tmp_path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BadInput, match=f"Port {port} is taken"):
            demo.main(Settings(home=tmp_path, playground_port=port, _env_file=None))


def test_roles_and_digest_are_seeded_once_and_changes_persist(
    database, settings, business_time
) -> None:
    demo._seed(settings, database)
    with database.transaction() as session:
        session.get_one(RoleGrant, (settings.team_id, "U0LEAD")).role = "viewer"
    demo._seed(settings, database)
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Schedule)) == 1
        weekly = session.scalars(select(Schedule)).one()
        assert (weekly.weekday, weekly.at, weekly.channel) == (0, "09:00", "C0CRM")
        assert roles.role_of(session, settings, "U0ANALYST") == "analyst"
        assert roles.role_of(session, settings, "U0LEAD") == "viewer"


def test_completion_offers_what_the_persons_role_may_do(
    database, settings, business_time, monkeypatch
) -> None:
    for name, value in demo.environment(settings).items():
        monkeypatch.setenv(name, value)
    settings = Settings(_env_file=None)
    demo._seed(settings, database)
    running = demo._Demo(settings, database)

    def offered(user: str) -> str:
        about = asyncio.run(overview(user))
        return "\n".join(one["usage"] for one in about["commands"])

    async def overview(user: str) -> dict:
        transport, url = httpx.ASGITransport(running.server.config.app), running.slack.url
        running.ready.set()
        async with httpx.AsyncClient(transport=transport, base_url=url) as client:
            return (await client.get("/playground/workspace", params={"user": user})).json()

    assert "/retention status" in offered("viewer")
    assert "/retention sweep" not in offered("viewer")
    assert "/retention sweep" in offered("analyst")
    assert "campaign approve" not in offered("analyst")
    assert "campaign approve" in offered("lead")
    assert "role grant" not in offered("lead")
    assert "role grant" in offered("admin")


def test_clock_stops_while_the_demo_is_stopped(database, settings, business_time) -> None:
    running = demo._Demo(settings, database)
    before = clock.now()
    running._store_clock()
    with database.transaction() as session:  # a night passes
        session.get_one(BusinessClock, settings.team_id).offset_seconds += 8 * 3600
    running._resume_clock()
    assert abs(clock.now() - before) < timedelta(seconds=5)


def test_welcome_message_is_posted_once(database, settings, business_time) -> None:
    running = demo._Demo(settings, database)
    running._welcome()
    running._welcome()
    (greeting,) = running.slack.workspace.messages["C0CRM"].values()
    assert "/retention sweep" in greeting.text
    assert greeting.shown_at.startswith("2017-10-02")


def test_page_opens_once_the_bot_can_answer(database, settings, business_time, monkeypatch):
    """The first command came up to two seconds too early and got ``dispatch_failed``."""
    bot_answers = False

    async def scenario() -> tuple[list[bool], list[int]]:
        nonlocal bot_answers
        running = demo._Demo(settings, database)
        monkeypatch.setattr(running, "_is_ready", lambda: bot_answers)
        app = running.server.config.app
        transport, url = httpx.ASGITransport(app), running.slack.url
        async with httpx.AsyncClient(transport=transport, base_url=url) as client:
            announcement = asyncio.create_task(running._announce())
            page = asyncio.create_task(client.get("/"))
            people = asyncio.create_task(client.get("/playground/workspace?user=lead"))
            # Slack's own routes answer meanwhile, because the bot calls them while it starts.
            await client.post("/api/auth.test")
            waiting = [page.done(), people.done()]
            bot_answers = True
            await announcement
            return waiting, [(await page).status_code, (await people).status_code]

    assert asyncio.run(scenario()) == ([False, False], [200, 200])
