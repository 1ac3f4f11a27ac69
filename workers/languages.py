"""Store the language of a person, a channel or the workspace."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from retention.db.insert import upsert
from retention.db.tables import Language
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


def all_languages(session: Session, settings: Settings) -> dict[str, str]:
    """Return every chosen language by scope."""
    rows = session.execute(
        select(Language.scope, Language.language).where(Language.team_id == settings.team_id)
    )
    return dict(rows.tuples().all())


def choose(session: Session, settings: Settings, scope: str, language: str) -> None:
    """Store the language of a scope."""
    upsert(session, Language, {"team_id": settings.team_id, "scope": scope}, language=language)
