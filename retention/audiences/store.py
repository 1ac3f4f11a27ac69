"""Save, find, list and delete audiences."""

import difflib
import re
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from retention import clock
from retention.audiences.expression import Expression
from retention.audiences.parse import parse
from retention.db.audit import record
from retention.db.insert import upsert
from retention.db.tables import Alert, Audience, Schedule
from retention.errors import BadInput, Conflict
from retention.number_format import count
from retention.settings import Settings
from retention.text import gettext

MAX_NAME = 40
_NAME = re.compile(r"[^\W_][\w-]*")


def check_name(name: str) -> str:
    """Return a valid name in lower case; blanks become hyphens.

    Raises
    ------
    BadInput
        The name is too long or has other characters than letters, digits, - and _.
    """
    lower = _plain(name)
    if not _NAME.fullmatch(lower) or len(lower) > MAX_NAME:
        suggestion = re.sub(r"\W+", "-", lower).strip("-_")[:MAX_NAME] or "vips"
        raise BadInput(
            gettext(
                "{name!r} cannot name an audience; use letters, digits and -, at most {limit} "
                "characters, such as {suggestion}."
            ).format(name=name, limit=MAX_NAME, suggestion=suggestion),
            field="name",
        )
    return lower


def _plain(name: str) -> str:
    return "-".join(name.lower().split())


def save(
    session: Session,
    settings: Settings,
    name: str,
    expression: Expression,
    *,
    is_exclusion: bool,
    customers: int,
    as_of: datetime,
    by: str,
    replaces: str | None = None,
) -> Audience:
    """Save an audience that was counted at ``as_of``.

    Another one of this name is only replaced if it still has the expression ``replaces``, which the
    person saw and agreed to replace.
    """
    name, now = check_name(name), clock.now()
    before = session.scalar(_named(settings, name))
    replaced = before and before.expression
    other = replaced_by(session, settings, name, expression, is_exclusion)
    if other and other["expression"] != replaces:
        raise exists(other, str(expression), customers)
    upsert(
        session,
        Audience,
        {"team_id": settings.team_id, "name": name},
        expression=str(expression),
        is_exclusion=is_exclusion,
        customers=customers,
        counted_as_of=as_of,
        saved_by=by,
        saved_at=now,
    )
    details = {"expression": str(expression), "exclude": is_exclusion, "customers": customers}
    if replaced:
        details["replaced"] = replaced
    record(session, settings, by, "audience.save", name, now, details)
    session.expire_all()
    return session.scalars(_named(settings, name)).one()


def replaced_by(
    session: Session, settings: Settings, name: str, expression: Expression, is_exclusion: bool
) -> dict[str, Any] | None:
    """Return the audience of this name with another definition, or None."""
    row = session.scalar(_named(settings, _plain(name)))
    if row is None or (row.expression, row.is_exclusion) == (str(expression), is_exclusion):
        return None
    return summary(row)


def exists(other: dict[str, Any], expression: str, customers: int) -> Conflict:
    """Return the refusal to replace an audience that nobody agreed to replace."""
    return Conflict(
        gettext(
            "The audience {name!r} exists: {before}, `{old}`. The new one has {after}, `{new}`. "
            "Save it under another name, or add `--replace`."
        ).format(
            name=other["name"],
            before=count(other["customers"], "customer"),
            old=other["expression"],
            after=count(customers, "customer"),
            new=expression,
        )
    )


def find(session: Session, settings: Settings, name: str) -> Audience:
    """Return an audience by name.

    Raises
    ------
    BadInput
        There is none. The message names the nearest.
    """
    row = session.scalar(_named(settings, _plain(name)))
    if row is not None:
        return row
    names = [audience.name for audience in saved(session, settings)]
    nearest = difflib.get_close_matches(name.lower(), names, 1)
    if nearest:
        message = gettext("There is no audience {name!r}. Did you mean {nearest}?")
    elif names:
        message = gettext("There is no audience {name!r}; there are {names}.")
    else:
        message = gettext(
            "There is no audience {name!r}, and none is saved yet. Save one with "
            '`/retention audience save {name} "risk >= medium and value > 200"`.'
        )
    raise BadInput(
        message.format(name=name, nearest="".join(nearest), names=", ".join(names)),
        field="audience",
    )


def expression_of(audience: Audience) -> Expression:
    """Parse a saved audience."""
    return parse(audience.expression)


def saved(session: Session, settings: Settings) -> list[Audience]:
    """Return all audiences by name."""
    return list(
        session.scalars(
            select(Audience).where(Audience.team_id == settings.team_id).order_by(Audience.name)
        )
    )


def exclusions(session: Session, settings: Settings) -> list[Audience]:
    """Return the audiences that drafts always leave out."""
    return [audience for audience in saved(session, settings) if audience.is_exclusion]


def remove(session: Session, settings: Settings, name: str, by: str) -> Audience:
    """Delete an audience.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    settings : Settings
        Settings of the installation.
    name : str
        Name of the audience.
    by : str
        Who deletes it.

    Returns
    -------
    Audience
        As it was.

    Raises
    ------
    BadInput
        There is no such audience.
    Conflict
        An alert or a schedule uses it.
    """
    audience = find(session, settings, name)
    _check_unused(session, settings, audience.name)
    described = {"expression": audience.expression, "exclude": audience.is_exclusion}
    session.execute(
        delete(Audience).where(Audience.id == audience.id),
        execution_options={"synchronize_session": False},
    )
    record(session, settings, by, "audience.delete", audience.name, clock.now(), described)
    return audience


def _check_unused(session: Session, settings: Settings, name: str) -> None:
    team = settings.team_id
    alerts = session.scalars(
        select(Alert.name).where(Alert.team_id == team, Alert.audience == name)
    ).all()
    rows = session.scalars(select(Schedule).where(Schedule.team_id == team, Schedule.active)).all()
    uses = [gettext("alert {name}").format(name=alert) for alert in alerts]
    uses += [
        gettext("schedule {number}").format(number=row.id)
        for row in rows
        if row.args.get("audience") == name
    ]
    if uses:
        raise Conflict(
            gettext("The audience {name!r} is in use: {uses}. Delete these first.").format(
                name=name, uses=", ".join(uses)
            )
        )


def summary(audience: Audience) -> dict[str, Any]:
    """Return an audience as data for lists, App Home and ``--json``."""
    return {
        "name": audience.name,
        "expression": audience.expression,
        "exclude": audience.is_exclusion,
        "customers": audience.customers,
        "as_of": audience.counted_as_of.isoformat(),
        "saved_by": audience.saved_by,
    }


def summaries(session: Session, settings: Settings) -> list[dict[str, Any]]:
    """Return all audiences as data for lists and App Home."""
    return [summary(audience) for audience in saved(session, settings)]


def _named(settings: Settings, name: str) -> Any:
    return select(Audience).where(Audience.team_id == settings.team_id, Audience.name == name)
