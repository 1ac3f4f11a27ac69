"""Test the services of docker-compose.yml as processes, without Docker.

No image is built. The tests check that the commands start, that the settings fit together, and that
each health check detects a dead service.
"""

import os
import re
import signal
import subprocess
import sys
import tomllib
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from bot.playground.server import free_port
from retention.db import Database
from retention.settings import SECRETS, Settings, variable
from tests.postgres import postgres
from tests.standins.slack import StandIn
from tests.workers.harness import ADMIN, STAND_INS, ask, over, wait
from workers.app import QUEUES
from workers.job_requests import Digest
from workers.queue import broker
from workers.queue.child_environments import NEEDS, STORE, WITHOUT_LAKE

pytestmark = pytest.mark.desk

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {
    name: service for name, service in SERVICES.items() if service.get("image") == "retention-desk"
}
BIN = Path(sys.executable).parent


GIVEN = {"POSTGRES_PASSWORD": "p", "VALKEY_PASSWORD": "v", "RETENTION_SECRET_KEY": "k" * 64}
VARIABLE = re.compile(r"\$\{(\w+)(?::?([?+-])([^{}]*))?\}")  # an inner one first
NOT_PASSED = {"home", "port", "health_port", "health_host", "playground_port", "now", "demo"} | {
    "backup_recipient"
}


def filled(text: str, given: dict[str, str]) -> str:
    """A text as Compose would fill it in."""

    def fill(match: re.Match[str]) -> str:
        name, how, other = match.groups()
        if how == "+":
            return other if given.get(name) else ""
        return given.get(name) or (other if how == "-" else given.get(name, ""))

    while (done := VARIABLE.sub(fill, text)) != text:
        text = done
    return text


def environment(service: dict[str, Any], **given: str) -> dict[str, str]:
    """A service's environment as Compose would fill it in."""
    given = GIVEN | given
    values = {
        name: given.get(name) if value is None else filled(value, given)
        for name, value in service["environment"].items()
    }
    values = {name: value for name, value in values.items() if value is not None}
    return values | {"PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONPATH": str(STAND_INS)}


def is_healthy(service: dict[str, Any], told: dict[str, str], folder: Path) -> bool:
    kind, *command = service["healthcheck"]["test"]
    assert kind == "CMD"
    return subprocess.run(command, env=told, cwd=folder, check=False).returncode == 0


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """PostgreSQL from its wheel, Valkey by the command of its service, Slack's stand-in."""
    with ExitStack() as stack:
        url = stack.enter_context(postgres())
        port, folder = free_port(), tmp_path_factory.mktemp("valkey")
        (folder / "valkey.conf").write_text(filled(COMPOSE["configs"]["valkey"]["content"], GIVEN))
        (_, conf, *options) = SERVICES["valkey"]["command"]
        assert conf == SERVICES["valkey"]["configs"][0]["target"]
        command = [str(broker.binary()), "valkey.conf", *options, "--port", str(port)]
        valkey = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
        stack.callback(lambda: (valkey.kill(), valkey.wait()))
        slack = stack.enter_context(StandIn.start(strict=False))
        wait(lambda: _pings(port))
        yield url, f"redis://:v@127.0.0.1:{port}/0", slack


def _pings(port: int) -> bool:
    try:
        return bool(redis.Redis(port=port, password="v").ping())
    except redis.RedisError:
        return False


@pytest.mark.nightly
def test_every_service_runs_its_command_and_passes_its_health_check(servers, tmp_path):
    url, broker_url, slack = servers
    port, health_port = str(free_port()), str(free_port())
    shown = {
        name: environment(service)
        | {
            "RETENTION_HOME": str(tmp_path),
            "RETENTION_DATABASE_URL": url,
            "RETENTION_BROKER_URL": broker_url,
            "RETENTION_PORT": port,
            "RETENTION_HEALTH_PORT": health_port,
            "RETENTION_ADMINS": ADMIN,
            **slack.environment,
        }
        for name, service in OURS.items()
    }
    assert not any(is_healthy(OURS[name], shown[name], tmp_path) for name in ("bot", "tick"))
    started = {
        name: subprocess.Popen(
            service["command"], env=shown[name], cwd=tmp_path, start_new_session=True
        )
        for name, service in OURS.items()
    }
    try:
        for name, service in OURS.items():
            wait(lambda name=name, service=service: is_healthy(service, shown[name], tmp_path), 90)
        own = {"database_url": url, "broker_url": broker_url, "secret_key": "k" * 64}
        settings = Settings(home=tmp_path, admins=ADMIN, _env_file=None, **own)
        database = Database.of(settings)
        queued_job = ask(database, Digest(), "k")
        assert over(database, queued_job.id).result == {"ok": True}
        wait(lambda: [m["text"] for m in slack.messages("crm")] == [f"digest {queued_job.id}"])
        database.engine.dispose()
        for process in started.values():
            process.send_signal(signal.SIGTERM)
        assert {process.wait(120) for process in started.values()} == {0}
    finally:
        for process in started.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def test_the_settings_of_the_services_fit_together():
    for service in OURS.values():
        shown = environment(service)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in shown.items():
                if name.startswith("RETENTION_"):
                    patch.setenv(name, value)
            settings = Settings(_env_file=None)
        database_url = "postgresql+psycopg://retention:p@postgres:5432/retention"
        assert settings.database_url.get_secret_value() == database_url
        if service["command"][2] != "sender":
            assert broker.url(settings) == "redis://:v@valkey:6379/0"
    assert {"postgres", "valkey"} <= set(SERVICES)
    assert SERVICES["postgres"]["environment"]["POSTGRES_USER"] == "retention"


@pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
def test_service_is_confined_and_has_a_health_check(service):
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert "healthcheck" in service
    assert {"mem_limit", "cpus", "pids_limit"} <= service.keys()
    assert {"max-size", "max-file"} <= service["logging"]["options"].keys()
    assert service.get("user", "").partition(":")[0] != "0"


def test_image_does_not_run_as_root():
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert re.search(r"^USER retention$", dockerfile, re.M)


def test_image_gets_every_file_that_the_package_is_built_from():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    data = project["tool"]["setuptools"]["data-files"].values()
    needed = {"pyproject.toml", "setup.py", "README.md", *project["project"]["license-files"]}
    needed = needed.union(*data)
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    copied = {
        name for line in re.findall(r"^COPY (.*) \./$", dockerfile, re.M) for name in line.split()
    }
    assert needed <= copied


def test_every_role_is_a_service():
    commands = sorted(" ".join(service["command"][2:]) for service in OURS.values())
    workers = [f"worker --queue {queue}" for queue in sorted(QUEUES)]
    assert commands == ["bot", "live", "sender", "tick", *workers]


def test_health_check_of_a_worker_names_its_own_queue():
    for name, service in OURS.items():
        if name.startswith("worker-"):
            queue = name.removeprefix("worker-")
            assert service["command"][-2:] == ["--queue", queue]
            assert service["healthcheck"]["test"][-1] == f"worker:{queue}"


def test_each_service_gets_only_the_secrets_that_it_uses():
    variables = {**dict.fromkeys(SECRETS.values(), "x"), "SLACK_CLIENT_ID": ""}
    for service in OURS.values():
        role = ":".join(service["command"][2:5:2])
        needed = NEEDS.get(role, NEEDS[role.partition(":")[0]]) | {"database_url"}
        given = environment(service, **variables)
        assert {field for field, name in SECRETS.items() if given.get(name)} == needed
    by_oauth = environment(SERVICES["sender"], SLACK_CLIENT_ID="1.2")
    assert by_oauth["RETENTION_SECRET_KEY"] == GIVEN["RETENTION_SECRET_KEY"]


def test_only_services_that_read_the_lake_get_the_credentials_of_its_store():
    for service in OURS.values():
        role = ":".join(service["command"][2:5:2])
        of_store = {name for name in service["environment"] if name.startswith(STORE)}
        assert bool(of_store) == (role not in WITHOUT_LAKE)


def test_every_plain_setting_and_the_ways_to_send_reach_every_service():
    plain = {variable(field) for field in Settings.model_fields if field not in SECRETS}
    plain -= {variable(field) for field in NOT_PASSED}
    for service in OURS.values():
        assert plain <= service["environment"].keys()
        given = environment(service, RETENTION_SMTP_URL="x", RETENTION_WEBHOOK_KEY="x")
        elsewhere = given["RETENTION_SECRETS_ELSEWHERE"].split()
        assert elsewhere == ["RETENTION_SMTP_URL", "RETENTION_WEBHOOK_KEY"]


def test_database_and_broker_are_unreachable_from_outside():
    assert COMPOSE["networks"]["data"]["internal"]
    for name in ("postgres", "valkey"):
        assert SERVICES[name]["networks"] == ["data"]
        assert "ports" not in SERVICES[name]
    assert SERVICES["proxy"]["networks"] == ["edge"]
    assert SERVICES["bot"]["ports"] == ["${LISTEN_ADDRESS:-127.0.0.1}:8000:8000"]
    assert [name for name, service in SERVICES.items() if "edge" in service["networks"]] == [
        "bot",
        "proxy",
    ]


def test_no_command_of_a_service_holds_a_secret():
    for service in SERVICES.values():
        texts = [*service.get("command", []), *service["healthcheck"]["test"]]
        assert not any("$" in text for text in texts)
