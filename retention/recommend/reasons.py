"""Explain each recommended item in a few words."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from retention.recommend.candidates import CandidateSources, ModelScores
from retention.recommend.catalogue import Catalogue
from retention.recommend.cold_start import BY_FRIENDS, BY_SEGMENT, NO_SCORES, ColdStartScores
from retention.recommend.evaluation.evaluation_context import Snapshot
from retention.recommend.history import last_event_age
from retention.recommend.matrices import values_at
from retention.recommend.models.base import Collaborative
from retention.recommend.reranking import ItemFacts
from retention.templating import count
from retention.text import gettext

MIN_REGULAR = 3  # purchase days for a reason with an interval


def own_history_reason(line: Mapping[str, Any]) -> tuple[str, str]:
    """Return source and reason from own events.

    `line`: ``purchase_days``, ``gap_days`` and ``days_since_purchase``, see `Pairs`;
    ``carts`` and ``views``, with the days since the last of each.
    Returns: empty strings if the history explains nothing.
    """
    if times := int(line["purchase_days"]):
        days = ""
        if times >= MIN_REGULAR:
            days = count(round(line["gap_days"]), "day")
            reason = gettext("usually every {days}, last {ago}")
        elif times == 2:
            reason = gettext("bought twice, last {ago}")
        else:
            reason = gettext("bought once, last {ago}")
        return "buy_again", reason.format(days=days, ago=_ago(line["days_since_purchase"]))
    if line["carts"]:
        reason = gettext("put in the cart {ago}, not bought yet")
        return "cart", reason.format(ago=_ago(line["days_since_cart"]))
    if views := int(line["views"]):
        if views == 1:
            reason = gettext("viewed once, last {ago}")
        elif views == 2:
            reason = gettext("viewed twice, last {ago}")
        else:
            reason = gettext("viewed {times}, last {ago}")
        ago = _ago(line["days_since_view"])
        return "viewed", reason.format(times=count(views, "time"), ago=ago)
    return "", ""


def interest_reason(title: str, line: Mapping[str, Any]) -> str:
    """Return the reason of a collaborative recommendation.

    `line`: its ``purchase_days``, ``carts`` and ``views``.
    """
    if line["purchase_days"]:
        reason = gettext("because they bought {title}")
    elif line["carts"]:
        reason = gettext("because they put {title} in the cart")
    elif line["views"]:
        reason = gettext("because they looked at {title}")
    else:
        reason = gettext("because they showed interest in {title}")
    return reason.format(title=title)


def popularity_reason(buyers: int, within: int | None) -> str:
    """Return the reason of a popular item.

    `within`: days; None: all time.
    """
    if not buyers:
        return gettext("suggested for lack of a better one")
    if within is None:
        reason = gettext("popular: {customers} bought it so far")
    else:
        reason = gettext("popular: {customers} bought it in the last {days} days")
    return reason.format(customers=count(buyers, "customer"), days=within)


def _ago(number: float) -> str:
    whole = math.floor(number)  # whole days, as in the reasons for churn
    if whole <= 0:
        return gettext("today")
    return gettext("yesterday") if whole == 1 else gettext("{days} days ago").format(days=whole)


POPULAR_DAYS = 28
# The last two are no recommendations (`retention.campaigns.planning.due_and_new_items`).
SOURCES = (
    "buy_again",
    "cart",
    "viewed",
    "collaborative",
    "neighbours",
    "social",
    "popular_segment",
    "popular",
    "new_item",
    "looks_like",
    "catalogue",
    "due",
    "new",
)


@dataclass(frozen=True, slots=True)
class RecommendedItem:
    """Hold one recommendation; ``source`` is one of `SOURCES`."""

    item_id: str
    title: str
    score: float
    source: str
    why: str

    def as_dict(self) -> dict[str, Any]:
        """Return the item for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ScoredItems:
    """Hold the scores of a batch of customers. Columns are the items available to any of them."""

    snapshot: Snapshot
    column: np.ndarray
    scores: np.ndarray
    facts: ItemFacts
    model_scores: ModelScores
    cold_start: ColdStartScores = NO_SCORES


def explain_lists(
    sources: CandidateSources,
    items: Catalogue,
    recent_buyers: Mapping[str, int],
    scored: ScoredItems,
    chosen: np.ndarray,
) -> list[list[RecommendedItem]]:
    """Attach titles and reasons to the chosen items.

    `recent_buyers`: buyers of each item in the last `POPULAR_DAYS`.
    `chosen`: result of `reranking.choose`.
    """
    row, place = np.nonzero(chosen >= 0)
    place = chosen[row, place]
    column = scored.column[place]
    reasons = _own_reasons(scored, row, column)
    is_open = np.array([not reason for _, reason in reasons], dtype=bool)
    others = iter(_collaborative_reasons(sources, items, scored, row[is_open], column[is_open]))
    ids = scored.snapshot.interactions.item_stats.items[column]
    scores = scored.scores[row, place]
    lists: list[list[RecommendedItem]] = [[] for _ in chosen]
    for customer, position, item_id, score, (source, text) in zip(
        row, column, ids, scores, reasons, strict=True
    ):
        if not text:
            source, text = next(others)
        source = source or scored.cold_start.source(int(customer), int(position))
        if source == BY_FRIENDS:
            text = gettext("liked by people they know")
        elif source == BY_SEGMENT:
            text = gettext("popular with customers of the same region or channel")
        elif not text:
            source, text = "popular", popularity_reason(recent_buyers.get(item_id, 0), POPULAR_DAYS)
        title, rounded = items.readable_title(item_id), round(float(score), 6)
        lists[customer].append(RecommendedItem(str(item_id), title, rounded, source, text))
    return lists


def _own_reasons(scored: ScoredItems, row: np.ndarray, column: np.ndarray) -> list[tuple[str, str]]:
    """Return the reasons from the customer's own history. Empty strings without any."""
    interactions = scored.snapshot.interactions
    totals, history, at = interactions.seen, interactions.history, interactions.at
    line, is_known = interactions.find_lines(row, column)
    line = line[is_known]
    columns = {
        "purchase_days": totals.days,
        "gap_days": totals.gap,
        "days_since_purchase": totals.last,
        "carts": totals.carts,
        "days_since_cart": last_event_age(history, at, history.carts),
        "views": totals.views,
        "days_since_view": last_event_age(history, at, history.views),
    }
    pair_reasons = [("", "")] * len(row)
    pairs = zip(*(values[line] for values in columns.values()), strict=True)
    for place, pair in zip(np.flatnonzero(is_known), pairs, strict=True):
        pair_reasons[place] = own_history_reason(dict(zip(columns, pair, strict=True)))
    return pair_reasons


def _collaborative_reasons(
    sources: CandidateSources,
    items: Catalogue,
    scored: ScoredItems,
    row: np.ndarray,
    column: np.ndarray,
) -> list[tuple[str, str]]:
    """Return the reasons from other customers' behaviour.

    Of collaborative model and neighbours, the one that ranks the item higher explains it.
    """
    model = sources.model
    # Other models have no fast contributions.
    if not len(row) or not isinstance(model, Collaborative):
        return [("", "")] * len(row)
    by_model = scored.model_scores
    score, rank = _score_and_rank(by_model.collaborative, row, column)
    neighbour_score, neighbour_rank = _score_and_rank(by_model.neighbours, row, column)
    is_neighbours = (neighbour_score > 0) & ((neighbour_rank < rank) | (score <= 0))
    pair_reasons = [
        ("neighbours", gettext("popular with customers like them")) if by_neighbours else ("", "")
        for by_neighbours in is_neighbours
    ]
    interactions = scored.snapshot.interactions
    for pair in np.flatnonzero((score > 0) & ~is_neighbours):
        history = by_model.histories[row[pair]]
        contributions = model.contributions(history, column[[pair]])[0]
        strongest = int(history.indices[int(np.argmax(contributions))])
        (line,), _ = interactions.find_lines(row[[pair]], np.array([strongest]))
        seen = interactions.seen
        events = {
            "purchase_days": seen.days[line],
            "carts": seen.carts[line],
            "views": seen.views[line],
        }
        title = items.readable_title(str(sources.item_stats.items[strongest]))
        pair_reasons[pair] = "collaborative", interest_reason(title, events)
    return pair_reasons


def _score_and_rank(
    scores: np.ndarray, rows: np.ndarray, column: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return each pair's score and rank. The rank counts higher scores in the row."""
    values = values_at(scores, rows, column)
    pairs = zip(rows, values, strict=True)
    return values, np.array([np.count_nonzero(scores[at] > value) for at, value in pairs])
