"""Why an item is on the list, in a few words that are true."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from retention.recommend.candidates import Learned, Said
from retention.recommend.catalogue import Catalogue
from retention.recommend.cold_start import NOBODY, Newcomers
from retention.recommend.evaluation_context import Moment
from retention.recommend.history import newest
from retention.recommend.matrices import at_pairs
from retention.recommend.models import Collaborative
from retention.recommend.ranking.features import find
from retention.recommend.reranking import Facts
from retention.templating import count

CATALOGUE_REASON = "in the catalogue; nobody has bought it yet"
NEIGHBOURS_REASON = "popular with customers like them"
COLD_START_REASONS = {
    "social": "liked by people they know",
    "popular_segment": "popular with customers of the same region or channel",
}
REGULAR = 3  # purchases on different days from which "usually every … days" is fair to say


def _day_count(number: float) -> str:
    """``_day_count(1)`` → ``1 day``."""
    return count(round(number), "day")


def own_history_reason(line: Mapping[str, Any]) -> tuple[str, str]:
    """Source and reason where the customer's own history of the item explains it; two empty strings where not.

    Parameters
    ----------
    line : mapping
        ``purchase_days``, ``gap_days`` and ``days_since_purchase`` as in `preferences`; ``carts`` and ``views``, and the days
        since the last of each: whatever else happened to the item later says nothing of when it was put in the cart.
    """
    times = int(line["purchase_days"])
    if times >= REGULAR:
        return (
            "buy_again",
            f"usually every {_day_count(line['gap_days'])}, last {_ago(line['days_since_purchase'])}",
        )
    if times:
        often = "once" if times == 1 else "twice"
        return "buy_again", f"bought {often}, last {_ago(line['days_since_purchase'])}"
    if line["carts"]:
        return "cart", f"put in the cart {_ago(line['days_since_cart'])}, not bought yet"
    if line["views"]:
        often = {1: "once", 2: "twice"}.get(int(line["views"]), count(line["views"], "time"))
        return "viewed", f"viewed {often}, last {_ago(line['days_since_view'])}"
    return "", ""


def interest_reason(title: str, line: Mapping[str, Any]) -> str:
    """The reason of a collaborative recommendation: what they did with the item of this title, by its ``purchase_days``, ``carts`` and ``views``."""
    if line["purchase_days"]:
        return f"because they bought {title}"
    if line["carts"]:
        return f"because they put {title} in the cart"
    return f"because they {'looked at' if line['views'] else 'showed interest in'} {title}"


def new_item_reason(title: str) -> str:
    """The reason of an item that nobody or hardly anybody has bought yet."""
    return f"new, and much like {title}"


def popularity_reason(buyers: int, within: int | None) -> str:
    """How many bought it."""
    when = "so far" if within is None else f"in the last {within} days"
    return (
        f"popular: {count(buyers, 'customer')} bought it {when}"
        if buyers
        else "suggested for lack of a better one"
    )


def _ago(number: float) -> str:
    whole = math.floor(number)  # days that have passed, as in the reasons for churn
    return "today" if whole <= 0 else "yesterday" if whole == 1 else f"{whole} days ago"


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
            text = COLD_START_REASONS[source]
        elif not text:
            source, text = "popular", popularity_reason(lately.get(item_id, 0), POPULAR_DAYS)
        lists[who].append(
            Item(str(item_id), items.title(item_id), round(float(score), 6), source, text)
        )
    return lists


def _own(found: Offered, row: np.ndarray, column: np.ndarray) -> list[tuple[str, str]]:
    """What the customer's own history of the item says; empty where it says nothing."""
    scene = found.now.scene
    seen, (keys, lines) = scene.seen, scene.own
    place, known = find(keys, row.astype(np.int64) * (scene.shelf.size + 1) + column)
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
        own_history_reason(dict(zip(columns, one, strict=True)))
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
    made = [("neighbours", NEIGHBOURS_REASON) if nearer else ("", "") for nearer in like_them]
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
        made[pair] = "collaborative", interest_reason(title, dealings)
    return made


def _place(
    scores: np.ndarray, line: np.ndarray, column: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The score of each pair, and how many items of its line score higher."""
    own = at_pairs(scores, line, column)
    return own, np.array(
        [np.count_nonzero(scores[at] > value) for at, value in zip(line, own, strict=True)]
    )
