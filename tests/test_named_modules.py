"""Docstrings, comments and docs name only modules and files that exist."""

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = "retention|workers|bot|tests"
MODULE = re.compile(rf"(?<![\w./@-])(?:{PACKAGES})(?:\.[A-Za-z_]\w*)+")
FILE = re.compile(rf"(?<![\w./-])(?:{PACKAGES}|templates|docs)/[\w./-]+\.(?:py|md|j2|js)\b")
# Tutorials name what their reader writes, stored formats what there was. JavaScript calls these.
LEFT_OUT = re.compile(r"^docs/contributor/(tutorials/|stored_formats\.md)")
JAVASCRIPT = {"retention.search", "retention.cart"}
PLACEHOLDER = re.compile(r"[A-Z]{3,}")  # such as workers.tasks.KIND
COMMENT = re.compile(r'""".*?"""|#[^\n]*', re.DOTALL)


@cache
def _names(path: Path) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", path.read_text(encoding="utf-8")))


@cache
def _exists(name: str) -> bool:
    """Return whether a file or module exists; a module must have the next name of the path."""
    if "/" in name:
        return (ROOT / name).exists()
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        base = ROOT.joinpath(*parts[:end])
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if path.exists():
                return end == len(parts) or parts[end] in _names(path)
    return base.is_dir() and len(parts) > 1


@pytest.mark.parametrize("kind", ["*.py", "docs/*.md"])
def test_named_modules_and_files_exist(kind):
    listed = subprocess.run(
        ["git", "ls-files", kind], cwd=ROOT, capture_output=True, text=True, check=True
    )
    faults = {}
    for path in listed.stdout.split():
        content = (ROOT / path).read_text(encoding="utf-8")
        texts = COMMENT.findall(content) if kind == "*.py" else [content]
        names = {name for text in texts for name in MODULE.findall(text) + FILE.findall(text)}
        names = {name for name in names - JAVASCRIPT if not PLACEHOLDER.search(name)}
        wrong = {name for name in names if not _exists(name)}
        if wrong and not LEFT_OUT.match(path):
            faults[path] = wrong
    assert not faults
