"""Store connections, with their secrets encrypted."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from retention import clock
from retention.connect import secrets
from retention.connect.contract import ConnectorError, Setting
from retention.db.audit import record
from retention.db.tables import Connection
from retention.errors import BadFields, BadInput, Conflict
from retention.settings import Settings
from retention.text import gettext


@dataclass(frozen=True, slots=True)
class Access:
    """What a connector needs to reach its platform: settings and secrets by name.

    Its representation shows no value, so that no log shows a secret.
    """

    values: Mapping[str, str]

    def __repr__(self) -> str:
        return f"Access({', '.join(sorted(self.values))})"

    def __getitem__(self, key: str) -> str:
        return self.values.get(key, "")


def add(
    session: Session,
    settings: Settings,
    name: str,
    kind: str,
    declared: Sequence[Setting],
    values: Mapping[str, str],
    *,
    channel: str | None,
    by: str,
) -> Connection:
    """Store a connection.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    settings : Settings
        Settings of the installation.
    name : str
        Name of the connection.
    kind : str
        Kind of its connector.
    declared : sequence of Setting
        Settings that the connector declares.
    values : mapping
        Values by key.
    channel : str or None
        Channel that owns it.
    by : str
        Who adds it.

    Raises
    ------
    BadInput
        A setting is missing or unknown.
    Conflict
        The name is taken.
    """
    check_values(declared, values)
    if session.scalar(select(Connection.id).where(*_named(settings, name))):
        raise Conflict(
            gettext(
                "There is a connection {name!r} already; remove it first, or choose another name."
            ).format(name=name)
        )
    hidden = {setting.key for setting in declared if setting.is_secret}
    config = {key: value for key, value in values.items() if key not in hidden}
    secret = {key: value for key, value in values.items() if key in hidden}
    connection = Connection(
        team_id=settings.team_id,
        name=name,
        kind=kind,
        config=config,
        secrets=secrets.encrypt(settings.keys, secret),
        channel=channel,
        state="active",
        created_by=by,
    )
    session.add(connection)
    session.flush()
    record(session, settings, by, "connection.add", name, clock.now(), {"kind": kind})
    return connection


def check_values(declared: Sequence[Setting], values: Mapping[str, str]) -> None:
    """Check that all required settings are there and no other.

    Raises
    ------
    BadFields
        One error per setting.
    """
    known = {setting.key: setting for setting in declared}
    errors = [
        BadInput(
            gettext("{key} is missing; give it like {example}.").format(
                key=setting.key, example=setting.example or "…"
            ),
            field=setting.key,
        )
        for setting in declared
        if setting.is_required and not values.get(setting.key, "").strip()
    ]
    errors += [
        BadInput(
            gettext("{key} is no setting here; use {known}.").format(
                key=key, known=", ".join(known)
            ),
            field=key,
        )
        for key in values
        if key not in known
    ]
    if errors:
        raise BadFields(errors)


def find(session: Session, settings: Settings, name: str) -> Connection:
    """Return a connection by name.

    Raises
    ------
    BadInput
        There is none. The message names the nearest.
    """
    connection = session.scalar(select(Connection).where(*_named(settings, name)))
    if connection is not None:
        return connection
    names = [other.name for other in connections(session, settings)]
    nearest = difflib.get_close_matches(name, names, 1)
    message = (
        gettext("There is no connection {name!r}. Did you mean {nearest}?")
        if nearest
        else gettext("There is no connection {name!r}; `retention source list` shows all.")
    )
    raise BadInput(message.format(name=name, nearest="".join(nearest)))


def connections(session: Session, settings: Settings) -> list[Connection]:
    """Return all connections by name."""
    return list(
        session.scalars(
            select(Connection)
            .where(Connection.team_id == settings.team_id)
            .order_by(Connection.name)
        )
    )


def access(settings: Settings, connection: Connection) -> Access:
    """Return a connection's settings and decrypted secrets.

    Raises
    ------
    Refused
        The secrets cannot be decrypted.
    """
    return Access({**connection.config, **secrets.decrypt(settings.keys, connection.secrets)})


def note_error(connection: Connection, error: ConnectorError | None) -> bool:
    """Store the last error of a connection, or that it works again.

    Returns
    -------
    bool
        Whether this is news: people hear of a problem once, and once that it is over.
    """
    code = error.code if error else None
    is_news = connection.error_code != code
    connection.error_code = code
    connection.error_detail = error.detail if error else None
    return is_news


def rotate_all(session: Session, settings: Settings) -> int:
    """Encrypt all secrets anew with the current key.

    Returns
    -------
    int
        Number of connections.
    """
    rows = connections(session, settings)
    for row in rows:
        row.secrets = secrets.rotate(settings.keys, row.secrets)
    return len(rows)


def _named(settings: Settings, name: str) -> tuple:
    return Connection.team_id == settings.team_id, Connection.name == name
