"""The lake's housekeeping: what no published run and no open job needs is dropped, and what stopped campaigns have not sent."""

from sqlalchemy import select

from retention.db import Database
from retention.db.tables import Job, Run
from workers.jobs import OPEN
from workers.requests import Tidy
from workers.tasks.contract import Context, Outcome


def run(request: Tidy, context: Context) -> Outcome:
    """Collect the garbage of the lake."""
    from retention.campaigns import sending
    from retention.lake import Lake

    context.progress(0, 1, "tidying the lake")
    lake = Lake.open(context.settings)
    with context.database.reading() as session:
        unreceived = sending.unreceived(lake, session, context.settings)
    lake.remove("treatments", unreceived)
    return Outcome({"dropped": lake.collect_garbage(lambda runs: unwanted(context.database, runs))})


def unwanted(database: Database, runs: set[str]) -> set[str]:
    """Of these runs, those that are neither published nor an open job's."""
    with database.reading() as session:
        published = set(session.scalars(select(Run.run_id)))
        working = set(session.scalars(select(Job.id).where(Job.state.in_(OPEN))))
    return {run for run in runs - published if run.rpartition("-")[0] not in working}
