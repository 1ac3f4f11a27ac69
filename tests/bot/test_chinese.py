"""Test the Chinese catalogue, and that translated sentences cannot add structure."""

import gettext
import re

import pytest
from babel.messages.pofile import read_po

from retention.text import FOLDER, available_languages, use_language
from tests.bot.wire import ANALYST, VIEWER, words
from workers import languages
from workers.delivery import render

CATALOGUE = FOLDER / "zh" / "LC_MESSAGES"
PLACES = re.compile(r"%\(\w+\)s|\{\w*[^}]*\}|`[^`]*`")


def translations():
    with (CATALOGUE / "retention.po").open("rb") as file:
        return [message for message in read_po(file, locale="zh") if message.id and message.string]


@pytest.mark.parametrize("message", translations(), ids=lambda message: str(message.id)[:40])
def test_translation_has_the_places_of_its_sentence(message):
    sentence = message.id if isinstance(message.id, str) else message.id[1]
    forms = [message.string] if isinstance(message.string, str) else message.string
    for form in forms:
        assert sorted(PLACES.findall(form)) == sorted(PLACES.findall(sentence))


def test_compiled_catalogue_is_that_of_the_translators():
    compiled = gettext.GNUTranslations((CATALOGUE / "retention.mo").open("rb"))
    for message in translations():
        if isinstance(message.id, str):
            assert compiled.gettext(message.id) == message.string, "run: make messages"


def test_person_reads_help_status_and_home_in_chinese(workspace, database, settings, monkeypatch):
    monkeypatch.setattr("bot.language.CACHE_SECONDS", 0)
    assert "zh" in available_languages()
    workspace.run("language zh")
    shown = words(workspace.run("help", ANALYST)["blocks"])
    assert "查找可能流失的客户" in shown
    assert "挽回客户" in shown
    assert "尚未训练模型" in words(workspace.run("status", ANALYST)["blocks"])
    assert "列出可能流失的客户" in words(workspace.open_home(ANALYST)["blocks"])
    assert "Find customers at risk" not in words(workspace.run("help", ANALYST)["blocks"])
    assert "查找" not in words(workspace.run("help", VIEWER)["blocks"])
    with database.reading() as session:
        assert languages.of(session, settings, ANALYST) == "zh"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_value_of_a_translated_sentence_cannot_add_structure(language):
    name = 'x"}\n  - type: divider\n<!channel> & %(role)s'
    problem = {"code": "process_silent", "name": name}
    state = {
        "problems": [problem],
        "jobs": dict.fromkeys(("running", "queued", "done", "failed", "cancelled"), 0),
        "posts": dict.fromkeys(
            ("pending", "sending", "rate_limited", "ambiguous", "held", "failed"), 0
        ),
        "data": {"customers": 1, "imports": []},
        "models": [],
        "processes": [],
        "role": "viewer",
        "now": "2017-10-02T12:00:00+00:00",
    }
    with use_language(language):
        message = render.message("bot/status", zone="UTC", demo=False, **state)
    assert [block["type"] for block in message.blocks] == ["section", "table", "context"]
    assert "&lt;!channel&gt; &amp; %(role)s" in message.blocks[0]["text"]["text"]
