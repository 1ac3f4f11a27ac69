"""Find the themes of what customers write, in their own words."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.metrics import silhouette_score

MIN_TEXTS = 60  # with fewer, groups are chance
MAX_TEXTS = 4_000  # the newest that themes are found in
NUMBERS = range(5, 13)  # of themes that are tried
DIMENSIONS = 32
PHRASES = 3
MIN_WRITERS = 3  # customers that use a phrase, so that it names nobody
SAME = 0.8  # cosine of a theme found anew with the earlier one whose name it keeps
_WORD = re.compile(r"[^\W\d_]{2,}")
_SIGNS = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]+")  # scripts without spaces
COMMON, EVEN = 0.05, 0.25  # a word of so many texts, and of all themes alike, names none


@dataclass(frozen=True, slots=True)
class Theme:
    """A group of similar texts.

    `number`: stays when themes are found anew. `center`: unit vector. `name`: given by a person.
    """

    number: int
    phrases: tuple[str, ...]
    center: np.ndarray
    name: str = ""

    @property
    def title(self) -> str:
        """The name, else the typical phrases."""
        return self.name or ", ".join(self.phrases)


@dataclass(frozen=True, slots=True)
class ThemeSet:
    """The shop's themes, and the mean vector of each language; "" is of all texts.

    A language's mean is taken off, so that themes do not follow languages.
    """

    themes: tuple[Theme, ...]
    means: dict[str, np.ndarray]

    def centred(self, vectors: np.ndarray, languages: Sequence[str]) -> np.ndarray:
        """Return unit vectors without what the language alone says."""
        means = np.stack([self.means.get(each, self.means[""]) for each in languages])
        rest = vectors - means
        return rest / np.maximum(np.linalg.norm(rest, axis=1, keepdims=True), 1e-9)

    def assign(self, vectors: np.ndarray, languages: Sequence[str]) -> tuple[Any, Any]:
        """Return the place of each text's theme, and how close the text is to it, (n,) each."""
        closeness = self.centred(vectors, languages) @ np.stack([t.center for t in self.themes]).T
        return closeness.argmax(axis=1), closeness.max(axis=1)

    def to_json(self) -> dict[str, Any]:
        """Return the themes as JSON."""
        return {
            "means": {language: _packed(mean) for language, mean in self.means.items()},
            "themes": [
                {"number": t.number, "phrases": [*t.phrases], "center": _packed(t.center)}
                | {"name": t.name}
                for t in self.themes
            ],
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "ThemeSet":
        """Read what `to_json` made."""
        themes = [
            Theme(t["number"], tuple(t["phrases"]), _unpacked(t["center"]), t["name"])
            for t in content["themes"]
        ]
        means = {language: _unpacked(mean) for language, mean in content["means"].items()}
        return cls(tuple(themes), means)


def _packed(vector: np.ndarray) -> str:
    return base64.b64encode(vector.astype(np.float32).tobytes()).decode()


def _unpacked(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), np.float32)


def find_themes(
    vectors: np.ndarray,
    texts: Sequence[str],
    languages: Sequence[str],
    writers: Sequence[str],
    before: ThemeSet | None = None,
) -> ThemeSet:
    """Group texts to themes; name each by phrases that it has more than the others.

    `writers`: customer ids. `before`: earlier themes; a similar one gives its number and name.
    """
    languages = list(languages)
    means = {"": vectors.mean(axis=0)}
    for language in {each for each in languages if languages.count(each) >= MIN_TEXTS // 2}:
        means[language] = vectors[np.array(languages) == language].mean(axis=0)
    empty = ThemeSet((), means)
    centred = empty.centred(vectors, languages)
    groups = _groups(centred)
    centers = np.stack([centred[groups == each].mean(axis=0) for each in range(groups.max() + 1)])
    centers /= np.linalg.norm(centers, axis=1, keepdims=True)
    phrases = name_groups(groups, texts, writers)
    known = _matched(centers, before)
    free = iter(_free_numbers({theme.number for theme in known.values()}, before))
    themes = [
        Theme(known[place].number, own, center, known[place].name)
        if place in known
        else Theme(next(free), own, center)
        for place, (own, center) in enumerate(zip(phrases, centers, strict=True))
    ]
    return ThemeSet(tuple(themes), means)


def _groups(centred: np.ndarray) -> np.ndarray:
    """Return the group of each text, (n,); as many groups as are best apart."""
    size = min(DIMENSIONS, *centred.shape)
    reduced = PCA(size, random_state=0).fit_transform(centred)
    reduced /= np.maximum(np.linalg.norm(reduced, axis=1, keepdims=True), 1e-9)
    different = len(np.unique(reduced.round(3), axis=0))
    tried: list[tuple[float, np.ndarray]] = []
    for number in NUMBERS:
        if number > different and tried:
            break
        groups = KMeans(number, n_init=5, random_state=0).fit_predict(reduced)
        score = silhouette_score(reduced, groups, sample_size=1_000, random_state=0)
        tried.append((score, groups))
    return max(tried, key=lambda each: each[0])[1]


def name_groups(
    groups: np.ndarray, texts: Sequence[str], writers: Sequence[str]
) -> list[tuple[str, ...]]:
    """Return the typical phrases of each group, by class-based TF-IDF (Grootendorst 2022).

    A phrase counts once for each writer, and only if `MIN_WRITERS` or more use it.
    """
    counter = CountVectorizer(analyzer=_phrases, binary=True)
    try:
        present = counter.fit_transform(texts).tocoo()
    except ValueError:  # no words at all
        return [()] * (groups.max() + 1)
    phrases = counter.get_feature_names_out()
    _, people = np.unique(writers, return_inverse=True)
    pairs = np.unique(people[present.row] * len(phrases) + present.col)
    is_shared = np.bincount(pairs % len(phrases), minlength=len(phrases)) >= MIN_WRITERS
    counts = np.zeros((groups.max() + 1, len(phrases)))
    np.add.at(counts, (groups[present.row], present.col), 1)
    shares = counts / np.bincount(groups, minlength=len(counts))[:, None]
    is_even = (shares.mean(axis=0) > COMMON) & (shares.min(axis=0) > EVEN * shares.max(axis=0))
    even = set(phrases[is_even])
    says = [even.isdisjoint({one.split(" ")[0], one.split(" ")[-1]}) for one in phrases]
    typical = shares * np.log1p(shares / np.maximum(shares.mean(axis=0), 1e-9))
    typical *= np.where([len(_parts(one)) > 1 for one in phrases], 1.5, 1.0)  # says more
    typical[:, ~(is_shared & np.array(says))] = 0
    return [_distinct(phrases[np.argsort(-row, kind="stable")], row) for row in typical]


def _phrases(text: str) -> list[str]:
    """Return one to three words in a row; of scripts without spaces, two to four signs."""
    words = _WORD.findall(_SIGNS.sub(" ", text.lower()))
    found = [
        " ".join(words[start : start + size])
        for size in (1, 2, 3)
        for start in range(len(words) - size + 1)
    ]
    for run in _SIGNS.findall(text):
        found += [run[at : at + size] for size in (2, 3, 4) for at in range(len(run) - size + 1)]
    return found


def _parts(phrase: str) -> set[str]:
    return set(phrase) if _SIGNS.match(phrase) else set(phrase.split())


def _distinct(ordered: np.ndarray, scores: np.ndarray) -> tuple[str, ...]:
    """Return the first phrases of which none shares a word with an earlier one."""
    chosen: list[str] = []
    for phrase in ordered[: int((scores > 0).sum())]:
        if all(_parts(phrase).isdisjoint(_parts(one)) for one in chosen):
            chosen.append(str(phrase))
        if len(chosen) == PHRASES:
            break
    return tuple(chosen)


def _matched(centers: np.ndarray, before: ThemeSet | None) -> dict[int, Theme]:
    """Return the earlier theme of each place that has one."""
    if before is None or not before.themes:
        return {}
    similar = centers @ np.stack([theme.center for theme in before.themes]).T
    rows, columns = linear_sum_assignment(-similar)
    return {
        int(row): before.themes[column]
        for row, column in zip(rows, columns, strict=True)
        if similar[row, column] >= SAME
    }


def _free_numbers(taken: set[int], before: ThemeSet | None) -> list[int]:
    """Return numbers that no theme has or had."""
    last = max([0, *taken, *(theme.number for theme in before.themes)] if before else [0])
    return list(range(last + 1, last + 1 + max(NUMBERS)))
