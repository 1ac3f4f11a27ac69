"""Store the language of a person, a channel or the workspace."""

from datetime import datetime

from sqlalchemy import delete, or_, select

from retention.db import Transaction
from retention.db.insert import upsert
from retention.db.tables import Job, Language, Outbox

WORKSPACE = "*"
THREAD = "ts:"  # how the key of a thread begins


def of(session: Transaction, *scopes: str) -> str | None:
    """Return the language of the first scope that has one, else the workspace's.

    `*scopes`: ids of persons or channels, the most specific first.
    """
    chosen = all_languages(session)
    return next((chosen[scope] for scope in (*scopes, WORKSPACE) if scope in chosen), None)


def of_job(session: Transaction, job: Job) -> str | None:
    """Return the language of the place where a job posts its result."""
    asked = of_thread(session, job.thread_key)
    return asked or of(session, job.channel or "", job.requested_by)


def of_thread(session: Transaction, *keys: str | None) -> str | None:
    """Return the language in which somebody asked in a thread, if it is not the usual one."""
    threads = {key for key in keys if key and key.startswith(THREAD)}
    if not threads:
        return None
    own = Language.team_id == session.settings.team_id, Language.scope.in_(threads)
    return session.scalar(select(Language.language).where(*own).limit(1))


def choose_for_thread(session: Transaction, key: str, language: str | None) -> None:
    """Store the language of a thread; None is that of its person and place."""
    if language:
        choose(session, key, language)
    else:
        own = Language.team_id == session.settings.team_id, Language.scope == key
        session.execute(delete(Language).where(*own))


def forget_threads(session: Transaction, before: datetime) -> None:
    """Forget the languages of threads that began before a moment."""
    scopes = session.scalars(select(Language.scope).where(Language.scope.startswith(THREAD))).all()
    old = [scope for scope in scopes if float(scope.rpartition(":")[2]) < before.timestamp()]
    session.execute(delete(Language).where(Language.scope.in_(old)))


def of_message(
    session: Transaction, channel: str, job_id: str | None, *keys: str | None
) -> str | None:
    """Return the language of a message.

    Returns: the thread's, else the channel's, else that of the person whose job posts into this
    channel, else the workspace's.
    """
    asking = session.scalar(select(Job.thread_key).where(Job.id == job_id)) if job_id else None
    if asked := of_thread(session, asking, *keys):
        return asked
    chosen = all_languages(session)
    if chosen and channel not in chosen:
        earlier = select(Outbox.job_id).where(Outbox.key.in_([key for key in keys if key]))
        person = (
            select(Job.requested_by)
            .where(Job.channel == channel, or_(Job.id == job_id, Job.id.in_(earlier)))
            .order_by((Job.id == job_id).desc(), Job.created_at.desc())
        )
        channel = session.scalar(person.limit(1)) or channel
    return chosen.get(channel, chosen.get(WORKSPACE))


def all_languages(session: Transaction) -> dict[str, str]:
    """Return every chosen language of a person, a channel or the workspace, by scope."""
    own = Language.team_id == session.settings.team_id, Language.scope.not_like(f"{THREAD}%")
    rows = session.execute(select(Language.scope, Language.language).where(*own))
    return dict(rows.tuples().all())


def choose(session: Transaction, scope: str, language: str) -> None:
    """Store the language of a scope."""
    upsert(
        session, Language, {"team_id": session.settings.team_id, "scope": scope}, language=language
    )
