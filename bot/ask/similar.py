"""Compare a sentence with example sentences by TF-IDF of words and character n-grams.

The bot must start fast and small, so this does not import scikit-learn. A few hundred short
examples need no index.
"""

import math
import re
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path

from bot.ask.sentence import is_chinese

_EXAMPLES = Path(__file__).with_name("examples.txt")
NONE = "none"
_WORD = re.compile(r"[a-z0-9']+")
Vector = dict[str, float]


def _terms(text: str) -> Counter[str]:
    """Count words, pairs of words and character n-grams of a sentence."""
    words = _WORD.findall(re.sub(r"\d+", "0", text.lower()))
    terms = Counter(words)
    terms.update(f"{first} {second}" for first, second in pairwise(words))
    for word in words:
        padded = f"_{word}_"
        terms.update(padded[at : at + 4] for at in range(len(padded) - 3))
    letters = [letter for letter in text if is_chinese(letter)]
    for size in (1, 2, 3):
        terms.update("".join(letters[at : at + size]) for at in range(len(letters) - size + 1))
    return terms


class Examples:
    """Example sentences with their intents, as TF-IDF vectors."""

    def __init__(self, sentences: list[tuple[str, str]]) -> None:
        counts = [(intent, _terms(text)) for text, intent in sentences]
        documents = Counter(term for _, terms in counts for term in terms)
        self._idf = {
            term: math.log((1 + len(counts)) / (1 + number)) + 1
            for term, number in documents.items()
        }
        self._unseen = math.log(1 + len(counts)) + 1
        self._vectors = [(intent, self._vector(terms)) for intent, terms in counts]

    def _vector(self, terms: Counter[str]) -> Vector:
        weights = {
            term: (1 + math.log(count)) * self._idf.get(term, self._unseen)
            for term, count in terms.items()
        }
        length = math.sqrt(sum(weight * weight for weight in weights.values())) or 1.0
        return {term: weight / length for term, weight in weights.items()}

    def rank(self, text: str) -> list[tuple[str, float]]:
        """Return the intents by the cosine similarity of their nearest example, best first."""
        vector = self._vector(_terms(text))
        best: dict[str, float] = {}
        for intent, other in self._vectors:
            cosine = sum(weight * other.get(term, 0.0) for term, weight in vector.items())
            best[intent] = max(best.get(intent, 0.0), cosine)
        return sorted(best.items(), key=lambda pair: -pair[1])


@cache
def examples() -> Examples:
    """Return the packaged examples."""
    intent, sentences = NONE, []
    for line in _EXAMPLES.read_text(encoding="utf-8").splitlines():
        if line.startswith("== "):
            intent = line[3:]
        elif line and not line.startswith("#"):
            sentences.append((line, intent))
    return Examples(sentences)
