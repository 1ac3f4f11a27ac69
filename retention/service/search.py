"""Find the policies and products that a question is about, by BM25 and by embeddings."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from retention.texts import embedding

try:  # the extra `service`
    import bm25s
except ImportError:
    bm25s = None

MAX_EMBEDDED = 400  # texts whose embeddings are kept; later ones are embedded if their words match
CANDIDATES = 20  # of the later texts
WORDS_COUNT = 0.2  # weight of the agreement in words, against that in meaning
_WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")
_HAN = re.compile("[\u3400-\u9fff]+")
_COMMON = frozenset(Path(__file__).with_name("common.txt").read_text("utf-8").split())


def is_installed() -> bool:
    """Return whether the extra ``service`` is installed here."""
    return bm25s is not None and embedding.E5 is not None


@dataclass(frozen=True, slots=True)
class Index:
    """Texts that can be searched. ``vectors`` are of the first ones; ``weights`` of their words.

    Texts of one of the ``groups`` are of one kind and language.
    """

    texts: Sequence[str]
    groups: np.ndarray
    by_words: Any
    weights: dict[str, float]
    unknown_weight: float
    vectors: np.ndarray


def words_of(text: str) -> list[str]:
    """Return stems of English words, with their groups of three letters, and Chinese signs.

    Groups of letters still agree where a word is misspelled.
    """
    lower = text.lower().replace("’", "'")
    stems = [_stem(word) for word in _WORD.findall(lower) if word not in _COMMON]
    found = list(stems)
    for stem in stems:
        padded = f"_{stem}_"
        found += [padded[at : at + 3] for at in range(len(padded) - 2) if len(stem) > 3]
    for run in _HAN.findall(lower):
        found += [run[at : at + 2] for at in range(len(run) - 1)] or [run]
        found += [sign for sign in run if sign not in _COMMON]
    return found


def _stem(word: str) -> str:
    word = word.removesuffix("'s")
    for ending in ("ing", "ies", "ed", "es", "s"):
        if len(word) > len(ending) + 2 and word.endswith(ending) and not word.endswith("ss"):
            return word.removesuffix(ending) + ("y" if ending == "ies" else "")
    return word.removesuffix("e") if len(word) > 4 else word


def build(texts: Sequence[str], groups: Sequence[str]) -> Index | None:
    """Index texts; None without any, or without the extra."""
    if not texts or not is_installed():
        return None
    tokens = [words_of(text) or ["∅"] for text in texts]
    by_words = bm25s.BM25()
    by_words.index(tokens, show_progress=False)
    counts: dict[str, int] = {}
    for token in (token for each in tokens for token in set(each)):
        counts[token] = counts.get(token, 0) + 1
    weights = {token: _weight(len(texts), count) for token, count in counts.items()}
    vectors = embedding.embed(texts[:MAX_EMBEDDED], passages=True)
    return Index(texts, np.array(groups), by_words, weights, _weight(len(texts), 0), vectors)


def _weight(texts: int, count: int) -> float:
    """Return the inverse document frequency as BM25 of Lucene has it."""
    return float(np.log1p((texts - count + 0.5) / (count + 0.5)))


def search(index: Index | None, question: str, most: int = 2) -> list[tuple[int, float]]:
    """Return the places of the nearest texts with their scores, the best first.

    A score is the cosine of the embeddings, less its mean over the text's group, so that scores of
    questions and of languages compare; and `WORDS_COUNT` × BM25 as a share of what a text with all
    words of the question would have.
    """
    if index is None:
        return []
    asked = list(dict.fromkeys(words_of(question)))
    known = [word for word in asked if word in index.weights]
    full = sum(index.weights.get(word, index.unknown_weight) for word in asked)
    by_words = np.zeros(len(index.texts))
    if known:
        by_words = np.asarray(index.by_words.get_scores(known), dtype=float) / full
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
    for group in set(index.groups):
        of_group = index.groups == group
        known_ones = near[of_group[: len(near)]]
        scores[of_group] -= known_ones.mean() if len(known_ones) else near.mean()
    order = np.argsort(-scores, kind="stable")[:most]
    return [(int(place), float(scores[place])) for place in order]
