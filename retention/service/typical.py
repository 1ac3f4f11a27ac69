"""Tell which subject of typical questions a message is about, and which texts are of that subject.

A question is often far from its policy in words, but near to other questions on its subject.
"""

import tomllib
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


class _Subjects(NamedTuple):
    intents: list[str]  # "" of most
    is_published: np.ndarray  # by shops
    asked: np.ndarray  # vectors of questions, (n, 384)
    asked_of: np.ndarray  # their subjects
    hubs: np.ndarray
    said: np.ndarray  # vectors of what policies say
    said_of: np.ndarray


def texts() -> list[str]:
    """Return all typical questions, and what policies and products of their subjects say."""
    return [text for one in _read() for key in ("en", "zh", "says") for text in one.get(key, ())]


def _read() -> list[dict[str, Any]]:
    file = Path(__file__).with_name("typical_questions.toml")
    return list(tomllib.loads(file.read_text("utf-8")).values())


@lru_cache(maxsize=1)
def _subjects() -> _Subjects:
    subjects = _read()
    asked = [(at, text) for at, one in enumerate(subjects) for text in one["en"] + one["zh"]]
    said = [(at, text) for at, one in enumerate(subjects) for text in one.get("says", ())]
    questions = embedding.embed([text for _, text in asked])
    asked_of = np.array([at for at, _ in asked])
    near = np.where(asked_of[:, None] == asked_of, -1, questions @ questions.T)
    hubs = np.sort(near, axis=1)[:, -NEIGHBOURS:].mean(axis=1)
    says = embedding.embed([text for _, text in said], passages=True)
    said_of = np.array([at for at, _ in said])
    intents = [one.get("intent", "") for one in subjects]
    is_published = np.array(["says" in one for one in subjects])
    return _Subjects(intents, is_published, questions, asked_of, hubs, says, said_of)


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
