"""Find the policies and products that a question is about, by BM25 and by embeddings."""

import re
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from retention.service import chinese, spelling, typical
from retention.texts import embedding

try:  # the extra `service`
    import bm25s
except ImportError:
    bm25s = None

MAX_EMBEDDED = 400  # texts whose meaning counts; later ones are found by their words only
WORDS_COUNT = 0.15  # weight of the agreement in words, against that in meaning
SUBJECT_COUNTS = 0.25  # weight of the agreement in subject
UNPUBLISHED_COUNTS = 0.06  # weight of the subjects that shops rarely publish

_WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")
_HAN = re.compile("[\u3400-\u9fff]+")
_FILE = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
_COMMON = frozenset(_FILE["common"].split())


def is_installed() -> bool:
    """Return whether the extra ``service`` is installed here."""
    return None not in (bm25s, embedding.E5, chinese.CcCedict, spelling.SpellChecker)


@dataclass(frozen=True, slots=True)
class Index:
    """Texts that can be searched. ``vectors``: of the first; ``weights``: of their words.

    ``subjects``: how much each of the first is of each subject of typical questions.
    """

    is_chinese: np.ndarray
    by_words: Any
    weights: dict[str, float]
    vectors: np.ndarray
    subjects: np.ndarray
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
    by_words = bm25s.BM25(k1=0.9, b=0.4)
    by_words.index(tokens, show_progress=False)
    counts = Counter(token for each in tokens for token in set(each))
    weights = {token: _weight(len(texts), count) for token, count in counts.items()}
    vectors = embedding.embed(texts[:MAX_EMBEDDED], passages=True)
    known = chinese.translations(weights, stems_of) if language == "zh" else {}
    is_chinese = np.array([bool(_HAN.search(text)) for text in texts])
    return Index(is_chinese, by_words, weights, vectors, typical.of_texts(vectors), known)


def _weight(texts: int, count: int) -> float:
    """Return the inverse document frequency as BM25 of Lucene has it."""
    return float(np.log1p((texts - count + 0.5) / (count + 0.5)))


def search(index: Index | None, question: str) -> np.ndarray:
    """Return the score of each text.

    A score is the cosine of the embeddings, less its mean over usual questions in the text's
    language, so that scores of questions and of languages compare; `WORDS_COUNT` × the agreement
    in words, of a Chinese question also in their translations; and `SUBJECT_COUNTS` × that in
    subject.
    """
    if index is None:
        return np.zeros(0)
    words = _agreement(index, words_of(question))
    words += _agreement(index, chinese.translated(question, index.translations))
    vector = typical.vector_of(question)
    usual = np.where(index.is_chinese, *(_usual(language) @ vector for language in ("zh", "en")))
    meaning = np.append(index.vectors @ vector, usual[len(index.vectors) :])
    scores: np.ndarray = WORDS_COUNT * words + meaning - usual
    shares = typical.of_question(vector)
    scores[: len(index.vectors)] += SUBJECT_COUNTS * index.subjects @ shares
    return scores - UNPUBLISHED_COUNTS * typical.unpublished(shares)


@lru_cache(maxsize=2)
def _usual(language: str) -> np.ndarray:
    vectors: np.ndarray = embedding.embed(_FILE["usual"][language], passages=True).mean(axis=0)
    return vectors


def _agreement(index: Index, tokens: Sequence[str]) -> np.ndarray:
    """Return BM25 of each text, as a share of the weight of all the tokens."""
    asked = set(tokens)
    known = sorted(asked & index.weights.keys())
    if not known:
        return np.zeros(len(index.is_chinese))
    unknown = _weight(len(index.is_chinese), 0)
    full = sum(index.weights.get(token, unknown) for token in asked)
    return np.asarray(index.by_words.get_scores(known), dtype=float) / full
