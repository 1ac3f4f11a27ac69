"""Run the examples of docs/operator/send_events.md against the real server."""

import json
import os
import re
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from retention.db import Database
from retention.settings import Settings
from tests.bot.http.test_event_api import KEY, ORIGIN, PUBLIC, event
from tests.bot.real_server import running_bot
from tests.chromium import chromium, page
from tests.databases import create_tables

PAGE = Path(__file__).parents[3] / "docs" / "operator" / "send_events.md"


@pytest.fixture(scope="module")
def bot(tmp_path_factory, shop_page):
    settings = Settings(home=tmp_path_factory.mktemp("events") / "home", _env_file=None)
    database = Database(settings.database_url.get_secret_value(), settings)
    create_tables(database)
    database.dispose()
    keys = {
        "RETENTION_EVENTS_KEY": KEY,
        "RETENTION_EVENTS_PUBLIC_KEY": PUBLIC,
        "RETENTION_SHOP_ORIGINS": f"{ORIGIN} {shop_page}",
    }
    with running_bot(settings, **keys) as running:
        yield running


@pytest.fixture(scope="module")
def page_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def shop_page(page_folder):
    """The origin of a shop that serves the files of a folder."""
    handler = partial(_Quiet, directory=str(page_folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Print nothing."""


def example(language: str, bot) -> str:
    (code,) = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    return code.replace("https://desk.example", f"http://127.0.0.1:{bot.port}")


def output(command: list[str]) -> str:
    environment = os.environ | {"RETENTION_EVENTS_KEY": KEY}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_example_with_curl_is_accepted_once(bot):
    answers = [json.loads(output(["bash", "-c", example("bash", bot)])) for _ in range(2)]
    assert [answer["accepted"] for answer in answers] == [1, 0]
    assert answers[1]["duplicate"] == 1


def test_example_with_python_is_accepted(bot):
    answer = output([sys.executable, "-c", example("python", bot)])
    assert answer.startswith("202")
    assert "'accepted': 100" in answer


def test_page_can_send_and_read_the_answer(bot):
    allowed = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    status, headers, _ = bot.request("OPTIONS", "/events/browser", b"", allowed)
    assert (status, headers["access-control-allow-origin"]) == (204, ORIGIN)
    status, headers, answer = bot.request(
        "POST", f"/events/browser?key={PUBLIC}", json.dumps([event(1)]), {"Origin": ORIGIN}
    )
    assert (status, json.loads(answer)["accepted"]) == (202, 1)
    assert headers["access-control-allow-origin"] == ORIGIN
    assert b"retention.view" in bot.request("GET", "/events.js")[2]


def test_unsigned_call_is_refused_before_its_body_is_read(bot):
    status, _, answer = bot.request("POST", "/events", b"x" * 1_000_000)
    assert (status, "webhook-id" in json.loads(answer)["error"]) == (401, True)


@pytest.mark.browser
@pytest.mark.nightly
def test_script_of_the_page_sends_views_searches_and_carts(bot, shop_page, page_folder):
    (tag,) = re.findall(r"```html\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    tag = tag.replace("https://desk.example", f"http://127.0.0.1:{bot.port}")
    tag = tag.replace("PUBLIC KEY", PUBLIC).replace("k3", "from the page")
    (page_folder / "index.html").write_text(
        f"<!doctype html><link rel=icon href=data:,>{tag}", encoding="utf-8"
    )
    with chromium() as browser, page(browser, f"{shop_page}/index.html") as shown:
        shown.wait_for_function("window.retention")
        with shown.expect_response("**/events/browser*") as answer:
            shown.evaluate("retention.search('green tea'); retention.cart('i7', 2)")
        assert answer.value.status == 202
        assert answer.value.json() == {"accepted": 3, "duplicate": 0, "rejected": []}
