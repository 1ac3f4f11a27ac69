"""The database of an old version's home is the same after a way through PostgreSQL."""

import pytest

from retention.db import Database
from retention.db.copying import copy_database
from retention.settings import Settings
from tests.postgres import postgres
from tests.retention.db.filled import stored


@pytest.mark.nightly
def test_frozen_database_goes_to_postgresql_and_back_byte_by_byte(path, about, tmp_path):
    key = {"secret_key": about["secret_key"], "_env_file": None}
    old, back = Settings(home=path, **key), Settings(home=tmp_path / "back", **key)
    with postgres() as url:
        new = Settings(home=tmp_path / "new", database_url=url, **key)
        for source, target in ((old, new), (new, back)):
            database = Database(source.database_url.get_secret_value(), source)
            copy_database(database, target)
            database.engine.dispose()
    before, after = stored(path / "state.db"), stored(back.home / "state.db")
    assert sum(map(len, before.values())) > 100
    assert after == before
