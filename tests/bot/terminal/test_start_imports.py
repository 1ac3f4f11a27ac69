"""Hold what a command's start may import: imports are most of its time."""

import json
import os
import subprocess
import sys
from inspect import cleandoc

import click
import pytest

from bot.commands.summaries import SUMMARIES
from bot.commands.tree import TERMINAL, root, terminal_context


def below(package: str, *names: str) -> set[str]:
    """Return a package and modules of it."""
    return {package, *(f"{package}.{name}" for name in names)}


HELP_LIBRARIES = {"click"}
HELP_MODULES = below("bot", "commands", "terminal") | below("workers", "hints", "typed_times")
HELP_MODULES |= below("bot.commands", "parsing", "summaries", "tree")
HELP_MODULES |= below("retention", "clock", "errors", "logs", "progress", "text", "traces")
STATUS_LIBRARIES = {
    *HELP_LIBRARIES,
    *("sqlalchemy", "greenlet", "cython_runtime", "slack_sdk"),  # slack_sdk: three of the tables
    *("pydantic", "pydantic_core", "pydantic_settings", "annotated_types", "dotenv"),
    *("typing_extensions", "typing_inspection"),
    *("babel", "jinja2", "markupsafe", "templates", "tzdata"),
}
STATUS_MODULES = (
    HELP_MODULES
    | below("bot", "commands.installation", "commands.parameters", "group_commit", "numbers")
    | below("bot", "http", "http.health", "services")
    | {"bot.terminal.terminal_runner"}
    | below("retention.connect", "live", "live.inbox")
    | below("retention.db", "audit", "audit_chain", "engine", "insert", "tables")
    | below("retention", "faults", "keys", "monitoring", "number_format", "paths", "settings")
    | below("retention", "privacy", "privacy.periods", "templating", "window")
    | below("workers", "app", "installation", "languages", "user_roles")
    | below("workers.queue", "broker")
)

_MAP = """
[events]
customer_id = "customer"
occurred_at = "date"
order_id = "order"
amount = "total"
event_type = { value = "purchase" }
"""

_RUN = """
import json, sys
before = set(sys.modules)
from bot.terminal import run
status = run(sys.argv[1:])
print(json.dumps([status, sorted(set(sys.modules) - before)]), file=sys.stderr)
"""


def imported(arguments, home):
    """Run a command in a new process; return its status, libraries and own modules."""
    done = subprocess.run(
        [sys.executable, "-c", _RUN, *arguments],
        env=os.environ | {"RETENTION_HOME": str(home)},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    status, modules = json.loads(done.stderr.splitlines()[-1])
    own = {name for name in modules if name.split(".")[0] in {"bot", "retention", "workers"}}
    libraries = {name.split(".")[0] for name in modules if name not in own}
    libraries = {name for name in libraries if not name.startswith("_")}  # parts of compiled ones
    return status, libraries - set(sys.stdlib_module_names), own


@pytest.mark.parametrize("arguments", [["--help"], [], ["swep"]])
def test_help_and_typos_import_click_and_the_tree_only(arguments, tmp_path):
    _, libraries, own = imported(arguments, tmp_path)
    assert libraries <= HELP_LIBRARIES
    assert own <= HELP_MODULES


@pytest.mark.nightly
def test_status_imports_no_more_than_listed(tmp_path):
    assert imported(["init"], tmp_path)[0] == 0
    status, libraries, own = imported(["status"], tmp_path)
    assert status == 0
    assert libraries <= STATUS_LIBRARIES
    tables = {name for name in own if name.startswith("retention.db.tables.")}
    assert own - tables <= STATUS_MODULES


@pytest.mark.nightly
def test_a_sweep_by_rules_imports_no_library_of_models_or_charts(tmp_path):
    orders = [f"o{number},c{number % 9},2025-01-{1 + number % 28:02},5" for number in range(60)]
    (tmp_path / "orders.csv").write_text("\n".join(["order,customer,date,total", *orders]))
    (tmp_path / "map.toml").write_text(_MAP)
    assert imported(["import", "events", "orders.csv", "--map", "map.toml"], tmp_path)[0] == 0
    status, libraries, _ = imported(["sweep"], tmp_path)
    assert status == 0
    assert not libraries & {"sklearn", "skops", "shap", "matplotlib", "implicit"}


@pytest.mark.parametrize("name", SUMMARIES)
def test_a_summary_is_the_first_paragraph_of_its_commands_help(name):
    command = root().get_command(terminal_context(), name)
    assert SUMMARIES[name] == " ".join(cleandoc(command.help).split("\n\n")[0].split())


def test_help_and_suggestions_are_the_same_without_importing_commands():
    context = terminal_context()
    formatter, slow = click.HelpFormatter(width=80), click.HelpFormatter(width=80)
    root().format_commands(context, formatter)
    click.Group.format_commands(root(), context, slow)
    assert formatter.getvalue() == slow.getvalue()
    assert root().commands_on(TERMINAL, context) == list(SUMMARIES)
