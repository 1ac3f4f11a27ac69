"""Commands that create, run, check, back up and restore an installation."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bot.commands.parameters import TO_READ, TO_WRITE, choice, option, switch
from bot.commands.tree import Answer, Call, command, group
from bot.http.health import overview
from retention import logs
from retention.errors import BadInput
from retention.text import gettext
from workers import user_roles
from workers.app import QUEUES

if TYPE_CHECKING:
    from retention.installation.backup_encryption import BackupKey
    from retention.settings import Settings


@command("init", role="admin")
@switch("--demo", gettext("Also import the Complete Journey, a real shop's year."))
def init(call: Call, demo: bool) -> Answer:
    """Create the secret key, the database and the lake."""
    from retention.db.migrate import upgrade

    settings = call.settings
    revision = upgrade(settings)
    if not settings.key:
        raise RuntimeError("an empty secret key")
    if demo:
        from retention.demo.journey import import_whole_year

        import_whole_year(call.database, call.progress)
    return Answer(
        "bot/init", {"home": str(settings.home), "database_revision": revision, "demo": demo}
    )


PROCESSES = ("bot", "worker", "tick", "sender", "live")


@command("run", role="admin", starts_processes=True)
@click.argument(
    "what", type=choice("all", *PROCESSES), default="all", metavar="[all|bot|worker|tick|sender]"
)
@option(
    "--queue",
    gettext(
        "For a worker: serve only this queue. Without it one worker serves all queues, one job "
        "at a time, so a training delays every other job."
    ),
    choice(*QUEUES),
)
@option(
    "--log-format",
    gettext("`json` writes the log of every process to standard output, one object per line."),
    choice("text", "json"),
)
def run(call: Call, what: str, queue: str | None, log_format: str | None) -> Answer:
    """Run the processes until Ctrl-C."""
    from bot.http import server
    from retention.db.migrate import upgrade_when_up
    from workers.queue import supervisor

    settings = call.settings
    if log_format:
        settings = settings.model_copy(update={"log_format": log_format})
    logs.configure(form=settings.log_format)
    upgrade_when_up(settings)
    if what != "sender":  # which has no key of its own
        _ = settings.key  # a missing one stops the start with a sentence
    if what == "all" and not server.missing_configuration(settings):
        server.check_ports(settings)  # the bot would start again and again
    supervisor.run(settings, roles=PROCESSES if what == "all" else (what,), queue=queue)
    return Answer("bot/stopped")


@command("demo", role="admin", starts_processes=True)
def demo(call: Call) -> Answer:
    """Run the playground."""
    from bot import playground

    playground.main(call.settings)
    return Answer("bot/stopped")


@command("status")
def status(call: Call) -> Answer:
    """Show models, data, queue and processes."""
    with call.database.reading() as session:
        role = user_roles.role_of(session, call.user)
        return Answer("bot/status", {"role": role, **overview(session, call.database)})


DB = group("db")


@DB.command(
    "upgrade",
    role="admin",
    help=gettext(
        "Bring the database to this version's schema (`init`, `run` and `demo` do it by"
        " themselves), and its customers to the lake's."
    ),
)
def migrate(call: Call) -> Answer:
    """Migrate the database and synchronise its customers with the lake."""
    from retention.db.migrate import upgrade
    from retention.lake import customer_directory

    settings = call.settings
    revision = upgrade(settings)
    # A new database does not have the lake's customers yet.
    changed = customer_directory.sync(call.lake, call.database)
    return Answer("bot/upgraded", {"database_revision": revision, "customers_changed": changed})


@command("backup", role="admin")
@click.argument("file", type=TO_WRITE, metavar="FILE")
@option(
    "--recipient",
    gettext("Encrypt to this age recipient; by default RETENTION_BACKUP_RECIPIENT."),
    metavar="age1…",
)
@switch("--unencrypted", gettext("Write a file that everyone who gets it can read."))
def write_backup(call: Call, file: Path, recipient: str | None, unencrypted: bool) -> Answer:
    """Back up database, lake and models to an encrypted file."""
    from retention.installation.backup import backup

    key = None if unencrypted else _backup_key(call.settings, recipient)
    written = backup(call.settings, file, key, progress=call.progress)
    return Answer("bot/backup", asdict(written))


def _backup_key(settings: "Settings", recipient: str | None) -> "BackupKey":
    from retention.installation.backup_encryption import BackupKey

    if recipient := recipient or settings.backup_recipient:
        return BackupKey(recipient=recipient)
    return BackupKey(passphrase=_passphrase(settings, confirm=True))


def _passphrase(settings: "Settings", *, confirm: bool = False) -> str:
    """Return the passphrase of backups from the settings, else ask the person."""
    if secret := settings.backup_passphrase:
        return secret.get_secret_value()
    if not sys.stdin.isatty():
        raise BadInput(
            gettext(
                "RETENTION_BACKUP_PASSPHRASE is not set; set it, or name a file with it in "
                "RETENTION_BACKUP_PASSPHRASE_FILE."
            ),
            field="passphrase",
        )
    return str(
        click.prompt(
            gettext("Passphrase of the backup"),
            hide_input=True,
            confirmation_prompt=confirm,
            err=True,
        )
    )


@command("restore", role="admin", without_database=True)
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@option(
    "--identity",
    gettext("File with the key of a backup that is encrypted to an age recipient."),
    TO_READ,
    "KEY.txt",
)
def restore_backup(call: Call, file: Path, identity: Path | None) -> Answer:
    """Check a backup and restore it into an empty home."""
    from retention.installation.backup import restore
    from retention.installation.backup_encryption import BackupKey, protection

    asks = file.is_file() and protection(file) == "passphrase"
    key = BackupKey(passphrase=_passphrase(call.settings) if asks else "", identity=identity)
    return Answer("bot/restore", asdict(restore(call.settings, file, key, progress=call.progress)))


@command("rotate-keys", role="admin")
@switch(
    "--reseal", gettext("No new key: only seal models and hash the directory with the present one.")
)
def rotate_keys(call: Call, reseal: bool) -> Answer:
    """Create a new root key, or only seal models again."""
    from retention.installation.rotation import reseal_all, rotate
    from retention.lake import customer_directory

    settings = call.settings if reseal else rotate(call.settings)
    directory = customer_directory.read(call.lake, settings)
    with call.database.transaction() as session:
        resealed = reseal_all(directory, session, call.user)
    keys = settings.keys
    return Answer(
        "bot/keys_rotated", {"key_id": keys.current_id, "older": len(keys.all) - 1, **resealed}
    )
