"""Test the splitting of typed text into words."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.commands.parsing import split_words
from retention.errors import BadInput


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("sweep —tier high", ["sweep", "--tier", "high"]),
        ("sweep –tier high", ["sweep", "--tier", "high"]),
        ("sweep -–tier=high", ["sweep", "--tier=high"]),
        ("sweep −−tier high", ["sweep", "--tier", "high"]),
        ("sweep\u00a0--tier\u202fhigh", ["sweep", "--tier", "high"]),
        ("campaign draft --name “Spring — back”", ["campaign", "draft", "--name", "Spring — back"]),
        ("campaign draft --name=„Frühling“ x", ["campaign", "draft", "--name=Frühling", "x"]),
        ("x ‘a b’ 'c d' «e f»", ["x", "a b", "c d", "e f"]),
        ("score O’Brien", ["score", "O’Brien"]),
        ("score O'Brien", ["score", "O'Brien"]),
        ("retrain --cutoff 2017‑10–02", ["retrain", "--cutoff", "2017-10-02"]),
        ("wait…", ["wait..."]),
        ("score a&amp;b &lt;x&gt;", ["score", "a&b", "<x>"]),
        ("help\u200b", ["help"]),
        ("", []),
    ],
)
def test_splits_text_typed_on_a_phone(typed, words):
    assert split_words(typed) == words


@pytest.mark.parametrize("typed", ['score "42', "score “42", "campaign draft --name='x y", "a 'b"])
def test_an_unclosed_quote_is_named(typed):
    with pytest.raises(BadInput, match=r"never closed"):
        split_words(typed)


_word = st.text(
    st.characters(codec="ascii", exclude_characters="\"'\\&`<>#", categories=["L", "N", "P"]),
    min_size=1,
)


@given(st.lists(_word))
def test_plain_words_are_split_as_by_a_shell(words):
    line = " ".join(words)
    assert split_words(line) == shlex.split(line)


@given(st.text())
def test_any_text_is_split_or_refused(text):
    try:
        words = split_words(text)
    except BadInput:
        return
    assert all(isinstance(word, str) for word in words)
