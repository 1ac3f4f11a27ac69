"""Find the policies and products that a question is about, by BM25 and by embeddings."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from retention.service import chinese, examples
from retention.texts import embedding

try:  # the extra `service`
    import bm25s
except ImportError:
    bm25s = None

MAX_EMBEDDED = 400  # texts whose embeddings are kept; later ones are embedded if their words match
CANDIDATES = 20  # of the later texts
WORDS_COUNT = 0.1  # weight of the agreement in words, against that in meaning

_WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")
_HAN = re.compile("[\u3400-\u9fff]+")
_COMMON = frozenset(Path(__file__).with_name("common.txt").read_text("utf-8").split())


def is_installed() -> bool:
    """Return whether the extra ``service`` is installed here."""
    return None not in (bm25s, embedding.E5, chinese.CcCedict)


@dataclass(frozen=True, slots=True)
class Index:
    """Texts that can be searched. ``vectors`` are of the first ones; ``weights`` of their words.

    ``translations``: of Chinese words.
    """

    texts: Sequence[str]
    is_chinese: np.ndarray
    by_words: Any
    weights: dict[str, float]
    vectors: np.ndarray
    translations: chinese.Translations


def words_of(text: str) -> list[str]:
    """Return stems of English words, with their groups of three letters, and Chinese signs.

    Groups of letters still agree where a word is misspelled.
    """
    stems = stems_of(text)
    found = list(stems)
    for stem in stems:
        padded = f"_{stem}_"
        found += [padded[at : at + 3] for at in range(len(padded) - 2) if len(stem) > 3]
    for run in _HAN.findall(text):
        found += [run[at : at + 2] for at in range(len(run) - 1)] or [run]
        found += [sign for sign in run if sign not in _COMMON]
    return found


def stems_of(text: str) -> list[str]:
    """Return the stems of English words, without the commonest."""
    lower = text.lower().replace("’", "'")
    return [_stem(word) for word in _WORD.findall(lower) if word not in _COMMON]


def _stem(word: str) -> str:
    word = word.removesuffix("'s")
    for ending in ("ing", "ies", "ed", "es", "s"):
        if len(word) > len(ending) + 2 and word.endswith(ending) and not word.endswith("ss"):
            return word.removesuffix(ending) + ("y" if ending == "ies" else "")
    return word.removesuffix("e") if len(word) > 4 else word


def build(texts: Sequence[str], language: str) -> Index | None:
    """Index texts for questions in a language; None without any, or without the extra."""
    if not texts or not is_installed():
        return None
    tokens = [words_of(text) or ["∅"] for text in texts]
    by_words = bm25s.BM25(k1=0, b=0)  # texts are short: how often a word occurs says nothing
    by_words.index(tokens, show_progress=False)
    counts = Counter(token for each in tokens for token in set(each))
    weights = {token: _weight(len(texts), count) for token, count in counts.items()}
    vectors = embedding.embed(texts[:MAX_EMBEDDED], passages=True)
    known = chinese.translations(weights, stems_of) if language == "zh" else {}
    is_chinese = np.array([bool(_HAN.search(text)) for text in texts])
    return Index(texts, is_chinese, by_words, weights, vectors, known)


def _weight(texts: int, count: int) -> float:
    """Return the inverse document frequency as BM25 of Lucene has it."""
    return float(np.log1p((texts - count + 0.5) / (count + 0.5)))


def search(index: Index | None, question: str, most: int = 2) -> list[tuple[int, float]]:
    """Return the places of the nearest texts with their scores, the best first.

    A score is the cosine of the embeddings, less its mean over examples in the text's language, so
    that scores of questions and of languages compare; and `WORDS_COUNT` × the agreement in words,
    of a Chinese question also in their translations.
    """
    if index is None:
        return []
    by_words = _agreement(index, words_of(question))
    by_words += _agreement(index, translated(index, question))
    vector = embedding.embed([question])[0]
    near = index.vectors @ vector
    cosines = np.full(len(index.texts), -np.inf)
    cosines[: len(near)] = near
    later = np.argsort(-by_words[len(near) :], kind="stable")[:CANDIDATES] + len(near)
    later = later[by_words[later] > 0]
    if len(later):
        found = [index.texts[place] for place in later]
        cosines[later] = embedding.embed(found, passages=True) @ vector
    scores = cosines + WORDS_COUNT * by_words
    usual = [float((some @ vector).mean()) for some in examples.background()]
    scores -= np.where(index.is_chinese, usual[1], usual[0])
    order = np.argsort(-scores, kind="stable")[:most]
    return [(int(place), float(scores[place])) for place in order]


def translated(index: Index | None, question: str) -> Sequence[str]:
    """Return the translations of the Chinese words of a question, as far as the texts have them."""
    return chinese.translated(question, index.translations) if index else ()


def _agreement(index: Index, tokens: Sequence[str]) -> np.ndarray:
    """Return BM25 of each text, as a share of what a text with all the tokens would have."""
    asked = list(dict.fromkeys(tokens))
    known = [token for token in asked if token in index.weights]
    if not known:
        return np.zeros(len(index.texts))
    unknown = _weight(len(index.texts), 0)
    full = sum(index.weights.get(token, unknown) for token in asked)
    return np.asarray(index.by_words.get_scores(known), dtype=float) / full
