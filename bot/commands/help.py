"""`help`: what the person can do, by task. `glossary` and `ask`: words and sentences."""

from typing import Any

import click

from bot.commands.catalogue import Entry, as_dict, entries
from bot.commands.retrain import ESTIMATORS, RECOMMENDER_NAMES
from bot.commands.tasks import GROUPS, examples_of, group_of, title_of_command
from bot.commands.tree import SLACK, Answer, Call, command, root
from bot.slack.glossary import chosen
from retention import clock
from retention.errors import BadInput
from retention.text import gettext, in_language
from workers import user_roles

MAX_EXAMPLES = 4
MODELS = {"churn": ESTIMATORS, "recommend": RECOMMENDER_NAMES}  # the names of their kinds


@command("help")
@click.argument("words", nargs=-1, metavar="[COMMAND]")
def help_(call: Call, words: tuple[str, ...]) -> Answer:
    """List the person's tasks, or explain a command."""
    role = call.services.role_of(call.user)
    if words:
        return _explain(call, [word.lower() for word in words], role)
    available = entries(root(), where=call.surface, role=role)
    commands = [as_dict(entry) for entry in available]
    data = {"role": role, "groups": task_groups(available), "commands": commands}
    return Answer("bot/help", data)


def task_groups(available: list[Entry]) -> list[dict[str, Any]]:
    """Group commands by task.

    Returns: ``name``, ``title``, ``about`` and ``tasks`` (``command``, ``title``) of each group
    with a command. `help` itself is left out.
    """
    groups = []
    for group in GROUPS:
        tasks = [
            {"command": entry.name, "title": in_language(title_of_command(entry.name, entry.help))}
            for entry in available
            if entry.name != "help" and group_of(entry.name) is group
        ]
        if tasks:
            title, about = in_language(group.title), in_language(group.about)
            groups.append({"name": group.name, "title": title, "about": about, "tasks": tasks})
    return groups


def _explain(call: Call, words: list[str], role: str) -> Answer:
    known, path = entries(root(), where=call.surface), tuple(words)
    matches = [entry for entry in known if entry.path[: len(path)] == path]
    if not matches:
        message = gettext(
            "There is no command {words!r}; see `/retention help` for those there are."
        )
        raise BadInput(message.format(words=" ".join(words)))
    # A group shows what the person may do; a command that was named is always explained.
    shown = [entry for entry in matches if user_roles.allows(role, entry.role)] or matches
    start = "/retention" if call.surface == SLACK else "retention"
    examples = [f"{start} {example}" for entry in shown for example in examples_of(entry.name)]
    commands = [
        {**as_dict(entry), "title": title_of_command(entry.name, entry.help)} for entry in shown
    ]
    data = {
        "role": role,
        "command": " ".join(words),
        "commands": commands,
        "examples": examples[:MAX_EXAMPLES],
        "models": MODELS if words[0] == "models" else {},
    }
    return Answer("bot/help_command", data)


@command("glossary", role="viewer")
@click.argument("word", nargs=-1)
def glossary(call: Call, word: tuple[str, ...]) -> Answer:
    """Explain a word, or all words."""
    return Answer("bot/glossary", {"terms": chosen(" ".join(word))})


@command(
    "ask",
    role="analyst",
    help=gettext(
        "Ask in a sentence, in English or Chinese; see the command for it.\n\nIt runs nothing. In "
        "Slack, mention the bot or write to it: reading commands run at once, and a change waits "
        "for your click."
    ),
)
@click.argument("sentence", nargs=-1, required=True)
def ask(call: Call, sentence: tuple[str, ...]) -> Answer:
    """Show the command for a sentence."""
    from bot.ask import understand
    from bot.ask.references import of_shop

    today = clock.now().astimezone(call.settings.zone).date()
    understanding = understand(" ".join(sentence), today, shop=of_shop(call.services))
    return Answer("bot/ask", understanding.as_dict())
