"""The lake's housekeeping: what no published run and no open job needs is dropped, and what stopped campaigns have not sent."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from retention.db import Database
from retention.db.tables import Job, Run
from workers.jobs import OPEN
from workers.requests import Tidy
from workers.tasks.contract import Context, Outcome


def run(request: Tidy, context: Context) -> Outcome:
    """Collect the garbage of the lake; who was erased and is here again goes once more."""
    from retention import erasure
    from retention.campaigns import sending
    from retention.lake import Lake
    from retention.privacy import erased

    settings, database = context.settings, context.database

    context.progress(0, 1, "tidying the lake")
    lake, known = Lake.open(settings), erased.known(database, settings)
    with database.reading() as session:
        unreceived = sending.unreceived_treatments(lake, session, settings)
        again = erasure.returned(lake, session, known)
    lake.remove("treatments", unreceived)
    if again:
        erasure.from_lake(lake, again)

    def apply(session: Session) -> None:
        if again:
            erasure.from_sql(session, settings, again)
            erasure.from_directory(session, again)

    dropped = lake.collect_garbage(lambda runs: unwanted(database, runs))
    return Outcome({"dropped": dropped, "erased_again": len(again)}, apply=apply)


def unwanted(database: Database, runs: set[str]) -> set[str]:
    """Of these runs, those that are neither published nor an open job's."""
    with database.reading() as session:
        published = set(session.scalars(select(Run.run_id)))
        working = set(session.scalars(select(Job.id).where(Job.state.in_(OPEN))))
    return {run for run in runs - published if run.rpartition("-")[0] not in working}
