"""Attack the real server process over the network, without any secret."""

import json
import random
import re
import socket
import struct
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from urllib.parse import urlencode

import pytest
from sqlalchemy import func, select

from retention import clock
from retention.db import Database
from retention.db.tables import Job
from retention.privacy import signing
from retention.settings import Settings
from tests.bot.real_server import FORM, RunningBot, running_bot, signature, slash_command
from tests.bot.wire import CHANNEL, PAYLOADS, VIEWER
from tests.databases import create_tables
from tests.standins.slack_api import Api, serve

LOG_LINE = re.compile(r"^\d{4}-\d\d-\d\d [\d:,]+ (INFO|WARNING|ERROR) \S+: |^    ")


@pytest.fixture(scope="module")
def slack():
    """Slack's Web API for the shared server."""
    api = Api()
    api.answers["conversations.info"] = {"ok": True, "channel": {"id": CHANNEL, "is_member": True}}
    server = serve(api)
    yield api
    server.shutdown()


@pytest.fixture(scope="module")
def home(tmp_path_factory, slack) -> Settings:
    """Settings of the shared server."""
    home = tmp_path_factory.mktemp("attacked") / "home"
    return Settings(home=home, slack_api_url=slack.url, _env_file=None)


@pytest.fixture(scope="module")
def stored(home) -> Database:
    """Return the shared server's database. No test here expects it to be empty."""
    database = Database.of(home)
    create_tables(database)
    yield database
    database.dispose()


@pytest.fixture(scope="module")
def bot(home, stored):
    """Run one server for all tests that leave no data."""
    with running_bot(home) as running:
        yield running


@pytest.fixture
def own_bot(settings, database):
    """Run a server for a test of its log and counters."""
    with running_bot(settings) as running:
        yield running


def jobs_stored(database) -> int:
    with database.reading() as session:
        return session.scalar(select(func.count()).select_from(Job)) or 0


def unverifiable(api) -> list[tuple[str, dict[str, str], str]]:
    """Return unverifiable requests with a foreign response URL."""
    response = {"response_url": api.url + "response_url"}
    click = json.loads((PAYLOADS / "block_actions.json").read_text()) | response
    in_home = json.loads((PAYLOADS / "home_action.json").read_text())
    bodies = [
        urlencode({"payload": json.dumps(click)}),
        urlencode({"payload": json.dumps(in_home)}),
        slash_command("sweep", **response),
        "payload={",
        "payload=null",
        "payload=" + "[" * 100_000,
        "{" * 5_000,
        "",
    ]
    stamp, zeros = str(int(time.time())), "v0=" + "0" * 64
    pairs = [(at, zeros) for at in (stamp, "abc", "9" * 500, "-1", "١٢٣")]
    pairs += [(stamp, "v0=é" + "0" * 63), (stamp, ""), ("", "")]
    names = ("X-Slack-Request-Timestamp", "X-Slack-Signature")
    headers = [
        {name: text.encode() for name, text in zip(names, pair, strict=True)} for pair in pairs
    ]
    kinds = [FORM, "application/json"]
    return [(body, pair, kind) for body in bodies for pair in ({}, *headers) for kind in kinds]


def test_unverified_requests_get_401_and_cause_no_action(bot, slack, stored):
    called, jobs, logged = len(slack.calls), jobs_stored(stored), len(bot.log())
    for body, headers, kind in unverifiable(slack):
        status, _, _ = bot.request("POST", "/slack/events", body, {"Content-Type": kind, **headers})
        assert status == 401, (headers, body[:60])
    # The bot itself calls auth.test once, some time after its start.
    assert {method for method, _ in slack.calls[called:]} <= {"auth.test"}
    assert jobs_stored(stored) == jobs
    assert " ERROR " not in bot.log()[logged:]


def test_replayed_and_wrongly_signed_requests_get_401(bot, stored):
    jobs = jobs_stored(stored)
    body = slash_command("sweep")
    for headers in (
        signature(body, age=301),
        signature(body, secret="guessed"),
        signature(body + "x"),
    ):
        assert bot.request("POST", "/slack/events", body, headers)[0] == 401
    assert jobs_stored(stored) == jobs


@pytest.mark.nightly
def test_response_urls_elsewhere_are_not_called(bot):
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.settimeout(2)
        click = json.loads((PAYLOADS / "block_actions.json").read_text())
        click["response_url"] = f"http://127.0.0.1:{elsewhere.getsockname()[1]}/actions"
        status, _, _ = bot.signed(urlencode({"payload": json.dumps(click)}))
        assert status == 200
        with pytest.raises(TimeoutError):
            elsewhere.accept()


# ---------------------------------------------------------------- slow clients


def incomplete(bot: RunningBot, part: bytes) -> socket.socket:
    """Open a connection that sends only the beginning of a request."""
    client = socket.create_connection(("127.0.0.1", bot.port), timeout=60)
    client.sendall(part)
    return client


HEAD = b"POST /slack/events HTTP/1.1\r\nHost: bot\r\nContent-Length: 5000\r\n"


def begun() -> list[bytes]:
    """Return requests that stop in the headers or in a body."""
    signed = HEAD + head_lines(signature("x"))
    return [b"POST /slack/", HEAD, signed + b"\r\n", signed + b"\r\npayload=", b"\r\n", b""]


def head_lines(headers: dict[str, str]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()


def post_head(**headers: str) -> bytes:
    """Return the beginning of a signed request up to its body."""
    lines = {"Host": "bot", **{name.replace("_", "-"): text for name, text in headers.items()}}
    return b"POST /slack/events HTTP/1.1\r\n" + head_lines(lines) + b"\r\n"


def is_open(client: socket.socket) -> bool:
    """Return whether the server still waits for the rest of a request."""
    client.settimeout(0.01)
    try:
        return client.recv(1) != b""
    except TimeoutError:
        return True
    except OSError:
        return False


@pytest.mark.nightly
def test_two_hundred_slow_connections_do_not_delay_others(bot):
    with ExitStack() as stack:
        slow = [stack.enter_context(incomplete(bot, begun()[number % 6])) for number in range(200)]
        assert bot.request("GET", "/health/live")[0] == 200
        assert bot.request("GET", "/health/ready")[0] == 200
        status, _, answer = bot.signed(slash_command("sweep"))
        still_open = sum(map(is_open, slow))
    assert status == 200
    assert b"start" in answer
    assert still_open > 100  # they were answered while the slow ones waited, not after


@pytest.mark.nightly
def test_sending_slowly_does_not_extend_the_deadline(bot):
    with incomplete(bot, HEAD) as client:
        client.settimeout(1)
        for _ in range(60):  # a byte a second: far beyond the deadline
            try:
                client.sendall(b"X")
                if client.recv(100) == b"":
                    return
            except TimeoutError:
                continue
            except OSError:
                return
        pytest.fail("a request was still incomplete after a minute, and still open")


def test_at_the_limit_the_oldest_incomplete_connection_is_dropped(bot):
    with ExitStack() as stack:
        slow = [stack.enter_context(incomplete(bot, b"POST /slack/")) for _ in range(1_000)]
        assert bot.request("GET", "/health/live")[0] == 200
        slow[0].settimeout(60)
        try:
            gone = slow[0].recv(1) == b""
        except ConnectionError:
            gone = True
        assert gone
        assert bot.signed(slash_command("help"))[0] == 200


def test_requests_on_one_connection_are_answered_in_order(bot):
    request = b"GET /health/live HTTP/1.1\r\nHost: bot\r\n\r\n"
    with socket.create_connection(("127.0.0.1", bot.port), timeout=60) as client:
        client.sendall(request * 3 + request[:20])
        time.sleep(0.5)
        client.sendall(request[20:])
        answers = b""
        while answers.count(b'"up"') < 4:
            received = client.recv(10_000)
            assert received, answers
            answers += received
    assert answers.count(b"HTTP/1.1 200") == 4


def test_a_flood_of_pipelined_requests_closes_the_connection(bot):
    flood = b"GET /unsubscribe/x HTTP/1.1\r\nHost: bot\r\n\r\n" * 50_000
    with socket.create_connection(("127.0.0.1", bot.port), timeout=60) as client:
        closed = False
        for _ in range(100):
            try:
                client.sendall(flood)
            except OSError:
                closed = True
                break
    assert closed
    assert bot.request("GET", "/health/live")[0] == 200
    assert bot.signed(slash_command("help"))[0] == 200


def test_clients_that_go_away_while_they_are_answered_log_no_error(bot):
    logged = len(bot.log())
    request = b"GET /unsubscribe/x HTTP/1.1\r\nHost: bot\r\n\r\n"
    for number in range(200):
        with socket.create_connection(("127.0.0.1", bot.port), timeout=60) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sendall(request * (20 if number % 2 else 1))
            time.sleep(number % 30 / 10_000)
    assert bot.request("GET", "/health/live")[0] == 200
    assert " ERROR " not in bot.log()[logged:]


def test_bodies_in_many_small_chunks_are_refused_unread(bot):
    with incomplete(bot, post_head(Transfer_Encoding="chunked", **signature("x"))) as client:
        with suppress(OSError):  # the server closes the connection in the middle
            client.sendall(b"1\r\nx\r\n" * 40_000)
        assert b" 411 " in client.recv(100)


def test_unfinished_large_bodies_do_not_keep_commands_out(bot):
    part = post_head(Content_Length="1000000", **signature("x")) + b"x" * 999_000
    with ExitStack() as stack:
        slow = [stack.enter_context(incomplete(bot, part)) for _ in range(75)]
        assert bot.signed(slash_command("help"))[0] == 200
        assert sum(map(is_open, slow)) > 30


@pytest.mark.nightly
def test_clients_that_do_not_read_their_answers_are_dropped(bot):
    request = b"GET /v1/openapi.json HTTP/1.1\r\nHost: bot\r\n" + b"X: y\r\n" * 900 + b"\r\n"
    is_full = is_dropped = False
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
        client.connect(("127.0.0.1", bot.port))
        client.settimeout(1)
        for _ in range(5_000):
            try:
                client.sendall(request)
            except TimeoutError:
                is_full = True  # the server waits for the client to read
            except OSError:
                is_dropped = True
                break
            else:  # no more than it answers in the meantime: too many waiting ones are refused
                assert bot.request("GET", "/v1/openapi.json")[0] == 200
    assert is_full
    assert is_dropped
    assert bot.request("GET", "/health/live")[0] == 200


def test_large_bodies_are_refused_before_they_are_read(bot):
    for declared, headers in (("100000000", {}), ("2000000", signature("x"))):
        with incomplete(bot, post_head(Content_Length=declared, **headers)) as client:
            assert client.recv(20).split()[1] in (b"401", b"413")


# ---------------------------------------------------------------- the log


def test_unsigned_requests_are_counted_and_cannot_forge_or_flood_the_log(own_bot):
    forged = "2026-01-01 00:00:00,000 INFO retention.bot: forged entry"
    large, path = f"x=1\n{forged}\n" + "A" * 990_000, f"/slack/events?{forged.replace(' ', '_')}"
    for _ in range(40):
        own_bot.request("POST", "/slack/events", large, signature("other"))
        own_bot.request("POST", path, "x", {"X-Forged": forged})
        own_bot.request("POST", "/redemptions", f"\n{forged}\n")
    text = own_bot.log()
    assert "forged" not in text
    assert "AAAA" not in text
    assert len(text) < 10_000
    assert text.count("refused a request to /slack/events: unverified") == 5
    assert all(LOG_LINE.match(line) for line in text.splitlines())
    _, _, page = own_bot.request("GET", "/metrics", port=own_bot.health_port)
    assert b'retention_http_refused_total{reason="unverified"} 80.0' in page


# ---------------------------------------------------------------- bursts


@pytest.mark.nightly
def test_150_digests_of_one_viewer_become_a_few_jobs(own_bot, database):
    def send(number: int) -> tuple[int, dict]:
        # Every third command repeats a channel: some requests are identical, some are not.
        return own_bot.command("digest now", VIEWER, channel_id=f"C0{number // 3}")

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(send, range(150)))
    assert {status for status, _ in answers} == {200}
    assert all(reply["response_type"] == "ephemeral" and reply["text"] for _, reply in answers)
    assert 1 <= jobs_stored(database) <= 3
    assert any("One person can" in reply["text"] for _, reply in answers)


@pytest.mark.nightly
def test_300_wrong_redemption_codes_are_throttled(settings, database):
    key = b"shared with the till, and long enough"
    with running_bot(settings, RETENTION_REDEMPTION_KEY=key.decode()) as bot:

        def tell(number: int) -> tuple[int, dict[str, str], bytes]:
            body = json.dumps({"code": f"WRONG{number}"}).encode()
            return bot.request(
                "POST", "/redemptions", body, signing.headers(key, body, clock.wall())
            )

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(tell, range(300)))
        assert bot.request("POST", "/redemptions", "{}")[0] == 401
    throttled = [headers for status, headers, _ in answers if status == 429]
    assert {status for status, _, _ in answers} == {404, 429}
    assert len(throttled) > 200
    assert all(int(headers["retry-after"]) >= 1 for headers in throttled)


# ---------------------------------------------------------------- ports


def test_health_and_metrics_are_on_the_operators_port_only(bot):
    for path in ("/health", "/metrics"):
        assert bot.request("GET", path)[0] == 404
        assert bot.request("GET", path, port=bot.health_port)[0] in (200, 503)
    for path in ("/health/live", "/health/ready"):
        status, _, body = bot.request("GET", path)
        assert (status, json.loads(body)) == (200, {"status": "up"})
        assert bot.request("GET", path, port=bot.health_port)[0] == 404
    assert bot.request("POST", "/slack/events", "x", port=bot.health_port)[0] == 404


def test_a_taken_port_is_named_with_its_variable(settings, database):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(
                AssertionError, match=f"cannot listen on 127.0.0.1:{port} .* RETENTION_HEALTH_PORT"
            ),
            running_bot(settings, RETENTION_HEALTH_PORT=str(port)),
        ):
            pass


# ---------------------------------------------------------------- other workspaces


def refused_as_foreign(bot) -> float:
    _, _, page = bot.request("GET", "/metrics", port=bot.health_port)
    number = re.search(rb'refused_total\{reason="foreign_workspace"\} (\S+)', page)
    return float(number[1]) if number else 0


def test_signed_requests_of_another_workspace_do_nothing(own_bot, database):
    """On a server of its own: late jobs of another test would count."""
    guest, refused = {"id": "U0ADMIN", "team_id": "T0GUEST"}, refused_as_foreign(own_bot)
    status, said = own_bot.command("sweep", team_id="T0OTHER")
    assert (status, "another workspace" in said["text"]) == (200, True)
    for change in ({"team": {"id": "T0OTHER"}}, {"user": guest}):
        click = json.loads((PAYLOADS / "home_action.json").read_text()) | change
        assert own_bot.signed(urlencode({"payload": json.dumps(click)}))[0] == 200
    assert refused_as_foreign(own_bot) == refused + 3
    assert jobs_stored(database) == 0
    assert own_bot.command("sweep --top 77")[0] == 200
    assert jobs_stored(database) == 1


# ---------------------------------------------------------------- malformed envelopes


def mutated(rng: random.Random, value: object, depth: int = 0) -> object:
    """Return a copy with missing or mistyped fields."""
    odd = [None, 0, -1, 1.5, True, "", "x", "\x00", "\ud83d", 10**40]
    odd += [[], {}, [None], {"id": None}, [[[]]]]
    if rng.random() < (0.0 if depth == 0 else 0.12):
        return rng.choice(odd)
    if isinstance(value, dict):
        return {
            name: mutated(rng, inner, depth + 1)
            for name, inner in value.items()
            if rng.random() > 0.06
        }
    if isinstance(value, list):
        return [mutated(rng, inner, depth + 1) for inner in value if rng.random() > 0.06]
    return value


def envelope(rng: random.Random) -> tuple[str, str]:
    """Return a recorded request with missing or mistyped fields, and its content type."""
    recording = rng.choice(sorted(path.name for path in PAYLOADS.iterdir()))
    text = (PAYLOADS / recording).read_text().strip()
    if recording.endswith(".urlencoded"):
        fields = [pair for pair in text.split("&") if rng.random() > 0.15]
        return "&".join(fields), FORM
    payload = mutated(rng, json.loads(text))
    if rng.random() < 0.2 and isinstance(payload, dict):
        payload["type"] = rng.choice(
            ["shortcut", "message_action", "block_suggestion", "view_closed", "x", 7, None]
        )
    body = json.dumps(payload)
    if rng.random() < 0.03:
        body = body[: rng.randrange(len(body))]
    if recording == "app_home_opened.json":
        return body, "application/json"
    return urlencode({"payload": body}), FORM


@pytest.mark.parametrize("requests", [500, pytest.param(5_000, marks=pytest.mark.nightly)])
def test_malformed_signed_envelopes_never_cause_a_server_error(own_bot, requests):
    rng = random.Random(requests)
    before = len(own_bot.log())
    statuses = Counter(own_bot.signed(*envelope(rng))[0] for _ in range(requests))
    assert set(statuses) <= {200, 400, 401, 404}, statuses
    assert statuses[400] > requests / 4
    assert own_bot.request("GET", "/health/ready")[0] == 200
    assert "failed" not in own_bot.log()[before:]
