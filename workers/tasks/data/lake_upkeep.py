"""Report the quality of the lake's data, and clean the lake up."""

from datetime import timedelta

from sqlalchemy import select

from retention import clock, erasure, logs
from retention.campaigns.lifecycle import launch
from retention.connect.live import inbox
from retention.connect.platforms import profile_deletion
from retention.db import Database, Transaction
from retention.db.tables import Job, Run
from retention.lake import Lake, customer_directory
from retention.lake.importing import live_import
from retention.outreach import tracking
from retention.privacy import erased
from retention.privacy.periods import keep
from retention.reports import quality
from retention.risk.policy import load_policy
from retention.text import gettext
from retention.texts import signals, upkeep
from workers.job_requests import DataQuality, Tidy
from workers.queue.jobs import OPEN
from workers.tasks.interface import Context, Outcome, Post, page_post

REREAD = timedelta(days=14)  # of opens and clicks; the lake recognises those that it has


def run_tidy(request: Tidy, context: Context) -> Outcome:
    """Collect the lake's garbage, erase returned customers again and list the places anew.

    The lake also gets the opens and clicks of the last days. Customers who withdrew their consent
    are not tracked any more.
    """
    settings, database, now = context.settings, context.database, context.business_at

    context.progress(0, 1, gettext("tidying the lake"))
    lake, erased_ids = Lake.open(settings), erased.load_erased(database, settings)
    with database.reading() as session:
        unreceived = launch.unreceived_treatments(lake, session)
        returned = erasure.reappeared_ids(lake, session, erased_ids)
        tracked = tracking.tracked_customers(session)
        opened = tracking.lake_events(session, now - REREAD, now - tracking.BURST, now)
    lake.remove("treatments", unreceived)
    if opened:
        live_import.append(lake, database, settings, inbox.ndjson(opened), name="tracking")
    if returned:
        erasure.erase_from_lake(lake, returned)
        erasure.erase_from_old_versions(lake, returned, ())
    listed = customer_directory.read_places(lake)
    consented = tracking.consenting(lake, load_policy(settings), tracked)

    def apply(session: Transaction) -> None:
        customer_directory.write_places(session, listed)
        profile_deletion.drop_old(session)
        tracking.end_tracking(session, tracked, consented)
        if returned:
            erasure.erase_from_sql(session, returned)
            erasure.erase_from_directory(session, returned)

    traces_before = clock.wall().date() - keep("logs")
    logs.drop_traces(settings.home / logs.TRACES, traces_before)
    upkeep.drop_old(lake)
    signals.update(lake, context.progress)
    dropped = lake.collect_garbage(lambda runs: unwanted(database, runs))
    data = {"dropped": dropped, "erased_again": len(returned)}
    return Outcome(data, apply=apply, after_commit=database.truncate_log)


def unwanted(database: Database, runs: set[str]) -> set[str]:
    """Return runs without published or open jobs.

    `runs`: run ids (``JOB-ATTEMPT``).
    """
    with database.reading() as session:
        published = set(session.scalars(select(Run.run_id)))
        working = set(session.scalars(select(Job.id).where(Job.state.in_(OPEN))))
    return {run for run in runs - published if run.rpartition("-")[0] not in working}


def run_data_quality(request: DataQuality, context: Context) -> Outcome:
    """Make the quality report."""
    lake = Lake.open(context.settings)
    report = quality.report(lake, context.database, progress=context.progress)
    page = page_post(context, "data/report", report, "data-quality")
    return Outcome(report.data, (Post("data/quality", report.data), page))
