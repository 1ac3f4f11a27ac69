"""A shop with texts, and embeddings that need no package."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from retention.texts import embedding, extra
from tests import shop as tiny

BAD = (
    "the parcel came two weeks late",
    "late parcel again, still waiting for the parcel",
    "wrong size, the shirt is too small",
    "the shirt has the wrong size for me",
    "the price is too high now",
    "too expensive, the price went up",
)
GOOD = (
    "great tea and a fresh taste",
    "fresh tea with a great taste",
    "friendly people and a kind service",
    "kind service by friendly people",
)


def bag_of_words(texts):
    """Return a vector of the words of each text: texts with the same words are similar."""
    vectors = np.zeros((len(texts), embedding.SIZE), np.float32)
    for row, text in enumerate(texts):
        for word in text.lower().replace(",", "").split():
            vectors[row, sum(word.encode()) * 7919 % embedding.SIZE] += 1
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def embeds(monkeypatch):
    """Embed by words instead of by the model."""
    monkeypatch.setattr(extra, "is_installed", lambda: True)
    monkeypatch.setattr(embedding, "embed", bag_of_words)


def texts(number=300, seed=3, share_without_stars=0.3, days=200):
    """Reviews and tickets over the shop's time; bad ones have one or two stars."""
    rng = np.random.default_rng(seed)
    is_bad = rng.random(number) < 0.4
    words = [str(rng.choice(BAD if bad else GOOD)) for bad in is_bad]
    stars = np.where(is_bad, rng.integers(1, 3, number), rng.integers(4, 6, number)).astype(float)
    stars[rng.random(number) < share_without_stars] = np.nan
    seconds = np.sort(rng.integers(0, days * 86_400, number))
    columns = {
        "text_id": [f"t{place}" for place in range(number)],
        "customer_id": [f"c{place % 250:04d}" for place in range(number)],
        "occurred_at": [tiny.BEGIN + timedelta(seconds=int(second)) for second in seconds],
        "kind": rng.choice(["review", "ticket"], number),
        "text": words,
        "stars": stars,
    }
    return pd.DataFrame(columns)


@pytest.fixture
def voiced(shop_copy):
    """A shop with 300 texts."""
    tiny.add(shop_copy, texts(), "texts")
    return shop_copy
