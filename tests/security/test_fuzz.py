"""Fuzz the HTTP edge, the command parser, map files and importers; count the inputs.

The quick part sends some thousand inputs, the nightly part more than a million. Hypothesis draws
the first ones, and the others are these with random changes.
"""

import asyncio
import json
import logging
import random
import re
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as options
from hypothesis import strategies as st
from pydantic import SecretStr

from bot.commands.parsing import parse
from bot.commands.tree import SLACK, Call
from bot.http import rate_limit
from bot.http.server import Gateway
from bot.http.web import Site
from bot.services import Services
from retention.errors import Refused
from retention.lake import Lake
from retention.lake.importing import mapping
from retention.lake.importing.import_files import import_files
from retention.lake.importing.mapping import read_map
from retention.lake.schema import EVENTS
from tests.bot.conftest import _short_transactions, api, settings  # noqa: F401
from tests.bot.wire import ADMIN, signature
from tests.security import walk
from tests.security.asgi import send
from tests.security.corpus import ALL
from tests.security.test_routes import ROUTES

pytestmark = pytest.mark.timeout(1200)
KEY = "a key of this installation that is long enough"
# What only an error of ours says: a trace, a module, an address in memory.
OURS = re.compile(
    r"Traceback|File \"|\bat 0x[0-9a-f]{6}|NoneType|object has no attribute|"
    r"\b(?:retention|bot|workers|sqlalchemy|duckdb|sqlglot|pydantic|click|pyarrow|pandas)\.[a-z]\w+"
)
CORPUS = [text for text in ALL if len(text) < 400 and not OURS.search(text)]
TEXTS = st.one_of(st.text(max_size=60), st.sampled_from(CORPUS))
BYTES = st.one_of(st.binary(max_size=200), st.sampled_from([text.encode() for text in CORPUS]))
NIGHTLY = {"edge": 140_000, "slack": 10_000, "parser": 250_000, "maps": 600_000, "imports": 200}
QUICK = {"edge": 400, "slack": 40, "parser": 1_000, "maps": 600, "imports": 8}


def test_nightly_part_has_a_million_inputs():
    assert sum(NIGHTLY.values()) >= 1_000_000


@pytest.fixture(params=[QUICK, pytest.param(NIGHTLY, marks=pytest.mark.nightly)])
def fuzz(request, monkeypatch):
    """Return a function that checks as many inputs as the part has of a target."""

    def run(target: str, strategy: st.SearchStrategy, check: Callable[..., None]) -> None:
        number = request.param[target]
        seeds: list[Any] = []

        @options(
            max_examples=min(number // 4, 300),
            deadline=None,
            database=None,
            suppress_health_check=[*HealthCheck],
        )
        @given(strategy)
        def draw(value: Any) -> None:
            seeds.append(value)
            check(value)

        monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)
        draw()
        rng = random.Random(number)
        for _ in range(number - len(seeds)):
            check(mutated(rng, rng.choice(seeds)))
        print(f"{target}: {number} inputs")

    return run


def mutated(rng: random.Random, value: Any) -> Any:
    """Return a value with one part replaced, repeated or dropped."""
    if isinstance(value, tuple):
        place = rng.randrange(len(value))
        return (*value[:place], mutated(rng, value[place]), *value[place + 1 :])
    if isinstance(value, str | bytes):
        first, last = sorted(rng.randrange(len(value) + 1) for _ in range(2))
        other = rng.choice(CORPUS)[:300]
        put = other.encode() if isinstance(value, bytes) else other
        changes = (value[first:last] * 2, value[:first] + put + value[last:])
        return rng.choice((value[:first] + value[last:], *changes))[:2_000]
    return [each for each in value if rng.random() > 0.2] if isinstance(value, list) else value


def read_or_refused(read: Callable[..., Any], *values: Any) -> None:
    """Check that a read succeeds, or ends in a refusal that says nothing of the program."""
    try:
        read(*values)
    except Refused as refusal:
        said = str(refusal)
        assert said.strip(), values
        assert not OURS.search(said), values


@pytest.fixture
def gateway(settings, database, monkeypatch):  # noqa: F811
    monkeypatch.setattr(rate_limit, "REQUESTS", 10_000_000)
    keys = ("slack_signing_secret", "redemption_key", "events_key")
    values = dict.fromkeys(keys, SecretStr(KEY))
    values |= {"events_public_key": "public", "shop_origins": "https://shop.example"}
    return Gateway(Site(settings.model_copy(update=values), database))


NAMES = (
    *("content-type", "content-encoding", "content-length", "transfer-encoding", "origin"),
    *("authorization", "x-forwarded-for", "webhook-id", "webhook-timestamp", "accept-language"),
    *("webhook-signature", "x-slack-signature", "x-slack-request-timestamp", "user-agent"),
)
JSONS = st.sampled_from(
    [
        b'{"events": [{"id": "1", "customer_id": "k", "occurred_at": "2025-01-01", "amount": 5}]}',
        b'[{"customer_id": "k", "occurred_at": 1e400, "event_type": "view"}]',
        b'{"batch": [{"type": "track", "event": "x", "userId": "k", "messageId": "m"}]}',
        b'{"code": "ABC", "at": "2025-01-01T00:00:00Z", "id": "1"}',
    ]
)
REQUESTS = st.tuples(
    st.sampled_from(sorted(ROUTES.keys() - {("GET", "/events.js")})),  # it names its own module
    BYTES,
    st.one_of(BYTES, JSONS),
    st.lists(st.tuples(st.sampled_from(NAMES), BYTES), max_size=3),
    st.booleans(),
)


def test_http_edge_answers_every_input(gateway, fuzz):
    async def ask(method: str, path: str, *rest: Any) -> None:
        query, body, headers, is_signed = rest
        raw = [(name.encode(), text) for name, text in headers]
        if is_signed:
            raw.append((b"authorization", b"Basic " + b64encode(KEY.encode() + b":")))
        full = path + query.decode("latin-1") if path.endswith("/") else path
        body = body if method == "POST" else b""
        answer = await send(gateway, method, full, query=query, headers=raw, body=body)
        assert answer.status < 500, (method, full, rest, answer)
        assert not OURS.search(answer.body.decode("utf-8", "replace")), (method, full, rest, answer)

    with asyncio.Runner() as runner:
        fuzz("edge", REQUESTS, lambda value: runner.run(ask(*value[0], *value[1:])))


PAYLOADS = [
    json.dumps(each.body) for kind in (walk.clicks, walk.windows, walk.shortcuts) for each in kind()
]
EVENTS_OF_SLACK = [json.dumps(each.body) for each in walk.events()]


def test_signed_requests_of_slack_are_answered(gateway, fuzz, monkeypatch):
    walk.run_at_once(monkeypatch)

    async def ask(payload: str, is_event: bool) -> None:
        body = payload if is_event else urlencode({"payload": payload}, errors="replace")
        kind = walk.JSON if is_event else walk.FORM
        headers = signature(body, secret=KEY) | {"content-type": kind}
        raw = [(name.lower().encode(), text.encode()) for name, text in headers.items()]
        body = body.encode("utf-8", "replace")
        answer = await send(gateway, "POST", "/slack/events", headers=raw, body=body)
        assert answer.status < 500, (payload, answer)
        assert not OURS.search(answer.body.decode("utf-8", "replace")), (payload, answer)

    forms = st.one_of(
        st.tuples(st.sampled_from(PAYLOADS), st.just(False)),
        st.tuples(st.sampled_from(EVENTS_OF_SLACK), st.just(True)),
    )
    with asyncio.Runner() as runner:
        fuzz("slack", forms, lambda value: runner.run(ask(*value)))


COMMANDS = [each.body["text"] for each in walk.commands()]
COMMANDS += ["schedule add {} --every 'mon 09:00'", "campaign draft --name {} --where spend>5"]


def test_command_parser_reads_or_refuses_every_input(settings, database, fuzz):  # noqa: F811
    call = Call(Services.of(settings, database), ADMIN, SLACK, "k", "C0CRM")
    lines = st.tuples(st.sampled_from([*COMMANDS, ""]), TEXTS, TEXTS)
    fuzz("parser", lines, lambda value: read_or_refused(parse, " ".join(value), call))


def test_map_file_is_read_or_refused(fuzz, monkeypatch):
    path, content = Path("map.toml"), [b""]
    monkeypatch.setattr(mapping, "read_text", lambda path: content[0].decode("utf-8-sig"))
    names = ("amount", "where", "from", "leave_out", "optional", "timezone", "date_format", "x")
    forms = ("'?'", "{ sql = '''?''' }", "{ value = '?' }", "['?']", "?")

    def check(value: tuple[str, str, str]) -> None:
        name, text, form = value
        line = f"[events]\n{name} = {form.replace('?', text)}\n"
        content[0] = line.encode("utf-8", "replace")
        read_or_refused(read_map, path, EVENTS, "UTC")

    sql = st.sampled_from(["amount * 2", "SELECT * FROM source", "CASE WHEN a THEN 1 END"])
    values = st.tuples(st.sampled_from(names), st.one_of(TEXTS, sql), st.sampled_from(forms))
    fuzz("maps", values, check)


SUFFIXES = (".csv", ".tsv", ".jsonl", ".csv", ".jsonl", ".parquet", ".zip", ".csv.gz", ".xlsx")


def test_file_is_imported_or_refused(settings, tmp_path, fuzz):  # noqa: F811
    lake = Lake.open(settings)
    own = b"customer_id,occurred_at,event_type,amount\nk,2025-01-01,view,"

    def check(value: tuple[int, bytes, bool]) -> None:
        number, content, is_table = value
        path = tmp_path / f"rows{SUFFIXES[number]}"
        path.write_bytes(own + content if is_table else content)
        read_or_refused(import_files, lake, None, settings, "events", [str(path)])

    numbers = st.sampled_from(range(len(SUFFIXES)))
    fuzz("imports", st.tuples(numbers, BYTES, st.booleans()), check)
