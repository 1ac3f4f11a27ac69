"""Fixtures: Slack's API, people with roles and a task in this process."""

import subprocess
import sys
import types
from importlib.machinery import ModuleSpec

import pytest

from retention.settings import Settings
from tests.standins.slack import StandIn
from tests.workers.harness import ADMIN, ANALYST, OTHER, ask, grant, wait
from tests.world import add
from workers.job_requests import Sweep
from workers.queue import broker
from workers.tasks import runner


@pytest.fixture(autouse=True)
def _short_transactions(short_transactions) -> None:
    """No test's transaction keeps the other writers waiting."""


@pytest.fixture
def slack(monkeypatch):
    """The stand-in without rate limits; the settings made after it point there."""
    with StandIn.start(strict=False) as stand_in:
        stand_in.slack.web_api.hang_seconds = 1.0
        for name, value in stand_in.environment.items():
            monkeypatch.setenv(name, value)
        yield stand_in


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(home=tmp_path / "home", admins=ADMIN, _env_file=None)


@pytest.fixture
def valkey(settings):
    """The broker's process, once it answers."""
    process = subprocess.Popen(broker.command(settings), stdout=subprocess.DEVNULL)
    wait(lambda: broker.is_reachable(settings))
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def people(database, settings) -> None:
    """One analyst and one approver; everybody else is a viewer."""
    add(database, grant(settings, ANALYST, "analyst"), grant(settings, OTHER, "approver"))


@pytest.fixture
def task(monkeypatch):
    """``task(kind, run)``: this function is the task of this kind, in this process."""

    def put(kind: str, run) -> None:
        name = runner.module_name(kind)
        module = types.ModuleType(name)
        module.__spec__ = ModuleSpec(name, loader=None)  # as `find_spec` asks for it
        module.run = run
        monkeypatch.setitem(sys.modules, name, module)

    return put


@pytest.fixture
def work(database, task):
    """``work(run, request)``: the job after this function as its task, and how it ended."""

    def done(run, request=None, **options):
        request = request or Sweep()
        task(request.kind, run)
        job = ask(database, request, "k", **options)
        return job, runner.run_job(database, job.id, "t")

    return done
