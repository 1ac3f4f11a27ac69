"""Alcohol is known by the words of its category."""

import pytest

from retention.list_rules import ALCOHOL, names_with_words


@pytest.mark.parametrize(
    "category",
    [
        "BEERS/ALES",
        "Imported Wine",
        "Liquor",
        "Food > Drinks > Spirits & Liqueurs",
        "Rotwein",
        "Spirituosen",
        "Vins et spiritueux",
        "Cervezas",
        "啤酒",
    ],
)
def test_category_of_alcohol_is_found_by_a_word(category):
    assert names_with_words([category], ALCOHOL) == {category}


@pytest.mark.parametrize(
    "category",
    [
        "",
        "Soft drinks",
        "Drum kits",
        "Original art",
        "Ginger beer",
        "Wine glasses",
        "Red wine vinegar",
        "Non-alcoholic beer",
        "Alkoholfreies Bier",
    ],
)
def test_other_category_with_a_similar_word_is_kept(category):
    assert not names_with_words([category], ALCOHOL)
