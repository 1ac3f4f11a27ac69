"""Test signatures and envelopes, which are checked before slack_bolt."""

import json
import time
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.slack.envelopes import (
    MAX_DEPTH,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    Malformed,
    has_valid_form,
    is_verified,
    validated,
)
from bot.slack.interactions import is_slack_url
from retention.settings import Settings
from tests.bot.real_server import FORM, signature
from tests.bot.wire import PAYLOADS, SECRET

NOW = 1_800_000_000.0


def headers(body: str, **options) -> dict[str, str]:
    return {name.lower(): value for name, value in signature(body, **options).items()}


@given(st.binary(max_size=200), st.text(max_size=80), st.text(max_size=80))
def test_no_header_makes_verification_raise(body, timestamp, value):
    given = {TIMESTAMP_HEADER: timestamp, SIGNATURE_HEADER: value}
    assert not is_verified(SECRET, given, body, NOW)


@given(st.text(max_size=200), st.integers(min_value=0, max_value=10_000))
def test_any_change_of_a_signed_body_is_noticed(body, place):
    signed = headers(body)
    now = time.time()
    content = body.encode("utf-8", "surrogatepass")
    if body.isprintable():
        assert is_verified(SECRET, signed, content, now)
    changed = bytearray(content or b"x")
    changed[place % len(changed)] ^= 1
    assert not is_verified(SECRET, signed, bytes(changed), now)


@pytest.mark.parametrize(
    ("age", "accepted"), [(299, True), (302, False), (-299, True), (-302, False)]
)
def test_requests_older_or_newer_than_five_minutes_are_refused(age, accepted):
    assert has_valid_form(headers("x", age=age), time.time()) == accepted


def test_without_a_secret_nothing_is_verified():
    assert not is_verified("", headers("x", secret="x"), b"x", time.time())


@pytest.mark.parametrize("recording", sorted(path.name for path in PAYLOADS.iterdir()))
def test_recorded_requests_have_a_valid_form(recording):
    text = (PAYLOADS / recording).read_text().strip()
    if recording.endswith(".urlencoded"):
        assert validated(text, FORM)["command"] == "/retention"
    elif recording == "app_home_opened.json":
        assert validated(text, "application/json; charset=utf-8")["event_id"] == "Ev0HOME"
    else:
        assert validated(urlencode({"payload": text}), FORM)["user"]["id"] == "U0ANALYST"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("payload={", "not valid JSON"),
        ("payload=null", "not an object"),
        ("payload=[1]", "not an object"),
        ("payload=" + "[" * 100_000, "not valid JSON"),
        ('payload={"type":"nothing"}', "type: unknown"),
        ('payload={"type":["block_actions"]}', "type: unknown"),
        ('payload={"type":"block_actions","user":{"id":"U1"},"actions":[]}', "actions: too_short"),
        ('payload={"type":"block_actions","user":"U1","actions":[{}]}', "user"),
        ("command=%2Fretention&text=x", "user_id: missing"),
        ("a=b", "type: unknown"),
    ],
)
def test_malformed_envelopes_are_refused_with_the_field(body, reason):
    with pytest.raises(Malformed, match=reason):
        validated(body, FORM)


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"name": "x"}, "values.name"),
        ({"name": {"value": "x"}}, "values.name.value"),
        ({"name": {"value": {"value": 5}}}, "values.name.value.value"),
        ({"offer": {"value": {"selected_option": "share"}}}, "values.offer.value.selected_option"),
    ],
)
def test_modal_input_of_another_form_is_refused_with_its_place(values, place):
    payload = json.loads((PAYLOADS / "view_submission.json").read_text())
    payload["view"]["state"]["values"] = values
    with pytest.raises(Malformed, match=place):
        validated(urlencode({"payload": json.dumps(payload)}), FORM)


def test_deeply_nested_envelopes_are_refused():
    deep = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    body = '{"type": "url_verification", "challenge": "x", "x": ' + deep + "}"
    with pytest.raises(Malformed, match="nested"):
        validated(body, "application/json")


def test_errors_never_repeat_values_of_the_request():
    payload = {"type": "block_actions", "user": {"id": ["secret-value"]}}
    body = urlencode({"payload": json.dumps(payload)})
    with pytest.raises(Malformed) as refused:
        validated(body, FORM)
    assert "secret-value" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "accepted"),
    [
        ("https://hooks.slack.com/actions/T0/1/x", True),
        ("https://hooks.slack-gov.com/commands/T0/1/x", True),
        ("http://hooks.slack.com/actions/T0/1/x", False),
        ("https://hooks.slack.com:8443/actions", False),
        ("https://hooks.slack.com@evil.example/actions", False),
        ("https://user@hooks.slack.com/actions", False),
        ("https://evil.example/hooks.slack.com", False),
        ("http://169.254.169.254/latest", False),
        ("file:///etc/passwd", False),
        ("https://[", False),
        ("http://127.0.0.1:8010/api/response/1", False),
    ],
)
def test_only_slacks_own_response_urls_are_used(url, accepted, tmp_path):
    assert is_slack_url(url, Settings(home=tmp_path, _env_file=None)) == accepted


def test_response_urls_of_the_configured_host_are_used(tmp_path):
    settings = Settings(home=tmp_path, slack_api_url="http://127.0.0.1:8010/api/", _env_file=None)
    assert is_slack_url("http://127.0.0.1:8010/response/1", settings)
    assert not is_slack_url("http://127.0.0.1:8011/response/1", settings)
