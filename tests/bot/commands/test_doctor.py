"""Test that `retention doctor` names each fault of an installation by its code."""

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bot.commands import doctor
from bot.http.oauth import SCOPES
from bot.terminal.terminal_runner import printed
from retention import clock
from retention.db import Database
from retention.db.audit import record
from retention.db.migrate import upgrade
from retention.privacy.erased import record_erased
from retention.settings import Settings
from tests.world import change


def codes(findings) -> dict[str, str]:
    return {finding.code: finding.level for finding in findings}


@pytest.fixture
def slack():
    """Slack's auth.test with the headers and the answer that a test sets."""
    headers, answers = {}, [b'{"ok": true, "team": "Shop"}']

    class Handler(BaseHTTPRequestHandler):
        def date_time_string(self, timestamp=None) -> str:
            return headers.get("Date") or super().date_time_string(timestamp)

        def do_POST(self) -> None:
            self.send_response(200)
            for name, value in headers.items():
                if name != "Date":
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answers[-1])))
            self.end_headers()
            self.wfile.write(answers[-1])

        def log_message(self, *_) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/api/", headers, answers
    server.shutdown()
    server.server_close()


def asked(database, settings, slack) -> dict[str, str]:
    own = settings.model_copy(update={"slack_api_url": slack[0]})
    return codes(doctor._slack(database.using(own)))


def test_new_home_says_what_is_missing(cli, home, monkeypatch):
    monkeypatch.delenv("SLACK_BOT_TOKEN", raising=False)
    cli.text("init")
    found, _ = cli.run("doctor", status=1)
    for word in ("SLACK_BOT_TOKEN", "RETENTION_ADMINS", "worker:batch", "broker"):
        assert word in found


@pytest.fixture
def own(tmp_path):
    """Settings of a home without a database."""
    return Settings(home=tmp_path, secret_key="k" * 32, _env_file=None)


def test_database_of_an_earlier_version_is_named(own):
    upgrade(own, "0041_variants")
    assert codes(doctor._database(Database.of(own))) == {"database_old": "fault"}


def test_changed_audit_log_is_named(own):
    upgrade(own)
    database = Database.of(own)
    change(database, record, "U1", "role.grant", "U2", clock.now(), {})
    assert codes(doctor._database(database))["audit"] == "ok"
    with database.engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER audit_no_update")
        connection.exec_driver_sql("UPDATE audit SET actor = 'U0EVIL'")
    assert codes(doctor._database(database))["audit_changed"] == "fault"


def test_erasures_of_a_lost_key_are_named(own):
    upgrade(own)
    database = Database.of(own)
    change(database, record_erased, ["k1"], "U1", clock.now())
    assert "erasures_of_lost_keys" not in codes(doctor._database(database))
    other = database.using(Settings(home=own.home, secret_key="n" * 32, _env_file=None))
    assert codes(doctor._database(other))["erasures_of_lost_keys"] == "fault"


def test_missing_scopes_and_a_wrong_clock_are_named(database, settings, slack):
    slack[1]["x-oauth-scopes"] = ",".join(SCOPES)
    assert asked(database, settings, slack) == {"slack": "ok"}
    slack[1].update({"x-oauth-scopes": "commands", "Date": "Mon, 30 Nov 2020 10:00:00 GMT"})
    found = asked(database, settings, slack)
    assert found == {"slack": "ok", "scopes_missing": "fault", "clock_wrong": "fault"}


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b'{"ok": false, "error": "invalid_auth"}', "token_refused"),
        (b'{"ok": false, "error": "internal_error"}', "slack_error"),
    ],
)
def test_refused_token_is_told_from_an_error_of_slack(database, settings, slack, answer, code):
    slack[2].append(answer)
    assert asked(database, settings, slack) == {code: "fault"}


FACTS = {
    **dict.fromkeys(("now", "home", "revision", "newest", "error", "team"), "x"),
    **{"free_bytes": 1, "number": 2, "seconds": 3, "names": ["tick"], "scopes": ["commands"]},
    **{"code": "queue_slow"},
}


def test_each_finding_has_a_sentence(settings):
    source = Path(doctor.__file__).read_text(encoding="utf-8")
    named = sorted(set(re.findall(r'Finding\(\S+, "(\w+)"', source)) | {"slack_error"})
    assert len(named) > 15
    findings = [{"level": "fault", "code": code, "facts": FACTS} for code in named]
    lines = printed("bot/doctor", {"findings": findings}, settings).strip().split("\n")
    assert len({line.removeprefix("FAULT").strip() for line in lines} - {""}) == len(named)
