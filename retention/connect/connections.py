"""Store connections, with their secrets encrypted (`retention.encryption`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from retention import clock
from retention.connect.contract import NOTES, ConnectorError, FirstCancelled, Setting
from retention.db import Database, Transaction
from retention.db.audit import record
from retention.db.insert import insert_once
from retention.db.tables import CancelledOrder, Connection
from retention.encryption import decrypt, encrypt, rotate
from retention.errors import BadFields, BadInput, Conflict, unknown_name
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
    session: Transaction,
    name: str,
    kind: str,
    declared: Sequence[Setting],
    values: Mapping[str, str],
    *,
    channel: str | None,
    by: str,
) -> Connection:
    """Store a connection."""
    check_values(declared, values)
    if _find(session, name):
        message = gettext(
            "There is a connection {name!r} already; remove it first, or choose another name."
        )
        raise Conflict(message.format(name=name))
    hidden = {setting.key for setting in declared if setting.is_secret}
    secrets = {key: value for key, value in values.items() if key in hidden}
    connection = Connection(
        team_id=session.settings.team_id,
        name=name,
        kind=kind,
        config={key: value for key, value in values.items() if key not in hidden},
        channel=channel,
        state="active",
        created_by=by,
    )
    connection.secrets = encrypt(session.settings.keys, secrets, place_of(connection))
    session.add(connection)
    session.flush()
    record(session, by, "connection.add", name, clock.now(), {"kind": kind})
    return connection


def check_values(declared: Sequence[Setting], values: Mapping[str, str]) -> None:
    """Check that all required settings are there and no other."""
    known = [setting.key for setting in declared]
    missing = gettext("{key} is missing; give it like {example}.")
    errors = [
        BadInput(missing.format(key=each.key, example=each.example or "…"), field=each.key)
        for each in declared
        if each.is_required and not values.get(each.key, "").strip()
    ]
    other = gettext("{key} is no setting here; use {known}.")
    errors += [
        BadInput(other.format(key=key, known=", ".join(known)), field=key)
        for key in values
        if key not in known
    ]
    if errors:
        raise BadFields(errors)


def find(session: Transaction, name: str) -> Connection:
    if connection := _find(session, name):
        return connection
    similar = gettext("There is no connection {name!r}. Did you mean {nearest}?")
    other = gettext("There is no connection {name!r}; `retention source list` shows all.")
    raise unknown_name(name, [each.name for each in connections(session)], similar, other)


def connections(session: Transaction) -> list[Connection]:
    """Return all connections by name."""
    return list(session.scalars(session.own(Connection).order_by(Connection.name)))


def access(settings: Settings, connection: Connection) -> Access:
    """Return a connection's settings and decrypted secrets."""
    secrets = decrypt(settings.keys, connection.secrets, place_of(connection))
    return Access({**connection.config, **secrets})


def place_of(connection: Connection) -> dict[str, str]:
    """Return where a connection's secrets may be sent: its platform, with all settings."""
    given = {key: value for key, value in connection.config.items() if key not in NOTES}
    return {**given, "kind": connection.kind}


def note_error(connection: Connection, error: ConnectorError | None) -> bool:
    """Store the last error of a connection, or that it works again."""
    code = error.code if error else None
    is_news = connection.error_code != code
    connection.error_code = code
    connection.error_detail = error.detail if error else None
    return is_news


def rotate_all(session: Transaction) -> int:
    """Encrypt all secrets anew with the current key."""
    rows = connections(session)
    for row in rows:
        row.secrets = rotate(session.settings.keys, row.secrets)
    return len(rows)


def _find(session: Transaction, name: str) -> Connection | None:
    return session.scalar(session.own(Connection, name=name))


def first_cancelled(database: Database, connection: Connection) -> FirstCancelled:
    """Return a function that keeps the first time of each order of a connection.

    Returns: from an order's id and the time of its last change to its stored time.
    """

    def stored(order_id: str, at: datetime) -> datetime:
        key = {"connection_id": connection.id, "order_id": order_id[:64]}
        with database.transaction() as session:
            insert_once(session, CancelledOrder, team_id=connection.team_id, at=at, **key)
            first: datetime = session.scalars(select(CancelledOrder.at).filter_by(**key)).one()
        return first

    return stored
