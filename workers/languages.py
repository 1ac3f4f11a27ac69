"""Store the language of a person, a channel or the workspace."""

from datetime import datetime

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from retention.db.insert import upsert
from retention.db.tables import Job, Language, Outbox
from retention.settings import Settings

WORKSPACE = "*"
THREAD = "ts:"  # how the key of a thread begins


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
        The thread's, else the channel's, the requester's or the workspace's.
    """
    asked = of_thread(session, settings, job.thread_key)
    return asked or of(session, settings, job.channel or "", job.requested_by)


def of_thread(session: Session, settings: Settings, *keys: str | None) -> str | None:
    """Return the language in which somebody asked in a thread, if it is not the usual one.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    *keys : str or None
        Thread keys; those of other messages are ignored.
    """
    threads = {key for key in keys if key and key.startswith(THREAD)}
    if not threads:
        return None
    own = Language.team_id == settings.team_id, Language.scope.in_(threads)
    return session.scalar(select(Language.language).where(*own).limit(1))


def choose_for_thread(session: Session, settings: Settings, key: str, language: str | None) -> None:
    """Store the language of a thread; None is that of its person and place."""
    if language:
        choose(session, settings, key, language)
    else:
        own = Language.team_id == settings.team_id, Language.scope == key
        session.execute(delete(Language).where(*own))


def forget_threads(session: Session, before: datetime) -> None:
    """Forget the languages of threads that began before a moment.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    before : datetime
        Real time.
    """
    scopes = session.scalars(select(Language.scope).where(Language.scope.startswith(THREAD))).all()
    old = [scope for scope in scopes if float(scope.rpartition(":")[2]) < before.timestamp()]
    session.execute(delete(Language).where(Language.scope.in_(old)))


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
        The thread's, else the channel's, else that of the person whose job posts into this
        channel, else the workspace's.
    """
    asking = session.scalar(select(Job.thread_key).where(Job.id == job_id)) if job_id else None
    if asked := of_thread(session, settings, asking, *keys):
        return asked
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
    """Return every chosen language of a person, a channel or the workspace, by scope."""
    own = Language.team_id == settings.team_id, Language.scope.not_like(f"{THREAD}%")
    rows = session.execute(select(Language.scope, Language.language).where(*own))
    return dict(rows.tuples().all())


def choose(session: Session, settings: Settings, scope: str, language: str) -> None:
    """Store the language of a scope."""
    upsert(session, Language, {"team_id": settings.team_id, "scope": scope}, language=language)
