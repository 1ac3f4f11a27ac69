"""Test the search of the chat. It needs the extra ``service``."""

import numpy as np
import pytest

from retention.service import answers, chinese, facts, intents, search, spelling, typical
from retention.service.facts import Product
from retention.texts import embedding

pytestmark = [
    pytest.mark.service,
    pytest.mark.skipif(not search.is_installed(), reason="the extra service is not installed"),
]

POLICY = """# Returns
## Period
You can return unused goods within 30 days after delivery.
## Costs of a return
Returns from Germany are free.
"""
CHINESE = "# 退货\n## 期限\n收货后30天内可退货。\n"


def product(item_id: str, title: str) -> Product:
    return Product(item_id, title, 17.9, True, "", (), title)


@pytest.fixture(scope="module")
def known(tmp_path_factory) -> answers.Knowledge:
    folder = tmp_path_factory.mktemp("policies")
    (folder / "returns.md").write_text(POLICY)
    (folder / "returns.zh.md").write_text(CHINESE)
    (folder / "stores.md").write_text("# Stores\n## Kiel\nHolstenstraße 18.\n")
    sections = facts.policies(folder)
    goods = [product("1", "Wool socks"), product("2", "Bath towel"), product("3", "Hiking boots")]
    return answers.knowledge(sections, goods, "EUR", "UTC")


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("How many days do I have to return unused goods?", "policy:returns#Period"),
        ("are retuns free", "policy:returns#Costs of a return"),
        ("几天内可以退货", "policy:returns.zh#期限"),
        ("基尔的店在哪里", "policy:stores#Kiel"),
        ("price of the wool socks", "item:1"),
        ("浴巾多少钱", "item:2"),
    ],
)
def test_question_is_answered_by_its_source(known, text, ref):
    assert answers.answer(text, known, None).sources[0].ref == ref


@pytest.mark.parametrize("text", ["What is the capital of Peru?", "xyzzy", "明天天气怎么样"])
def test_other_questions_are_unknown(known, text):
    assert answers.answer(text, known, None).code == answers.UNKNOWN


def test_policy_is_quoted_word_by_word(known):
    text = answers.answer("How many days do I have to return unused goods?", known, None).text
    assert "“You can return unused goods within 30 days after delivery.”" in text


def test_words_are_translated_by_the_longest_entry():
    found = chinese.translations({"sock", "wool"}, search.stems_of)
    assert "wool" in chinese.translated("羊毛袜多少钱", found)
    assert chinese.translated("多少钱", found) == ["∅多少"]


def test_later_products_of_a_large_catalogue_are_found_by_their_words(monkeypatch):
    monkeypatch.setattr(search, "MAX_EMBEDDED", 2)
    index = search.build(["Lamp", "Chair", "Copper kettle"], "en")
    assert search.search(index, "copper kettle price").argmax() == 2


def test_a_question_in_other_words_finds_the_policy_of_its_subject() -> None:
    texts = [
        "Refunds. We refund you within 10 working days after the goods arrive.",
        "Newsletter. Every newsletter has an unsubscribe link.",
    ]
    index = search.build(texts, "en")
    asked = {"I still have not got my cash for the shoes": 0, "Stop filling my inbox please": 1}
    assert {one: int(search.search(index, one).argmax()) for one in asked} == asked


def test_shares_of_subjects_add_up_to_one_for_texts_and_questions() -> None:
    vectors = embedding.embed(["A tent for two", "Refunds take ten days"], passages=True)
    assert np.allclose(typical.of_texts(vectors).sum(axis=1), 1)
    assert np.isclose(typical.of_question(vectors[0]).sum(), 1)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("which one was it that came to me in spring", answers.SIGN_IN),
        ("is there anything off for a loyal customer like me", answers.SIGN_IN),
        ("is nobody real reading this", answers.PERSON),
        ("昨天下的单我不想要了", answers.PERSON),
    ],
)
def test_intent_without_its_usual_words_is_told_by_its_subject(known, text, code):
    assert intents.intent_of(text) == intents.ANSWER
    assert answers.answer(text, known, None).code == code


@pytest.mark.parametrize("text", ["do you have skis", "can a drone bring it to me"])
def test_subjects_that_shops_rarely_publish_are_unknown(known, text):
    assert answers.answer(text, known, None).code == answers.UNKNOWN


def test_misspelled_words_are_corrected_to_words_of_the_shop():
    words = {"return": 3, "returns": 2, "towel": 1}
    assert spelling.corrected("Can I retrun a towl?", words) == "Can I return a towel?"
    assert spelling.corrected("Is A1011 in Zurich, or my tower?", words).endswith("my tower?")
    assert spelling.corrected("WARM15-7KQ2 毛巾", words) == "WARM15-7KQ2 毛巾"


def test_nothing_is_corrected_without_the_dictionary(monkeypatch):
    monkeypatch.setattr(spelling, "SpellChecker", None)
    assert spelling.corrected("towl", {"towel": 1}) == "towl"


def test_stored_vectors_are_those_of_the_typical_questions():
    stored = np.load(typical.VECTORS, allow_pickle=False)
    assert np.abs(stored - typical.embedded()).max() < 0.01
