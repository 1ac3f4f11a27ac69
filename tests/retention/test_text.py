"""Sentences in the installation's language, and in the pseudo-locale."""

import pytest

from retention import templating
from retention.text import LANGUAGE, PSEUDO, gettext


@pytest.fixture
def pseudo_locale(monkeypatch):
    monkeypatch.setenv(LANGUAGE, PSEUDO)


@pytest.fixture
def templates(tmp_path, monkeypatch):
    monkeypatch.setattr(templating, "FOLDER", tmp_path)
    for environment in (templating._html, templating._text):
        environment.cache_clear()
    yield lambda source: (tmp_path / "it.j2").write_text(source) and "it.j2"
    for environment in (templating._html, templating._text):
        environment.cache_clear()


def test_english_needs_no_catalogue(monkeypatch):
    monkeypatch.delenv(LANGUAGE, raising=False)
    assert gettext("No {thing}.").format(thing="job") == "No job."


def test_pseudo_locale_brackets_sentences(pseudo_locale):
    assert gettext("No {thing}.").format(thing="job") == "⟦No job.⟧"


def test_pseudo_locale_brackets_lines_of_text(pseudo_locale, templates):
    source = "  Total {{ n }}\n\n------\n12\nMore: https://shop.example/u?x=1\n"
    assert templating.text(templates(source), n=3) == (
        "  ⟦Total 3⟧\n\n------\n12\n⟦More:⟧ https://shop.example/u?x=1"
    )


def test_pseudo_locale_brackets_text_of_html(pseudo_locale, templates):
    source = (
        "<style>p > a {color: red}</style><!-- note --><p title='a > b'>Hello <b>{{ name }}</b>"
        '&nbsp;12 <a href="https://shop.example">more</a></p><script>run()</script>'
    )
    assert templating.html(templates(source), name="A & B") == (
        "<style>p > a {color: red}</style><!-- note --><p title='a > b'>⟦Hello⟧ <b>⟦A &amp; B⟧</b>"
        '&nbsp;12 <a href="https://shop.example">⟦more⟧</a></p><script>run()</script>'
    )


def test_templates_are_plain_without_the_pseudo_locale(monkeypatch, templates):
    monkeypatch.delenv(LANGUAGE, raising=False)
    assert templating.text(templates("Total {{ n }}"), n=3) == "Total 3"
    assert templating.html(templates("<p>{{ n }} a</p>"), n=3) == "<p>3 a</p>"


def test_output_for_programs_is_the_same_in_all_languages(pseudo_locale):
    text = templating.text("terminal/bot/suggested_map.txt.j2", map='table = "orders"')
    assert text == 'table = "orders"'
