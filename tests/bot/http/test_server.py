"""Test the HTTP server, in this process and as a real one, and Socket Mode."""

import asyncio
import json
import socket
import subprocess
import threading
from datetime import timedelta
from urllib.parse import parse_qsl

import pytest
from pydantic import SecretStr
from sqlalchemy import create_engine, make_url, update
from websockets.asyncio.server import serve

from bot.http import health
from bot.http.requests import Request
from bot.http.server import missing_configuration
from bot.http.web import Site, connect
from bot.slack.middleware import SpeakLanguage
from retention import clock
from retention.db import Database
from retention.db.tables import Job, Process
from retention.settings import Settings
from tests.bot.real_server import FORM, running_bot, signature, slash_command
from tests.bot.slack.test_slash import all_jobs, until
from tests.bot.wire import CHANNEL
from workers.queue import broker, reconcile


@pytest.fixture
def site(settings, database) -> Site:
    return Site(settings, database)


def ask(site, method, path, body=b"", headers=None, query=""):
    """Answer one request in this process."""
    named = {name.lower(): text for name, text in {"Content-Type": FORM, **(headers or {})}.items()}
    request = Request(method, path, query, named, body)
    reply = site.respond(request, operator=path in ("/health", "/metrics"))
    return reply.status, dict(reply.headers), reply.body


def post(site, body: str, kind: str = FORM) -> tuple[int, dict]:
    """Send a signed request of Slack."""
    headers = {"Content-Type": kind, **signature(body)}
    status, _, answer = ask(site, "POST", "/slack/events", body.encode(), headers)
    return status, json.loads(answer)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/slack/events", 405),
        ("GET", "/slack/install", 404),
        ("GET", "/", 404),
        ("GET", "/health/live", 200),
        ("HEAD", "/health/live", 200),
        ("GET", "/health/ready", 200),
        ("POST", "/metrics", 405),
    ],
)
def test_http_statuses(site, method, path, status):
    answered, _, body = ask(site, method, path)
    assert answered == status
    assert (body == b"") == (method == "HEAD")


def test_url_verification_is_answered(site):
    body = json.dumps({"type": "url_verification", "challenge": "abc", "token": "x"})
    status, answer = post(site, body, "application/json")
    assert (status, answer["challenge"]) == (200, "abc")


def _acknowledged(site) -> str:
    """Return the answer to a new sweep."""
    return json.dumps(post(site, slash_command("sweep"))[1]["blocks"])


def test_health_names_the_failed_component(site, database, settings):
    status, _, body = ask(site, "GET", "/health")
    parts = json.loads(body)["parts"]
    assert status == 503
    down = {name for name, part in parts.items() if not part["up"]}
    workers = {"worker:interactive", "worker:batch", "worker:training"}
    assert down == {"broker", *workers, "tick", "sender"}
    settings.home.mkdir(exist_ok=True)
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    valkey = subprocess.Popen(broker.command(settings), **silent)
    try:
        until(lambda: broker.is_reachable(settings))
        with database.transaction() as session:
            for name in ("worker:batch+interactive+training", "tick", "sender"):
                role, at = name.partition(":")[0], clock.wall()
                session.add(Process(name=f"{name}@here", role=role, seen_at=at))
        status, _, body = ask(site, "GET", "/health")
        assert (status, json.loads(body)["status"]) == (200, "up")
        until(lambda: "when the queue is back" not in _acknowledged(site), seconds=30)
    finally:
        valkey.terminate()
        valkey.wait()


def test_worker_of_another_queue_does_not_count(database):
    with database.transaction() as session:
        session.add(Process(name="worker:interactive@here", role="worker", seen_at=clock.wall()))
    parts = health.components(database, True)
    up = {name for name, part in parts.items() if part["up"] and name.startswith("worker:")}
    assert up == {"worker:interactive"}


def test_repeated_wake_up_does_not_reset_the_age_of_a_job(site, database):
    post(site, slash_command("sweep"))
    ago = clock.wall() - timedelta(hours=2)
    with database.transaction() as session:
        session.execute(update(Job).values(queued_at=ago, enqueued_at=ago))
    reconcile.republish(database)
    with database.reading() as session:
        assert health.counts(session).oldest_queued_seconds >= 7200


def test_command_is_accepted_without_the_queue(site, database):
    assert "starts when the queue is back" in _acknowledged(site)
    assert all_jobs(database)[0].state == "queued"


def test_not_ready_without_the_database(settings):
    class Missing(Database):
        def __init__(self) -> None:
            self._settings = settings
            self.url, self.is_sqlite = make_url("sqlite:////proc/nowhere.db"), True
            self.engine = create_engine(self.url)

    site = Site(settings, Missing())
    paths = ("/health/live", "/health/ready", "/health")
    assert [ask(site, "GET", path)[0] for path in paths] == [200, 503, 503]
    assert b"retention_database_up 0.0" in ask(site, "GET", "/metrics")[2]
    status, answer = post(site, slash_command("sweep"))
    assert (status, "nothing was accepted" in answer["text"]) == (200, True)


def test_metrics_count_requests_jobs_and_posts(site):
    post(site, slash_command("sweep"))
    status, headers, text = ask(site, "GET", "/metrics")
    assert (status, headers["Content-Type"].split(";")[0]) == (200, "text/plain")
    lines = text.decode()
    assert 'retention_jobs{state="queued"} 1.0' in lines
    assert "retention_queue_depth 1.0" in lines
    assert 'retention_outbox{state="pending"}' in lines
    assert 'retention_http_requests_total{path="/slack/events",status="200"}' in lines


def test_the_server_reports_itself_and_stops_on_sigterm(settings, database):
    with running_bot(settings) as bot:
        assert "Find customers at risk" in json.dumps(bot.command("help")[1])

        def lives():
            with database.reading() as session:
                return session.get(Process, f"bot@{socket.gethostname()}")

        until(lives)
    assert bot.process.returncode == 0


@pytest.mark.parametrize(
    ("given", "serves"),
    [
        ({}, False),
        ({"slack_bot_token": "x"}, False),
        ({"slack_bot_token": "x", "slack_signing_secret": "s"}, True),
        ({"slack_bot_token": "x", "slack_app_token": "xapp"}, True),
        ({"slack_client_id": "1.2", "slack_client_secret": "s", "slack_signing_secret": "s"}, True),
        ({"slack_client_id": "1.2", "slack_signing_secret": "s"}, False),
    ],
)
def test_missing_slack_app_names_the_variables(given, serves, tmp_path):
    assert (missing_configuration(Settings(home=tmp_path, _env_file=None, **given)) == "") == serves


# ---------------------------------------------------------------- Socket Mode


class Sockets:
    """Slack's end of Socket Mode: sends an envelope, records the answer."""

    def __init__(self) -> None:
        self.answers: list[dict] = []
        self.connections = 0
        self.port = 0
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._open: list = []
        threading.Thread(target=self._run, daemon=True).start()
        self._ready.wait(10)

    def _run(self) -> None:
        async def main() -> None:
            async with serve(self._each, "127.0.0.1", 0) as server:
                self.port = server.sockets[0].getsockname()[1]
                self._ready.set()
                await asyncio.get_running_loop().create_future()

        self._loop.run_until_complete(main())

    async def _each(self, connection) -> None:
        self.connections += 1
        self._open.append(connection)
        await connection.send(json.dumps({"type": "hello", "num_connections": 1}))
        async for message in connection:
            self.answers.append(json.loads(message))

    def command(self, envelope_id: str) -> None:
        payload = dict(parse_qsl(slash_command("sweep"))) | {"channel_id": CHANNEL}
        envelope = {"type": "slash_commands", "envelope_id": envelope_id, "payload": payload}
        content = json.dumps({**envelope, "accepts_response_payload": True})
        self._do(self._open[-1].send(content))

    def drop(self) -> None:
        self._do(self._open[-1].close())

    def _do(self, work) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)


@pytest.mark.nightly
def test_socket_mode_reconnects_after_a_drop(workspace, settings, database, api):
    slack = Sockets()
    api.answers["apps.connections.open"] = {"ok": True, "url": f"ws://127.0.0.1:{slack.port}/link"}
    tokens = {"slack_app_token": SecretStr("xapp-test"), "slack_signing_secret": None}
    handler = connect(workspace.app, settings.model_copy(update=tokens), SpeakLanguage(database))
    try:
        until(lambda: slack.connections == 1)
        slack.command("e1")
        (answer,) = until(lambda: slack.answers)
        assert answer["envelope_id"] == "e1"
        assert "start" in answer["payload"]["text"]
        assert len(all_jobs(database)) == 1
        slack.command("e2")
        until(lambda: len(slack.answers) == 2)
        assert len(all_jobs(database)) == 1  # delivered twice, stored once
        slack.drop()
        until(lambda: slack.connections == 2, 30)
        # The new connection is used: closed before it was, slack_sdk would wait for ever.
        slack.command("e3")
        until(lambda: len(slack.answers) == 3)
    finally:
        handler.client.close()
