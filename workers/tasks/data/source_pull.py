"""Pull what is new from a source."""

import logging
import time
from contextlib import closing
from copy import deepcopy
from pathlib import Path
from typing import Any

from retention.campaigns.measurement.redemption_and_bounce_files import LISTENER
from retention.connect.connections import first_cancelled
from retention.connect.contract import Page
from retention.connect.shops.loading import import_page
from retention.connect.sources import source_records
from retention.connect.sources.pulling import Batch, Pull
from retention.connect.sources.source_records import COUNTS, SourceProblem
from retention.db import Transaction
from retention.db.tables import Connection, Source, SourceRun
from retention.lake import Lake
from retention.lake.importing.import_log import ImportReport
from retention.lake.reading.sources import SourceCheck
from workers.data import source_pulls
from workers.data.imports import import_table, store_definition
from workers.job_requests import ImportFiles, SourcePull
from workers.queue import completion
from workers.tasks.interface import Context, Outcome, Post

log = logging.getLogger(__name__)

# Of one pull of a shop; the next one continues. A job is killed after 15 minutes, and the page or
# the bulk operation that has begun may take some more.
MAX_SECONDS = 600.0


def run(request: SourcePull, context: Context) -> Outcome:
    """Import what is new since the watermark.

    A large shop is loaded by several pulls: each ends after `MAX_SECONDS` of progress.

    The watermark is stored after each import. After a crash in between, the next attempt imports
    the same rows again, which changes nothing.
    """
    settings, database, now = context.settings, context.database, context.business_at
    lake = Lake.open(settings)
    with database.reading() as session:
        source = source_records.find(session, request.name)
        connection = session.get(Connection, source.connection_id or 0)
        parts = completion.published_parts(session, context.job_id)
    total = Batch({}, {}, **parts["counts"]) if parts else None

    def importer(
        table: str, files: list[str], map_path: Path | None, check: SourceCheck, **reading: Any
    ) -> ImportReport:
        own_map = map_path and str(map_path)
        wanted = ImportFiles(table=table, files=tuple(files), map_path=own_map, **reading)
        by = context.requested_by
        return import_table(lake, database, wanted, by, progress=context.progress, check=check)

    problem: SourceProblem | None = None
    is_unfinished = False
    started, first_watermark = time.monotonic(), deepcopy(source.watermark)
    asked = not request.scheduled

    def import_shop_page(page: Page) -> ImportReport | None:
        return import_page(lake, database, page, name=source.name, listener=LISTENER)

    pull = Pull(
        settings,
        lake,
        source,
        connection,
        importer,
        import_shop_page,
        request.accept_shrunk,
        first_cancelled(database, connection) if connection else None,
    )
    try:
        with closing(pull.batches()) as batches:
            for batch in batches:
                total = total.plus(batch) if total else batch
                _store(context, source.id, batch, total)
                is_late = source.kind == "shop" and time.monotonic() - started >= MAX_SECONDS
                if is_late and batch.watermark != first_watermark:
                    is_unfinished = True
                    break
    except SourceProblem as error:
        log.warning("source %s: %s %s", source.name, error.code, error.facts)
        problem = error
    if total and total.accepted:
        store_definition(lake, database)
    data = {
        "name": source.name,
        "table": source.table_name,
        "problem": problem.code if problem else None,
        "facts": problem.facts if problem else {},
        "is_unfinished": is_unfinished and source.state == "active",
        **{name: getattr(total, name) if total else 0 for name in COUNTS},
    }

    def publish(session: Transaction) -> tuple[Post, ...]:
        counts = total.counts() if total else {}
        run = SourceRun(source_id=source.id, job_id=context.job_id, at=now, **counts)
        period = source_pulls.period(source.every)
        news = source_records.store_run(session, run, problem, period, is_unfinished=is_unfinished)
        current = session.get(Source, source.id)
        if current is None or (asked and context.channel == current.channel and news.problem):
            return ()  # the answer to the person says it
        return source_pulls.posts(current, news, context.job_id)

    return Outcome(data, (Post("source/pulled", data),) if asked else (), apply=publish)


def _store(context: Context, source_id: int, batch, total) -> None:
    """Store the watermark after an import, with the counts until now."""

    def apply(session: Transaction) -> None:
        source_records.store_batch(session, source_id, batch, context.business_at)

    counts = {name: getattr(total, name) for name in COUNTS}
    completion.publish_part(context, {"counts": counts}, apply)
