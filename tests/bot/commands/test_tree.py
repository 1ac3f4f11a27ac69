"""Test that every command has help, surfaces and role, and loads little."""

import subprocess
import sys

import click
import pytest

from bot.commands.catalogue import entries
from bot.commands.summaries import SUMMARIES
from bot.commands.tree import SLACK, TERMINAL, Command, Group, module_name, root
from workers.job_requests import Request
from workers.user_roles import RANKS

TERMINAL_ONLY = {
    *("backup", "restore", "rotate-keys", "keys", "posts", "identity", "init", "import"),
    *("evaluate", "run", "demo", "db", "titles", "export", "doctor", "federate"),
}
# They show rows as they were, identities and all.
TERMINAL_ONLY_BELOW = {
    *("data quarantine", "data release", "definition derive", "models feedback", "start"),
    *("source add", "source erasures", "source webhooks", "audience import", "campaign message"),
    *("audit export", "audit verify", "privacy verify", "privacy synthetic", "policy replay"),
}


def commands(group=None, path=()):
    group = group or root()
    context = click.Context(group)
    for name in group.list_commands(context):
        match = group.get_command(context, name)
        if isinstance(match, Group):
            yield from commands(match, (*path, name))
        else:
            yield (*path, name), match


ALL = list(commands())


@pytest.mark.parametrize(("path", "match"), ALL, ids=[" ".join(path) for path, _ in ALL])
def test_every_command_has_help_and_role(path, match):
    assert isinstance(match, Command)
    assert match.role in RANKS
    assert match.surfaces <= {SLACK, TERMINAL}
    assert match.surfaces
    assert (match.help or "").strip()
    assert match.request is None or (
        issubclass(match.request, Request) and match.role == match.request.role
    )
    assert (SLACK not in match.surfaces) == (
        path[0] in TERMINAL_ONLY or " ".join(path) in TERMINAL_ONLY_BELOW
    )
    assert not match.private or match.request
    for param in match.params:
        if isinstance(param, click.Option):
            assert param.help, param.name
            assert not param.prompt
            assert param.envvar is None
        if isinstance(param.type, click.Path | click.File):
            assert getattr(param, "terminal_only", False) or SLACK not in match.surfaces, param.name


def test_every_file_is_in_the_tree():
    assert {path[0] for path, _ in ALL} == set(SUMMARIES)
    assert {module_name(name) for name in SUMMARIES} <= set(sys.modules)


def test_catalogue_filters_by_role():
    viewer = {entry.name for entry in entries(root(), where=SLACK, role="viewer")}
    admin = {entry.name for entry in entries(root(), where=SLACK, role="admin")}
    assert {"help", "status", "jobs list", "digest now"} <= viewer
    assert not viewer & {"sweep", "retrain", "role grant", "score", "data"}
    assert viewer < admin
    assert not {name.split()[0] for name in admin} & TERMINAL_ONLY


HEAVY = {
    *("pandas", "sklearn", "implicit", "matplotlib", "duckdb", "ibis", "deltalake", "pyarrow"),
    "scipy",
}


@pytest.mark.nightly
def test_building_the_app_loads_no_heavy_module(tmp_path):
    code = f"""
import sys
from retention.settings import Settings
from bot.http.web import Site
import bot.http.server, bot.terminal
Site(
    Settings(
        home={str(tmp_path)!r}, slack_signing_secret="s", slack_bot_token="xoxb-1", _env_file=None
    )
)
print(sorted({HEAVY!r} & {{name.split(".")[0] for name in sys.modules}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
