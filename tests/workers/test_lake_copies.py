"""Test what a host with an object store keeps to itself."""

from datetime import timedelta

import pytest

from retention import clock
from retention.settings import LAKE_CACHE, Settings
from workers.data.lake_copies import UNUSED, delete_unused
from workers.queue.child_environments import ChildEnvironments
from workers.queue.store_follower import StoreFollower

STORE = "duckdb+s3://desk/lake"
POSTGRES = "postgresql://me@127.0.0.1:9/desk"
COPIES = (
    f"{LAKE_CACHE}/0a/events/part.parquet",
    "quarantine/events.parquet",
    "uploads/F1/orders.csv",
    "sources/shop/downloads/page.json",
)
KEPT = ("maps/a.toml", "sources/shop/map.toml")


@pytest.fixture
def home(tmp_path):
    for name in (*COPIES, *KEPT):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def _left(home, later, monkeypatch):
    now = clock.wall()
    monkeypatch.setattr(clock, "wall", lambda: now + later)
    delete_unused(Settings(home=home, lake_url=STORE, _env_file=None))
    files = (path for path in home.rglob("*") if path.is_file())
    return {path.relative_to(home).as_posix() for path in files}


def test_copies_that_no_job_uses_are_deleted_after_a_day(home, monkeypatch):
    assert _left(home, UNUSED - timedelta(hours=1), monkeypatch) == {*COPIES, *KEPT}
    assert _left(home, UNUSED, monkeypatch) == {*KEPT}


def test_only_the_worker_of_a_store_follows_it_and_one_at_a_time(tmp_path, monkeypatch):
    follower = StoreFollower()
    follower.start(Settings(home=tmp_path, _env_file=None))
    assert follower.process is None
    for name, value in (("LAKE_URL", STORE), ("DATABASE_URL", POSTGRES), ("HOME", str(tmp_path))):
        monkeypatch.setenv(f"RETENTION_{name}", value)
    settings = Settings(_env_file=None)
    follower.start(settings)
    first = follower.process
    follower.start(settings)
    assert follower.process is first
    assert first.wait() == 0  # there are no copies, so it asks no store
    follower.start(settings)
    assert follower.process is not first
    follower.process.kill()
    follower.process.wait()


@pytest.mark.parametrize(
    ("role", "lake_url", "has_credentials"),
    [
        ("worker:batch", STORE, True),
        ("live", STORE, True),
        ("bot", STORE, False),
        ("tick", STORE, False),
        ("sender", STORE, False),
        ("sender", "", True),
    ],
)
def test_only_roles_that_read_the_lake_get_its_credentials(
    tmp_path, monkeypatch, role, lake_url, has_credentials
):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    settings = Settings(home=tmp_path, lake_url=lake_url, _env_file=None)
    environment = ChildEnvironments(settings).of(role)
    assert ("AWS_SECRET_ACCESS_KEY" in environment) == has_credentials
