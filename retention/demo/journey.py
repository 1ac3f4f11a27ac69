"""Import the demo's history, then week by week."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from retention import clock
from retention.campaigns.measurement.redemption_and_bounce_files import LISTENER
from retention.db import Database
from retention.db.tables import BusinessClock
from retention.demo import START, extracts
from retention.demo.response import respond
from retention.errors import BadInput
from retention.lake import Lake
from retention.lake.importing.import_files import import_files
from retention.lake.importing.mapping import literal
from retention.paths import create_private_folder
from retention.progress import Progress, silent
from retention.settings import Settings
from retention.text import gettext

END = datetime(2018, 1, 2, tzinfo=UTC)  # after the last purchase
REAL = "complete_journey"  # the `source` of real purchases


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
        added["items"] = _import(lake, database, "items", catalogue, "items", "true")
        added |= _import_period(lake, database, folder, newest, until, progress)
    return added


def feed(
    database: Database, lake: Lake, until: datetime, progress: Progress = silent
) -> dict[str, Any]:
    """Import real events and simulated responses before ``until``.

    The responses are those to live campaigns.

    A second call changes nothing; missed weeks are added.

    Returns: ``until``, the rows added to each table, and ``simulated``: purchases, redemptions,
    effect.
    """
    with _folder(database.settings) as folder:
        added = _import_period(lake, database, folder, _newest(lake), until, progress)
        progress(4, 5, gettext("customers answer to campaigns (simulated)"))
        simulated = respond(database, lake, until, folder)
    progress(5, 5, gettext("done"))
    return {"until": until.isoformat(), **added, "simulated": simulated}


def _import_period(
    lake: Lake,
    database: Database,
    folder: Path,
    since: datetime | None,
    until: datetime,
    progress: Progress,
) -> dict[str, int]:
    """Import purchases and redemptions of ``[since, until)``.

    Their new households are imported, too.
    """
    progress(1, 5, gettext("bringing in households"))
    fresh = extracts.households(lake.duckdb, folder / "households.parquet", since, until)
    customers = _import(lake, database, "customers", fresh, "customers", "true")
    progress(2, 5, gettext("bringing in redemptions"))
    # 29 hours later the day is over in New York, too. Earlier imports had all before ``since``.
    redeemed_at = "redemption_date + INTERVAL 29 HOUR"
    redemptions = f"{redeemed_at} < {extracts.moment(until)}"
    if since:
        redemptions += f" AND {redeemed_at} >= {extracts.moment(since)}"
    redeemed = _import(
        lake, database, "events", extracts.data("coupon_redemptions"), "redemptions", redemptions
    )
    progress(3, 5, gettext("bringing in purchases"))
    window = f"transaction_timestamp < {extracts.moment(until)}"
    if since:
        window += f" AND transaction_timestamp >= {extracts.moment(since)}"
    purchases = _import(lake, database, "events", extracts.data("transactions"), "events", window)
    return {"customers": customers, "redemptions": redeemed, "events": purchases}


def _import(lake: Lake, database: Database, table: str, path: Path, name: str, only: str) -> int:
    """Import the rows of a file that meet a condition, and return their number."""
    rows = lake.duckdb.execute(
        f"SELECT count(*) FROM read_parquet({literal(path)}) WHERE {only}"  # noqa: S608 - our own
    ).fetchall()
    if not rows[0][0]:  # most weeks bring no new household, and an import checks all customers
        return 0
    # The data is in dollars, even if the shop has another currency.
    own = database.settings.model_copy(update={"currency": ""})
    map_path = extracts.MAPS / f"{name}.toml"
    return import_files(
        lake, database, own, table, [str(path)], map_path, only=only, listener=LISTENER
    ).rows_accepted


def _newest(lake: Lake) -> datetime | None:
    """Return the time of the newest real purchase.

    Imports are in order, so all earlier purchases are there.
    """
    events = lake.table("events")
    newest = events.filter(events.source == REAL).occurred_at.max().execute()
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
