"""Test themes, their names, and the masking of quotes."""

import numpy as np
import pytest

from retention.errors import BadInput
from retention.texts import embedding, theme_store
from retention.texts.masking import mask_personal, quote
from retention.texts.themes import ThemeSet, find_themes, name_groups
from tests.retention.texts.conftest import bag_of_words, texts


def found(frame, before=None, languages=None):
    words = frame.text.tolist()
    writers = frame.customer_id.tolist()
    return find_themes(bag_of_words(words), words, languages or [""] * len(words), writers, before)


def purity(frame, themes):
    """Share of texts whose theme is mostly about the same."""
    place, _ = themes.assign(bag_of_words(frame.text.tolist()), [""] * len(frame))
    subject = frame.text.map(lambda text: next(w for w in SUBJECTS if w in text)).to_numpy()
    most = [np.unique(subject[place == p], return_counts=True)[1].max() for p in set(place)]
    return sum(most) / len(frame)


SUBJECTS = ("parcel", "shirt", "price", "tea", "service")


def test_themes_group_what_is_about_the_same_and_are_named_by_its_words():
    frame = texts()
    themes = found(frame)
    assert purity(frame, themes) > 0.95
    titles = " | ".join(theme.title for theme in themes.themes)
    assert all(word in titles for word in SUBJECTS)


def test_theme_keeps_its_number_and_name_when_themes_are_found_anew():
    first = found(texts())
    content = first.to_json()
    content["themes"][0]["name"] = "Ours"
    number = content["themes"][0]["number"]
    again = found(texts(seed=9), ThemeSet.from_json(content))
    named = [theme for theme in again.themes if theme.name]
    assert [(theme.number, theme.title) for theme in named] == [(number, "Ours")]
    assert len({theme.number for theme in again.themes}) == len(again.themes)


def test_language_alone_makes_no_theme():
    """Half of the texts are shifted as another language shifts an embedding."""
    frame = texts()
    languages = ["nl" if place % 2 else "en" for place in range(len(frame))]
    shift = np.zeros(embedding.SIZE, np.float32)
    shift[:40] = 0.4
    vectors = bag_of_words(frame.text.tolist())
    vectors[1::2] += shift
    words, writers = frame.text.tolist(), frame.customer_id.tolist()

    def mixed(known):
        """Share of texts in themes of both languages."""
        place, _ = find_themes(vectors, words, known, writers).assign(vectors, known)
        shares = {each: np.mean(np.arange(len(frame))[place == each] % 2) for each in set(place)}
        return np.mean([0.1 < shares[each] < 0.9 for each in place])

    assert mixed([""] * len(frame)) < 0.1
    assert mixed(languages) > 0.6


def test_phrase_of_few_writers_names_no_theme():
    groups = np.array([0] * 6 + [1] * 6)
    words = ["call Ann Lee now"] * 6 + ["nice tea", "good tea"] * 3
    writers = ["c1"] * 3 + ["c2"] * 3 + [f"c{number}" for number in range(3, 9)]
    phrases = name_groups(groups, words, writers)
    assert phrases[0] == ()
    assert "tea" in " ".join(phrases[1])


def test_person_renames_a_theme_and_takes_its_words_back(database):
    content = found(texts()).to_json()
    number = content["themes"][1]["number"]
    with database.transaction() as session:
        theme_store.save(session, content, 300)
        assert (
            theme_store.rename(session, number, " Late  parcels ", "U1")["name"] == "Late parcels"
        )
        theme_store.save(session, content, 310)  # found anew meanwhile
        row = theme_store.stored(session)
        assert [each["name"] for each in row.content["themes"] if each["name"]] == ["Late parcels"]
        theme_store.rename(session, number, "", "U1")
        for wrong, name in ((99, "x"), (number, "x" * 61)):
            with pytest.raises(BadInput):
                theme_store.rename(session, wrong, name, "U1")


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("write to ann.lee@shop.de please", "write to … please"),
        ("call +44 20 7946 0958 or 0171-555 12", "call … or …"),
        ("order 1029384 and #A-17 came late", "order … and … came late"),
        ("see www.x.de/y or https://x.de", "see … or …"),
        ("ask @annlee of GB29NWBK60161331926819", "ask … of …"),
        ("Ann here, yours ann LEE", "… here, yours … …"),
        ("2 shirts for 19.99, size 42", "2 shirts for 19.99, size 42"),
        ("迟到了,请打 13800138000", "迟到了,请打 …"),
    ],
)
def test_personal_data_is_masked(text, masked):
    assert mask_personal(text, ["Ann Lee"]) == masked


def test_name_in_a_language_without_spaces_is_masked():
    assert mask_personal("我是张伟，快递太慢了", ["张伟"]) == "我是…，快递太慢了"


def test_quote_is_one_short_line():
    text = quote("late\nagain " + "and again " * 40)
    assert len(text) <= 142
    assert "\n" not in text
    assert text.endswith(("and …", "again …"))
