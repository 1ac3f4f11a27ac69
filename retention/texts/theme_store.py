"""Store themes, and the names that people give them."""

from typing import Any

from retention import clock
from retention.db import Transaction
from retention.db.audit import record
from retention.db.engine import advisory_lock
from retention.db.tables import TextThemes
from retention.errors import BadInput
from retention.text import gettext

MAX_NAME = 60


def stored(session: Transaction) -> TextThemes | None:
    """Return the stored themes; None before the first."""
    return session.get(TextThemes, session.settings.team_id)


def _locked(session: Transaction) -> TextThemes | None:
    """Return the stored themes; nobody else changes them until the transaction ends."""
    advisory_lock(session, f"themes:{session.settings.team_id}")
    return stored(session)


def save(session: Transaction, content: dict[str, Any], texts: int) -> None:
    """Replace the themes; a name that was given meanwhile stays."""
    names = {each["number"]: each["name"] for each in _themes(_locked(session))}
    themes = [
        each | {"name": names.get(each["number"], each["name"])} for each in content["themes"]
    ]
    row = {"content": content | {"themes": themes}, "texts": texts, "found_at": clock.now()}
    session.merge(TextThemes(team_id=session.settings.team_id, **row))


def rename(session: Transaction, number: int, name: str, by: str) -> dict[str, Any]:
    """Give a theme a name; an empty one takes its own phrases back. Return the theme."""
    name, row = " ".join(name.split()), _locked(session)
    if len(name) > MAX_NAME:
        text = gettext("The name has {length} characters; use at most {most}.")
        raise BadInput(text.format(length=len(name), most=MAX_NAME), field="name")
    theme = next((each for each in _themes(row) if each["number"] == number), None)
    if row is None or theme is None:
        numbers = ", ".join(str(each["number"]) for each in _themes(row)) or gettext("none yet")
        text = gettext("There is no theme {number}; there are: {numbers}.")
        raise BadInput(text.format(number=number, numbers=numbers), field="theme")
    themes = [each | {"name": name} if each is theme else each for each in _themes(row)]
    record(session, by, "voices.rename", str(number), clock.now(), {"name": name})
    row.content = row.content | {"themes": themes}
    return {"number": number, "name": name, "phrases": theme["phrases"]}


def forget_phrases(session: Transaction) -> None:
    """Drop the phrases, which may name an erased customer; the next report finds them anew.

    The names that people gave stay with their themes.
    """
    if row := _locked(session):
        themes = [each | {"phrases": []} for each in _themes(row)]
        row.content, row.texts = row.content | {"themes": themes}, 0


def _themes(row: TextThemes | None) -> list[dict[str, Any]]:
    return list(row.content["themes"]) if row else []
