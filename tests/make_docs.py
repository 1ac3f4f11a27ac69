"""``make docs``: generate the pages of docs/reference and slack-manifest.yaml."""

import ast
import inspect
import textwrap
from collections.abc import Iterable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from pydantic import SecretStr

from bot.commands.catalogue import Entry, Option, entries
from bot.commands.tree import SLACK, root
from bot.http.oauth import SCOPES
from bot.slack.workspace import TEXT as FOREIGN_REQUESTS
from retention import faults
from retention.lake.importing.quarantine_reasons import Reason, ReasonCode
from retention.number_format import count
from retention.privacy.periods import PERIODS
from retention.settings import SECRETS, Settings, variable
from workers.action_ids import SHORTCUTS

ROOT = Path(__file__).parents[1]
WIDTH = 100  # of a line, where it can be broken
# Set by `retention demo`, or a name nobody sees.
INTERNAL_SETTINGS = frozenset({"demo", "team_id"})
DEFAULTS_IN_HOME = {
    "database_url": "sqlite:///$RETENTION_HOME/state.db",
    "lake_url": "duckdb://$RETENTION_HOME/lake",
    "models_url": "$RETENTION_HOME/models",
    "secret_key": "$RETENTION_HOME/secret.key, made once",
}
REASON_DATA = {"column": "COLUMN", "values": "…", "earliest": "DATE", "fault": "…", "text": "…"}
PERIODS_BEGIN = "<!-- Made from retention/privacy/periods.py by `make docs`. -->"
PERIODS_END = "<!-- end -->"
NO_BREAK = "\0"  # stands for a space at which a line is not broken


def _page(title: str, made: str, *lines: str) -> str:
    """A generated page: its title, how it is made, and its lines."""
    return "\n".join([f"# {title}", "", _wrapped(made), "", *lines])


def _table(columns: str, rows: Iterable[tuple[str, ...]]) -> list[str]:
    """A table; commas separate the names of its columns."""
    names = columns.split(",")
    return ["| " + " | ".join(row) + " |" for row in (names, ["---"] * len(names), *rows)]


def commands_page() -> str:
    """docs/reference/commands.md."""
    both = [entry for entry in entries(root()) if SLACK in entry.surfaces]
    terminal = [entry for entry in entries(root()) if SLACK not in entry.surfaces]
    return _page(
        "Commands",
        "Made from the command tree by `make docs`; do not edit. In Slack, `/retention help` shows "
        "the commands of your role.",
        "In the terminal, every command also takes these options:",
        "",
        "- `--json`: Print one JSON object and nothing else.",
        "- `--as USER`: Act as this person. Default: `operator`.",
        "- `--queue`: Give the work to the workers.",
        "",
        "## In Slack and in the terminal",
        "",
        *(line for entry in both for line in _section(entry)),
        "## In the terminal only",
        "",
        *(line for entry in terminal for line in _section(entry)),
    )


def _section(entry: Entry) -> list[str]:
    options = _options(entry.options)
    if SLACK in entry.surfaces:
        options += _options(entry.terminal_options, " (terminal only)")
    return [
        f"### `{entry.name}`",
        "",
        f"    {entry.usage}",
        "",
        entry.help,
        "",
        f"Needs the role *{entry.role}*.",
        "",
        *options,
        *([""] if options else []),
    ]


def _options(options: tuple[Option, ...], where: str = "") -> list[str]:
    return [
        _wrapped(
            f"`{option.names.replace(' ', NO_BREAK)}`{where}: {option.help}"
            f"{f' Default: `{option.default}`.' if option.default else ''}",
            "- ",
            "  ",
        ).replace(NO_BREAK, " ")
        for option in options
        if option.help
    ]


def _wrapped(text: str, first: str = "", rest: str = "") -> str:
    """Wrap a paragraph at `WIDTH`; its first and its other lines get these indents."""
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def usage_hint() -> str:
    """What Slack shows while somebody types the command."""
    first = dict.fromkeys(entry.path[0] for entry in entries(root(), where=SLACK))
    return " | ".join(first)


def manifest() -> dict[str, Any]:
    """The Slack app, for Socket Mode; docs/operator/slack_app.md says what to change for HTTP."""
    return {
        "display_information": {
            "name": "Retention desk",
            "description": "Find customers at risk, win them back, and measure what it earned.",
            "background_color": "#2c2d72",
        },
        "features": {
            "app_home": {
                "home_tab_enabled": True,
                "messages_tab_enabled": True,
                "messages_tab_read_only_enabled": False,
            },
            "bot_user": {"display_name": "retention", "always_online": True},
            "shortcuts": [
                {
                    "name": shortcut.name,
                    "type": shortcut.kind,
                    "callback_id": shortcut.callback_id,
                    "description": shortcut.description,
                }
                for shortcut in SHORTCUTS
            ],
            "slash_commands": [
                {
                    "command": "/retention",
                    "description": "The retention desk: type help",
                    "usage_hint": usage_hint(),
                    "should_escape": True,
                }
            ],
        },
        "oauth_config": {"scopes": {"bot": list(SCOPES)}},
        "settings": {
            "event_subscriptions": {
                "bot_events": [
                    "app_home_opened",
                    "app_mention",
                    "message.channels",
                    "message.groups",
                    "message.im",
                    "subteam_members_changed",
                ]
            },
            "interactivity": {"is_enabled": True},
            "org_deploy_enabled": False,
            "socket_mode_enabled": True,
            "token_rotation_enabled": False,
        },
    }


def manifest_text() -> str:
    """slack-manifest.yaml."""
    head = (
        "# Made from the command tree by `make docs`. "
        "Paste it at api.slack.com/apps → Create New App → From a manifest.\n"
    )
    return head + yaml.safe_dump(manifest(), sort_keys=False, width=120, allow_unicode=True)


def features_page() -> str:
    """docs/reference/features.md."""
    from retention.churn.model_features import DERIVED
    from retention.features import FEATURES

    rows = (
        (f"`{one.name}`", one.meaning, one.unit, one.source, one.group)
        for one in (*FEATURES, *DERIVED)
    )
    return _page(
        "Features",
        "Made from the code by `make docs`; do not edit. H is the horizon (`--horizon`). Windows "
        "end at the cutoff: a feature sees only events that occurred, and were known, before it. "
        "Money is in the shop's currency.",
        "- A customer without events for a feature has 0 if it counts, else a missing value.",
        "- A feature is missing for all customers if the data has no such column or event.",
        _wrapped(
            "Categories and brands of items are today's, because the catalogue has no history.",
            "- ",
            "  ",
        ),
        "- *Group* is the group of the feature's reasons.",
        "",
        *_table("name,meaning,unit,source,group", rows),
    )


def settings_page() -> str:
    """docs/reference/settings.md."""
    rows = (
        (f"`{variable(name)}`{' (secret)' if name in SECRETS else ''}", _default(name), meaning)
        for name, meaning in _attribute_docstrings(Settings).items()
        if name not in INTERNAL_SETTINGS
    )
    others = [
        (
            "`RETENTION_LANGUAGE`",
            "`en`",
            "Language of messages, pages and the terminal. Not read from `.env`. It needs a "
            "catalogue in `retention/locale/`.",
        ),
        (
            "`OMP_NUM_THREADS`, `OPENBLAS_NUM_THREADS`, `MKL_NUM_THREADS`",
            "half of the cores, at most 4",
            "Threads of a training.",
        ),
        (
            "`OMP_WAIT_POLICY`",
            "`passive`",
            "How threads of a training wait for each other. `active` spins, which is much slower "
            "on a busy machine.",
        ),
        (
            "`SSL_CERT_FILE`",
            "the system's",
            "Certificates that the mail server's is checked against.",
        ),
    ]
    columns = "variable,default,meaning"
    return _page(
        "Settings",
        "Made from `retention/settings.py` by `make docs`; do not edit. Set these variables in the "
        "environment or in `.env`. The variable precedes `.env`. How to set a secret: "
        "[configure](../operator/configure.md#set-a-secret).",
        *_table(columns, rows),
        "",
        "## Other variables",
        "",
        *_table(columns, others),
    )


def _default(name: str) -> str:
    """Return a setting's default as a cell."""
    if name in DEFAULTS_IN_HOME:
        return f"`{DEFAULTS_IN_HOME[name]}`"
    value = Settings.model_fields[name].default
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    return "–" if value in (None, "") else f"`{value}`"


def _attribute_docstrings(model: type) -> dict[str, str]:
    """Return the docstring below each annotated attribute of a class, in one line.

    pydantic can do this (``use_attribute_docstrings``), but then each start would parse the source.
    """
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    docstrings = {}
    for attribute, below in pairwise(definition.body):
        match attribute, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                docstrings[name] = " ".join(text.split())
    return docstrings


def codes_page() -> str:
    """docs/reference/codes.md."""
    statuses = [
        ("0", "done"),
        ("1", "failed; the message has a reference number for the operator"),
        ("2", "bad input; the message names the value and the fix"),
    ]
    machine = [(code.value, faults.fault(code, "PATH")) for code in faults.Code]
    refused = [
        (code.value, Reason(code, REASON_DATA))
        for code in ReasonCode
        if code is not ReasonCode.OTHER
    ]
    return _page(
        "Codes",
        "Made from the code by `make docs`; do not edit. Scripts decide by a code, never by its "
        "sentence, because sentences are translated and improved.",
        "## Exit status",
        "",
        *_table("status,meaning", statuses),
        "",
        "## Machine faults",
        "",
        "The disk or a file of the installation has a fault. `PATH` is the folder or file.",
        "",
        *_table(
            "code,message,remedy",
            ((f"`{code}`", found.sentence, found.remedy) for code, found in machine),
        ),
        "",
        "## Requests of other workspaces",
        "",
        *_table("code,message", ((f"`{code}`", text) for code, text in FOREIGN_REQUESTS.items())),
        "",
        "## Rows in quarantine",
        "",
        _wrapped(
            "`retention data quarantine --json` and `import --json` count rows by these codes. "
            "What to do with them: [quarantine](../operator/quarantine.md)."
        ),
        "",
        *_table(
            "code,reason,remedy",
            ((f"`{code}`", reason.text, reason.remedy) for code, reason in refused),
        ),
    )


def privacy_page() -> str:
    """docs/operator/privacy.md: its table of periods."""
    page = (ROOT / "docs/operator/privacy.md").read_text(encoding="utf-8")
    before, rest = page.split(PERIODS_BEGIN)
    rows = (
        (
            period.what,
            ", ".join(f"`{store}`" for store in period.stores),
            count(period.keep.days, "day") if isinstance(period.keep, timedelta) else period.keep,
            period.why,
        )
        for period in PERIODS
    )
    table = "\n".join(_table("what,where,how long,why", rows))
    return f"{before}{PERIODS_BEGIN}\n\n{table}\n\n{PERIODS_END}{rest.split(PERIODS_END)[1]}"


FILES = {
    "docs/operator/privacy.md": privacy_page,
    "docs/reference/commands.md": commands_page,
    "slack-manifest.yaml": manifest_text,
    "docs/reference/features.md": features_page,
    "docs/reference/settings.md": settings_page,
    "docs/reference/codes.md": codes_page,
}


def main() -> None:
    """Write the files."""
    for name, make in FILES.items():
        (ROOT / name).write_text(make().rstrip("\n") + "\n", encoding="utf-8")
        print(f"wrote {name}")


if __name__ == "__main__":
    main()
