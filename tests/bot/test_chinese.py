"""Test the Chinese catalogue, and that translated sentences cannot add structure."""

import gettext
import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter
from typing import Any

import pytest
from babel.messages.catalog import Message
from babel.messages.extract import extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.pofile import read_po
from jinja2 import nodes

import templates
from retention.counted_nouns import counted_nouns
from retention.number_format import NUMBER_OF, count
from retention.reports import charts
from retention.templating import day, environment, moment, when
from retention.text import FOLDER, available_languages, npgettext, use_language
from tests.bot.message_samples import samples
from tests.bot.wire import ANALYST, VIEWER, words
from tests.world import read
from workers import languages
from workers.delivery import render

ROOT = Path(templates.__file__).parents[1]
CATALOGUE = FOLDER / "zh" / "LC_MESSAGES"
# Sentences of messages and commands that may lack a translation until the next `make messages`.
UNTRANSLATED = 40
KEYWORDS = dict.fromkeys(("gettext", "_", "phrase")) | {
    "ngettext": (1, 2),
    "npgettext": ((1, "c"), 2, 3),
}
# English verbs and endings that follow a number; Chinese has none.
GRAMMAR = re.compile(r"%\(verb\d*\)s|\{suffix\}")
CODE = re.compile(r"`[^`]*`")
PERCENT = re.compile(r"%\(\w+\)s")
SAMPLES = samples()


def translations() -> list[Message]:
    with (CATALOGUE / "retention.po").open("rb") as file:
        return [message for message in read_po(file, locale="zh") if message.id and message.string]


def forms(message: Message) -> list[str]:
    return [message.string] if isinstance(message.string, str) else list(message.string or ())


def fields(sentence: str) -> list[str]:
    """Return the ``{fields}`` of a sentence; a date may be written in another order."""
    try:
        parsed = list(Formatter().parse(sentence))
    except ValueError:  # braces of a formula
        return []
    found = []
    for _, name, form, conversion in parsed:
        if name:
            found.append(f"{name}!{conversion}:{'date' if '%' in (form or '') else form}")
    return sorted(found)


def places(sentence: str) -> list[str]:
    return sorted(PERCENT.findall(GRAMMAR.sub("", sentence)))


def _differs(sentence: str, form: str) -> str:
    """Return what a translation changed that it must keep, or nothing."""
    if places(form) != places(sentence):
        return "places"
    if places(sentence) and "%" in PERCENT.sub("", form).replace("%%", ""):
        return "a percent sign that is not doubled"
    if sorted(CODE.findall(form)) != sorted(CODE.findall(sentence)):
        return "code"
    if any(form.count(sign) != sentence.count(sign) for sign in "*<>\n"):
        return "formatting"
    if fields(GRAMMAR.sub("", form)) != fields(GRAMMAR.sub("", sentence)):
        return "fields"
    return ""


def test_each_translation_keeps_the_places_and_code_of_its_sentence():
    pairs = [
        (message.id if isinstance(message.id, str) else message.id[1], form)
        for message in translations()
        for form in forms(message)
    ]
    assert [(_differs(*pair), *pair) for pair in pairs if _differs(*pair)] == []


def test_compiled_catalogue_is_that_of_the_translators():
    compiled = gettext.GNUTranslations((CATALOGUE / "retention.mo").open("rb"))
    for message in translations():
        if isinstance(message.id, str):
            found = compiled.gettext(message.id)
        elif message.context:
            found = compiled.npgettext(message.context, message.id[0], message.id[1], 2)
        else:
            found = compiled.ngettext(message.id[0], message.id[1], 2)
        assert [found] == forms(message), "run: make messages"


def sentences() -> Iterator[tuple[str, Any]]:
    """Yield the sentences of messages and commands, as `make messages` finds them."""
    with (ROOT / "babel.cfg").open() as file:
        methods, options = parse_mapping_cfg(file)
    found = extract_from_dir(ROOT, methods, options, KEYWORDS, directory_filter=_is_shown)
    for _, _, message, _, context in found:
        yield message[0] if isinstance(message, tuple) else message, context


def _is_shown(folder: str) -> bool:
    """Return whether a folder has sentences of messages or commands."""
    first, *_ = Path(folder).relative_to(ROOT).parts
    return first in ("bot", "templates")


@pytest.mark.nightly
def test_messages_and_commands_are_translated():
    translated = {
        (message.id if isinstance(message.id, str) else message.id[0], message.context)
        for message in translations()
    }
    missing = {pair for pair in sentences() if pair not in translated}
    assert len(missing) <= UNTRANSLATED, sorted(sentence for sentence, _ in missing)


def _texts(node: Any) -> Iterator[str]:
    """Yield the texts of a template before its values are filled in."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("text", "alt_text") and isinstance(value, str):
                yield value
            else:
                yield from _texts(value)
    elif isinstance(node, list):
        for value in node:
            yield from _texts(value)


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_template_has_no_sentence_outside_the_catalogue(name, monkeypatch):
    blank = lambda sentence: re.sub(  # noqa: E731 - what is left has no letter
        r"(%\(\w+\)s)|[A-Za-z]", lambda match: match[1] or "", sentence
    )
    monkeypatch.setattr(render, "phrase", blank)
    monkeypatch.setattr(render, "plural_phrase", lambda one, many, number: blank(many))
    raw, _ = render._load(name, SAMPLES[name])
    for text in _texts(raw):
        left = re.sub(r":[a-z_0-9]+:|https?://\S+", "", text)
        assert not re.search(r"[A-Za-z]{2}", left), left


# Commands, formats and names of measures, which are the same in each language.
SAME_EVERYWHERE = re.compile(
    r"\b(retention|import|events|customers|run|digest|schedule|evaluate|churn|data|quarantine|"
    r"release|all|source|FILE|map|format|admin|UTM|qini|log|loss|Brier|AUC|ECE|PSI|auc|API|CSV|HTML)\b"
)
MARKUP = re.compile(r"<style>.*?</style>|<[^>]*>?|^[^<>]*>|--\w+", re.DOTALL)


def _bare(node: nodes.Node) -> Iterator[str]:
    """Yield the texts of a template's expression that are shown without a translation."""
    if isinstance(node, nodes.TemplateData):
        yield node.data
    elif isinstance(node, nodes.Const) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, nodes.CondExpr):
        yield from _bare(node.expr1)
        yield from _bare(node.expr2) if node.expr2 else ()
    elif isinstance(node, nodes.Concat):
        yield from (text for part in node.nodes for text in _bare(part))
    elif isinstance(node, nodes.Add | nodes.Or | nodes.And):
        yield from _bare(node.left)
        yield from _bare(node.right)


def _pages() -> list[str]:
    folder = ROOT / "templates"
    files = [*folder.glob("terminal/**/*.j2"), *folder.glob("reports/*.html.j2")]
    return sorted(str(file.relative_to(folder)) for file in files)


@pytest.mark.parametrize("name", _pages())
def test_page_has_no_sentence_outside_the_catalogue(name):
    source = (ROOT / "templates" / name).read_text("utf-8")
    tree = environment(autoescape=False).parse(source)
    parts = [part for output in tree.find_all(nodes.Output) for part in output.nodes]
    texts = "\n".join(text for part in parts for text in _bare(part))
    shown = SAME_EVERYWHERE.sub("", MARKUP.sub(" ", texts))
    assert not re.findall(r"[A-Za-z][a-z]{2,}", shown)


def test_each_counted_noun_is_listed_for_translators():
    pattern = re.compile(r"\bcount\(\s*'([^']+)'")
    counted = {
        noun
        for path in (ROOT / "templates").rglob("*.j2")
        for noun in pattern.findall(path.read_text("utf-8"))
    }
    with use_language("zh"):
        nouns = counted_nouns()
        lacking = {noun for noun in counted if npgettext(NUMBER_OF, noun, noun, 2) == noun}
    assert not lacking
    assert "位客户" in nouns


@pytest.mark.nightly
def test_pictures_stay_in_english_where_their_font_lacks_the_characters():
    with use_language("zh"):
        assert charts.tier_bar_text({"high": 1, "medium": 2, "low": 3}).startswith("6 位活跃客户")
        chinese = charts.tier_bar({"high": 1, "medium": 2, "low": 3})
    assert chinese == charts.tier_bar({"high": 1, "medium": 2, "low": 3})


def test_numbers_and_dates_follow_the_language():
    with use_language("zh"):
        assert count(1234, "customer") == "1,234 位客户"
        assert day("2017-10-02") == "2017年10月2日"
        assert when("2017-10-02T13:06:00+00:00") == "10月2日周一 13:06"
        assert moment("2017-10-02T13:06:00+00:00") == "2017年10月2日周一 13:06"
    assert count(1, "customer") == "1 customer"
    assert when("2017-10-02T00:06:00+00:00") == "Mon 2 Oct, 12:06 am"


def test_person_reads_help_status_and_home_in_chinese(workspace, database, settings, monkeypatch):
    monkeypatch.setattr("bot.slack.middleware.CACHE_SECONDS", 0)
    assert "zh" in available_languages()
    workspace.run("language zh")
    shown = workspace.says("help", ANALYST)
    assert "查找可能流失的客户" in shown
    assert "挽回客户" in shown
    assert "尚未训练模型" in workspace.says("status", ANALYST)
    assert "列出可能流失的客户" in words(workspace.open_home(ANALYST)["blocks"])
    assert "Find customers at risk" not in workspace.says("help", ANALYST)
    assert "查找" not in workspace.says("help", VIEWER)
    assert read(database, languages.of, ANALYST) == "zh"


@pytest.mark.parametrize("name", ["alert/test", "campaign/list", "schedule/added"])
def test_sentence_that_ends_with_a_value_has_a_chinese_full_stop(name):
    with use_language("zh"):
        shown = words(render.message(name, **SAMPLES[name]).blocks)
    assert "。" in shown
    assert not re.findall(r"[\d\u4e00-\u9fff*)]\.(?:\s|$)", shown)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_value_of_a_translated_sentence_cannot_add_structure(language):
    name = 'x"}\n  - type: divider\n<!channel> & %(role)s'
    state = SAMPLES["bot/status"] | {"problems": [{"code": "process_silent", "name": name}]}
    with use_language(language):
        message = render.message("bot/status", **state)
    assert [block["type"] for block in message.blocks] == ["section", "table", "context"]
    assert "&lt;!channel&gt; &amp; %(role)s" in message.blocks[0]["text"]["text"]
