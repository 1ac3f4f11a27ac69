"""Remember who joined an open job, and keep it for them.

A person who asks for what is under way already gets no job of their own (`workers.quotas`).
"""

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from retention.db.engine import advisory_lock
from retention.db.insert import insert_once
from retention.db.tables import Job, JobJoin
from retention.settings import Settings
from workers.delivery import outbox
from workers.job_messages import show_progress
from workers.quotas import OPEN

# A running attempt of these keeps its person: the author of a draft, the reader of a preview.
_OWN = ("campaign_draft", "campaign_preview")


def remember(session: Session, settings: Settings, job_id: str, user: str, idem_key: str) -> None:
    """Store that a person's request joined a job.

    The same delivery then finds this job again, even after its end.

    Parameters
    ----------
    session : Session
        The caller's transaction, in which `workers.quotas.admit` found the job.
    settings : Settings
        Of the installation.
    job_id : str
        The open job.
    user : str
        Who joins.
    idem_key : str
        Their delivery.
    """
    insert_once(
        session,
        JobJoin,
        idem_key=idem_key,
        team_id=settings.team_id,
        job_id=job_id,
        user_id=user,
    )


def hand_over(session: Session, settings: Settings, job: Job, owner: str) -> bool:
    """Give an open job to the first person who joined it, because its owner withdraws.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    job : Job
        As stored. It is refreshed.
    owner : str
        Who cancels the job. Another person than its owner takes it from nobody.

    Returns
    -------
    bool
        False if the job is not this person's or not open, or nobody else joined it, or if it is
        running and its result belongs to this person.
    """
    if job.requested_by != owner or (job.state == "running" and job.kind in _OWN):
        return False
    advisory_lock(session, f"requests:{settings.team_id}")  # nobody joins meanwhile
    session.execute(delete(JobJoin).where(JobJoin.job_id == job.id, JobJoin.user_id == owner))
    heir = session.scalar(
        select(JobJoin.user_id).where(JobJoin.job_id == job.id).order_by(JobJoin.at).limit(1)
    )
    if heir is None:
        return False
    is_owners = Job.id == job.id, Job.requested_by == owner
    is_open = Job.state.in_(OPEN), Job.cancel_at.is_(None)
    handed = session.execute(update(Job).where(*is_owners, *is_open).values(requested_by=heir))
    session.refresh(job)
    if not handed.rowcount:  # type: ignore[attr-defined]
        return False
    if outbox.channel_of(session, f"job:{job.id}") is not None:
        show_progress(session, settings, job)
    return True
