"""Tell what a customer wants by the nearest examples in meaning, where no pattern tells it."""

import tomllib
from functools import lru_cache
from pathlib import Path

import numpy as np

from retention.service import intents, search
from retention.texts import embedding

NEAREST = 3  # examples of an intent that count
# How much nearer than questions in general; chosen on the practice questions.
OWN, REFUSED, PERSON = 0.01, 0.02, 0.03
_FILE = Path(__file__).with_suffix(".toml")


@lru_cache(maxsize=1)
def _examples() -> dict[str, np.ndarray]:
    texts = tomllib.loads(_FILE.read_text("utf-8"))
    return {intent: embedding.embed(some) for intent, some in texts.items()}


def intent_of(text: str) -> str:
    """Return what a message wants by its nearest examples; `ANSWER` without the extra."""
    if not search.is_installed():
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
