"""A copy of the frozen home for each test, brought to today's schema, at its business time."""

import json
import shutil
import sqlite3
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.frozen_home import adapter

HERE = Path(__file__).parent


def golden(name: str) -> Any:
    """Read a golden file."""
    return json.loads((HERE / "golden" / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def about() -> dict[str, Any]:
    """What is in the home: ids of jobs and campaigns, the secret key, the business time."""
    return golden("home")


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory, about) -> Path:
    """The archive with today's schema. Read only: tests get copies."""
    folder = tmp_path_factory.mktemp("frozen")
    with tarfile.open(HERE / "home.tar.xz") as file:
        file.extractall(folder, filter="data")
    adapter.migrate(folder / "home", about["secret_key"])
    return folder


@pytest.fixture
def path(unpacked, about, tmp_path, monkeypatch) -> Path:
    """This test's own copy of the home; the environment names it."""
    copy = tmp_path / "home"
    shutil.copytree(unpacked / "home", copy)
    for name, value in {
        "RETENTION_HOME": str(copy),
        "RETENTION_SECRET_KEY": about["secret_key"],
        "RETENTION_NOW": about["now"],
        "RETENTION_ADMINS": about["admins"],
        "RETENTION_POLICY": str(copy / "policy.toml"),
        "RETENTION_PUBLIC_URL": "https://crm.shop.example",
        "RETENTION_SHOP": "The Frozen Shop",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)  # away from a developer's .env
    return copy


@pytest.fixture
def home(path) -> adapter.Home:
    """The home, opened."""
    with adapter.open_home() as opened:
        yield opened


@pytest.fixture
def sql(path) -> Callable[..., list[tuple]]:
    """Query the database by its stored names, without the code's own tables."""

    def query(statement: str, *values: Any) -> list[tuple]:
        connection = sqlite3.connect(path / "state.db", timeout=10)
        try:
            return connection.execute(statement, values).fetchall()
        finally:
            connection.close()

    return query
