"""The data scientist's pages name only modules, functions, files and targets that exist."""

import pkgutil
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs" / "data_scientist").glob("*.md"))
CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.MULTILINE | re.DOTALL)
NAME = re.compile(r"\bretention(?:\.[A-Za-z_]\w*)+")
FILE = re.compile(r"\btests/[\w/]+\.(?:py|json)")
BENCHMARK = re.compile(r"python -m (tests[\w.]+)")
TARGET = re.compile(r"\bmake ([a-z][a-z-]*)")

each_page = pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])


def _code(page):
    return "\n".join(CODE.findall(page.read_text(encoding="utf-8")))


@each_page
def test_names_of_the_package_exist(page):
    for name in NAME.findall(_code(page)):
        pkgutil.resolve_name(name)


@each_page
def test_files_and_make_targets_exist(page):
    code = _code(page)
    files = FILE.findall(code)
    files += [module.replace(".", "/") + ".py" for module in BENCHMARK.findall(code)]
    for file in files:
        assert (ROOT / file).exists(), file
    targets = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in TARGET.findall(code):
        assert re.search(rf"^{target}:", targets, re.MULTILINE), target


def test_every_page_asks_one_question():
    for page in PAGES:
        headings = re.findall(r"^# (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert len(headings) == 1, page.name
        assert headings[0].endswith("?"), page.name


def test_every_study_has_a_date_and_one_table():
    studies = (ROOT / "docs" / "research").glob("*.md")
    for page in studies:
        if page.name == "index.md":
            continue
        text = page.read_text(encoding="utf-8")
        assert re.search(r"^\*.*\b20\d\d\b", text, re.MULTILINE), page.name
        assert len(re.findall(r"^\| ---", text, re.MULTILINE)) == 1, page.name
