"""Tell which subject of typical questions a message is about, and which texts are of that subject.

A question is often far from its policy in words, but near to other questions on its subject.
"""

import tomllib
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import softmax

from retention.texts import embedding

# Chosen on the practice questions, as the thresholds of the answers are.
HUB_COUNTS = 0.5  # how much a phrasing loses that is near to those of many other subjects
NEIGHBOURS = 10  # so many of them count
NARROW = 0.01  # temperature of the shares; cosines of this model differ little
_FARTHEST = -9.0  # of a subject without texts


class _Subjects(NamedTuple):
    asked: np.ndarray  # vectors of questions, (n, 384)
    asked_of: np.ndarray  # their subjects
    hubs: np.ndarray
    said: np.ndarray  # vectors of what policies say
    said_of: np.ndarray


@lru_cache(maxsize=1)
def _subjects() -> _Subjects:
    file = Path(__file__).with_name("typical_questions.toml")
    subjects = tomllib.loads(file.read_text("utf-8")).values()
    asked = [(at, text) for at, one in enumerate(subjects) for text in one["en"] + one["zh"]]
    said = [(at, text) for at, one in enumerate(subjects) for text in one.get("says", ())]
    questions = embedding.embed([text for _, text in asked])
    asked_of = np.array([at for at, _ in asked])
    near = np.where(asked_of[:, None] == asked_of, -1, questions @ questions.T)
    hubs = np.sort(near, axis=1)[:, -NEIGHBOURS:].mean(axis=1)
    says = embedding.embed([text for _, text in said], passages=True)
    return _Subjects(questions, asked_of, hubs, says, np.array([at for at, _ in said]))


def of_texts(vectors: np.ndarray) -> np.ndarray:
    """Return how much each policy or product is of each subject, (texts, subjects)."""
    known = _subjects()
    return _shares(known.said @ vectors.T, known.said_of).T


def of_question(vector: np.ndarray) -> np.ndarray:
    """Return how much a question is of each subject, (subjects,)."""
    known = _subjects()
    return _shares(known.asked @ vector - HUB_COUNTS * known.hubs, known.asked_of)


def _shares(near: np.ndarray, subject_of: np.ndarray) -> np.ndarray:
    """Return the softmax over subjects, the first axis, of the nearest of each subject's texts."""
    subjects = _subjects().asked_of[-1] + 1  # every subject is asked about
    best = np.full((subjects, *near.shape[1:]), _FARTHEST)
    np.maximum.at(best, subject_of, near)
    return np.asarray(softmax(best / NARROW, axis=0))
