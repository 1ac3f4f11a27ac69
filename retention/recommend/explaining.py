"""Lists with an honest reason for each item, for many customers at once."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from retention.recommend import reasons
from retention.recommend.catalogue import Catalogue
from retention.recommend.evaluation_context import Moment
from retention.recommend.history import newest
from retention.recommend.matrices import at_pairs
from retention.recommend.models import Collaborative
from retention.recommend.newcomers import NOBODY, Newcomers
from retention.recommend.ranking.features import find_sorted
from retention.recommend.reranking import Facts
from retention.recommend.sources import Learned, Said

POPULAR_DAYS = 28
SOURCES = (  # the last two: of an offer's own kind, no recommendations (`campaigns.picks`)
    "buy_again",
    "cart",
    "viewed",
    "collaborative",
    "neighbours",
    "social",
    "popular_segment",
    "popular",
    "new_item",
    "catalogue",
    "due",
    "new",
)


@dataclass(frozen=True, slots=True)
class Item:
    """One recommendation; ``source``, of `SOURCES`, is what speaks for it."""

    item_id: str
    title: str
    score: float
    source: str
    why: str

    def as_dict(self) -> dict[str, Any]:
        """The contract's JSON."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


@dataclass(frozen=True, slots=True)
class Offered:
    """Some customers, the items any of them could be offered (positions on the shelf), and what speaks for each pair."""

    now: Moment
    column: np.ndarray
    scores: np.ndarray
    facts: Facts
    said: Said
    newcomers: Newcomers = NOBODY


def explained(
    learned: Learned, items: Catalogue, lately: Mapping[str, int], found: Offered, at: np.ndarray
) -> list[list[Item]]:
    """The chosen items as people see them.

    Parameters
    ----------
    lately : mapping
        Customers who bought an item in the last `POPULAR_DAYS`.
    at : ndarray of int, (customers × k)
        As `fit.choose` gives them.
    """
    row, place = np.nonzero(at >= 0)
    place = at[row, place]
    column = found.column[place]
    why = _own(found, row, column)
    open_ = np.array([not said for _, said in why], dtype=bool)
    for pair, said in zip(
        np.flatnonzero(open_),
        _by_others(learned, items, found, row[open_], column[open_]),
        strict=True,
    ):
        why[pair] = said
    ids = found.now.scene.shelf.names(column)
    scores = found.scores[row, place]
    lists: list[list[Item]] = [[] for _ in at]
    for who, where, item_id, score, (source, text) in zip(
        row, column, ids, scores, why, strict=True
    ):
        if not text and (source := found.newcomers.source(int(who), int(where))):
            text = reasons.TO_NEWCOMERS[source]
        elif not text:
            source, text = "popular", reasons.popular(lately.get(item_id, 0), POPULAR_DAYS)
        lists[who].append(
            Item(str(item_id), items.title(item_id), round(float(score), 6), source, text)
        )
    return lists


def _own(found: Offered, row: np.ndarray, column: np.ndarray) -> list[tuple[str, str]]:
    """What the customer's own history of the item says; empty where it says nothing."""
    scene = found.now.scene
    seen, (keys, lines) = scene.seen, scene.own
    place, known = find_sorted(keys, row.astype(np.int64) * (scene.shelf.size + 1) + column)
    line = lines[place[known]] if len(lines) else np.empty(0, dtype=np.int64)
    columns = {
        "purchase_days": seen.days,
        "gap_days": seen.gap,
        "days_since_purchase": seen.last,
        "carts": seen.carts,
        "days_since_cart": newest(scene.history, scene.at, scene.history.carts),
        "views": seen.views,
        "days_since_view": newest(scene.history, scene.at, scene.history.views),
    }
    told = [
        reasons.own(dict(zip(columns, one, strict=True)))
        for one in zip(*(values[line] for values in columns.values()), strict=True)
    ]
    made = [("", "")] * len(row)
    for pair, said in zip(np.flatnonzero(known), told, strict=True):
        made[pair] = said
    return made


def _by_others(
    learned: Learned, items: Catalogue, found: Offered, row: np.ndarray, column: np.ndarray
) -> list[tuple[str, str]]:
    """By what they bought, or by customers like them: whichever puts the item further ahead; empty without either."""
    model = learned.model
    if not len(row) or not isinstance(model, Collaborative):  # which asks for every member: slow
        return [("", "")] * len(row)
    said, ahead = _place(found.said.others, row, column)
    near, before = np.zeros(len(row)), ahead + 1
    if learned.neighbours is not None:
        near, before = _place(found.said.alike, row, column)
    like_them = (near > 0) & ((before < ahead) | (said <= 0))
    made = [("neighbours", reasons.ALIKE) if nearer else ("", "") for nearer in like_them]
    scene = found.now.scene
    for pair in np.flatnonzero((said > 0) & ~like_them):
        history = found.said.known[row[pair]]
        parts = model.contributions(history, column[[pair]])[0]
        strongest = int(history.indices[int(np.argmax(parts))])
        line = scene.line(int(row[pair]), strongest)
        dealings = {
            "purchase_days": scene.seen.days[line],
            "carts": scene.seen.carts[line],
            "views": scene.seen.views[line],
        }
        title = items.title(str(learned.shelf.items[strongest]))
        made[pair] = "collaborative", reasons.because(title, dealings)
    return made


def _place(
    scores: np.ndarray, line: np.ndarray, column: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The score of each pair, and how many items of its line score higher."""
    own = at_pairs(scores, line, column)
    return own, np.array(
        [np.count_nonzero(scores[at] > value) for at, value in zip(line, own, strict=True)]
    )
