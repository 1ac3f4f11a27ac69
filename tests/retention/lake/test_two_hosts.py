"""Test two hosts that share PostgreSQL and an S3 server only, and import at once.

Each has processes, a home, a temporary folder and, where the system allows it, process ids of its
own.
"""

import json
import random
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pandas as pd
import pytest

pytest.importorskip("moto", reason="make test-s3")

from retention.db.migrate import upgrade
from retention.lake import Lake
from retention.settings import Settings
from tests import hosts, s3
from tests.postgres import postgres

pytestmark = [pytest.mark.s3, pytest.mark.timeout(3600)]

ROWS = 60  # of a file; half of them are in the other host's file, too


class Host:
    """A process that imports what it is told to."""

    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        self.home, self._environment = home, environment
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        words = "-m", "tests.retention.lake.store_host"
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = hosts.start(self.home, self._environment, *words, **pipes)
        assert self._line() == "ready"

    def begin(self, file: Path) -> None:
        assert self._process
        assert self._process.stdin
        self._process.stdin.write(f"{file}\n")
        self._process.stdin.flush()

    def report(self) -> dict[str, object]:
        return json.loads(self._line())

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.communicate()

    def _line(self) -> str:
        assert self._process
        assert self._process.stdout
        return self._process.stdout.readline().strip()


def _rows(numbers: range) -> pd.DataFrame:
    """Make events whose content follows from their number, and no two are alike."""
    return pd.DataFrame(
        {
            "customer_id": [f"c{number % 17}" for number in numbers],
            "event_type": "purchase",
            "occurred_at": [
                f"2025-{1 + number % 3:02}-{1 + number % 28:02}T{number % 24:02}:00:00"
                for number in numbers
            ],
            "order_id": [f"o{number}" for number in numbers],
            "item_id": "tea",
            "quantity": 1,
            "amount": [5 + number / 100 for number in numbers],
        }
    )


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """Return two hosts and the settings of a third one, to look."""
    with ExitStack() as stack:
        address, database_url = stack.enter_context(s3.server()), stack.enter_context(postgres())
        s3.make_bucket(address, "desk")
        environment = s3.environment(address) | {
            "RETENTION_LAKE_URL": "duckdb+s3://desk/shop",
            "RETENTION_DATABASE_URL": database_url,
            "RETENTION_SECRET_KEY": "k" * 64,
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        settings = Settings(home=tmp_path / "look", _env_file=None)
        upgrade(settings)
        started = [Host(tmp_path / name, environment) for name in ("first", "second")]
        for host in started:
            host.start()
            stack.callback(host.kill)
        yield (*started, settings)


@pytest.mark.parametrize(
    "rounds", [pytest.param(20, id="20"), pytest.param(200, id="200", marks=pytest.mark.slow)]
)
def test_imports_at_once_lose_and_double_nothing(pair, tmp_path, rounds):
    first, second, settings = pair
    draw, accepted = random.Random(7), 0
    for number in range(rounds):
        begin = 2 * ROWS * number
        files = {}
        for host, start in ((first, begin), (second, begin + ROWS // 2)):
            files[host] = tmp_path / f"{host.home.name}.csv"
            _rows(range(start, start + ROWS)).to_csv(files[host], index=False)
            host.begin(files[host])
        is_killed = number % max(4, rounds // 20) == 3
        if is_killed:
            try:
                second._process.wait(draw.uniform(0, 3))
            except subprocess.TimeoutExpired:
                second.kill()
            second.start()
            second.begin(files[second])
        reports = [first.report(), second.report()]
        assert not any("refused" in report for report in reports), reports
        new = sum(int(report["rows_accepted"]) for report in reports)
        # A killed import may have committed.
        assert new == ROWS * 3 // 2 or (is_killed and new >= ROWS // 2)
        accepted += ROWS * 3 // 2
    events = Lake.open(settings).table("events", identity="stored").execute()
    assert len(events) == accepted
    assert events.order_id.nunique() == accepted
