"""Walk every HTTP route without a key, with a wrong one, and with hostile lengths."""

import gzip
import re
from base64 import b64encode

import pytest
from pydantic import SecretStr

from bot.http import rate_limit
from bot.http.rate_limit import RequestLimit
from bot.http.server import Gateway
from bot.http.web import Site
from retention.errors import TooManyRequests
from tests.security import walk
from tests.security.asgi import ask

# What each route answers to a stranger, without a key and with a wrong one.
OPEN, CLOSED, UNKNOWN, FOREIGN = {200}, {400, 401}, {404}, {403}
PAGES = {"/events/browser", "/track", "/v1/page", "/v1/batch", "/v1/identify", "/v1/track"}
ROUTES = {
    ("GET", "/health/live"): OPEN,
    ("GET", "/health/ready"): OPEN,
    ("GET", "/events.js"): OPEN,
    ("GET", "/v1/openapi.json"): OPEN,
    ("GET", "/slack/install"): {302},  # Slack asks the visitor
    ("GET", "/slack/oauth_redirect"): CLOSED,
    ("POST", "/slack/events"): CLOSED,
    ("GET", "/unsubscribe/"): UNKNOWN,
    ("POST", "/unsubscribe/"): UNKNOWN,
    ("GET", "/c/"): UNKNOWN,
    ("GET", "/o/"): UNKNOWN,
    ("GET", "/v1/customers/"): CLOSED,
    ("GET", "/v1/audiences/"): CLOSED,
    ("GET", "/v1/audience-counts"): CLOSED,
    ("POST", "/redemptions"): CLOSED,
    ("POST", "/hooks/"): CLOSED,
    ("POST", "/events"): CLOSED,
    **dict.fromkeys((("POST", path) for path in PAGES), CLOSED),
    **dict.fromkeys((("OPTIONS", path) for path in PAGES), FOREIGN),
}
OPERATOR = {("GET", "/health"), ("GET", "/metrics")}
KEY = "a key of this installation that is long enough"
WRONG = {
    "nothing": [],
    "keys": [
        (b"authorization", b"Bearer wrong"),
        (b"x-slack-signature", b"v0=" + b"0" * 64),
        (b"x-slack-request-timestamp", b"1"),
        (b"x-signature", b"0" * 64),
        (b"webhook-id", b"1"),
        (b"webhook-timestamp", b"1"),
        (b"webhook-signature", b"v1,AAAA"),
        (b"x-shopify-hmac-sha256", b"A" * 43 + b"="),
    ],
    "basic": [(b"authorization", b"Basic d3Jvbmc6")],
}


@pytest.fixture
def gateway(settings, database):
    keys = ("slack_signing_secret", "redemption_key", "events_key", "slack_client_secret")
    values = dict.fromkeys(keys, SecretStr(KEY)) | {"slack_client_id": "1.2"}
    values |= {"events_public_key": "public", "shop_origins": "https://shop.example"}
    return Gateway(Site(settings.model_copy(update=values), database))


def test_walk_has_each_route(gateway):
    assert {*gateway._routes} == {*ROUTES}
    assert {*gateway._site.operator_routes} == OPERATOR


@pytest.mark.parametrize("sent", WRONG)
def test_stranger_changes_nothing_and_each_answer_has_safe_headers(gateway, database, sent):
    before = walk.content(database, "slack_oauth_states")
    for (method, path), expected in ROUTES.items():
        answer = ask(gateway, method, path, headers=WRONG[sent], body=b"{}" * (method == "POST"))
        assert answer.status in expected, (method, path, answer)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "unsafe-inline" not in answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert walk.content(database, "slack_oauth_states") == before


def test_operators_routes_and_other_methods_are_not_public(gateway):
    for _, path in OPERATOR:
        assert ask(gateway, "GET", path).status == 404
    known = {path for _, path in ROUTES}
    for method in ("PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "PROPFIND", "x"):
        assert {ask(gateway, method, path).status for path in known} == {405}


def test_each_page_has_a_style_of_its_own_nonce(gateway):
    nonces = set()
    for _ in range(3):
        answer = ask(gateway, "GET", "/unsubscribe/x")
        (nonce,) = re.findall(r"'nonce-([^']+)'", answer.headers["content-security-policy"])
        assert re.findall(rb"<style[^>]*>", answer.body) == [f'<style nonce="{nonce}">'.encode()]
        assert b" style=" not in answer.body
        nonces.add(nonce)
    assert len(nonces) == 3


@pytest.mark.parametrize(
    "length", [b"-1", b"1e3", b"9" * 5000, b"0x10", "٣".encode(), b" ", b"1,1", b""]
)
def test_length_that_is_no_number_is_refused(gateway, length):
    for method, path in ROUTES:
        answer = ask(gateway, method, path, headers=[(b"content-length", length)])
        assert answer.status in {400, 401, 403, 413}, (method, path, answer)


def test_unpacked_bodies_are_limited(gateway):
    bomb = gzip.compress(b"[" + b" " * 50_000_000)
    headers = [(b"content-encoding", b"gzip"), (b"authorization", b"Basic " + basic(KEY))]
    answer = ask(gateway, "POST", "/v1/batch", headers=headers, body=bomb)
    assert answer.status == 413


def basic(user: str) -> bytes:
    return b64encode(f"{user}:".encode())


@pytest.mark.parametrize("depth", [1_000, 100_000])
def test_deep_json_is_refused(gateway, depth):
    headers = [(b"authorization", b"Basic " + basic(KEY))]
    answer = ask(gateway, "POST", "/v1/batch", headers=headers, body=b"[" * depth)
    assert answer.status == 400


def test_workspace_has_a_limit_beside_each_person(monkeypatch):
    monkeypatch.setattr(rate_limit, "WORKSPACE_REQUESTS", 5)
    limit = RequestLimit()

    def send(user: str, team: str) -> str:
        context = type("Context", (), {"user_id": user, "team_id": team})()
        return limit({"command": "/x"}, context, lambda: "passed")

    assert [send(f"U{number}", "T1") for number in range(5)] == ["passed"] * 5
    with pytest.raises(TooManyRequests):
        send("U9", "T1")
    assert send("U9", "T2") == "passed"
