"""`source`: import data on a schedule, from files, object stores, databases and shops."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import click
import sqlalchemy as sa

from bot.commands.parameters import choice, integer, map_option, option, switch
from bot.commands.reports import Zone
from bot.commands.schedule import channel_id
from bot.commands.tree import TERMINAL, Answer, Call, fields_of, group, request
from retention import clock
from retention.connect import connections, registry
from retention.connect.connections import Access
from retention.connect.contract import ConnectorError
from retention.connect.platforms import profile_deletion
from retention.connect.shops import webhook_inbox
from retention.connect.sources import source_records
from retention.connect.sources.source_records import SourceProblem, problem_of
from retention.connect.sources.trial import try_source
from retention.db import Transaction
from retention.db.audit import record
from retention.db.tables import Source
from retention.errors import BadInput, Refused
from retention.paths import is_url
from retention.templating import text
from retention.text import gettext
from workers.data.imports import TABLES
from workers.data.source_pulls import next_pull, parse_interval
from workers.job_requests import SourcePull

if TYPE_CHECKING:
    from retention.connect.contract import Setting

DATABASES = ("postgresql", "mysql", "mariadb", "sqlite", "oracle", "mssql", "duckdb")


COMMAND = group("source", default="list")


@COMMAND.command(
    "add",
    role="admin",
    surfaces=TERMINAL,
    help=gettext(
        "Add a source. LOCATION is a pattern of files, the URL of an object store, the URL of a "
        "database (with --query), or a platform.\n\n"
        "Passwords and keys are asked for, or read from the file that KEY_FILE names. "
        "Example: source add orders '/srv/export/*.csv' --map map.toml --every night."
    ),
)
@click.argument("name")
@click.argument("location")
@option(
    "--table", gettext("What the rows are."), choice(*TABLES), into="table_name", default="events"
)
@map_option(gettext("What each column is called in the source."))
@option(
    "--format", gettext("A known export, which needs no map."), metavar="NAME", into="format_name"
)
@option("--query", gettext("What to read from a database."), metavar="SQL")
@option(
    "--watermark",
    gettext("Column of the query that grows with each new or changed row."),
    metavar="COLUMN",
    into="watermark_column",
)
@option(
    "--every",
    gettext('How often: hour, night, or such as "daily 03:00".'),
    metavar="WHEN",
    default="night",
)
@option("--zone", gettext("Time zone; by default the shop's."), Zone(), "ZONE")
@option(
    "--channel", gettext("Channel that hears of problems, such as C0123ABCD."), metavar="CHANNEL"
)
@option(
    "--set",
    gettext("A setting of the object store or the platform."),
    metavar="KEY=VALUE",
    into="given",
    multiple=True,
)
@option(
    "--secret",
    gettext("A setting that is asked for and stored encrypted."),
    metavar="KEY",
    into="secret_keys",
    multiple=True,
)
def add(
    call: Call,
    name: str,
    location: str,
    map_path: Path | None,
    every: str,
    zone: str | None,
    channel: str | None,
    given: tuple[str, ...],
    secret_keys: tuple[str, ...],
    **reading: Any,
) -> Answer:
    """Add a source, after it was read once."""
    settings = call.settings
    interval, zone = parse_interval(every), zone or settings.timezone
    new: dict[str, Any] = {
        "name": source_records.check_name(name),
        "every": interval,
        "timezone": zone,
        "next_at": next_pull(interval, zone, clock.now()),
        "channel": channel_id(channel),
    }
    values = _values(given)
    if location in registry.KINDS:
        return _add_platform(call, location, new, values)
    for key in secret_keys:
        _refuse_visible(key, values)
    secrets = {key: read_secret(key) for key in secret_keys}
    kind = _kind(location, reading["query"])
    if reading["query"] is None and reading["watermark_column"] is not None:
        raise BadInput(gettext("--watermark goes with --query."), field="watermark")
    if kind == "query":
        location, secrets = _without_password(location, secrets)
    elif kind == "files":
        location = str(Path(location).absolute())
    reading |= {"map_text": _map_text(map_path), "config": values, "secrets": secrets}
    source = source_records.NewSource(**new, **reading, kind=kind, location=location)
    try:
        try_source(call.lake, call.settings, source)
    except SourceProblem as problem:
        raise BadInput(sentence(source.name, problem.code, problem.facts, call)) from None
    with call.database.transaction() as session:
        source_records.add(session, source, by=call.user)
    return Answer("source/added", _added(source, {}))


def _add_platform(call: Call, kind: str, new: dict[str, Any], values: dict[str, str]) -> Answer:
    """Connect a platform; a shop is pulled from then on."""
    from retention.connect.shops import hooks

    services, name = call.services, new["name"]
    connector_class = registry.connector_class(kind)
    is_shop = kind in registry.SHOPS
    if is_shop:
        with services.database.reading() as session:  # before it asks for secrets
            source_records.check_only_shop(session)
    declared = connector_class.settings
    for setting in declared:
        if setting.is_secret:
            _refuse_visible(setting.key, values)
            values[setting.key] = _secret_of(setting)
    values = {key: value for key, value in values.items() if value}
    connections.check_values(declared, values)
    connector: Any = registry.connector(kind, Access(values))
    try:
        facts = connector.check()
        if not is_shop:
            connector.check_profiles()
    except ConnectorError as error:
        raise BadInput(_refusal(name, error, call)) from None
    finally:
        connector.close()
    with services.database.transaction() as session:
        connection = connections.add(
            session, name, kind, declared, values, channel=new["channel"], by=call.user
        )
        if not is_shop:
            data = {"name": name, "kind": "connection", "facts": facts}
            return Answer("source/added", {**data, "missing": list(connector.missing_settings)})
        source = source_records.NewSource(**new, kind="shop", location=kind)
        source_records.add(session, source, by=call.user, connection=connection)
    added = _added(source, facts)
    added["webhooks"] = hooks.add_webhooks_of_new(services.database, name, by=call.user)
    return Answer("source/added", added)


def _secret_of(setting: "Setting") -> str:
    """Return a secret; one that the desk may choose is made, unless a file has it."""
    if setting.is_made and f"{setting.key.upper()}_FILE" not in os.environ:
        return token_hex(32)
    return read_secret(setting.key, is_required=setting.is_required)


def _refusal(name: str, error: "ConnectorError", call: Call) -> str:
    """Say why a platform was not connected; nothing is stored then."""
    if error.code == "scope_missing":
        return gettext(
            "The key of {name} lacks {scopes}, so nothing was stored. Allow it at the platform, "
            "and add the source again."
        ).format(name=name, scopes=error.detail)
    problem = problem_of(error)
    return sentence(name, problem.code, problem.facts, call)


def _refuse_visible(key: str, values: dict[str, str]) -> None:
    """Refuse a secret on the command line, which other users of the machine can read."""
    if key in values:
        text = gettext(
            "{key} is a secret; leave it out of --set. It is asked for, or read from the file "
            "that {variable} names."
        )
        raise BadInput(text.format(key=key, variable=f"{key.upper()}_FILE"), field=key)


def _added(new: source_records.NewSource, facts: dict[str, str]) -> dict[str, Any]:
    shown = ("name", "kind", "location", "every", "timezone", "channel", "next_at")
    return {**fields_of(new, *shown), "table": new.table_name, "facts": facts}


def _kind(location: str, query: str | None) -> str:
    scheme = location.partition("://")[0].partition("+")[0]
    if query is not None and not is_url(location):
        text = gettext("--query goes with a database URL; {location} is a path.")
        raise BadInput(text.format(location=location), field="query")
    if not is_url(location):
        return "files"
    if query is None and scheme in DATABASES:
        raise BadInput(
            gettext("A database needs --query, the SELECT whose rows are to be imported."),
            field="query",
        )
    return "query" if query is not None else "object_store"


def _without_password(url: str, secrets: dict[str, str]) -> tuple[str, dict[str, str]]:
    """Return a database URL to show, and the whole URL among the secrets."""
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        text = gettext("{url!r} is no database URL; write it like postgresql://USER@HOST/DATABASE.")
        raise BadInput(text.format(url=url)) from None
    if "password" in secrets:
        parsed = parsed.set(password=secrets["password"])
    whole = parsed.render_as_string(hide_password=False)
    return parsed.set(query={}).render_as_string(hide_password=True), {"url": whole}


def _map_text(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        text = gettext("The map {path} cannot be read: {error}.")
        raise BadInput(text.format(path=path, error=error), field="map") from None


def _values(given: tuple[str, ...]) -> dict[str, str]:
    values = {}
    for one in given:
        key, sign, value = one.partition("=")
        if not sign or not key:
            text = gettext("--set is {one!r}; write it like key=value.")
            raise BadInput(text.format(one=one), field="set")
        values[key] = value
    return values


def read_secret(key: str, *, is_required: bool = True) -> str:
    """Read a secret: from the file that ``KEY_FILE`` names, else from the person.

    `key`: name of the secret, such as ``token``. The variable is ``TOKEN_FILE``.
    `is_required`: whether it may be empty.
    Raises `BadInput`: the file cannot be read, or the value is empty.
    """
    variable = f"{key.upper()}_FILE"
    path = os.environ.get(variable)
    if path:
        try:
            value = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            text = gettext("{variable} is {path}, which cannot be read: {error}.")
            raise BadInput(
                text.format(variable=variable, path=path, error=error), field=key
            ) from None
    elif sys.stdin.isatty():
        value = click.prompt(key, hide_input=True, default="", show_default=False, err=True)
    else:
        value = sys.stdin.readline().strip()
    if not value and is_required:
        text = gettext("{key} is empty; type it, or name a file with it in {variable}.")
        raise BadInput(text.format(key=key, variable=variable), field=key)
    return str(value)


@COMMAND.command(
    "webhooks",
    role="admin",
    surfaces=TERMINAL,
    help=gettext(
        "Ask a connected shop again to report its changes at once, e.g. at a new address. "
        "Example: source webhooks shop --address https://desk.example."
    ),
)
@click.argument("name")
@option(
    "--address",
    gettext("Public address of the bot's server; by default RETENTION_PUBLIC_URL."),
    metavar="URL",
)
def webhooks(call: Call, name: str, address: str | None) -> Answer:
    """Ask a connected shop for webhooks."""
    from retention.connect.shops import hooks

    added = hooks.add_webhooks(call.database, name, address, by=call.user)
    return Answer("source/webhooks", added)


@COMMAND.command(
    "quarantine",
    role="admin",
    help=gettext(
        "List webhooks of shops that could not be imported, try them again, or delete them. "
        "Example: source quarantine --retry all."
    ),
)
@option("--retry", gettext("Try this webhook again, or all."), metavar="NUMBER")
@option("--delete", gettext("Delete this webhook, or all."), metavar="NUMBER")
def quarantine(call: Call, retry: str | None, delete: str | None) -> Answer:
    """List, retry or delete webhooks that were set aside."""
    tried, deleted = None, None
    if retry and delete:
        raise BadInput(gettext("Use --retry or --delete, not both."), field="delete")
    with call.database.transaction() as session:
        if (retry or delete) and call.first_time(session):
            act = webhook_inbox.try_again if retry else webhook_inbox.discard
            number = act(session, str(retry or delete).lower())
            tried, deleted = (number, None) if retry else (None, number)
            details = {"retried": tried} if retry else {"deleted": deleted}
            record(session, call.user, "source.quarantine", "", clock.now(), details)
        rows = [
            {
                **fields_of(row, "topic", "received_at"),
                "number": row.id,
                "name": name,
                "reason": row.reason or "",
                "has_content": bool(row.body),
            }
            for row, name in webhook_inbox.not_imported(session)
        ]
    return Answer("source/quarantine", {"webhooks": rows, "tried": tried, "deleted": deleted})


@COMMAND.command(
    "erasures",
    role="admin",
    surfaces=TERMINAL,
    help=gettext(
        "List the profiles of erased customers that a mail platform did not delete, to delete them "
        "there by hand."
    ),
)
@option(
    "--done",
    gettext("You have deleted this one at the platform; the desk drops its addresses."),
    integer(),
    "NUMBER",
)
def erasures(call: Call, done: int | None) -> Answer:
    """List profiles to delete by hand, or drop one that is deleted."""
    with call.database.transaction() as session:
        if done is not None:
            profile_deletion.done_by_hand(session, done, call.user)
        rows = profile_deletion.left(session)
    return Answer("source/erasures", {"profiles": rows})


@COMMAND.command("list", role="admin", help=gettext("All sources with their last pull."))
def listing(call: Call) -> Answer:
    """List the sources, and connections that are no source."""
    with call.database.reading() as session:
        stored = source_records.sources(session)
        used = {source.connection_id for source in stored}
        others = [
            connection.name
            for connection in connections.connections(session)
            if connection.id not in used
        ]
        rows = [source_records.summary(session, source) for source in stored]
    return Answer("source/list", {"sources": rows, "connections": others})


@COMMAND.command("show", role="admin", help=gettext("One source with its last ten pulls."))
@click.argument("name")
def show(call: Call, name: str) -> Answer:
    """Show a source."""
    with call.database.reading() as session:
        source = source_records.find(session, name)
        data = source_records.summary(session, source) | {
            "runs": source_records.runs(session, source)
        }
    return Answer("source/show", data)


def _check(call: Call, data: dict[str, Any], **_: Any) -> None:
    """Fail the terminal's command if the pull had a problem."""
    if data["problem"]:
        raise Refused(sentence(data["name"], data["problem"], data["facts"], call))


@COMMAND.command(
    "run", request=SourcePull, after=_check, help=gettext("Pull what is new from a source now.")
)
@click.argument("name")
@switch("--accept-shrunk", gettext("Import although the source lost half of its rows."))
def run(call: Call, name: str, accept_shrunk: bool) -> SourcePull:
    """Queue the pull of a source."""
    with call.database.reading() as session:
        known = source_records.find(session, name).name
    return request(SourcePull, name=known, accept_shrunk=accept_shrunk)


def _resume(session: Transaction, name: str, by: str) -> Source:
    source = source_records.find(session, name)
    at = next_pull(source.every, source.timezone, clock.now())
    return source_records.resume(session, name, by, at)


def _add_change(deed: str, change: Callable[..., Any], help: str) -> None:
    @COMMAND.command(deed, role="admin", help=help)
    @click.argument("name")
    def changed(call: Call, name: str) -> Answer:
        next_at = None
        with call.database.transaction() as session:
            if call.first_time(session):
                name = change(session, name, call.user).name
            if deed == "resume":
                next_at = source_records.find(session, name).next_at
        data = {"name": name.lower(), "deed": deed, "next_at": next_at and next_at.isoformat()}
        return Answer("source/changed", data)


_add_change("pause", source_records.pause, gettext("Stop a source until it is resumed."))
_add_change("resume", _resume, gettext("Let a paused source run again."))
_add_change(
    "remove", source_records.remove, gettext("Remove a source; the data that it brought stays.")
)


def sentence(name: str, problem: str, facts: dict[str, Any], call: Call) -> str:
    """Return a source's problem as one sentence for the terminal.

    `call`: gives the time zone.
    """
    zone = call.settings.timezone
    values = {"name": name, "problem": problem, "facts": facts, "zone": zone}
    return text("terminal/source_problem.txt.j2", **values).strip().replace("*", "")
