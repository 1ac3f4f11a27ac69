"""``make docs``: generate docs/commands.md, docs/features.md and slack-manifest.yaml."""

import textwrap
from pathlib import Path
from typing import Any

import yaml

from bot.commands import SLACK, root
from bot.commands.catalogue import Entry, Option, entries
from bot.oauth import SCOPES
from bot.shortcuts import SHORTCUTS

ROOT = Path(__file__).parents[1]
WIDTH = 100  # of a line, where it can be broken
NO_BREAK = "\0"  # stands for a space at which a line is not broken


def commands_page() -> str:
    """docs/commands.md."""
    both = [entry for entry in entries(root()) if SLACK in entry.surfaces]
    terminal = [entry for entry in entries(root()) if SLACK not in entry.surfaces]
    return "\n".join(
        [
            "# Commands",
            "",
            _wrapped(
                "Made from the command tree by `make docs`; do not edit. Every command takes "
                "`--json` in the terminal and then prints one JSON object and nothing else; there "
                "it acts as `--as USER` (by default the operator), and what the workers can do is "
                "handed to them with `--queue`. In Slack, `/retention help` shows what your role "
                "may do."
            ),
            "",
            "## In Slack and in the terminal",
            "",
            *(line for entry in both for line in _section(entry)),
            "## In the terminal only",
            "",
            *(line for entry in terminal for line in _section(entry)),
        ]
    )


def _section(entry: Entry) -> list[str]:
    options = [*_options(entry.options), *_options(entry.terminal_options, " (terminal only)")]
    if SLACK not in entry.surfaces:
        options = _options(entry.options)
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
    """The Slack app, for Socket Mode; docs/slack.md says what to change for HTTP."""
    return {
        "display_information": {
            "name": "Retention desk",
            "description": "Who will lapse, why, what wins them back, and what it really earned.",
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
    """docs/features.md."""
    from retention.churn.model_features import DERIVED
    from retention.features import FEATURES

    return "\n".join(
        [
            "# Features",
            "",
            _wrapped(
                "Made from the code by `make docs`; do not edit. H is the horizon (`--horizon`), "
                "and windows end at the cutoff: only what occurred, and was known, before it is "
                "seen. The unit of money is the shop's currency. A feature that a customer has no "
                "events for is 0 where it counts, else missing. It is missing for all customers if "
                "the shop's data has no such column or event before the cutoff. Items' categories "
                "and brands are as they stand now, for the catalogue keeps no history. *Group* is "
                "what reasons are told by."
            ),
            "",
            "| name | meaning | unit | source | group |",
            "| --- | --- | --- | --- | --- |",
            *(
                f"| `{feature.name}` | {feature.meaning} | {feature.unit} | {feature.source} "
                f"| {feature.group} |"
                for feature in (*FEATURES, *DERIVED)
            ),
        ]
    )


FILES = {
    "docs/commands.md": commands_page,
    "slack-manifest.yaml": manifest_text,
    "docs/features.md": features_page,
}


def main() -> None:
    """Write the files."""
    for name, make in FILES.items():
        (ROOT / name).write_text(make().rstrip("\n") + "\n", encoding="utf-8")
        print(f"wrote {name}")


if __name__ == "__main__":
    main()
