"""Tell which subject of typical questions a message is about, and which texts are of that subject.

A question is often far from its policy in words, but near to other questions on its subject.
"""

import tomllib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.special import softmax

from retention.texts import embedding

# Chosen on the practice questions, as the thresholds of the answers are.
HUB_COUNTS = 0.4  # how much a phrasing loses that is near to those of many other subjects
NEIGHBOURS = 10  # so many of them count
NARROW = 0.008  # temperature of the shares; cosines of this model differ little
LEAST_SHARE = 0.4  # of a subject with an intent of its own, such as to see one's orders
_FARTHEST = -9.0  # of a subject without texts

ASKED, SAID = ("en", "zh"), ("says",)
_FILE = Path(__file__).with_name("typical_questions.toml")
VECTORS = _FILE.with_suffix(".npy")  # `python -m tests.make_typical_vectors` writes it in 20 s


class _Subjects(NamedTuple):
    intents: list[str]  # "" of most
    is_published: np.ndarray  # by shops
    asked: np.ndarray  # vectors of questions, (n, 384)
    asked_of: np.ndarray  # their subjects
    hubs: np.ndarray
    said: np.ndarray  # vectors of what policies say
    said_of: np.ndarray


def texts(keys: Sequence[str] = ("en", "zh", "says")) -> list[tuple[int, str]]:
    """Return typical questions, or what policies and products say, with their subjects."""
    return [
        (at, text) for at, one in enumerate(_read()) for key in keys for text in one.get(key, ())
    ]


@lru_cache(maxsize=1)
def _read() -> list[dict[str, Any]]:
    return list(tomllib.loads(_FILE.read_text("utf-8")).values())


def embedded() -> np.ndarray:
    """Return the vectors of all questions, then of all that is said; `VECTORS` stores them."""
    asked = embedding.embed([text for _, text in texts(ASKED)])
    said = embedding.embed([text for _, text in texts(SAID)], passages=True)
    return np.vstack([asked, said])


@lru_cache(maxsize=1)
def _subjects() -> _Subjects:
    asked_of, said_of = (np.array([at for at, _ in texts(keys)]) for keys in (ASKED, SAID))
    vectors = np.load(VECTORS, allow_pickle=False).astype(np.float32)
    asked, said = np.split(vectors, [len(asked_of)])
    near = np.where(asked_of[:, None] == asked_of, -1, asked @ asked.T)
    hubs = np.sort(near, axis=1)[:, -NEIGHBOURS:].mean(axis=1)
    is_published = np.array(["says" in one for one in _read()])
    intents = [one.get("intent", "") for one in _read()]
    return _Subjects(intents, is_published, asked, asked_of, hubs, said, said_of)


@lru_cache(maxsize=1)
def vector_of(question: str) -> np.ndarray:
    """Return the unit vector of a question; it is needed twice in a row."""
    vector: np.ndarray = embedding.embed([question])[0]
    return vector


def intent_of(question: str) -> str:
    """Return what a question wants by its subject; "" if that is an answer."""
    shares = of_question(vector_of(question))
    subject = int(np.argmax(shares))
    return _subjects().intents[subject] if shares[subject] >= LEAST_SHARE else ""


def of_texts(vectors: np.ndarray) -> np.ndarray:
    """Return how much each policy or product is of each subject, (texts, subjects)."""
    known = _subjects()
    return _shares(known.said @ vectors.T, known.said_of).T


def of_question(vector: np.ndarray) -> np.ndarray:
    """Return how much a question is of each subject, (subjects,)."""
    known = _subjects()
    return _shares(known.asked @ vector - HUB_COUNTS * known.hubs, known.asked_of)


def unpublished(shares: np.ndarray) -> float:
    """Return how much a question is of subjects that shops rarely publish."""
    return float(shares @ ~_subjects().is_published)


def _shares(near: np.ndarray, subject_of: np.ndarray) -> np.ndarray:
    """Return the softmax over subjects, the first axis, of the nearest of each subject's texts."""
    subjects = _subjects().asked_of[-1] + 1  # every subject is asked about
    best = np.full((subjects, *near.shape[1:]), _FARTHEST)
    np.maximum.at(best, subject_of, near)
    return np.asarray(softmax(best / NARROW, axis=0))
