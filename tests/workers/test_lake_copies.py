"""Test what a host with an object store keeps to itself."""

from datetime import timedelta

import pytest

from retention import clock
from retention.settings import LAKE_CACHE, Settings
from workers.data.lake_copies import UNUSED, delete_unused
from workers.queue.child_environments import ChildEnvironments

STORE = "duckdb+s3://desk/lake"


@pytest.fixture
def home(tmp_path):
    for name in (
        f"{LAKE_CACHE}/0a/events/part.parquet",
        "quarantine/events.parquet",
        "maps/a.toml",
    ):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    return tmp_path


def _left(home, lake_url, later, monkeypatch):
    now = clock.wall()
    monkeypatch.setattr(clock, "wall", lambda: now + later)
    delete_unused(Settings(home=home, lake_url=lake_url, _env_file=None))
    return sorted(path.name for path in home.rglob("*") if path.is_file())


def test_copies_that_no_job_uses_are_deleted_after_a_day(home, monkeypatch):
    all_files = ["a.toml", "events.parquet", "part.parquet"]
    assert _left(home, STORE, UNUSED - timedelta(hours=1), monkeypatch) == all_files
    assert _left(home, STORE, UNUSED, monkeypatch) == ["a.toml"]


def test_a_local_lake_loses_nothing(home, monkeypatch):
    assert len(_left(home, "", 9 * UNUSED, monkeypatch)) == 3


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
