"""Tell what a customer wants by the nearest examples in meaning, where no pattern tells it."""

import tomllib
from functools import lru_cache
from pathlib import Path

import numpy as np

from retention.service import intents
from retention.texts import embedding

NEAREST = 3  # examples of an intent that count
# How much nearer than questions in general; chosen on the practice questions.
OWN, REFUSED, PERSON = 0.01, 0.02, 0.03
_FILE = Path(__file__).with_suffix(".toml")


_TEXTS: dict[str, list[str]] = tomllib.loads(_FILE.read_text("utf-8"))


@lru_cache(maxsize=1)
def _examples() -> dict[str, np.ndarray]:
    return {intent: embedding.embed(texts) for intent, texts in _TEXTS.items()}


@lru_cache(maxsize=1)
def background() -> tuple[np.ndarray, np.ndarray]:
    """Return what any question is compared with: the English and the Chinese examples."""
    both: dict[str, list[str]] = {"en": [], "zh": []}
    for text in (text for texts in _TEXTS.values() for text in texts):
        both[intents.language_of(text)].append(text)
    return embedding.embed(both["en"], passages=True), embedding.embed(both["zh"], passages=True)


def intent_of(text: str) -> str:
    """Return what a message wants by its nearest examples; `ANSWER` without the extra."""
    if embedding.E5 is None:
        return intents.ANSWER
    vector = embedding.embed([text])[0]
    near = {
        intent: float(np.sort(vectors @ vector)[-NEAREST:].mean())
        for intent, vectors in _examples().items()
    }
    best = max(near, key=lambda intent: near[intent])
    if best in (intents.ORDERS, intents.CODES):
        least = OWN if intents.is_own(text) else np.inf
    else:
        least = REFUSED if best == intents.REFUSED else PERSON
    return best if near[best] - near[intents.ANSWER] >= least else intents.ANSWER
