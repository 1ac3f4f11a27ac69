"""Follow the page that connects mail platforms word by word, against their stand-ins."""

import re
import shlex
from pathlib import Path

import pytest
from sqlalchemy import select

from bot.terminal import run
from retention.connect import connections
from retention.db import Database
from retention.db.tables import Connection
from retention.settings import Settings
from tests.standins import customer_io, mailchimp
from tests.standins.profile_platforms import PLATFORMS
from tests.world import scalars

PAGE = Path(__file__).parents[2] / "docs" / "operator" / "connect_customerio_mailchimp.md"
COMMANDS = re.compile(
    r"^```\n(export .*)\n(retention source add mail (\S+) (?:.*\\\n)*.*)\n```$", re.MULTILINE
)
PLACEHOLDERS = {"SITE_ID": customer_io.SITE, "AUDIENCE": mailchimp.AUDIENCE}
ADDRESSES = ("address", "track_address", "marketing_address")


@pytest.fixture
def folder(home, cli):
    cli.text("init")
    return home.parent


def follow(kind, stand_in, folder, monkeypatch, **changes) -> int:
    """Type the commands of the page; returns the exit status."""
    page = PAGE.read_text(encoding="utf-8")
    ((export, command),) = ((e, c) for e, c, name in COMMANDS.findall(page) if name == kind)
    values = PLATFORMS[kind].values(stand_in) | changes
    for word in shlex.split(export)[1:]:
        name = word.partition("=")[0]
        file = folder / name  # of a secret
        file.write_text(values[name.removesuffix("_FILE").lower()])
        monkeypatch.setenv(name, str(file))
    words = shlex.split(command.replace("\\\n", " "))[1:]
    for placeholder, value in PLACEHOLDERS.items():
        words = [re.sub(rf"={placeholder}$", f"={value}", word) for word in words]
    for name in set(ADDRESSES).intersection(values):
        words += ["--set", f"{name}={stand_in.url}"]
    return run(words)


def connected() -> list[tuple[str, dict[str, str]]]:
    settings = Settings(_env_file=None)
    database = Database.of(settings)
    rows = scalars(database, select(Connection))
    database.dispose()
    return [(row.kind, dict(connections.access(settings, row).values)) for row in rows]


@pytest.mark.parametrize("kind", ["customer.io", "mailchimp"])
def test_page_connects_a_mail_platform_with_both_accesses(kind, folder, monkeypatch, capsys):
    with PLATFORMS[kind].stand_in.start() as stand_in:
        assert follow(kind, stand_in, folder, monkeypatch) == 0
        assert connected() == [(kind, PLATFORMS[kind].values(stand_in))]
    assert "missing" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kind", "secret"), [("customer.io", "track_key"), ("mailchimp", "marketing_key")]
)
def test_wrong_second_key_connects_nothing(kind, secret, folder, monkeypatch, capsys):
    with PLATFORMS[kind].stand_in.start() as stand_in:
        assert follow(kind, stand_in, folder, monkeypatch, **{secret: "wrong-us6"}) == 2
        assert connected() == []
    assert "refused access" in capsys.readouterr().err
