"""A job on a damaged lake or a full disk ends with a sentence that names it, in a worker and in the terminal."""

import os
import shutil

import pytest

from retention.db import Database
from retention.settings import Settings
from tests.workers.harness import ADMIN, ask, job
from workers.requests import Sweep
from workers.tasks import runner


def test_job_names_the_damaged_file(shop, tmp_path):
    home = tmp_path / "home"
    shutil.copytree(shop.settings.home, home)
    settings = Settings(home=home, admins=ADMIN, _env_file=None)
    file = sorted((home / "lake" / "events").rglob("*.parquet"))[0]
    os.truncate(file, 100)
    database = Database.of(settings)
    waiting = ask(database, settings, Sweep(), "damaged")
    assert runner.run_job(settings, database, waiting.id, "task") == "failed"
    ended = job(database, waiting.id)
    assert str(file) in ended.error
    assert "retention restore FILE" in ended.error
    assert ended.reference
    with pytest.raises(Exception, match="parquet"):
        runner.run_inline(settings, database, Sweep(), user=ADMIN)
    database.dispose()
