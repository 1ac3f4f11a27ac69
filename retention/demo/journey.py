"""Import the demo's history, then week by week."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq

from retention import clock
from retention.campaigns.measurement.redemption_and_bounce_files import LISTENER
from retention.db import Database
from retention.db.tables import BusinessClock
from retention.demo import EFFECT, START, Effect, extracts
from retention.demo.response import mark_redeemed, open_emails, respond
from retention.errors import BadInput
from retention.lake import Lake
from retention.lake.importing.import_files import import_files
from retention.paths import create_private_folder
from retention.progress import Progress, silent
from retention.settings import Settings
from retention.text import gettext

END = datetime(2018, 1, 2, tzinfo=UTC)  # after the last purchase


def prepare(database: Database, progress: Progress = silent) -> dict[str, Any]:
    """Import everything before `START` and set the clock.

    Business time begins at `START`. A second call does nothing.

    Raises `BadInput`: if the home holds events after the demo's present (from `import_whole_year`).
    """
    settings = database.settings
    lake = Lake.open(settings)
    with clock.frozen(START):  # the import log shows business time
        added = _open_shop(database, lake, START, progress)
    with database.reading() as session:
        present = clock.now() if session.get(BusinessClock, settings.team_id) else START
    if (newest := _newest(lake)) is not None and newest >= present:
        text = gettext(
            "The home {home} holds the shop's events up to {newest:%Y-%m-%d}, after the "
            "demo's present ({present:%Y-%m-%d}); give the demo a home of its own: "
            "RETENTION_HOME=.retention-demo retention demo."
        )
        raise BadInput(text.format(home=settings.home, newest=newest, present=present))
    _set_clock(database)
    progress(5, 5, gettext("the demo's shop is open"))
    return added


def import_whole_year(database: Database, progress: Progress = silent) -> dict[str, Any]:
    """Import all of the Complete Journey.

    For a data scientist. Business time stays. A second call changes nothing.
    """
    return _open_shop(database, Lake.open(database.settings), END, progress)


def _open_shop(
    database: Database, lake: Lake, until: datetime, progress: Progress
) -> dict[str, Any]:
    """Import missing catalogue and history before ``until``."""
    newest = _newest(lake)
    if newest is not None and newest >= until - timedelta(days=1):
        return {}
    added: dict[str, Any] = {}
    with _folder(database.settings) as folder:
        progress(0, 5, gettext("pricing the catalogue"))
        catalogue = extracts.products(lake.duckdb, folder / "products.parquet", START)
        added["items"] = _import(lake, database, "items", [catalogue])
        progress(1, 5, gettext("bringing in households"))
        added["customers"] = _import_households(lake, database, folder, newest, until)
        progress(3, 5, gettext("bringing in purchases"))
        history = extracts.events(lake.duckdb, folder / "purchases.parquet", newest, until)
        added["events"] = _import(lake, database, "events", [history])
    return added


def feed(
    database: Database,
    lake: Lake,
    until: datetime,
    progress: Progress = silent,
    effect: Effect = EFFECT,
) -> dict[str, Any]:
    """Import real events and simulated responses before ``until``.

    The responses are those to live campaigns. All events are one import: each import reads the
    customers and looks for late orders, which takes longer than a week's rows.

    A second call changes nothing; missed weeks are added.

    Returns: ``until``, the rows added to each table, and ``simulated``: purchases, redemptions,
    effect.
    """
    with _folder(database.settings) as folder:
        newest = _newest(lake)
        progress(1, 5, gettext("bringing in households"))
        customers = _import_households(lake, database, folder, newest, until)
        progress(2, 5, gettext("customers answer to campaigns (simulated)"))
        week = extracts.events(lake.duckdb, folder / "purchases.parquet", newest, until)
        answers = respond(database, lake, week, until, folder, effect)
        progress(3, 5, gettext("bringing in purchases"))
        events = _import(lake, database, "events", [week, *answers.files])
        mark_redeemed(database, answers)
        open_emails(database, until, effect)
    progress(5, 5, gettext("done"))
    added = {"customers": customers, "events": events}
    return {"until": until.isoformat(), **added, "simulated": answers.as_dict()}


def _import_households(
    lake: Lake, database: Database, folder: Path, since: datetime | None, until: datetime
) -> int:
    """Import the households that are new in ``(since, until)``."""
    fresh = extracts.households(lake.duckdb, folder / "households.parquet", since, until)
    return _import(lake, database, "customers", [fresh])


def _import(lake: Lake, database: Database, table: str, paths: list[Path]) -> int:
    """Import the files that have rows, and return the number of rows."""
    # Most weeks bring no new household, and an import checks all customers.
    files = [str(path) for path in paths if pq.read_metadata(path).num_rows]
    if not files:
        return 0
    # The data is in dollars, even if the shop has another currency.
    own = database.settings.model_copy(update={"currency": ""})
    # ``only``: with a condition, a file whose rows are all quarantined is not refused.
    map_path = None if table == "events" else extracts.MAPS / f"{table}.toml"
    return import_files(
        lake, database, own, table, files, map_path, only="true", listener=LISTENER
    ).rows_accepted


def _newest(lake: Lake) -> datetime | None:
    """Return the time of the newest real purchase.

    Imports are in order, so all earlier purchases are there.
    """
    events = lake.table("events")
    newest = events.filter(events.source == extracts.REAL).occurred_at.max().execute()
    return (
        None if newest is None or newest != newest else newest.to_pydatetime().replace(tzinfo=UTC)
    )


@contextmanager
def _folder(settings: Settings) -> Iterator[Path]:
    create_private_folder(settings.home)
    with TemporaryDirectory(dir=settings.home, prefix="demo-") as folder:
        yield Path(folder)


def _set_clock(database: Database) -> None:
    with database.transaction() as session:
        if session.get(BusinessClock, database.settings.team_id) is None:
            offset = (START - clock.wall()).total_seconds()
            session.add(BusinessClock(team_id=database.settings.team_id, offset_seconds=offset))
