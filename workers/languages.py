"""Store the language of a person, a channel or the workspace."""

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from retention.db.insert import upsert
from retention.db.tables import Job, Language, Outbox
from retention.settings import Settings

WORKSPACE = "*"


def of(session: Session, settings: Settings, *scopes: str) -> str | None:
    """Return the language of the first scope that has one, else the workspace's.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    *scopes : str
        Ids of persons or channels, the most specific first.

    Returns
    -------
    str or None
        None if nobody has chosen one: the installation's language.
    """
    chosen = all_languages(session, settings)
    return next((chosen[scope] for scope in (*scopes, WORKSPACE) if scope in chosen), None)


def of_job(session: Session, settings: Settings, job: Job) -> str | None:
    """Return the language of the place where a job posts its result.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    job : Job
        As stored.

    Returns
    -------
    str or None
        The channel's, else the requester's, else the workspace's.
    """
    return of(session, settings, job.channel or "", job.requested_by)


def of_message(
    session: Session, settings: Settings, channel: str, job_id: str | None, *keys: str | None
) -> str | None:
    """Return the language of a message.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    channel : str
        Its destination.
    job_id : str or None
        The job that posts it.
    *keys : str or None
        Outbox keys of its earlier revision and its thread, which a job may have posted.

    Returns
    -------
    str or None
        The channel's, else that of the person whose job posts into this channel, else the
        workspace's.
    """
    chosen = all_languages(session, settings)
    if chosen and channel not in chosen:
        earlier = select(Outbox.job_id).where(Outbox.key.in_([key for key in keys if key]))
        person = (
            select(Job.requested_by)
            .where(Job.channel == channel, or_(Job.id == job_id, Job.id.in_(earlier)))
            .order_by((Job.id == job_id).desc(), Job.created_at.desc())
        )
        channel = session.scalar(person.limit(1)) or channel
    return chosen.get(channel, chosen.get(WORKSPACE))


def all_languages(session: Session, settings: Settings) -> dict[str, str]:
    """Return every chosen language by scope."""
    rows = session.execute(
        select(Language.scope, Language.language).where(Language.team_id == settings.team_id)
    )
    return dict(rows.tuples().all())


def choose(session: Session, settings: Settings, scope: str, language: str) -> None:
    """Store the language of a scope."""
    upsert(session, Language, {"team_id": settings.team_id, "scope": scope}, language=language)
