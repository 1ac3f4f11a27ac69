"""Measure how long a move to PostgreSQL takes: ``python -m tests.benchmarks.move [ROWS]``.

Half of the rows are members of a list, half are entries of the audit log with JSON.
"""

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import insert

from retention import clock
from retention.db import Database
from retention.db.migrate import upgrade
from retention.db.tables import Audit, ListMember
from retention.installation.move import move
from retention.settings import Settings
from tests.postgres import postgres


def main(rows: int) -> None:
    with TemporaryDirectory() as folder, postgres() as url:
        settings = Settings(home=Path(folder) / "home", _env_file=None)
        upgrade(settings)
        assert settings.key
        database = Database(settings.database_url.get_secret_value(), settings)
        at, numbers = clock.wall(), range(rows // 2)
        members = [{"name": "a", "customer_id": f"c{n}", "added_at": at} for n in numbers]
        entry = {"actor": "U1", "action": "role.grant", "details": {"role": "viewer"}}
        entries = [{**entry, "subject": f"U{n}"} for n in numbers]
        with database.engine.begin() as connection:
            connection.execute(insert(ListMember), members)
            connection.execute(insert(Audit), entries)
        start = time.perf_counter()
        moved = move(database, url)
        seconds = time.perf_counter() - start
        database.engine.dispose()
        print(f"{moved.rows} rows in {seconds:.1f} s, {moved.rows / seconds:,.0f} per second")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000)
