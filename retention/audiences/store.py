"""Save, find, list and delete audiences."""

import re
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import delete, select

from retention import clock
from retention.audiences import lists
from retention.audiences.expression import Expression, InList, conditions
from retention.audiences.parse import parse
from retention.db import Transaction
from retention.db.audit import record
from retention.db.insert import upsert
from retention.db.tables import Alert, Audience, Schedule
from retention.errors import BadInput, Conflict, unknown_name
from retention.number_format import count
from retention.settings import Settings
from retention.text import gettext

MAX_NAME = 40
_NAME = re.compile(r"[^\W_][\w-]*")


def check_name(name: str) -> str:
    """Return a valid name in lower case; blanks become hyphens."""
    lower = _plain(name)
    if not _NAME.fullmatch(lower) or len(lower) > MAX_NAME:
        suggestion = name_of(lower) or "vips"
        text = gettext(
            "{name!r} cannot name an audience; use letters, digits and -, at most {limit} "
            "characters, such as {suggestion}."
        )
        raise BadInput(text.format(name=name, limit=MAX_NAME, suggestion=suggestion), field="name")
    return lower


def name_of(text: str) -> str:
    """Return the valid name that is nearest to a text; empty if it has no letter."""
    return re.sub(r"\W+", "-", text.lower()).strip("-_")[:MAX_NAME].strip("-_")


def _plain(name: str) -> str:
    return "-".join(name.lower().split())


class Counted(NamedTuple):
    """How many customers an audience had at a moment."""

    customers: int
    as_of: datetime


def save(
    session: Transaction,
    name: str,
    expression: Expression,
    *,
    counted: Counted,
    by: str,
    is_exclusion: bool = False,
    replaces: str | None = None,
) -> Audience:
    """Save an audience.

    Another one of this name is only replaced if it still has the expression ``replaces``, which the
    person saw and agreed to replace.
    """
    name, now = check_name(name), clock.now()
    before = session.scalar(_named(session.settings, name))
    replaced = before and before.expression
    other = replaced_by(session, name, expression, is_exclusion)
    if other and other["expression"] != replaces:
        raise exists(other, str(expression), counted.customers)
    upsert(
        session,
        Audience,
        {"team_id": session.settings.team_id, "name": name},
        expression=str(expression),
        is_exclusion=is_exclusion,
        customers=counted.customers,
        counted_as_of=counted.as_of,
        saved_by=by,
        saved_at=now,
    )
    details = {"expression": str(expression), "exclude": is_exclusion}
    details |= {"customers": counted.customers} | ({"replaced": replaced} if replaced else {})
    record(session, by, "audience.save", name, now, details)
    session.expire_all()
    return session.scalars(_named(session.settings, name)).one()


def replaced_by(
    session: Transaction, name: str, expression: Expression, is_exclusion: bool
) -> dict[str, Any] | None:
    """Return the audience of this name with another definition, or None."""
    row = session.scalar(_named(session.settings, _plain(name)))
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


def find(session: Transaction, name: str) -> Audience:
    row = session.scalar(_named(session.settings, _plain(name)))
    if row is not None:
        return row
    names = [audience.name for audience in saved(session)]
    similar = gettext("There is no audience {name!r}. Did you mean {nearest}?")
    if names:
        other, hint = gettext("There is no audience {name!r}; there are {names}."), None
    else:
        other = gettext("There is no audience {name!r}, and none is saved yet.")
        hint = "save_audience"
    listed = ", ".join(names)
    raise unknown_name(name, names, similar, other, field="audience", hint=hint, names=listed)


def expression_of(audience: Audience) -> Expression:
    """Parse a saved audience."""
    return parse(audience.expression)


def saved(session: Transaction) -> list[Audience]:
    """Return all audiences by name."""
    own = Audience.team_id == session.settings.team_id
    return list(session.scalars(select(Audience).where(own).order_by(Audience.name)))


def exclusions(session: Transaction) -> list[Audience]:
    """Return the audiences that drafts always leave out."""
    return [audience for audience in saved(session) if audience.is_exclusion]


def remove(session: Transaction, name: str, by: str) -> Audience:
    """Delete an audience."""
    audience = find(session, name)
    _check_unused(session, audience.name)
    if audience.expression == str(InList(audience.name)):
        lists.remove(session, audience.name)
    described = {"expression": audience.expression, "exclude": audience.is_exclusion}
    session.change(delete(Audience).where(Audience.id == audience.id))
    record(session, by, "audience.delete", audience.name, clock.now(), described)
    return audience


def _check_unused(session: Transaction, name: str) -> None:
    team = session.settings.team_id
    query = select(Alert.name).where(Alert.team_id == team, Alert.audience == name)
    alerts = session.scalars(query).all()
    rows = session.scalars(select(Schedule).where(Schedule.team_id == team, Schedule.active)).all()
    uses = [gettext("alert {name}").format(name=alert) for alert in alerts]
    message = gettext("schedule {number}")
    uses += [message.format(number=row.id) for row in rows if row.args.get("audience") == name]
    member = InList(name)
    message = gettext("audience {name}")
    uses += [
        message.format(name=other.name)
        for other in saved(session)
        if other.name != name and member in conditions(expression_of(other))
    ]
    if uses:
        text = gettext("The audience {name!r} is in use: {uses}. Delete these first.")
        raise Conflict(text.format(name=name, uses=", ".join(uses)))


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


def summaries(session: Transaction) -> list[dict[str, Any]]:
    """Return all audiences as data for lists and App Home."""
    return [summary(audience) for audience in saved(session)]


def _named(settings: Settings, name: str) -> Any:
    return select(Audience).where(Audience.team_id == settings.team_id, Audience.name == name)
