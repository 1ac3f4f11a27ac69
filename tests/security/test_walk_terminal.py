"""Walk every command of the terminal as a person without its role (`--as`)."""

import click
import pytest

from bot.commands.tree import TERMINAL
from bot.terminal import run
from retention.db.tables import RoleGrant
from retention.errors import NotAllowed
from tests.bot.commands import test_tree
from tests.bot.conftest import home  # noqa: F401
from tests.security import walk
from tests.world import add
from workers.user_roles import RANKS

# A value of each argument that is no word or number; the others get 42.
VALUES = {"time": "09:00", "date": "2025-01-01", "moment": "2025-01-01", "person": "U042"}


def typed(path: tuple[str, ...], command: click.Command) -> list[str]:
    words = [*path]
    for each in command.params:
        if each.required:
            kind = each.type
            value = next(iter(kind.choices)) if isinstance(kind, click.Choice) else "42"
            value = VALUES.get(kind.name, value)
            words += [each.opts[0], value] if isinstance(each, click.Option) else [value]
    return words


COMMANDS = [
    (path, command)
    for path, command in test_tree.commands()
    if TERMINAL in command.surfaces and command.role != RANKS[0]
]
WITH_ROLES = [
    each for each in COMMANDS if not (each[1].without_database or each[1].starts_processes)
]


@pytest.fixture
def grants(home, database):  # noqa: F811
    grant = {"team_id": database.settings.team_id, "granted_by": "operator"}
    for role in ("analyst", "approver"):
        add(database, RoleGrant(user_id=f"U0{role.upper()}", role=role, **grant))


def test_three_commands_of_the_terminal_check_no_role():
    names = {" ".join(path) for path, command in COMMANDS} - {" ".join(p) for p, _ in WITH_ROLES}
    assert names == {"restore", "run", "demo"}  # there is no installation yet, or it is started


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize("start", range(24))
def test_terminal_refuses_who_lacks_the_role(database, grants, monkeypatch, start):
    refusals, wrong = walk.record_refusals(monkeypatch), []
    before = walk.content(database)
    for path, command in WITH_ROLES[start::24]:
        for role in RANKS[: RANKS.index(command.role)]:
            refusals.clear()
            status = run([*typed(path, command), "--as", f"U0{role.upper()}"])
            needed = [each.needed for each in refusals if isinstance(each, NotAllowed)]
            if status != 2 or needed != [command.role]:
                wrong.append((" ".join(path), role, status, [str(each) for each in refusals]))
    assert wrong == []
    assert walk.content(database) == before
