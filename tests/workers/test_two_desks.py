"""Test the whole desk on two hosts that share PostgreSQL, Valkey, an S3 server and Slack only.

Each host has a bot, workers, a tick and a sender, with a home, a temporary folder and, where the
system allows it, process ids of its own.
"""

import subprocess
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import select

pytest.importorskip("moto", reason="make test-s3")

from bot.playground.server import free_port
from retention.db import Database
from retention.db.migrate import upgrade
from retention.db.tables import Job
from retention.lake import Lake
from retention.settings import Settings
from tests import hosts, s3
from tests.postgres import postgres
from tests.standins.slack import StandIn
from tests.workers.harness import ask, wait
from workers import action_ids
from workers.job_requests import Forget
from workers.queue import broker

pytestmark = [pytest.mark.s3, pytest.mark.timeout(7200)]

PEOPLE = {"first": "admin", "second": "lead"}  # whom each host's bot serves
ROWS = 60  # of a file; half of them are in the other host's file, too
HEADER = "Order ID,Customer ID,Order Date,SKU,Qty,Line Total\n"


def _file(begin: int) -> bytes:
    lines = (
        f"{n},K{n % 23:02},2025-{1 + n % 6:02}-{1 + n % 28:02} 10:00,A{n % 4},1,{5 + n / 100:.2f}\n"
        for n in range(begin, begin + ROWS)
    )
    return (HEADER + "".join(lines)).encode()


class Desks:
    """Two running desks, and a third home to look."""

    def __init__(self, slack: StandIn, settings: Settings, ports: dict[str, str]) -> None:
        self.slack, self.settings, self.ports = slack, settings, ports
        self.database = Database.of(settings)
        self._pressed: set[str] = set()

    def at(self, name: str) -> str:
        """Let Slack send what follows to this host's bot; return its person."""
        self.slack.connect(f"http://127.0.0.1:{self.ports[name]}/slack/events")
        return PEOPLE[name]

    @property
    def homes(self) -> list[Path]:
        return [self.settings.home.with_name(name) for name in PEOPLE] + [self.settings.home]

    def customers_in_files(self) -> set[str]:
        """Who is in any file of a host or object of the store, of whatever version."""
        lake = Lake.open(self.settings)
        for table in ("events", "scores"):
            lake.root._transfer(lake.root._download, lake.root._list(table))
        files = [path for home in self.homes for path in home.rglob("*")]
        tables = [str(path) for path in files if path.suffix == ".parquet"]
        read = f"read_parquet({tables!r}, union_by_name = true)"
        found = lake.duckdb.execute(f"SELECT DISTINCT customer_id FROM {read}").fetchall()
        others = (path.read_bytes() for path in files if path.is_file())
        return {customer for (customer,) in found if customer} | {
            "K07" for content in others if b"K07" in content
        }

    def is_up(self, name: str) -> bool:
        try:
            return httpx2.get(f"http://127.0.0.1:{self.ports[name]}/health/live").is_success
        except httpx2.HTTPError:
            return False

    def jobs(self, kind: str, *wanted: object) -> list[Job]:
        with self.database.reading() as session:
            return list(session.scalars(select(Job).where(Job.kind == kind, *wanted)))

    def ended(self, kind: str, number: int) -> list[Job]:
        """The jobs of a kind, once so many have ended."""

        def all_ended():
            found = self.jobs(kind, Job.state.in_(("done", "failed")))
            return len(found) == number and found

        return wait(all_ended, 300)

    def import_at(self, name: str) -> bool:
        """Press the button of the newest file, once it is there."""
        user = self.at(name)
        for message in reversed(self.slack.messages(f"@{user}", user=user)):
            for block in message.get("blocks", []):
                for element in block.get("elements", []):
                    action, value = element.get("action_id"), element.get("value")
                    if action == action_ids.FILE_IMPORT and value not in self._pressed:
                        self._pressed.add(value)
                        self.slack.press(user, f"@{user}", message["ts"], action, value)
                        return True
        return False


@pytest.fixture
def desks(tmp_path, monkeypatch):
    with ExitStack() as stack:
        address, url = stack.enter_context(s3.server()), stack.enter_context(postgres())
        slack = stack.enter_context(StandIn.start(strict=False))
        s3.make_bucket(address, "desk")
        port = str(free_port())
        command = [str(broker.binary()), "--port", port, "--save", ""]
        valkey = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
        stack.callback(lambda: (valkey.kill(), valkey.wait()))
        shared = {
            **s3.environment(address),
            **slack.environment,
            "RETENTION_LAKE_URL": "duckdb+s3://desk/shop",
            "RETENTION_DATABASE_URL": url,
            "RETENTION_BROKER_URL": f"redis://127.0.0.1:{port}/0",
            "RETENTION_SECRET_KEY": "k" * 64,
            "RETENTION_ADMINS": "U0ADMIN,U0LEAD",
        }
        for name, value in shared.items():
            monkeypatch.setenv(name, value)
        settings = Settings(home=tmp_path / "look", _env_file=None)
        upgrade(settings)
        wait(lambda: broker.is_reachable(settings))
        ports = {name: str(free_port()) for name in PEOPLE}
        for name in PEOPLE:
            own = {"RETENTION_PORT": ports[name], "RETENTION_HEALTH_PORT": str(free_port())}
            words = "-m", "bot.terminal", "run"
            log = stack.enter_context((tmp_path / f"{name}.log").open("wb"))
            host = hosts.start(tmp_path / name, own, *words, stdout=log, stderr=log)
            stack.callback(lambda host=host: (host.kill(), host.wait()))
        both = Desks(slack, settings, ports)
        stack.callback(both.database.dispose)
        wait(lambda: all(map(both.is_up, PEOPLE)))
        yield both


@pytest.mark.parametrize(
    "rounds", [pytest.param(2, id="2"), pytest.param(200, id="200", marks=pytest.mark.slow)]
)
def test_files_dropped_at_both_hosts_are_stored_once_and_swept_at_each(desks, rounds):
    for number in range(rounds):
        for name, begin in (("first", 0), ("second", ROWS // 2)):
            content = _file(2 * ROWS * number + begin)
            desks.slack.drop(desks.at(name), f"orders{number}.csv", content)
        desks.ended("file_propose", 2 * number + 2)
        for name in PEOPLE:
            wait(lambda name=name: desks.import_at(name), 120)
        desks.ended("file_import", 2 * number + 2)
    events = Lake.open(desks.settings).table("events", identity="stored").execute()
    assert len(events) == events.order_id.nunique() == rounds * ROWS * 3 // 2
    for number, name in enumerate(PEOPLE):
        desks.slack.command(desks.at(name), "crm", "sweep --as-of 2025-07-01")
        *_, sweep = desks.ended("sweep", number + 1)
        assert sweep.result["customers"]
    imports = desks.jobs("file_import") + desks.jobs("file_propose")
    assert {job.worker.split("@")[1].split(":")[0] for job in imports} == {*PEOPLE}
    ask(desks.database, Forget(customer_id="K07"), "forget")
    assert [job.state for job in desks.ended("forget", 1)] == ["done"]
    everyone = {f"K{n:02}" for n in range(23)}
    assert desks.customers_in_files() == everyone  # the home that only looks has old copies
    for home in desks.homes:  # as each host's workers do every few minutes
        assert hosts.start(home, {}, "-m", "workers.data.lake_copies").wait() == 0
    assert desks.customers_in_files() == everyone - {"K07"}
