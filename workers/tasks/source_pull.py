"""Pull what is new from a source."""

import logging
import time
from contextlib import closing
from copy import deepcopy
from pathlib import Path

from sqlalchemy.orm import Session

from retention.db.tables import Connection, Source
from workers import completion, sources
from workers.imports import import_table, store_definition
from workers.requests import SourcePull
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

    Parameters
    ----------
    request : SourcePull
        The validated request.
    context : Context
        The running attempt.

    Returns
    -------
    Outcome
        Counts of rows, or the problem. A problem is posted once, in the source's channel.
    """
    from retention.campaigns.file_imports import LISTENER
    from retention.connect import sources as store
    from retention.connect.cancellations import first_cancelled
    from retention.connect.contract import Page
    from retention.connect.loading import import_page
    from retention.connect.problems import SourceProblem
    from retention.connect.pulling import Batch, Pull
    from retention.lake import Lake
    from retention.lake.import_log import ImportReport
    from retention.lake.reading.sources import SourceCheck

    settings, database, now = context.settings, context.database, context.business_at
    lake = Lake.open(settings)
    with database.reading() as session:
        source = store.find(session, settings, request.name)
        connection = session.get(Connection, source.connection_id or 0)
        parts = completion.published_parts(session, context.job_id)
    total = Batch({}, {}, **parts["counts"]) if parts else None

    def importer(
        table: str,
        files: list[str],
        map_path: Path | None,
        *,
        query: str | None,
        format_name: str | None,
        check: SourceCheck,
    ) -> ImportReport:
        return import_table(
            lake,
            database,
            settings,
            table,
            files,
            map_path,
            query=query,
            format_name=format_name,
            progress=context.progress,
            check=check,
        )

    problem: SourceProblem | None = None
    is_unfinished = False
    started, first_watermark = time.monotonic(), deepcopy(source.watermark)
    asked = not request.scheduled

    def import_shop_page(page: Page) -> ImportReport | None:
        return import_page(lake, database, settings, page, name=source.name, listener=LISTENER)

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
        store_definition(lake, database, settings)
    data = {
        "name": source.name,
        "table": source.table_name,
        "problem": problem.code if problem else None,
        "facts": problem.facts if problem else {},
        "is_unfinished": is_unfinished and source.state == "active",
        **{name: getattr(total, name) if total else 0 for name in _COUNTS},
    }

    def publish(session: Session) -> tuple[Post, ...]:
        news = store.store_run(
            session,
            source.id,
            context.job_id,
            total,
            problem,
            now,
            sources.period(source.every),
            is_unfinished=is_unfinished,
        )
        current = session.get(Source, source.id)
        if current is None or (asked and context.channel == current.channel and news.problem):
            return ()  # the answer to the person says it
        return sources.posts(current, news, context.job_id)

    return Outcome(data, (Post("source/pulled", data),) if asked else (), apply=publish)


_COUNTS = ("read", "accepted", "duplicate", "quarantined", "late")


def _store(context: Context, source_id: int, batch, total) -> None:
    """Store the watermark after an import, with the counts until now."""
    from retention.connect import sources as store

    def apply(session: Session) -> None:
        store.store_batch(session, source_id, batch, context.business_at)

    counts = {name: getattr(total, name) for name in _COUNTS}
    completion.publish_part(context, {"counts": counts}, apply)
