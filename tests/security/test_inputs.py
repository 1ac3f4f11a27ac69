"""Send the hostile strings through each input besides commands of Slack: none breaks out."""

import asyncio
import csv
import json
from collections import Counter
from itertools import count, cycle
from urllib.parse import parse_qs, urlencode

import pytest
from pydantic import SecretStr

from bot.http import rate_limit, redemption_api
from bot.http.server import Gateway
from bot.http.web import Site
from bot.slack.interactions import audiences
from bot.terminal import run
from retention import clock
from retention.connect.readers import api_keys
from retention.db.tables import Outbox
from retention.errors import Refused
from retention.lake import Lake
from retention.lake.importing.import_files import import_files
from retention.privacy import pseudonym, signing, standard_webhooks
from tests.bot.campaign import drafted
from tests.bot.conftest import _short_transactions, api, home, settings, workspace  # noqa: F401
from tests.bot.http.test_event_api import KEY, ORIGIN, PUBLIC
from tests.bot.wire import ADMIN, CHANNEL, stored
from tests.security import walk
from tests.security.asgi import send
from tests.security.corpus import ALL, CONTROL, texts
from tests.security.test_outputs import SHORT, Elements, assert_contained, mrkdwn
from tests.security.test_routes import PAGES, ROUTES, basic
from tests.standins import shopify
from tests.workers.live.test_shop_inbox import Desk
from tests.world import change
from workers import action_ids
from workers.queue import quotas

NUMBER = count(1)
JSON_PARTS = "blocks", "view"
MARK = "hxrmless"
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
def slack(monkeypatch, request, database, settings):  # noqa: F811
    """The app with a draft, customer 42 and its call."""
    monkeypatch.setattr(rate_limit.TokenBuckets, "take", lambda *_: True)
    monkeypatch.setattr(quotas, "is_limited", lambda user: False)
    monkeypatch.setattr(audiences, "WAIT_SECONDS", 0)
    walk.run_at_once(monkeypatch)
    workspace = request.getfixturevalue("workspace")  # noqa: F811
    drafted(database, settings, author="U0AUTHOR")
    return workspace


def answered(slack, database, known, body, kind) -> list:
    """Send a request; return all that anyone reads because of it."""
    slack.api.calls.clear()
    answer = slack.send(body, kind)
    assert answer.status == 200, (body, answer.body)
    posts = [row for row in stored(database, Outbox) if row.key not in known]
    known |= {row.key for row in posts}
    calls = [
        {key: json.loads(part) if key in JSON_PARTS and isinstance(part, str) else part}
        for _, call in slack.api.calls
        for key, part in call.items()
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


TARGET = f"{walk.TARGET}:{CHANNEL}"
TYPED = {
    "discount": (action_ids.EDIT_VIEW, TARGET, {"name": "x", "copy_text": "x", "discount": "{}"}),
    "hold-out": (action_ids.EDIT_VIEW, TARGET, {"name": "x", "copy_text": "x", "holdout": "{}"}),
    "budget": (action_ids.EDIT_VIEW, TARGET, {"name": "x", "copy_text": "x", "budget": "{}"}),
    "note of a call": (action_ids.CALL_VIEW, "c7|{pseudonym}|card", {"note": "{}"}),
    "time": (action_ids.DIGEST_VIEW, CHANNEL, {"at": "{}"}),
    "audience": (action_ids.AUDIENCE_VIEW, '{"rows": 0}', {"name": "x{}x", "typed": "spent > 5"}),
    "condition": (action_ids.AUDIENCE_VIEW, '{"rows": 0}', {"name": "x", "typed": "{} > 5"}),
    "customer": (action_ids.WHY_VIEW, walk.PLACE, {"customer": "{}"}),
    "list": (action_ids.DRAFT_VIEW, walk.PLACE, {"list": "{}"}),
}


@pytest.mark.parametrize("field", TYPED)
def test_harmless_text_comes_through_a_window(slack, database, settings, field):  # noqa: F811
    """So that the hostile ones come through, too."""
    answer = typed(slack, settings, field, MARK)
    assert MARK in json.dumps([answer, walk.content(database)], default=str)


def typed(slack, own, field, text) -> dict:
    callback, metadata, inputs = TYPED[field]
    place = metadata.replace("{pseudonym}", pseudonym(own.key, "42"))
    state = {}
    for block, part in inputs.items():
        word = part.replace("{}", text)
        element = {"value": word, "selected_time": word, "selected_option": {"value": word}}
        state[block] = dict.fromkeys(("value", block), element)
    blocks = [{"type": "input", "block_id": block} for block in inputs]
    return slack.submit(callback, place, {}, ADMIN, state={"values": state}, blocks=blocks)


@pytest.mark.parametrize("strings", PARTS)
def test_error_of_a_window_shows_a_text_safely(slack, database, settings, strings):  # noqa: F811
    for field in TYPED:
        for text in strings:
            assert_shown_safely(typed(slack, settings, field, text))
    assert_shown_safely([row.payload for row in stored(database, Outbox)])


@pytest.mark.parametrize("strings", PARTS)
def test_text_of_an_event_stays_in_its_place(slack, database, strings):
    known, reached = set(), 0
    for event in walk.events():
        if "text" in event.body["event"]:
            for text in strings:
                body = json.loads(event.sent(ADMIN, next(NUMBER))[0])
                body["event"]["text"] = f"who is at risk in {MARK} {text}"
                shown = answered(slack, database, known, json.dumps(body), walk.JSON)
                reached += MARK in json.dumps(shown)  # "Not used: in …"
                assert_shown_safely(shown)
    assert reached > len(strings) / 2  # a quarter: others are read as a number or an option


@pytest.fixture
def gateway(settings, database, monkeypatch):  # noqa: F811
    monkeypatch.setattr(rate_limit.TokenBuckets, "take", lambda *_: True)
    values = {"redemption_key": SecretStr(KEY), "events_key": SecretStr(KEY)}
    values |= {"slack_client_id": "1.2", "slack_client_secret": SecretStr(KEY)}
    values |= {"events_public_key": PUBLIC, "shop_origins": ORIGIN}
    values |= {"slack_signing_secret": SecretStr(KEY)}
    monkeypatch.setattr(redemption_api, "MAX_UNKNOWN_CODES", 1_000_000)
    return Gateway(Site(settings.model_copy(update=values), database))


def headers(path: str, body: bytes, api_key: str) -> dict[str, str]:
    """Return what lets a request through to its route."""
    if path == "/redemptions":
        return signing.headers(KEY.encode(), body, clock.wall())
    if path == "/events":
        return standard_webhooks.headers(KEY, f"m{next(NUMBER)}", body, clock.wall())
    if path == "/events/browser":
        return {"origin": ORIGIN, "content-type": "text/plain"}
    if path in PAGES:
        return {"authorization": f"Basic {basic(KEY).decode()}"}
    return {"authorization": f"Bearer {api_key}"}


def requests(text: str, api_key: str):
    """Yield a request of each route that has the text in its path, query and body."""
    names = ("event_id", "customer_id", "event_type", "item_id", "amount", "occurred_at")
    usual = {"customer_id": "k3", "event_type": "view", "occurred_at": f"{clock.wall():%FT%TZ}"}
    rows = [usual | {"event_id": f"e{next(NUMBER)}", name: text} for name in names]
    call = {"type": "track", "event": text, "userId": text, "properties": {"product_id": text}}
    bodies = {
        "/redemptions": {"code": text, "customer_id": text, "order_id": text},
        **dict.fromkeys(("/events", "/events/browser"), rows),
        "/v1/batch": {"batch": [call]},
    }
    for method, path in ROUTES.keys() - UNREACHED:
        body = json.dumps(bodies.get(path, call)).encode() if method == "POST" else b""
        query = {"key": PUBLIC} if path == "/events/browser" else {"limit": text, "cursor": text}
        pairs = headers(path, body, api_key).items()
        yield (
            *(method, path),
            {
                "path": path + text if path.endswith("/") else path,
                "query": urlencode(query | {"code": text, "state": text, "error": text}).encode(),
                "headers": [(name.lower().encode(), value.encode()) for name, value in pairs],
                "body": body,
            },
        )


# Slack's requests are sent above, and webhooks below. A library's page has no text in its answer.
UNREACHED = {("POST", "/slack/events"), ("POST", "/hooks/"), ("GET", "/slack/install")}


@pytest.mark.parametrize("strings", PARTS)
def test_no_answer_of_a_route_has_an_element_or_header_of_a_string(gateway, database, strings):
    api_key = change(database, api_keys.add, "warehouse", ADMIN)
    with asyncio.Runner() as runner:

        def ask(place, rest):
            return runner.run(send(gateway, place[0], **rest))

        clean = {tuple(place): ask(place, rest) for *place, rest in requests(MARK, api_key)}
        closed = {place for place, answer in clean.items() if answer.status in (401, 403, 429)}
        assert {method for method, _ in closed} <= {"OPTIONS"}, closed
        assert sum(MARK.encode() in answer.body for answer in clean.values()) >= 5
        for text in strings:
            for *place, rest in requests(text, api_key):
                answer, usual = ask(place, rest), clean[*place]
                assert answer.status < 500, (place, answer)
                assert answer.status not in (401, 429), (place, answer)
                assert answer.headers.keys() <= usual.headers.keys() | MORE_HEADERS
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
        """Import a file of these strings; where they are refused together, one of each half."""
        with path.open("w", newline="", encoding="utf-8", errors="replace") as file:
            rows = csv.writer(file)
            rows.writerow([*names, *ROWS[table]])
            for text in some:
                rows.writerow([*[text] * len(names), *ROWS[table].values()])
                rows.writerow([*[f"ok{next(NUMBER)}"] * len(names), *[text] * len(ROWS[table])])
        try:
            import_files(lake, None, own, table, [str(path)])
        except Refused:
            if len(some) > 1:
                bring(some[: len(some) // 2])
                bring(some[len(some) // 2 :])

    bring(strings)
    monkeypatch.setenv("RETENTION_HOME", str(own.home))
    for typed in (["data", "quarantine"], ["data", "show"], ["data", "quarantine", "--json"]):
        assert run(typed) == 0
        out, err = capsys.readouterr()
        assert not CONTROL.search(out + err)


CLI = (
    *(["score", "{}"], ["ask", "who is at risk in {}"], ["help", "{}"], ["glossary", "{}"]),
    *(["import", "events", "{}"], ["source", "add", "x", "{}"], ["source", "add", "{}", "x.csv"]),
    *(["audience", "show", "{}"], ["campaign", "show", "{}"], ["source", "show", "{}"]),
    *(["schedule", "add", "sweep --audience {}", "--every", "mon 09:00"], ["keys", "add", "{}"]),
    *(["schedule", "add", "sweep", "--every", "{}"], ["models", "card", "{}"], ["{}"]),
    *(["role", "grant", "{}", "viewer"], ["language", "{}"], ["policy", "set", "{}"]),
)


# At night each string goes through three commands.
@pytest.mark.parametrize("step", [60, pytest.param(5, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("command", CLI, ids=" ".join)
@pytest.mark.usefixtures("home")
def test_terminal_shows_no_control_and_writes_into_its_home_only(capsys, tmp_path, command, step):
    def shown(text: str) -> str:
        status = run([part.replace("{}", text) for part in command])
        out, err = capsys.readouterr()
        assert status in (0, 1, 2), (text, err)
        return out + err

    (tmp_path / "x.csv").write_text("customer_id,occurred_at,event_type,amount\n", "utf-8")
    if command[:3] != ["source", "add", "{}"]:  # a name that may be stored is not shown
        assert MARK in shown(MARK).lower()
    for text in ALL[CLI.index(command) % step :: step]:
        said = shown(text)
        assert not CONTROL.search(said), text
        assert "Traceback" not in said
    assert {path.name for path in tmp_path.iterdir()} <= {"home", "logs", "x.csv"}


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


def test_webhooks_with_hostile_texts_are_imported(settings, database, capsys, monkeypatch):  # noqa: F811
    monkeypatch.setenv("RETENTION_HOME", str(settings.home))
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
    states = Counter(desk.states())
    assert states.keys() <= {"done", "set_aside"}
    assert states["done"] > len(desk.states()) / 2
    assert desk.rows("events")
    titles = {row["title"] for row in desk.rows("items")}
    assert {title.partition(" - ")[0] for title in titles} & set(SHORT)
    for customer in desk.rows("customers"):
        assert run(["score", customer["customer_id"]]) in (0, 1, 2)
        assert not CONTROL.search("".join(capsys.readouterr()))
