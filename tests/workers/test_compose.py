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
from retention.settings import Settings
from tests.postgres import postgres
from tests.standins.slack import StandIn
from tests.workers.harness import ADMIN, STAND_INS, ask, over, wait
from workers.app import QUEUES
from workers.job_requests import Digest
from workers.queue import broker

pytestmark = pytest.mark.desk

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {
    name: service for name, service in SERVICES.items() if service.get("image") == "retention-desk"
}
BIN = Path(sys.executable).parent


def environment(service: dict[str, Any], **told: str) -> dict[str, str]:
    """A service's environment as Compose would fill it in."""

    def fill(match: re.Match[str]) -> str:
        return told[match[1]]

    values = {
        name: re.sub(r"\$\{(\w+)[^}]*\}", fill, value)
        for name, value in service["environment"].items()
    }
    return {"PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONPATH": str(STAND_INS), **values}


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
        command = [str(broker.binary()), *SERVICES["valkey"]["command"][1:], "--port", str(port)]
        valkey = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
        stack.callback(lambda: (valkey.kill(), valkey.wait()))
        slack = stack.enter_context(StandIn.start(strict=False))
        wait(lambda: _pings(port))
        yield url, f"redis://127.0.0.1:{port}/0", slack


def _pings(port: int) -> bool:
    try:
        return bool(redis.Redis(port=port).ping())
    except redis.RedisError:
        return False


@pytest.mark.nightly
def test_every_service_runs_its_command_and_passes_its_health_check(servers, tmp_path):
    url, broker_url, slack = servers
    port, health_port = str(free_port()), str(free_port())
    shown = {
        name: environment(service, POSTGRES_PASSWORD="p", RETENTION_SECRET_KEY="k" * 64)
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
        shown = environment(service, POSTGRES_PASSWORD="p", RETENTION_SECRET_KEY="k" * 64)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in shown.items():
                if name.startswith("RETENTION_"):
                    patch.setenv(name, value)
            settings = Settings(_env_file=None)
        database_url = "postgresql+psycopg://retention:p@postgres:5432/retention"
        assert settings.database_url.get_secret_value() == database_url
        assert broker.url(settings) == "redis://valkey:6379/0"
    assert {"postgres", "valkey"} <= set(SERVICES)
    assert SERVICES["postgres"]["environment"]["POSTGRES_USER"] == "retention"


def test_services_are_not_root_and_have_health_checks():
    assert all(service["user"] != "0" and "ALL" in service["cap_drop"] for service in OURS.values())
    assert all("healthcheck" in service for service in SERVICES.values())
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
