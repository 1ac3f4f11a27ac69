"""The pages name only commands, options and settings that exist."""

import re
import shlex

import click
import pytest

from bot.commands.tree import Group, root
from retention.settings import SECRETS, Settings, variable
from tests.make_docs import ROOT

# Tutorials name what they add; tests/tutorials runs them.
OTHERS = {"research", "zh", "tutorials"}
PAGES = sorted(
    page
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
    if not OTHERS & set(page.relative_to(ROOT).parts)
)
CODE = re.compile(r"^ *```.*?^ *```|`[^`\n]+`", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?<![\w.-])/?retention +([a-z][^`\n#|&;]*)")
VARIABLE = re.compile(r"\b(?:RETENTION|SLACK)_[A-Z_]*[A-Z]\b")
CODE_FILES = {".py", ".toml", ".j2", ".yaml", ".html", ".txt"}
# Not settings of the program: of the tests, and of the Makefile.
OTHER_VARIABLES = {"RETENTION_LANGUAGE", "RETENTION_PICTURES", "RETENTION_REQUIRE_BROWSER"}
# In "retention package" and the like.
NOT_COMMANDS = {"package", "imports", "desk"}


def _commands(text):
    """All (words, options) of commands in code."""
    for code in CODE.findall(text):
        for match in COMMAND.findall(code.replace("\\\n", " ")):
            try:
                words = shlex.split(match)
            except ValueError:  # quotes that go on in the next line
                words = match.split()
            yield words


def _match(words):
    """The command that the words name, or None."""
    group = root()
    for word in words:
        if not isinstance(group, Group):
            return group
        found = group.get_command(click.Context(group), word)
        if found is None:
            takes_words = group.default if group.default_takes_words else None
            return group.commands.get(takes_words)
        group = found
    return group


def _options(command):
    names = {name for param in command.params for name in param.opts}
    if isinstance(command, Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            names |= _options(command.get_command(context, name))
    return names


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_pages_name_only_commands_options_and_settings_that_exist(page):
    text = page.read_text(encoding="utf-8")
    known = {variable(name) for name in Settings.model_fields} | OTHER_VARIABLES
    known |= {f"{name}_FILE" for name in SECRETS.values()}
    assert set(VARIABLE.findall(text)) <= known
    for words in _commands(text):
        if words[0] in NOT_COMMANDS:
            continue
        command = _match([word for word in words if not word.startswith("-")])
        assert command is not None, f"no command: {' '.join(words)}"
        written = {word.partition("=")[0].strip("[],.…") for word in words if word[:2] == "--"}
        unknown = written - _options(command) - {"--json", "--as", "--queue", "--help"}
        assert not unknown, f"{command.name} has no {unknown}: {' '.join(words)}"


def test_code_names_only_pages_that_exist():
    files = [ROOT / "Makefile", ROOT / "pyproject.toml"]
    for folder in ("bot", "workers", "retention", "templates", "tests"):
        files += [path for path in (ROOT / folder).rglob("*") if path.suffix in CODE_FILES]
    missing = {
        f"{file.relative_to(ROOT)}: {name}"
        for file in files
        for name in re.findall(r"\bdocs/[\w/]+\.md\b", file.read_text(encoding="utf-8"))
        if not (ROOT / name).exists()
    }
    assert not missing
