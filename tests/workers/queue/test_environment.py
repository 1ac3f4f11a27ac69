"""Test settings and secrets of child processes."""

import json
import os
import stat
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from pydantic import SecretStr
from slack_sdk.signature import SignatureVerifier

from bot.playground.server import free_port
from retention.db import Database
from retention.db.migrate import upgrade
from retention.errors import BadInput
from retention.installation.backup import backup
from retention.outreach.adapter import require_text_channel
from retention.outreach.dispatch import sending_channel
from retention.settings import SECRETS, Settings
from tests.end_to_end.playground_client import demo
from tests.standins.slack import StandIn
from tests.workers.harness import ADMIN, wait
from tests.world import read
from workers.action_ids import FILE_IMPORT
from workers.queue import live_processes, quotas
from workers.queue.child_environments import NEEDS, ChildEnvironments

VALUES = {
    "secret_key": "key-0f7a" * 4,
    "old_secret_keys": "old-0f7a older-0f7a",
    "slack_bot_token": "xoxb-0f7a",
    "slack_signing_secret": "signing-0f7a",
    "slack_app_token": "xapp-0f7a",
    "slack_client_secret": "client-0f7a",
    "database_url": "postgresql://me:db-0f7a@127.0.0.1/desk",
    "broker_url": "redis://:broker-0f7a@127.0.0.1:6379/0",
    "smtp_url": "smtp://me:smtp-0f7a@mail.example/?from=a@shop.example",
    "webhook_url": "https://platform.example/hook-0f7a",
    "sms_webhook_url": "https://sms.example/hook-0f7a",
    "webhook_key": "hookkey-0f7a" * 3,
    "redemption_key": "till-0f7a" * 4,
    "events_key": "events-0f7a" * 3,
    "service_key": "service-0f7a" * 3,
    "ask_key": "model-0f7a",
    "backup_passphrase": "backup-0f7a",
    "move_to": "postgresql://me:move-0f7a@127.0.0.1/desk",
}
APP = {"slack_client_id": "1.2", "slack_team_id": "T1", "_env_file": None}
MARK = "0f7a"  # part of every secret above


@contextmanager
def process_environment(variables: dict[str, str], folder: Path):
    """Replace this process's environment, and its working directory, whose `.env` counts."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            patch.delenv(name)
        for name, value in variables.items():
            patch.setenv(name, value)
        patch.chdir(folder)
        yield


@contextmanager
def installation(folder: Path, *roles: str, **variables: str):
    """Run `retention run` in a folder as its only installation, and stop it."""
    environment = {"RETENTION_HOME": str(folder / "h"), **variables}
    for name, value in os.environ.items():
        if not name.startswith(("RETENTION_", "SLACK_")):
            environment.setdefault(name, value)
    command = [sys.executable, "-m", "bot.terminal", "run", *roles]
    process = subprocess.Popen(command, env=environment, cwd=folder, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        assert process.wait(120) == 0


def all_roles(port: int) -> dict[str, str]:
    """Variables of an installation with a bot at this port."""
    ports = {"RETENTION_PORT": str(port), "RETENTION_HEALTH_PORT": str(free_port())}
    return {**ports, "RETENTION_ADMINS": ADMIN}


@contextmanager
def environments_of(settings: Settings) -> Iterator[ChildEnvironments]:
    """The environments of children, whose secret files exist meanwhile."""
    environments = ChildEnvironments(settings)
    environments.write()
    yield environments
    environments.remove()


def values(settings: Settings) -> dict:
    return {
        field: value.get_secret_value() if isinstance(value, SecretStr) else value
        for field, value in settings.model_dump(exclude={"broker_url"}).items()
    }


def written(folder: Path, value: str) -> str:
    path = folder / f"secret-{abs(hash(value))}"
    path.write_text(f"{value}\n")
    return str(path)


def test_child_resolves_the_same_settings(tmp_path):
    plain = {"demo": True, "timezone": "Europe/London", "port": 8123, **APP}
    settings = Settings(home=tmp_path, now=datetime(2017, 10, 2, tzinfo=UTC), **plain, **VALUES)
    with environments_of(settings) as environments:
        with process_environment(environments.of("run"), tmp_path):
            child = Settings(_env_file=None)
        assert values(child) == values(settings)
        assert child.broker_url == settings.broker_url
        assert MARK not in str(environments.of("run"))


@pytest.mark.parametrize("variable", [None, "", "explicit"])
@pytest.mark.parametrize("file", [None, "file"])
@pytest.mark.parametrize("dotenv", [None, "", "dotenv"])
@pytest.mark.parametrize("argument", [None, "argument"])
def test_child_resolves_a_secret_as_its_parent(tmp_path, variable, file, dotenv, argument):
    """The explicit variable, its `_FILE` twin, `.env` and an argument, in all combinations."""
    ours = {"RETENTION_HOME": str(tmp_path)}
    if variable is not None:
        ours["SLACK_SIGNING_SECRET"] = variable
    if file is not None:
        ours["SLACK_SIGNING_SECRET_FILE"] = written(tmp_path, file)
    if dotenv is not None:
        (tmp_path / ".env").write_text(f"SLACK_SIGNING_SECRET={dotenv}\n")
    with process_environment(ours, tmp_path):
        settings = Settings(**({} if argument is None else {"slack_signing_secret": argument}))
        environments = ChildEnvironments(settings)
    environments.write()
    passed = environments.of("bot")
    with process_environment(passed, tmp_path):
        assert Settings().slack_signing_secret == settings.slack_signing_secret
    secret = settings.slack_signing_secret and settings.slack_signing_secret.get_secret_value()
    assert secret in (None, ours.get("SLACK_SIGNING_SECRET")) or secret not in passed.values()
    with process_environment(environments.of("worker"), tmp_path):
        assert Settings().slack_signing_secret is None
    environments.remove()


@pytest.mark.parametrize("role", [*NEEDS, "worker:interactive", "worker:batch"])
def test_role_gets_only_the_secrets_it_uses(tmp_path, role):
    settings = Settings(home=tmp_path, **APP, **VALUES)
    with process_environment({name: VALUES[field] for field, name in SECRETS.items()}, tmp_path):
        environments = ChildEnvironments(settings)
    passed = environments.of(role)
    given = {
        field for field, name in SECRETS.items() if passed.get(name) or passed.get(f"{name}_FILE")
    }
    assert given == NEEDS.get(role, NEEDS["worker"])


@contextmanager
def child_settings(folder: Path, role: str, **given: str) -> Iterator[tuple[Settings, Settings]]:
    """Settings, and what a child of this role makes of its environment."""
    settings = Settings(home=folder, _env_file=None, **given)
    with (
        environments_of(settings) as environments,
        process_environment(environments.of(role), folder),
    ):
        yield settings, Settings()


@pytest.mark.parametrize("role", ["bot", "worker", "tick"])
@pytest.mark.parametrize("has_sms", [True, False])
def test_every_role_knows_how_campaigns_are_sent(tmp_path, role, has_sms):
    """The bot has no address of a platform: it refused all texts and said that nothing is sent."""
    ways = ("smtp_url", "webhook_key", "sms_webhook_url")[: 2 + has_sms]
    with child_settings(tmp_path, role, **{name: VALUES[name] for name in ways}) as (_, child):
        assert sending_channel(child, "email") == "email"
        assert child.is_switched_on("sms_webhook_url") == has_sms
        with nullcontext() if has_sms else pytest.raises(BadInput):
            require_text_channel(child, "sms")
        assert (child.smtp_url is not None) == (role == "worker")


@pytest.mark.parametrize("role", ["bot", "worker", "tick"])
def test_roles_that_submit_jobs_know_the_key_of_identical_requests(tmp_path, role):
    request = ("digest", {}, "C0CRM", None)
    with child_settings(tmp_path, role, **VALUES) as (settings, child):
        assert quotas.request_key(child, *request) == quotas.request_key(settings, *request)
    assert not (tmp_path / "secret.key").exists()  # none is made with PostgreSQL


def test_broker_gets_a_minimal_environment(tmp_path):
    plain = {"PATH": "/bin", "LANG": "C.UTF-8"}
    ours = {**plain, "AWS_SECRET_ACCESS_KEY": "x", "RETENTION_SHOP": "Shop"}
    with process_environment(ours, tmp_path):
        passed = ChildEnvironments(Settings(home=tmp_path, _env_file=None)).of("broker")
    assert passed == plain


def test_secret_files_are_private_and_removed(tmp_path):
    settings = Settings(home=tmp_path / "h", slack_signing_secret="signing-0f7a", _env_file=None)
    killed, running = ChildEnvironments(settings), ChildEnvironments(settings)
    killed.write()
    os.close(killed._lock)  # its process was killed
    running.write()
    path = Path(running.of("bot")["SLACK_SIGNING_SECRET_FILE"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    folders = list((tmp_path / "h" / "run" / "secrets").iterdir())
    assert folders == [path.parent]
    path.unlink()
    running.write()  # a child that restarts finds it again
    assert path.read_text() == "signing-0f7a"
    running.remove()
    assert not path.parent.exists()


def test_backup_leaves_secret_files_out(tmp_path):
    settings = Settings(home=tmp_path / "h", slack_signing_secret="signing-0f7a", _env_file=None)
    upgrade(settings)
    with environments_of(settings):
        backup(settings, tmp_path / "all.tar.gz")
    with tarfile.open(tmp_path / "all.tar.gz") as tar:
        assert sorted(tar.getnames()) == ["manifest.json", "secret.key", "state.db"]


@pytest.mark.desk
@pytest.mark.parametrize("source", ["files", pytest.param("dotenv", marks=pytest.mark.nightly)])
def test_no_child_has_a_secret_in_its_environment_and_a_dropped_file_is_imported(tmp_path, source):
    """The workers got an empty token, so Slack gave them its page to sign in.

    A real installation, started with `_FILE` secrets or with `.env`.
    """
    port, home = free_port(), tmp_path / "h"
    left_out = {"database_url", "broker_url", "slack_app_token", "slack_client_secret"}
    given = {SECRETS[field]: VALUES[field] for field in SECRETS if field not in left_out}
    csv = "Order ID,Customer ID,Order Date,SKU,Qty,Line Total\n" + "".join(
        f"{n},C{n % 9},2025-07-{1 + n % 20:02} 10:00,A{n % 4},1,{n}.50\n" for n in range(40)
    )
    with StandIn.start(f"http://127.0.0.1:{port}/slack/events", strict=False) as slack:
        given |= slack.environment
        ours = {"SLACK_API_URL": given.pop("SLACK_API_URL"), **all_roles(port)}
        if source == "files":
            ours |= {f"{name}_FILE": written(tmp_path, value) for name, value in given.items()}
        else:
            lines = [f"{name}={value}\n" for name, value in given.items()]
            (tmp_path / ".env").write_text("".join(lines))

        def shown(text: str) -> dict | None:
            posts = slack.messages("@admin", user="admin")
            return next((post for post in posts if text in str(post.get("blocks"))), None)

        with installation(tmp_path, **ours) as process:
            wait(lambda: answer(port, "/health/ready") == 200, 120)
            whole = psutil.Process(process.pid)
            for child in wait(lambda: len(found := whole.children(recursive=True)) >= 7 and found):
                environment = Path(f"/proc/{child.pid}/environ").read_bytes()
                secrets = [name for name, value in given.items() if value.encode() in environment]
                assert secrets == [], child.cmdline()
            assert signed(port, given["SLACK_SIGNING_SECRET"]) == 200
            assert signed(port, "another secret") == 401
            assert slack.drop("admin", "orders.csv", csv.encode())["http"] == 200
            proposal = wait(lambda: shown(FILE_IMPORT))
            elements = [each for block in proposal["blocks"] for each in block.get("elements", [])]
            (value,) = (e["value"] for e in elements if e.get("action_id") == FILE_IMPORT)
            slack.press("admin", "@admin", proposal["ts"], FILE_IMPORT, value)
            assert wait(lambda: shown("40 new rows of 40"))
    assert not any((home / "run" / "secrets").glob("*/*"))


@pytest.mark.desk
def test_single_role_gets_no_secret_in_its_environment(tmp_path):
    """`retention run tick` replaces itself by the role's process."""
    (tmp_path / ".env").write_text(f"SLACK_BOT_TOKEN={VALUES['slack_bot_token']}\n")
    upgrade(settings := Settings(home=tmp_path / "h", _env_file=None))
    database = Database.of(settings)
    ours = {"SLACK_SIGNING_SECRET": VALUES["slack_signing_secret"]}

    def is_up() -> bool:
        return any(name.startswith("tick@") for name in read(database, live_processes.alive))

    with installation(tmp_path, "tick", **ours) as process:
        wait(is_up)
        assert MARK.encode() not in Path(f"/proc/{process.pid}/environ").read_bytes()
    database.dispose()


@pytest.mark.desk
@pytest.mark.nightly
def test_demo_passes_its_signing_secret_by_file(tmp_path):
    """Secrets in `_FILE` variables reach no environment and do not replace the demo's."""
    key, slack = written(tmp_path, "key-0f7a" * 4), written(tmp_path, "signing-0f7a")
    given = {"SLACK_SIGNING_SECRET_FILE": slack, "SLACK_APP_TOKEN_FILE": slack}
    given["RETENTION_SECRET_KEY_FILE"] = key
    home = tmp_path / "h"
    with demo(home, log=tmp_path / "log", **given) as desk:
        own = [path.read_bytes() for path in (home / "run" / "secrets").glob("*/SLACK_*")]
        assert len(own) == 2
        children = psutil.Process().children(recursive=True)
        assert len(children) >= 8
        for child in children:
            environment = Path(f"/proc/{child.pid}/environ").read_bytes()
            assert not any(value in environment for value in (*own, MARK.encode())), child.cmdline()
        assert desk.command("analyst", "/retention help")["status"] == 200
    assert not any((home / "run" / "secrets").iterdir())


def answer(
    port: int, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> int:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, headers or {})
    try:
        return urllib.request.urlopen(request, timeout=60).status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def signed(port: int, secret: str) -> int:
    """The status of a slash command that is signed with this secret."""
    typed = {"command": "/retention", "text": "help", "user_id": ADMIN, "team_id": "T1"}
    body = urllib.parse.urlencode(typed)
    stamp = str(int(time.time()))
    signature = SignatureVerifier(secret).generate_signature(timestamp=stamp, body=body)
    headers = {"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": signature or ""}
    return answer(port, "/slack/events", body.encode(), headers)


def test_sender_gets_the_key_only_where_it_decrypts_the_token_from_oauth(tmp_path):
    names = {"RETENTION_SECRET_KEY_FILE", "RETENTION_OLD_SECRET_KEYS_FILE"}
    for client_id, expected in (("", set()), ("1.2", names)):
        own = {"slack_client_id": client_id, "secret_key": "k" * 32, "old_secret_keys": "o" * 32}
        settings = Settings(home=tmp_path, _env_file=None, **own)
        with environments_of(settings) as environments:
            given = {name for name, value in environments.of("sender").items() if value}
        assert given & names == expected


@pytest.mark.desk
@pytest.mark.nightly
def test_every_line_on_standard_output_is_json_until_the_end(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name[:6] != "SLACK_"}
    command = [sys.executable, "-m", "bot.terminal", "run", "--log-format", "json"]
    process = subprocess.Popen(
        command,
        env=environment | {"RETENTION_HOME": str(tmp_path / "h")},
        cwd=tmp_path,
        stdout=(tmp_path / "out").open("wb"),
        stderr=subprocess.DEVNULL,
    )

    def entries() -> list[dict]:
        return [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]

    try:
        wait(lambda: sum("ready" in entry["message"] for entry in entries()) >= 3, 120)
    finally:
        process.terminate()
        assert process.wait(120) == 0
    assert {"at", "level", "logger", "message"} <= set.intersection(*map(set, entries()))
    assert [file.name for file in (tmp_path / "h" / "logs").iterdir()] == ["broker.log"]
