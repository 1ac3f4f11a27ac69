"""Do what a tutorial in docs/contributor/ says, in a copy of the code.

A fenced block with a ``title`` is a file, or a change of one (``diff``). The block with the title
``Check`` has the commands that must succeed.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.make_docs import FILES

ROOT = Path(__file__).parents[2]
COPIED = ("bot", "workers", "retention", "templates", "tests")
CHECK = "Check"
_BLOCK = re.compile(r'^```(?P<kind>\w+) title="(?P<title>[^"]+)"\n(?P<body>.*?)^```$', re.M | re.S)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page: a file, a change of a file, or the commands."""

    kind: str
    title: str
    body: str


def blocks(page: Path) -> list[Block]:
    """Return the blocks with a title, in the page's order."""
    text = page.read_text(encoding="utf-8")
    return [Block(*match.group("kind", "title", "body")) for match in _BLOCK.finditer(text)]


def copy_code(folder: Path) -> Path:
    """Copy the source tree, without what Python made of it, and the pages of `make docs`."""
    unwanted = shutil.ignore_patterns("__pycache__", "node_modules", "tutorials")
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=unwanted)
    shutil.copy(ROOT / "pyproject.toml", folder)
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


def apply(page: Path, folder: Path) -> list[str]:
    """Write the page's files into the copy and change those that it changes.

    Returns
    -------
    list of str
        The Python files that were written.
    """
    written = []
    for block in blocks(page):
        if block.title == CHECK:
            continue
        path = folder / block.title
        if block.kind == "diff":
            path.write_text(changed(path.read_text(encoding="utf-8"), block), encoding="utf-8")
        else:
            assert not path.exists(), f"{block.title} exists already"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.body, encoding="utf-8")
        written += [block.title] if path.suffix == ".py" else []
    return list(dict.fromkeys(written))


def changed(text: str, block: Block) -> str:
    """Apply a change whose old lines occur exactly once in the text."""
    for part in re.split(r"^@@.*\n", block.body, flags=re.M):
        lines = part.splitlines(keepends=True)
        before = "".join(line[1:] or "\n" for line in lines if line[:1] != "+")
        after = "".join(line[1:] or "\n" for line in lines if line[:1] != "-")
        count = text.count(before)
        assert count == 1, f"{block.title}: these lines occur {count} times:\n{before}"
        text = text.replace(before, after)
    return text


def check(page: Path, folder: Path, home: Path) -> str:
    """Run the page's commands in the copy, and return what they print.

    ``make docs`` writes the generated pages only. ``make lint`` checks nothing here: the caller
    checks the written files.
    """
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST")},
        "PYTHONPATH": str(folder),
        "RETENTION_HOME": str(home),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
    }
    (commands,) = [block.body for block in blocks(page) if block.title == CHECK]
    output = ""
    for line in commands.splitlines():
        command = _command(shlex.split(line, comments=True))
        if command is None:
            continue
        done = subprocess.run(
            [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True
        )
        output += f"$ {line}\n{done.stdout}{done.stderr}"
        assert done.returncode == 0, output
    return output


def _command(words: list[str]) -> list[str] | None:
    """Return the arguments for Python; None for a command that is not run here."""
    match words:
        case [".venv/bin/python", "-m", "pytest", *rest]:
            return ["-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly", *rest]
        case [".venv/bin/python", *rest]:
            return rest
        case [".venv/bin/retention", *rest]:
            return ["-m", "bot.terminal", *rest]
        case ["make", "docs"]:
            return ["-m", "tests.make_docs"]
        case ["make", "lint" | "messages"] | []:
            return None
    raise AssertionError(f"unknown command: {shlex.join(words)}")


def lint(folder: Path, files: list[str]) -> None:
    """Check the written files as ``make lint`` does, as far as that is quick."""
    for command in (["check"], ["format", "--check"]):
        line = [sys.executable, "-m", "ruff", *command, "--no-cache", *files]
        done = subprocess.run(line, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
