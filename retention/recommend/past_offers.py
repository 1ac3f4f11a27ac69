"""Rank coupons by their chance of redemption.

A coupon covers many products. The recent spend on them is the strongest signal; purchases of the
same types and categories add a little. The weights are learned from earlier redemptions if there
are enough.
"""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix, diags
from sklearn.linear_model import LogisticRegression

from retention.errors import BadInput, TooLittleData
from retention.privacy import unpacking
from retention.progress import Progress, silent
from retention.recommend.catalogue import Catalogue, catalogue
from retention.recommend.evaluation.ranking_metrics import interval, ranking_metrics
from retention.recommend.history import DAY, History, day_of, read
from retention.recommend.matrices import ones_at, positions
from retention.text import gettext

if TYPE_CHECKING:
    from pandas import DataFrame

    from retention.lake import Lake

SIGNALS = ("spent", "type_share", "type_any", "category_share", "category_any")
HALF_LIFE = 90  # days
RECENT = 28  # days of the baseline of recent purchases
MIN_REDEEMERS = 60  # customers with redemptions, to learn the weights
BASELINE_HALF_LIVES = (30, 90, 240)  # of the baselines of own purchases


@dataclass(frozen=True, slots=True)
class OfferRanker:
    """Hold weights of `SIGNALS`.

    `learned_from`: customers with redemptions; 0 for default weights.
    """

    weights: np.ndarray
    learned_from: int = 0

    def scores(self, signals: np.ndarray) -> np.ndarray:
        """Score signals as (customers × offers). Signals are (customers × offers × `SIGNALS`)."""
        return np.asarray(signals @ self.weights)


DEFAULT_RANKER = OfferRanker(np.array([1.0, 0.0, 0.0, 0.0, 0.0]))


def rank_offers(
    lake: "Lake",
    offers: Mapping[str, Sequence[str]],
    customer_ids: Sequence[str],
    *,
    as_of: datetime,
    ranker: OfferRanker = DEFAULT_RANKER,
) -> dict[str, list[tuple[str, float]]]:
    """Rank offers by likely redemption.

    `customer_ids`: customers without a history get the most purchased offers.
    """
    if not offers:
        raise BadInput(gettext("There are no offers to rank; name at least one."))
    history = read(lake, as_of)
    coverage = offer_coverage(offers, history, catalogue(lake, in_stock_only=False))
    rows = positions(history.customers, list(customer_ids))
    values = offer_signals(history, coverage, history.at(as_of), rows)
    sold = _purchases(history, coverage)  # breaks ties
    scores = ranker.scores(values) + 1e-6 * (sold / max(float(sold.max(initial=0)), 1.0))
    order = np.argsort(-scores, axis=1, kind="stable")
    return {
        customer: [(coverage.offers[at], float(scores[row, at])) for at in order[row]]
        for row, customer in enumerate(customer_ids)
    }


@dataclass(frozen=True, slots=True)
class OfferCoverage:
    """Hold the items and groups each offer covers.

    `groups`: for ``type`` and ``category``: the group of each item of the history, and (groups ×
    offers) with each group's share of the offer's items.
    """

    offers: tuple[str, ...]
    items: csr_matrix
    groups: Mapping[str, tuple[np.ndarray, csr_matrix]]


def offer_coverage(
    offers: Mapping[str, Sequence[str]], history: History, items: Catalogue
) -> OfferCoverage:
    """Match offers with a history's items. Items without purchases count for groups."""
    names = tuple(offers)
    covered_items = np.array([item for each in offers.values() for item in each], dtype=object)
    offer = np.repeat(np.arange(len(names)), [len(each) for each in offers.values()])
    all_items = np.array(sorted({*history.items, *covered_items}), dtype=object)
    column, place = positions(all_items, covered_items), positions(all_items, history.items)
    shape = (len(all_items), len(names))
    covers = ones_at(column, offer, shape, float)
    covers.data[:] = 1  # an item listed twice counts once
    shares = csr_matrix(covers @ diags(1 / np.maximum(np.asarray(covers.sum(axis=0)).ravel(), 1)))
    groups = {}
    codes = items.groups(all_items)
    for group in ("type", "category"):
        code = codes[group]
        shape = int(code.max(initial=0)) + 1, len(all_items)
        membership = ones_at(code, np.arange(len(all_items)), shape, float)
        groups[group] = code[place], csr_matrix(membership @ shares)
    return OfferCoverage(names, csr_matrix(covers[place]), groups)


def offer_signals(
    history: History, coverage: OfferCoverage, at: float, rows: np.ndarray
) -> np.ndarray:
    """Compute log spend and purchases per offer.

    Each is centred over the offers.

    `history`: events before ``at``.
    `rows`: customers of the history; −1 for one without.
    """
    faded = np.exp2(-(at - history.day) / HALF_LIFE)
    spent = faded * history.paid.clip(min=0)
    sums = [_sum(history, history.item, spent, rows, len(history.items)) @ coverage.items]
    for code, shares in coverage.groups.values():
        bought = history.bought * faded
        by_group = _sum(history, code[history.item], bought, rows, shares.shape[0])
        ones = np.ones(shares.nnz)
        is_covered = csr_matrix((ones, shares.indices, shares.indptr), shape=shares.shape)
        sums += [by_group @ shares, by_group @ is_covered]
    logs = np.log1p(np.stack([matrix.toarray() for matrix in sums], axis=-1))
    return np.asarray(logs - logs.mean(axis=1, keepdims=True))


def _own_purchases(
    history: History, coverage: OfferCoverage, at: float, rows: np.ndarray, half_life: int
) -> np.ndarray:
    """Score offers by own purchases (baseline)."""
    faded = np.exp2(-(at - history.day) / half_life) * history.bought
    by_item = _sum(history, history.item, faded, rows, len(history.items))
    return np.asarray((by_item @ coverage.items).toarray())


def _purchases(history: History, coverage: OfferCoverage, since: float = -np.inf) -> np.ndarray:
    """Count all purchases of the offers' items from a day on."""
    bought = (history.day >= since) * history.bought
    by_item = np.bincount(history.item, weights=bought, minlength=len(history.items))
    return np.asarray(by_item @ coverage.items)


def _sum(
    history: History, column: np.ndarray, values: np.ndarray, rows: np.ndarray, columns: int
) -> csr_matrix:
    """Sum values by customer and column.

    `column`: lines with −1 are left out.
    `rows`: customers; −1 for one without a history, who gets zeros.
    """
    known, customers = column >= 0, len(history.customers)
    entries = values[known], (history.customer[known], column[known])
    sums = csr_matrix(entries, shape=(customers + 1, columns))
    return csr_matrix(sums[np.where(rows >= 0, rows, customers)])


def fit_offer_ranker(
    campaign_signals: Sequence[np.ndarray], redeemed: Sequence[np.ndarray]
) -> OfferRanker:
    """Fit weights by logistic regression on earlier campaigns.

    Returns: `DEFAULT_RANKER` below `MIN_REDEEMERS` customers.
    """
    rows, hits, weights, customers = [], [], [], 0
    for values, redemptions in zip(campaign_signals, redeemed, strict=True):
        offers = redemptions.shape[1]
        is_used = redemptions.any(axis=1) & (offers > 1)
        used = redemptions[is_used]
        rows.append(values[is_used].reshape(-1, len(SIGNALS)))
        hits.append(used.ravel())
        weights.append(np.repeat(1 / np.sqrt(used.sum(axis=1)), offers))
        customers += len(used)
    if customers < MIN_REDEEMERS:
        return DEFAULT_RANKER
    inputs, hit = np.concatenate(rows), np.concatenate(hits)
    scale = inputs.std(axis=0) + 1e-9
    model = LogisticRegression(max_iter=500)
    model.fit(inputs / scale, hit, sample_weight=np.concatenate(weights))
    return OfferRanker(model.coef_[0] / scale, customers)


OFFERS = ("campaign_id", "starts_at", "offer_id", "item_id")
REDEMPTIONS = ("campaign_id", "customer_id", "offer_id", "redeemed_at")


@dataclass(frozen=True, slots=True)
class PastCampaign:
    """Hold a campaign's signals and redemptions.

    Signals are as of its start.

    `start`: day since 1970.
    `day`: day of the first redemption; `NEVER` without one.
    """

    start: int
    signals: np.ndarray
    baselines: dict[str, np.ndarray]
    day: np.ndarray


NEVER = 2**31 - 1  # day of an offer that was not redeemed


def evaluate_offers(
    lake: "Lake",
    offers: "DataFrame",
    redemptions: "DataFrame",
    *,
    since: datetime | None = None,
    k: int = 10,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Compare ranked offers with past redemptions.

    Counts customers with a history who redeemed at least one offer. Histories end at the midnight
    before a campaign's first day. The weights are learned from redemptions of earlier campaigns
    before that midnight.

    `offers`: columns `OFFERS`; one row for each item that an offer covers.
    `since`: report only campaigns from this day on; earlier ones are still learned from.
    """
    began = time.perf_counter()
    _check_columns(offers, OFFERS, "offers")
    _check_columns(redemptions, REDEMPTIONS, "redemptions")
    campaigns = _campaigns(lake, offers, redemptions, progress)
    first = 0 if since is None else day_of(since)
    evaluated = [campaign for campaign in campaigns if campaign.start >= first]
    if not evaluated:
        raise TooLittleData(
            gettext(
                "No customer with a history before the campaign redeemed any of these offers; "
                "import earlier purchases."
            )
        )
    rankers = [_ranker_at(campaigns, campaign.start) for campaign in evaluated]
    lists: defaultdict[str, list[np.ndarray]] = defaultdict(list)
    truths: list[np.ndarray] = []
    at = 0
    for campaign, ranker in zip(evaluated, rankers, strict=True):
        truths += [np.flatnonzero(row) + at for row in campaign.day < NEVER]
        scores_by_name = {"model": ranker.scores(campaign.signals), **campaign.baselines}
        for name, scores in scores_by_name.items():
            lists[name] += [np.argsort(-row, kind="stable")[:k] + at for row in scores]
        at += campaign.day.shape[1]
    baselines = {
        name: ranking_metrics(ranked, truths, k=k, items=at) for name, ranked in lists.items()
    }
    model = baselines.pop("model")
    best = max(baselines, key=lambda name: baselines[name].ndcg)
    gains = model.each["ndcg"] - baselines[best].each["ndcg"]
    return {
        "customers": len(truths),
        "campaigns": len(evaluated),
        "offers": at,
        "metrics": _metrics(model),
        "intervals": {"ndcg": model.interval(seed=seed)},
        "baselines": {name: _metrics(ranking) for name, ranking in baselines.items()},
        "over_best_baseline": {
            "baseline": best,
            "ndcg": float(gains.mean()),
            "interval": interval(gains, seed=seed),
        },
        "learned": sum(ranker.learned_from > 0 for ranker in rankers),
        "seconds": round(time.perf_counter() - began, 3),
    }


def _metrics(ranking: Any) -> dict[str, float]:
    return {name: getattr(ranking, name) for name in ("ndcg", "recall", "map", "hit_rate")}


def _ranker_at(campaigns: list[PastCampaign], day: int) -> OfferRanker:
    """Fit a ranker on earlier campaigns. Only their redemptions before the day count."""
    past = [campaign for campaign in campaigns if campaign.start < day]
    signals, redeemed = [each.signals for each in past], [each.day < day for each in past]
    return fit_offer_ranker(signals, redeemed)


def _check_columns(frame: "DataFrame", columns: tuple[str, ...], name: str) -> None:
    missing = [column for column in columns if column not in frame]
    if missing:
        text = gettext("The {name} lack the column {missing!r}; they take {columns}.")
        raise BadInput(text.format(name=name, missing=missing[0], columns=", ".join(columns)))


def _campaigns(
    lake: "Lake", offers: "DataFrame", redemptions: "DataFrame", progress: Progress
) -> list[PastCampaign]:
    """Prepare the campaigns with redemptions.

    They are in order of start. Only known customers count.
    """
    items = catalogue(lake, in_stock_only=False)
    starts = offers.groupby("campaign_id")["starts_at"].min().sort_values(kind="stable")
    last = datetime.fromtimestamp(_utc_day(starts.iloc[-1]) * DAY, UTC)
    history = read(lake, last, shift=0)  # the files' days are UTC
    prepared, what = [], gettext("Looking at campaigns")
    for number, (name, start) in enumerate(starts.items(), 1):
        own_offers, own_redemptions = (
            lines[lines["campaign_id"] == name] for lines in (offers, redemptions)
        )
        day = _utc_day(start)
        campaign = _campaign(history.before(day), day, items, own_offers, own_redemptions)
        prepared += [campaign] if campaign is not None else []
        progress(number, len(starts), what)
    return prepared


def _utc_day(moment: Any) -> int:
    """Return the day since 1970 of a moment. Without a time zone it is UTC."""
    at = pd.Timestamp(moment)
    return day_of((at.tz_localize("UTC") if at.tzinfo is None else at).to_pydatetime())


def _campaign(
    history: History, day: int, items: Catalogue, offers: "DataFrame", redemptions: "DataFrame"
) -> PastCampaign | None:
    by_offer = offers.groupby("offer_id")["item_id"]
    items_of = {str(name): list(each.astype(str)) for name, each in by_offer}
    has_history = np.bincount(history.customer, minlength=len(history.customers)) > 0
    row = positions(history.customers, redemptions["customer_id"].astype(str))
    names = np.array(sorted(items_of), dtype=object)
    column = positions(names, redemptions["offer_id"].astype(str))
    is_known = (row >= 0) & (column >= 0)
    is_known[is_known] &= has_history[row[is_known]]
    if not is_known.any():
        return None
    rows, place = np.unique(row[is_known], return_inverse=True)
    days = np.array([_utc_day(at) for at in redemptions["redeemed_at"][is_known]])
    first_day = np.full((len(rows), len(names)), NEVER, dtype=np.int64)
    np.minimum.at(first_day, (place, column[is_known]), days)
    coverage = offer_coverage({name: items_of[name] for name in names}, history, items)
    popular = np.broadcast_to(_purchases(history, coverage, day - RECENT), first_day.shape)
    baselines = {"popular": popular} | {
        f"own_{half_life}": _own_purchases(history, coverage, day, rows, half_life)
        for half_life in BASELINE_HALF_LIVES
    }
    return PastCampaign(day, offer_signals(history, coverage, day, rows), baselines, first_day)


def read_table(file: Path) -> "DataFrame":
    """Read a CSV or Parquet file. CSV values stay text."""
    unpacking.check_file(file)
    try:
        return pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_csv(file, dtype=str)
    except (OSError, ValueError) as error:
        text = gettext("{file} cannot be read as a table: {error}; give a CSV or Parquet file.")
        raise BadInput(text.format(file=file, error=error)) from error
