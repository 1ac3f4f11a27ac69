"""`source`: import data on a schedule, from files, object stores, databases and shops."""

import os
import sys
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import click

from bot.commands.digest import Zone
from bot.commands.schedule import channel_id
from bot.commands.tree import (
    TERMINAL,
    Answer,
    Call,
    TerminalOption,
    choice,
    group,
    integer,
    request,
)
from retention import clock
from retention.connect import connections, source_removal, sources
from retention.connect.problems import SourceProblem, problem_of
from retention.db.audit import record
from retention.errors import BadInput, Refused
from retention.paths import is_url
from retention.templating import text
from retention.text import gettext
from workers.delivery import outbox
from workers.imports import TABLES
from workers.requests import SourcePull
from workers.sources import next_pull, parse_interval

if TYPE_CHECKING:
    from retention.connect.contract import ConnectorError, Setting

DATABASES = ("postgresql", "mysql", "mariadb", "sqlite", "oracle", "mssql", "duckdb")


@group(
    "source",
    default="list",
    help=gettext("Import data on a schedule: from files, object stores, databases and shops."),
)
def COMMAND() -> None: ...


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
@click.option(
    "--table",
    type=choice(*TABLES),
    cls=TerminalOption,
    default="events",
    help=gettext("What the rows are."),
)
@click.option(
    "--map",
    "map_path",
    type=click.Path(path_type=Path),
    cls=TerminalOption,
    metavar="MAP.toml",
    help=gettext("What each column is called in the source."),
)
@click.option(
    "--format",
    "format_name",
    cls=TerminalOption,
    metavar="NAME",
    help=gettext("A known export, which needs no map."),
)
@click.option(
    "--query", cls=TerminalOption, metavar="SQL", help=gettext("What to read from a database.")
)
@click.option(
    "--watermark",
    cls=TerminalOption,
    metavar="COLUMN",
    help=gettext("Column of the query that grows with each new or changed row."),
)
@click.option(
    "--every",
    default="night",
    cls=TerminalOption,
    metavar="WHEN",
    help=gettext('How often: hour, night, or such as "daily 03:00".'),
)
@click.option(
    "--zone",
    type=Zone(),
    cls=TerminalOption,
    metavar="ZONE",
    help=gettext("Time zone; by default the shop's."),
)
@click.option(
    "--channel",
    cls=TerminalOption,
    metavar="CHANNEL",
    help=gettext("Channel that hears of problems, such as C0123ABCD."),
)
@click.option(
    "--set",
    "given",
    multiple=True,
    cls=TerminalOption,
    metavar="KEY=VALUE",
    help=gettext("A setting of the object store or the platform."),
)
@click.option(
    "--secret",
    "secret_keys",
    multiple=True,
    cls=TerminalOption,
    metavar="KEY",
    help=gettext("A setting that is asked for and stored encrypted."),
)
def add(
    call: Call,
    name: str,
    location: str,
    table: str,
    map_path: Path | None,
    format_name: str | None,
    query: str | None,
    watermark: str | None,
    every: str,
    zone: str | None,
    channel: str | None,
    given: tuple[str, ...],
    secret_keys: tuple[str, ...],
) -> Answer:
    """Add a source, after it was read once."""
    from retention.connect import registry

    settings = call.services.settings
    interval, zone = parse_interval(every), zone or settings.timezone
    new: dict[str, Any] = {
        "name": sources.check_name(name),
        "every": interval,
        "timezone": zone,
        "next_at": next_pull(interval, zone, clock.now()),
        "channel": _channel(channel),
    }
    values = _values(given)
    if location in registry.kinds():
        return _add_platform(call, location, new, values)
    for key in secret_keys:
        _refuse_visible(key, values)
    secrets = {key: read_secret(key) for key in secret_keys}
    kind = _kind(location, query)
    if query is None and watermark is not None:
        raise BadInput(gettext("--watermark goes with --query."), field="watermark")
    if kind == "query":
        location, secrets = _without_password(location, secrets)
    elif kind == "files":
        location = str(Path(location).absolute())
    new |= {
        "kind": kind,
        "location": location,
        "query": query,
        "watermark_column": watermark,
        "table_name": table,
        "map_text": _map_text(map_path),
        "format_name": format_name,
        "config": values,
        "secrets": secrets,
    }
    return _add_source(call, sources.NewSource(**new))


def _add_source(call: Call, new: sources.NewSource) -> Answer:
    from retention.connect.trial import try_source
    from retention.lake import Lake

    services = call.services
    try:
        try_source(Lake.open(services.settings), services.settings, new)
    except SourceProblem as problem:
        raise BadInput(sentence(new.name, problem.code, problem.facts, call)) from None
    with services.database.transaction() as session:
        sources.add(session, services.settings, new, by=call.user)
    return Answer("source/added", _added(new, {}))


def _add_platform(call: Call, kind: str, new: dict[str, Any], values: dict[str, str]) -> Answer:
    """Connect a platform; a shop is pulled from then on."""
    from retention.connect import hooks, registry
    from retention.connect.connections import Access
    from retention.connect.contract import ConnectorError, HasProfileAccess, Listens, Pulls

    services, name = call.services, new["name"]
    connector_class = registry.connector_class(kind)
    if issubclass(connector_class, Pulls):
        with services.database.reading() as session:  # before it asks for secrets
            sources.check_only_shop(session, services.settings)
    declared = connector_class.settings
    for setting in declared:
        if setting.is_secret:
            _refuse_visible(setting.key, values)
            values[setting.key] = _secret_of(setting)
    values = {key: value for key, value in values.items() if value}
    connections.check_values(declared, values)
    connector = registry.connector(kind, Access(values))
    try:
        facts = connector.check()
        if isinstance(connector, HasProfileAccess):
            connector.check_profiles()
    except ConnectorError as error:
        raise BadInput(_refusal(name, error, call)) from None
    finally:
        connector.close()
    with services.database.transaction() as session:
        connection = connections.add(
            session,
            services.settings,
            name,
            kind,
            declared,
            values,
            channel=new["channel"],
            by=call.user,
        )
        if not isinstance(connector, Pulls):
            data = {"name": name, "kind": "connection", "facts": facts}
            missing = getattr(connector, "missing_settings", ())
            return Answer("source/added", {**data, "missing": list(missing)})
        source = sources.NewSource(**new, kind="shop", location=kind)
        sources.add(session, services.settings, source, by=call.user, connection=connection)
    added = _added(source, facts)
    if isinstance(connector, Listens):
        added["webhooks"] = hooks.add_webhooks_of_new(
            services.database, services.settings, name, by=call.user
        )
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
        raise BadInput(
            gettext(
                "{key} is a secret; leave it out of --set. It is asked for, or read from the file "
                "that {variable} names."
            ).format(key=key, variable=f"{key.upper()}_FILE"),
            field=key,
        )


def _added(new: sources.NewSource, facts: dict[str, str]) -> dict[str, Any]:
    names = ("name", "kind", "location", "every", "timezone", "channel")
    return {
        **{name: getattr(new, name) for name in names},
        "table": new.table_name,
        "next_at": new.next_at.isoformat(),
        "facts": facts,
    }


def _kind(location: str, query: str | None) -> str:
    scheme = location.partition("://")[0].partition("+")[0]
    if query is not None and not is_url(location):
        raise BadInput(
            gettext("--query goes with a database URL; {location} is a path.").format(
                location=location
            ),
            field="query",
        )
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
    import sqlalchemy as sa

    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        raise BadInput(
            gettext(
                "{url!r} is no database URL; write it like postgresql://USER@HOST/DATABASE."
            ).format(url=url)
        ) from None
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
        raise BadInput(
            gettext("The map {path} cannot be read: {error}.").format(path=path, error=error),
            field="map",
        ) from None


def _values(given: tuple[str, ...]) -> dict[str, str]:
    values = {}
    for one in given:
        key, sign, value = one.partition("=")
        if not sign or not key:
            raise BadInput(
                gettext("--set is {one!r}; write it like key=value.").format(one=one), field="set"
            )
        values[key] = value
    return values


def _channel(typed: str | None) -> str | None:
    target = channel_id(typed)
    if target and not outbox.is_slack_id(target):
        raise BadInput(
            gettext(
                "--channel is {channel!r}, which is no channel's id; give one like C0123ABCD."
            ).format(channel=target),
            field="channel",
        )
    return target


def read_secret(key: str, *, is_required: bool = True) -> str:
    """Read a secret: from the file that ``KEY_FILE`` names, else from the person.

    Parameters
    ----------
    key : str
        Name of the secret, such as ``token``. The variable is ``TOKEN_FILE``.
    is_required : bool, optional
        Whether it may be empty.

    Raises
    ------
    BadInput
        The file cannot be read, or the value is empty.
    """
    variable = f"{key.upper()}_FILE"
    path = os.environ.get(variable)
    if path:
        try:
            value = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(
                gettext("{variable} is {path}, which cannot be read: {error}.").format(
                    variable=variable, path=path, error=error
                ),
                field=key,
            ) from None
    elif sys.stdin.isatty():
        value = click.prompt(key, hide_input=True, default="", show_default=False, err=True)
    else:
        value = sys.stdin.readline().strip()
    if not value and is_required:
        raise BadInput(
            gettext("{key} is empty; type it, or name a file with it in {variable}.").format(
                key=key, variable=variable
            ),
            field=key,
        )
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
@click.option(
    "--address",
    cls=TerminalOption,
    metavar="URL",
    help=gettext("Public address of the bot's server; by default RETENTION_PUBLIC_URL."),
)
def webhooks(call: Call, name: str, address: str | None) -> Answer:
    """Ask a connected shop for webhooks."""
    from retention.connect import hooks

    services = call.services
    added = hooks.add_webhooks(services.database, services.settings, name, address, by=call.user)
    return Answer("source/webhooks", added)


@COMMAND.command(
    "quarantine",
    role="admin",
    help=gettext(
        "List webhooks of shops that could not be imported, try them again, or delete them. "
        "Example: source quarantine --retry all."
    ),
)
@click.option("--retry", metavar="NUMBER", help=gettext("Try this webhook again, or all."))
@click.option("--delete", metavar="NUMBER", help=gettext("Delete this webhook, or all."))
def quarantine(call: Call, retry: str | None, delete: str | None) -> Answer:
    """List, retry or delete webhooks that were set aside."""
    from retention.connect import webhook_inbox

    settings, tried, deleted = call.services.settings, None, None
    if retry and delete:
        raise BadInput(gettext("Use --retry or --delete, not both."), field="delete")
    with call.services.database.transaction() as session:
        if (retry or delete) and call.first_time(session):
            act = webhook_inbox.try_again if retry else webhook_inbox.discard
            number = act(session, settings, str(retry or delete).lower())
            tried, deleted = (number, None) if retry else (None, number)
            details = {"retried": tried} if retry else {"deleted": deleted}
            record(session, settings, call.user, "source.quarantine", "", clock.now(), details)
        rows = [
            {
                "number": row.id,
                "name": name,
                "topic": row.topic,
                "received_at": row.received_at.isoformat(),
                "reason": row.reason or "",
                "has_content": bool(row.body),
            }
            for row, name in webhook_inbox.not_imported(session, settings)
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
@click.option(
    "--done",
    type=integer(),
    metavar="NUMBER",
    help=gettext("You have deleted this one at the platform; the desk drops its addresses."),
)
def erasures(call: Call, done: int | None) -> Answer:
    """List profiles to delete by hand, or drop one that is deleted."""
    from retention.connect import profile_deletion

    with call.services.database.transaction() as session:
        if done is not None:
            profile_deletion.done_by_hand(session, call.services.settings, done, call.user)
        rows = profile_deletion.left(session, call.services.settings)
    return Answer("source/erasures", {"profiles": rows})


@COMMAND.command("list", role="admin", help=gettext("All sources with their last pull."))
def listing(call: Call) -> Answer:
    """List the sources, and connections that are no source."""
    services = call.services
    with services.database.reading() as session:
        stored = sources.sources(session, services.settings)
        used = {source.connection_id for source in stored}
        others = [
            connection.name
            for connection in connections.connections(session, services.settings)
            if connection.id not in used
        ]
        rows = [sources.summary(session, source) for source in stored]
    return Answer("source/list", {"sources": rows, "connections": others})


@COMMAND.command("show", role="admin", help=gettext("One source with its last ten pulls."))
@click.argument("name")
def show(call: Call, name: str) -> Answer:
    """Show a source."""
    services = call.services
    with services.database.reading() as session:
        source = sources.find(session, services.settings, name)
        data = sources.summary(session, source) | {"runs": sources.runs(session, source)}
    return Answer("source/show", data)


def _check(call: Call, data: dict[str, Any], **_: Any) -> None:
    """Fail the terminal's command if the pull had a problem."""
    if data["problem"]:
        raise Refused(sentence(data["name"], data["problem"], data["facts"], call))


@COMMAND.command(
    "run", request=SourcePull, after=_check, help=gettext("Pull what is new from a source now.")
)
@click.argument("name")
@click.option(
    "--accept-shrunk",
    is_flag=True,
    help=gettext("Import although the source lost half of its rows."),
)
def run(call: Call, name: str, accept_shrunk: bool) -> SourcePull:
    """Queue the pull of a source."""
    with call.services.database.reading() as session:
        known = sources.find(session, call.services.settings, name).name
    return request(SourcePull, name=known, accept_shrunk=accept_shrunk)


@COMMAND.command("pause", role="admin", help=gettext("Stop a source until it is resumed."))
@click.argument("name")
def pause(call: Call, name: str) -> Answer:
    """Pause a source."""
    return change(call, name, "pause")


@COMMAND.command("resume", role="admin", help=gettext("Let a paused source run again."))
@click.argument("name")
def resume(call: Call, name: str) -> Answer:
    """Resume a source."""
    return change(call, name, "resume")


@COMMAND.command(
    "remove", role="admin", help=gettext("Remove a source; the data that it brought stays.")
)
@click.argument("name")
def remove(call: Call, name: str) -> Answer:
    """Remove a source."""
    return change(call, name, "remove")


def change(call: Call, name: str, deed: str) -> Answer:
    """Pause, resume or remove a source.

    Parameters
    ----------
    call : Call
        Person, place and services.
    name : str
        Name of the source.
    deed : str
        ``pause``, ``resume`` or ``remove``.
    """
    settings = call.services.settings
    next_at = None
    with call.services.database.transaction() as session:
        if call.first_time(session):
            if deed == "pause":
                name = sources.pause(session, settings, name, call.user).name
            elif deed == "remove":
                name = source_removal.remove(session, settings, name, call.user).name
            else:
                source = sources.find(session, settings, name)
                at = next_pull(source.every, source.timezone, clock.now())
                name = sources.resume(session, settings, name, call.user, at).name
        if deed == "resume":
            next_at = sources.find(session, settings, name).next_at
    data = {"name": name.lower(), "deed": deed, "next_at": next_at and next_at.isoformat()}
    return Answer("source/changed", data)


def sentence(name: str, problem: str, facts: dict[str, Any], call: Call) -> str:
    """Return a source's problem as one sentence for the terminal.

    Parameters
    ----------
    name : str
        Name of the source.
    problem : str
        Code of the problem.
    facts : dict
        What the sentence names.
    call : Call
        Gives the time zone.
    """
    zone = call.services.settings.timezone
    values = {"name": name, "problem": problem, "facts": facts, "zone": zone}
    return text("terminal/source_problem.txt.j2", **values).strip().replace("*", "")
