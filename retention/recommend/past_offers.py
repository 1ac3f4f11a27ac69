"""Rank coupons by their chance of redemption.

A coupon covers many products. The recent spend on them is the strongest signal; purchases of the
same types and categories add a little. The weights are learned from earlier redemptions if there
are enough.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix, diags

from retention.errors import BadInput, TooLittleData
from retention.progress import Progress, silent
from retention.recommend.catalogue import Catalogue, catalogue
from retention.recommend.history import DAY, History, day_of, read
from retention.recommend.matrices import positions
from retention.recommend.ranking_metrics import interval, ranking_metrics
from retention.text import gettext

if TYPE_CHECKING:
    from pandas import DataFrame

    from retention.lake import Lake

SIGNALS = ("spent", "type_share", "type_any", "category_share", "category_any")
HALF_LIFE = 90  # days
MIN_REDEEMERS = 60  # customers with redemptions, to learn the weights
PURCHASE_BASELINES = tuple(
    f"own_{half_life}" for half_life in (30, 90, 240)
)  # baselines of own decayed purchases


@dataclass(frozen=True, slots=True)
class OfferRanker:
    """Hold weights of `SIGNALS`.

    Parameters
    ----------
    weights : ndarray (signals,)
    learned_from : int
        Customers with redemptions; 0 for default weights.
    """

    weights: np.ndarray
    learned_from: int = 0

    def scores(self, signals: np.ndarray) -> np.ndarray:
        """Score signals as (customers × offers).

        Signals are (customers × offers × `SIGNALS`).
        """
        scores: np.ndarray = signals @ self.weights
        return scores


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

    Parameters
    ----------
    lake : Lake
    offers : mapping of str to sequence of str
        Offer id → ids of the covered items; unknown items are allowed.
    customer_ids : sequence of str
        Customers without a history get the most purchased offers.
    as_of : datetime
        Events at or after it are not read.
    ranker : OfferRanker

    Returns
    -------
    dict of str to list of (str, float)
        Offers with scores, by customer.

    Raises
    ------
    BadInput
        If there are no offers.
    """
    if not offers:
        raise BadInput(gettext("There are no offers to rank; name at least one."))
    history = read(lake, as_of)
    coverage = offer_coverage(offers, history, catalogue(lake, in_stock_only=False))
    rows = positions(history.customers, list(customer_ids))
    values = offer_signals(history, coverage, history.at(as_of), rows)
    scores = ranker.scores(values) + 1e-6 * _all_purchases(history, coverage)
    order = np.argsort(-scores, axis=1, kind="stable")
    return {
        customer: [(coverage.offers[at], float(scores[row, at])) for at in order[row]]
        for row, customer in enumerate(customer_ids)
    }


@dataclass(frozen=True, slots=True)
class OfferCoverage:
    """Hold the items and groups each offer covers.

    Parameters
    ----------
    offers : tuple of str
    items : csr_matrix (items of a history × offers)
    groups : mapping
        For ``type`` and ``category``: the group of each item of the history, and (groups × offers)
        with each group's share of the offer's items.
    """

    offers: tuple[str, ...]
    items: csr_matrix
    groups: Mapping[str, tuple[np.ndarray, csr_matrix]]


def offer_coverage(
    offers: Mapping[str, Sequence[str]], history: History, items: Catalogue
) -> OfferCoverage:
    """Match offers with a history's items.

    Items without purchases count for groups.

    Parameters
    ----------
    offers : mapping of str to sequence of str
    history : History
    items : Catalogue

    Returns
    -------
    OfferCoverage
    """
    names = tuple(offers)
    covered_items = np.array([item for each in offers.values() for item in each], dtype=object)
    offer = np.repeat(np.arange(len(names)), [len(each) for each in offers.values()])
    all_items = np.array(sorted({*history.items, *covered_items}), dtype=object)
    column, place = positions(all_items, covered_items), positions(all_items, history.items)
    shape = (len(all_items), len(names))
    covers = csr_matrix((np.ones(len(offer)), (column, offer)), shape=shape)
    covers.data[:] = 1  # an item listed twice counts once
    shares = csr_matrix(covers @ diags(1 / np.maximum(np.asarray(covers.sum(axis=0)).ravel(), 1)))
    groups = {}
    for group in ("type", "category"):
        code = items.groups(all_items)[group]
        known = np.flatnonzero(code >= 0)
        membership = csr_matrix(
            (np.ones(len(known)), (code[known], known)),
            shape=(int(code.max(initial=0)) + 1, len(all_items)),
        )
        groups[group] = code[place], csr_matrix(membership @ shares)
    return OfferCoverage(names, csr_matrix(covers[place]), groups)


def offer_signals(
    history: History, coverage: OfferCoverage, at: float, rows: np.ndarray
) -> np.ndarray:
    """Compute log spend and purchases per offer.

    Each is centred over the offers.

    Parameters
    ----------
    history : History
        Events before ``at``.
    coverage : OfferCoverage
    at : float
        Days since 1970.
    rows : ndarray of int
        Customers of the history; −1 for one without.

    Returns
    -------
    ndarray (rows × offers × `SIGNALS`)
    """
    faded = np.exp2(-(at - history.day) / HALF_LIFE)
    sums = [_by_item(history, faded * history.paid.clip(min=0), rows) @ coverage.items]
    bought = history.bought * faded
    for code, shares in coverage.groups.values():
        by_group = _by(
            history.customer,
            code[history.item],
            bought,
            (len(history.customers), shares.shape[0]),
            rows,
        )
        is_covered = csr_matrix(
            (np.ones(shares.nnz), shares.indices, shares.indptr), shape=shares.shape
        )
        sums += [by_group @ shares, by_group @ is_covered]
    logs = np.log1p(np.stack([matrix.toarray() for matrix in sums], axis=-1))
    centred: np.ndarray = logs - logs.mean(axis=1, keepdims=True)
    return centred


def own_purchases(
    history: History, coverage: OfferCoverage, at: float, rows: np.ndarray, half_life: int
) -> np.ndarray:
    """Score offers by own purchases (baseline).

    Parameters
    ----------
    history : History
    coverage : OfferCoverage
    at : float
        Days since 1970.
    rows : ndarray of int
        Customers; −1 for one without a history.
    half_life : int
        Days.

    Returns
    -------
    ndarray (rows × offers)
    """
    faded = np.exp2(-(at - history.day) / half_life) * history.bought
    scores: np.ndarray = (_by_item(history, faded, rows) @ coverage.items).toarray()
    return scores


def recent_purchases(
    history: History, coverage: OfferCoverage, at: float, days: int = 28
) -> np.ndarray:
    """Score offers by recent purchases (baseline).

    Parameters
    ----------
    history : History
    coverage : OfferCoverage
    at : float
        Days since 1970.
    days : int

    Returns
    -------
    ndarray (offers,)
    """
    recent = (at - history.day <= days) * history.bought
    return np.asarray(
        np.bincount(history.item, weights=recent, minlength=len(history.items)) @ coverage.items
    )


def _all_purchases(history: History, coverage: OfferCoverage) -> np.ndarray:
    """Count all purchases, as a tie-breaker.

    Scaled to at most 1.
    """
    counts = (
        np.bincount(history.item, weights=history.bought, minlength=len(history.items))
        @ coverage.items
    )
    return np.asarray(counts / max(float(counts.max(initial=0)), 1.0))


def _by_item(history: History, values: np.ndarray, rows: np.ndarray) -> csr_matrix:
    return _by(
        history.customer, history.item, values, (len(history.customers), len(history.items)), rows
    )


def _by(
    customer: np.ndarray,
    column: np.ndarray,
    values: np.ndarray,
    shape: tuple[int, int],
    rows: np.ndarray,
) -> csr_matrix:
    """Sum values by customer and column.

    Zeros for −1.
    """
    known = column >= 0
    sums = csr_matrix(
        (values[known], (customer[known], column[known])), shape=(shape[0] + 1, shape[1])
    )
    return csr_matrix(sums[np.where(rows >= 0, rows, shape[0])])


def fit_offer_ranker(
    campaign_signals: Sequence[np.ndarray], redeemed: Sequence[np.ndarray]
) -> OfferRanker:
    """Fit weights by logistic regression on earlier campaigns.

    Parameters
    ----------
    campaign_signals : sequence of ndarray (customers × offers × signals)
        One per campaign, at its start.
    redeemed : sequence of ndarray of bool (customers × offers)
        Redemptions known at the time of learning.

    Returns
    -------
    OfferRanker
        `DEFAULT_RANKER` below `MIN_REDEEMERS` customers.
    """
    from sklearn.linear_model import LogisticRegression

    rows, hits, weights, customers = [], [], [], 0
    for values, redemptions in zip(campaign_signals, redeemed, strict=True):
        is_used = redemptions.any(axis=1) & (redemptions.shape[1] > 1)
        rows.append(values[is_used].reshape(-1, len(SIGNALS)))
        hits.append(redemptions[is_used].ravel())
        weights.append(
            np.repeat(1 / np.sqrt(redemptions[is_used].sum(axis=1)), redemptions.shape[1])
        )
        customers += int(is_used.sum())
    if customers < MIN_REDEEMERS:
        return DEFAULT_RANKER
    inputs, hit = np.concatenate(rows), np.concatenate(hits)
    scale = inputs.std(axis=0) + 1e-9
    model = LogisticRegression(max_iter=500).fit(
        inputs / scale, hit, sample_weight=np.concatenate(weights)
    )
    return OfferRanker(model.coef_[0] / scale, customers)


OFFERS = ("campaign_id", "starts_at", "offer_id", "item_id")
REDEMPTIONS = ("campaign_id", "customer_id", "offer_id", "redeemed_at")


@dataclass(frozen=True, slots=True)
class PastCampaign:
    """Hold a campaign's signals and redemptions.

    Signals are as of its start.

    Parameters
    ----------
    start : int
        Day since 1970.
    signals : ndarray (customers × offers × signals)
    baselines : dict of str to ndarray (customers × offers)
        Scores of the baselines.
    day : ndarray of int (customers × offers)
        Day of the first redemption; `NEVER` without one.
    """

    start: int
    signals: np.ndarray
    baselines: dict[str, np.ndarray]
    day: np.ndarray

    @property
    def redeemed(self) -> np.ndarray:
        """Redemptions as (customers × offers)."""
        return self.day < NEVER

    def known(self, day: int) -> np.ndarray:
        """Return the redemptions before midnight of a day."""
        return self.day < day


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

    Parameters
    ----------
    lake : Lake
    offers : DataFrame
        Columns `OFFERS`; one row for each item that an offer covers.
    redemptions : DataFrame
        Columns `REDEMPTIONS`.
    since : datetime, optional
        Report only campaigns from this day on; earlier ones are still learned from.
    k : int
        Length of the lists.
    seed : int
        For the bootstrap.
    progress : Progress

    Returns
    -------
    dict

    Raises
    ------
    BadInput
        If a column is missing.
    TooLittleData
        If no customer with a history redeemed an offer.
    """
    began = time.perf_counter()
    _check_columns(offers, OFFERS, "offers")
    _check_columns(redemptions, REDEMPTIONS, "redemptions")
    campaigns = _campaigns(lake, offers, redemptions, progress)
    evaluated = [
        campaign for campaign in campaigns if since is None or campaign.start >= day_of(since)
    ]
    if not evaluated:
        raise TooLittleData(
            gettext(
                "No customer with a history before the campaign redeemed any of these offers; "
                "import earlier purchases."
            )
        )
    rankers = [_ranker_at(campaigns, campaign.start) for campaign in evaluated]
    lists: dict[str, list[np.ndarray]] = {
        "model": [],
        **{name: [] for name in evaluated[0].baselines},
    }
    truths: list[np.ndarray] = []
    at = 0
    for campaign, ranker in zip(evaluated, rankers, strict=True):
        truths += [np.flatnonzero(row) + at for row in campaign.redeemed]
        for name, scores in {
            "model": ranker.scores(campaign.signals),
            **campaign.baselines,
        }.items():
            lists[name] += [np.argsort(-row, kind="stable")[:k] + at for row in scores]
        at += campaign.day.shape[1]
    rankings = {
        name: ranking_metrics(ranked, truths, k=k, items=at) for name, ranked in lists.items()
    }
    best = max((name for name in rankings if name != "model"), key=lambda name: rankings[name].ndcg)
    gains = rankings["model"].each["ndcg"] - rankings[best].each["ndcg"]
    return {
        "customers": len(truths),
        "campaigns": len(evaluated),
        "offers": at,
        "metrics": _metrics(rankings["model"]),
        "intervals": {"ndcg": rankings["model"].interval(seed=seed)},
        "baselines": {
            name: _metrics(campaign) for name, campaign in rankings.items() if name != "model"
        },
        "over_best_baseline": {
            "baseline": best,
            "ndcg": float(gains.mean()),
            "interval": interval(gains, seed=seed),
        },
        "learned": sum(ranker.learned_from > 0 for ranker in rankers),
        "seconds": round(time.perf_counter() - began, 3),
    }


def _metrics(ranking: Any) -> dict[str, float]:
    return {
        "ndcg": ranking.ndcg,
        "recall": ranking.recall,
        "map": ranking.map,
        "hit_rate": ranking.hit_rate,
    }


def _ranker_at(campaigns: list[PastCampaign], day: int) -> OfferRanker:
    """Fit a ranker on earlier campaigns.

    Only their redemptions before the day count.
    """
    past = [campaign for campaign in campaigns if campaign.start < day]
    return (
        fit_offer_ranker(
            [campaign.signals for campaign in past], [campaign.known(day) for campaign in past]
        )
        if past
        else DEFAULT_RANKER
    )


def _check_columns(frame: "DataFrame", columns: tuple[str, ...], name: str) -> None:
    missing = [column for column in columns if column not in frame]
    if missing:
        raise BadInput(
            gettext("The {name} lack the column {missing!r}; they take {columns}.").format(
                name=name, missing=missing[0], columns=", ".join(columns)
            )
        )


def _campaigns(
    lake: "Lake", offers: "DataFrame", redemptions: "DataFrame", progress: Progress
) -> list[PastCampaign]:
    """Prepare the campaigns with redemptions.

    They are in order of start. Only known customers count.
    """
    items = catalogue(lake, in_stock_only=False)
    starts = offers.groupby("campaign_id")["starts_at"].min().sort_values(kind="stable")
    last = datetime.fromtimestamp(
        float(day_of(_to_utc(starts.iloc[-1])) * DAY), tz=_to_utc(starts.iloc[-1]).tzinfo
    )
    history = read(lake, last, shift=0)  # the files' days are UTC
    prepared = []
    for number, (name, start) in enumerate(starts.items()):
        campaign_offers = offers[offers["campaign_id"] == name]
        campaign_redemptions = redemptions[redemptions["campaign_id"] == name]
        day = day_of(_to_utc(start))
        campaign = _campaign(history.before(day), day, items, campaign_offers, campaign_redemptions)
        prepared += [campaign] if campaign is not None else []
        progress(number + 1, len(starts), gettext("Looking at campaigns"))
    return prepared


def _to_utc(moment: Any) -> datetime:
    import pandas as pd

    at = pd.Timestamp(moment)
    moment_: datetime = (
        at.tz_localize("UTC") if at.tzinfo is None else at.tz_convert("UTC")
    ).to_pydatetime()
    return moment_


def _campaign(
    history: History, day: int, items: Catalogue, offers: "DataFrame", redemptions: "DataFrame"
) -> PastCampaign | None:
    items_of = {
        str(name): list(each.astype(str)) for name, each in offers.groupby("offer_id")["item_id"]
    }
    has_history = np.bincount(history.customer, minlength=len(history.customers)) > 0
    row = positions(history.customers, redemptions["customer_id"].astype(str))
    names = np.array(sorted(items_of), dtype=object)
    column = positions(names, redemptions["offer_id"].astype(str))
    is_known = (row >= 0) & (column >= 0)
    is_known[is_known] &= has_history[row[is_known]]
    if not is_known.any():
        return None
    rows, place = np.unique(row[is_known], return_inverse=True)
    days = np.array([day_of(_to_utc(at)) for at in redemptions["redeemed_at"][is_known]])
    first_day = np.full((len(rows), len(names)), NEVER, dtype=np.int64)
    np.minimum.at(first_day, (place, column[is_known]), days)
    coverage: OfferCoverage = offer_coverage(
        {name: items_of[name] for name in names}, history, items
    )
    popular = np.broadcast_to(recent_purchases(history, coverage, day), first_day.shape)
    baselines = {"popular": popular} | {
        name: own_purchases(history, coverage, day, rows, int(name.removeprefix("own_")))
        for name in PURCHASE_BASELINES
    }
    return PastCampaign(day, offer_signals(history, coverage, day, rows), baselines, first_day)


def read_table(file: Path) -> "DataFrame":
    """Read a CSV or Parquet file.

    CSV values stay text.

    Raises
    ------
    BadInput
        If it cannot be read.
    """
    import pandas as pd

    try:
        return pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_csv(file, dtype=str)
    except (OSError, ValueError) as error:
        raise BadInput(
            gettext(
                "{file} cannot be read as a table: {error}; give a CSV or Parquet file."
            ).format(file=file, error=error)
        ) from error
