"""Send the hostile strings through each input besides commands of Slack: none breaks out."""

import asyncio
import csv
import json
from itertools import chain, count, cycle
from urllib.parse import parse_qs, urlencode

import pytest
from pydantic import SecretStr

from bot.http import rate_limit
from bot.http.server import Gateway
from bot.http.web import Site
from bot.terminal import run
from retention.db.tables import Outbox
from retention.errors import Refused
from retention.lake import Lake
from retention.lake.importing.import_files import import_files
from tests.bot.conftest import _short_transactions, api, home, settings, workspace  # noqa: F401
from tests.bot.wire import ADMIN, stored
from tests.security import walk
from tests.security.asgi import send
from tests.security.corpus import ALL, CONTROL, texts
from tests.security.test_outputs import SHORT, Elements, assert_contained, mrkdwn
from tests.security.test_routes import KEY, ROUTES
from tests.standins import shopify
from tests.workers.live.test_shop_inbox import Desk

NUMBER = count(1)
MORE_HEADERS = {"allow", "connection", "retry-after"}
# A part in each run, all of them at night.
PARTS = [SHORT[::40], pytest.param(SHORT, marks=pytest.mark.nightly)]


def assert_shown_safely(shown) -> None:
    """Check blocks, views and errors of windows."""
    assert_contained(mrkdwn(shown))
    assert not any(CONTROL.search(text) for text in texts(shown)), shown


def with_text(part, text):
    """Return the state of a window in which a person typed a text into each field."""
    if isinstance(part, dict):
        return {key: with_text(value, text) for key, value in part.items()}
    return text


@pytest.fixture
def slack(monkeypatch, request):
    monkeypatch.setattr(rate_limit, "REQUESTS", 1_000_000)
    walk.run_at_once(monkeypatch)
    return request.getfixturevalue("workspace")


def answered(slack, database, known, body, kind) -> list:
    """Send a request; return all that anyone reads because of it."""
    slack.api.calls.clear()
    answer = slack.send(body, kind)
    assert answer.status == 200, (body, answer.body)
    posts = [row for row in stored(database, Outbox) if row.key not in known]
    known |= {row.key for row in posts}
    calls = [
        {**call, **{key: json.loads(call[key]) for key in ("blocks", "view") if key in call}}
        for _, call in slack.api.calls
        if all(isinstance(call.get(key, ""), str) for key in ("blocks", "view"))
    ]
    body = [json.loads(answer.body)] if answer.body.startswith(("{", "[")) else []
    return [*body, *calls, *(row.payload for row in posts)]


@pytest.mark.parametrize("strings", PARTS)
def test_text_typed_into_a_window_stays_in_its_place(slack, database, strings):
    known: set[str] = set()
    for window in walk.windows():
        for text in strings:
            sent, kind = window.sent(ADMIN, next(NUMBER))
            body = json.loads(parse_qs(sent)["payload"][0])
            body["view"]["state"] = with_text(body["view"]["state"], text)
            sent = urlencode({"payload": json.dumps(body)})
            shown = answered(slack, database, known, sent, kind)
            assert_shown_safely(shown)
            assert "under the reference" not in json.dumps(shown), (window.name, text)


@pytest.mark.parametrize("strings", PARTS)
def test_text_of_an_event_stays_in_its_place(slack, database, strings):
    known: set[str] = set()
    for event in walk.events():
        if "text" in event.body["event"]:
            for text in strings:
                body = json.loads(event.sent(ADMIN, next(NUMBER))[0])
                body["event"]["text"] = text
                shown = answered(slack, database, known, json.dumps(body), walk.JSON)
                assert_shown_safely(shown)


@pytest.fixture
def gateway(settings, database, monkeypatch):  # noqa: F811
    monkeypatch.setattr(rate_limit, "REQUESTS", 10_000_000)
    names = ("slack_signing_secret", "redemption_key", "events_key", "read_api_key")
    values = {name: SecretStr(KEY) for name in names if name in type(settings).model_fields}
    values |= {"events_public_key": "public", "shop_origins": "https://shop.example"}
    return Gateway(Site(settings.model_copy(update=values), database))


def requests(text: str):
    """Yield a request of each route that has the text in path, query, headers and body."""
    fields = ("id", "customer_id", "userId", "event", "event_type", "code", "item_id", "at")
    event = dict.fromkeys(fields, text)
    raw = text.encode("utf-8", "replace").replace(b"\r", b"").replace(b"\n", b"")
    for method, path in ROUTES:
        body = json.dumps(event | {"events": [event], "batch": [event], "properties": event})
        yield (
            *(method, path + text if path.endswith("/") else path),
            {
                "query": urlencode({"code": text, "cursor": text, "limit": text}).encode(),
                "headers": [(b"authorization", f"Bearer {KEY}".encode()), (b"origin", raw)],
                "body": body.encode() if method == "POST" else b"",
            },
        )


@pytest.mark.parametrize("strings", PARTS)
def test_no_answer_of_a_route_has_an_element_or_header_of_a_string(gateway, strings):
    with asyncio.Runner() as runner:

        def ask(place, rest):
            return runner.run(send(gateway, *place, **rest))

        clean = [ask(place, rest) for *place, rest in requests("x")]
        sent = chain.from_iterable(map(requests, strings))
        for (*place, rest), usual in zip(sent, cycle(clean), strict=False):
            answer = ask(place, rest)
            assert answer.status < 500, (place, answer)
            assert answer.headers.keys() <= usual.headers.keys() | {
                "allow",
                "connection",
                "retry-after",
            }
            assert not any(set("\r\n") & set(value) for value in answer.headers.values())
            assert answer.headers["x-content-type-options"] == "nosniff"
            if "html" in answer.headers.get("content-type", ""):
                page, before = Elements(answer.body.decode()), Elements(usual.body.decode())
                assert page.found <= before.found, (place, answer)
                assert page.links <= before.links, (place, answer)


ROWS = {
    "events": {"occurred_at": "2025-01-01", "event_type": "purchase", "amount": "5"},
    "items": {"price": "5"},
    "customers": {},
}
OWN = {"events": ("customer_id", "item_id", "event_id"), "items": ("item_id", "title", "category")}


@pytest.mark.parametrize("strings", PARTS)
@pytest.mark.parametrize("table", ROWS)
def test_rows_of_a_file_show_no_control_in_the_terminal(request, tmp_path, capsys, table, strings):
    wanted = ("monkeypatch", "settings", "database")
    monkeypatch, own, _ = map(request.getfixturevalue, wanted)
    lake, path = Lake.open(own), tmp_path / "rows.csv"
    names = OWN.get(table, ("customer_id", "email", "name"))

    def bring(some) -> None:
        """Import a file of these strings; where they are refused together, a file of each."""
        with path.open("w", newline="", encoding="utf-8", errors="replace") as file:
            rows = csv.writer(file)
            rows.writerow([*names, *ROWS[table]])
            for text in some:
                rows.writerow([*[text] * len(names), *ROWS[table].values()])
                rows.writerow([*[f"ok{next(NUMBER)}"] * len(names), *[text] * len(ROWS[table])])
        try:
            import_files(lake, None, own, table, [str(path)])
        except Refused:
            for text in some if len(some) > 1 else ():
                bring([text])

    for start in range(0, len(strings), 25):
        bring(strings[start : start + 25])
    monkeypatch.setenv("RETENTION_HOME", str(own.home))
    for typed in (["data", "quarantine"], ["data", "show"], ["data", "quarantine", "--json"]):
        assert run(typed) == 0
        out, err = capsys.readouterr()
        assert not CONTROL.search(out + err)


CLI = (
    *(["score", "{}"], ["ask", "{}"], ["help", "{}"], ["glossary", "{}"], ["import", "{}"]),
    *(["audience", "save", "{}", "spend > 5"], ["audience", "save", "x", "{}"]),
    *(["campaign", "show", "{}"], ["schedule", "add", "{}", "--every", "mon 09:00"]),
    *(["source", "add", "{}", "files", "--location", "{}"], ["source", "show", "{}"]),
    *(["models", "card", "{}"], ["titles", "{}"], ["role", "grant", "{}", "viewer"], ["{}"]),
)


# At night each string goes through three commands.
@pytest.mark.parametrize("step", [60, pytest.param(5, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("command", CLI, ids=" ".join)
@pytest.mark.usefixtures("home")
def test_terminal_shows_no_control_and_writes_into_its_home_only(capsys, tmp_path, command, step):
    for text in ALL[CLI.index(command) % step :: step]:
        status = run([part.replace("{}", text) for part in command])
        out, err = capsys.readouterr()
        assert status in (0, 1, 2), (text, err)
        assert not CONTROL.search(out + err), text
        assert "Traceback" not in out + err
    assert {path.name for path in tmp_path.iterdir()} <= {"home", "logs"}


NAMED = {
    *("title", "name", "email", "first_name", "last_name", "city", "phone", "sku", "note"),
    *("variant_title", "vendor", "locale", "code", "product_type"),
}


def renamed(part, words):
    """Return a webhook's content with a string of its own in each field that people fill in."""
    if isinstance(part, dict):
        return {
            key: next(words)
            if key in NAMED and isinstance(value, str | None)
            else renamed(value, words)
            for key, value in part.items()
        }
    return [renamed(each, words) for each in part] if isinstance(part, list) else part


def test_webhooks_with_hostile_texts_are_imported_or_set_aside(settings, database):  # noqa: F811
    with shopify.Shopify.start() as shop:
        shop.records.fill(customers=12, orders=60)
        desk, words = Desk(settings, database, "shopify", shop), cycle(SHORT)
        bodies = {
            "orders/create": shop.records.orders.values(),
            "customers/update": shop.records.customers.values(),
            "products/update": shop.records.products.values(),
        }
        for topic, records in bodies.items():
            for record in records:
                body = json.loads(shop.delivery(topic, record)[1])
                desk.store(topic, json.dumps(renamed(body, words)).encode())
        assert desk.run().state == "done"
    assert set(desk.states()) <= {"done", "set_aside"}
    assert desk.rows("events")
    for row in stored(database, Outbox):
        assert_shown_safely(row.payload)
