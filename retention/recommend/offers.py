"""Which of several coupons a customer would redeem: by what they spend on the products each coupon covers.

A coupon of a shop covers many products. What one spends on them lately says most; that one buys other products of the
same types and categories says a little more. The weights are learned from earlier redemptions where there are enough."""

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
from retention.recommend.metrics import interval, ranking
from retention.text import gettext

if TYPE_CHECKING:
    from pandas import DataFrame

    from retention.lake import Lake

SIGNALS = ("spent", "type_share", "type_any", "category_share", "category_any")
HALF_LIFE = 90  # days
FEWEST = 60  # customers with redemptions from which the weights are learned
PURCHASES = tuple(
    f"own_{half_life}" for half_life in (30, 90, 240)
)  # baselines: own faded purchases


@dataclass(frozen=True, slots=True)
class OfferRanker:
    """Weights of `SIGNALS`; by default only what was spent on the covered products counts.

    Parameters
    ----------
    weights : ndarray (signals,)
    learned_from : int
        Customers with redemptions; 0 where nothing was learned.
    """

    weights: np.ndarray
    learned_from: int = 0

    def scores(self, signals: np.ndarray) -> np.ndarray:
        """(customers × offers) of signals (customers × offers × `SIGNALS`)."""
        found: np.ndarray = signals @ self.weights
        return found


PLAIN = OfferRanker(np.array([1.0, 0.0, 0.0, 0.0, 0.0]))


def rank_offers(
    lake: "Lake",
    offers: Mapping[str, Sequence[str]],
    customer_ids: Sequence[str],
    *,
    as_of: datetime,
    ranker: OfferRanker = PLAIN,
) -> dict[str, list[tuple[str, float]]]:
    """Offers by customer, the likeliest to be redeemed first.

    Parameters
    ----------
    lake : Lake
    offers : mapping of str to sequence of str
        Offer id → ids of the items it covers; unknown items are ordinary.
    customer_ids : sequence of str
        Customers without a history get the offers in the order of what is bought most.
    as_of : datetime
        Nothing at or after it is seen.

    Raises
    ------
    BadInput
        Without offers.
    """
    if not offers:
        raise BadInput(gettext("There are no offers to rank; name at least one."))
    history = read(lake, as_of)
    shelf = covered(offers, history, catalogue(lake, in_stock_only=False))
    rows = positions(history.customers, list(customer_ids))
    told = signals(history, shelf, history.at(as_of), rows)
    scores = ranker.scores(told) + 1e-6 * _liked(history, shelf)
    order = np.argsort(-scores, axis=1, kind="stable")
    return {
        customer: [(shelf.offers[at], float(scores[row, at])) for at in order[row]]
        for row, customer in enumerate(customer_ids)
    }


@dataclass(frozen=True, slots=True)
class Covered:
    """What each offer covers.

    Parameters
    ----------
    offers : tuple of str
    items : csr_matrix (items of a history × offers)
    groups : mapping
        For ``type`` and ``category``: the group of each item of the history, and (groups × offers) with the share of
        the offer's items that are of the group.
    """

    offers: tuple[str, ...]
    items: csr_matrix
    groups: Mapping[str, tuple[np.ndarray, csr_matrix]]


def covered(offers: Mapping[str, Sequence[str]], history: History, items: Catalogue) -> Covered:
    """Offers in front of a history's items; also items that nobody has bought count for the groups."""
    names = tuple(offers)
    wanted = np.array([item for each in offers.values() for item in each], dtype=object)
    of = np.repeat(np.arange(len(names)), [len(each) for each in offers.values()])
    every = np.array(sorted({*history.items, *wanted}), dtype=object)
    column, place = positions(every, wanted), positions(every, history.items)
    shape = (len(every), len(names))
    holds = csr_matrix((np.ones(len(of)), (column, of)), shape=shape)
    holds.data[:] = 1  # named twice is covered once
    shares = csr_matrix(holds @ diags(1 / np.maximum(np.asarray(holds.sum(axis=0)).ravel(), 1)))
    groups = {}
    for group in ("type", "category"):
        code = items.groups(every)[group]
        known = np.flatnonzero(code >= 0)
        belongs = csr_matrix(
            (np.ones(len(known)), (code[known], known)),
            shape=(int(code.max(initial=0)) + 1, len(every)),
        )
        groups[group] = code[place], csr_matrix(belongs @ shares)
    return Covered(names, csr_matrix(holds[place]), groups)


def signals(history: History, shelf: Covered, at: float, rows: np.ndarray) -> np.ndarray:
    """(rows × offers × `SIGNALS`): logarithms of what was spent and bought, each less its mean over the offers.

    Parameters
    ----------
    history : History
        Nothing at or after ``at`` (days since 1970).
    rows : ndarray of int
        Customers of the history; −1 for one without.
    """
    faded = np.exp2(-(at - history.day) / HALF_LIFE)
    made = [_by_item(history, faded * history.paid.clip(min=0), rows) @ shelf.items]
    bought = history.bought * faded
    for code, shares in shelf.groups.values():
        mine = _by(
            history.customer,
            code[history.item],
            bought,
            (len(history.customers), shares.shape[0]),
            rows,
        )
        touched = csr_matrix(
            (np.ones(shares.nnz), shares.indices, shares.indptr), shape=shares.shape
        )
        made += [mine @ shares, mine @ touched]
    told = np.log1p(np.stack([one.toarray() for one in made], axis=-1))
    centred: np.ndarray = told - told.mean(axis=1, keepdims=True)
    return centred


def own_purchases(
    history: History, shelf: Covered, at: float, rows: np.ndarray, half_life: int
) -> np.ndarray:
    """Baseline (rows × offers): one's own faded purchases of the covered items."""
    faded = np.exp2(-(at - history.day) / half_life) * history.bought
    found: np.ndarray = (_by_item(history, faded, rows) @ shelf.items).toarray()
    return found


def liked_lately(history: History, shelf: Covered, at: float, days: int = 28) -> np.ndarray:
    """Baseline (offers,): purchases of the covered items by anybody in the last days."""
    lately = (at - history.day <= days) * history.bought
    return np.asarray(
        np.bincount(history.item, weights=lately, minlength=len(history.items)) @ shelf.items
    )


def _liked(history: History, shelf: Covered) -> np.ndarray:
    """How often the covered items were bought at all, at most 1; settles what nothing else does."""
    counts = (
        np.bincount(history.item, weights=history.bought, minlength=len(history.items))
        @ shelf.items
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
    """Sums by customer and column for some customers; nothing for −1."""
    known = column >= 0
    every = csr_matrix(
        (values[known], (customer[known], column[known])), shape=(shape[0] + 1, shape[1])
    )
    return csr_matrix(every[np.where(rows >= 0, rows, shape[0])])


def learn(told: Sequence[np.ndarray], redeemed: Sequence[np.ndarray]) -> OfferRanker:
    """Weights of a logistic regression on earlier campaigns; `PLAIN` below `FEWEST` customers who redeemed.

    Parameters
    ----------
    told : sequence of ndarray (customers × offers × signals)
        One a campaign, as of its start.
    redeemed : sequence of ndarray of bool (customers × offers)
        What was redeemed, as far as it was known at the moment of learning.
    """
    from sklearn.linear_model import LogisticRegression

    rows, hits, weights, customers = [], [], [], 0
    for seen, taken in zip(told, redeemed, strict=True):
        some = taken.any(axis=1) & (taken.shape[1] > 1)
        rows.append(seen[some].reshape(-1, len(SIGNALS)))
        hits.append(taken[some].ravel())
        weights.append(np.repeat(1 / np.sqrt(taken[some].sum(axis=1)), taken.shape[1]))
        customers += int(some.sum())
    if customers < FEWEST:
        return PLAIN
    every, hit = np.concatenate(rows), np.concatenate(hits)
    scale = every.std(axis=0) + 1e-9
    fitted = LogisticRegression(max_iter=500).fit(
        every / scale, hit, sample_weight=np.concatenate(weights)
    )
    return OfferRanker(fitted.coef_[0] / scale, customers)


OFFERS = ("campaign_id", "starts_at", "offer_id", "item_id")
REDEMPTIONS = ("campaign_id", "customer_id", "offer_id", "redeemed_at")


@dataclass(frozen=True, slots=True)
class Campaign:
    """One campaign as it stood at its start, and what came of it.

    Parameters
    ----------
    start : int
        Day since 1970.
    told : ndarray (customers × offers × signals)
    rivals : dict of str to ndarray (customers × offers)
        What the baselines say.
    day : ndarray of int (customers × offers)
        On which day it was first redeemed; a very late one where it was not.
    """

    start: int
    told: np.ndarray
    rivals: dict[str, np.ndarray]
    day: np.ndarray

    @property
    def redeemed(self) -> np.ndarray:
        """(customers × offers)."""
        return self.day < NEVER

    def known(self, day: int) -> np.ndarray:
        """What had been redeemed before the midnight that begins this day."""
        return self.day < day


NEVER = 2**31 - 1


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
    """Rank each campaign's offers for the customers with a history who redeemed any of them.

    Histories end at the midnight that begins a campaign's first day; the weights are learned from earlier campaigns'
    redemptions as far as they had happened by then.

    Parameters
    ----------
    offers : DataFrame
        `OFFERS`: one line for each item that an offer covers.
    redemptions : DataFrame
        `REDEMPTIONS`.
    since : datetime, optional
        Report only campaigns that began on this day or later; earlier ones are still learned from.
    k : int
        Length of the lists.

    Raises
    ------
    BadInput
        For a missing column.
    TooLittleData
        Where no customer with a history redeemed an offer named.
    """
    began = time.perf_counter()
    _checked(offers, OFFERS, "offers")
    _checked(redemptions, REDEMPTIONS, "redemptions")
    every = _campaigns(lake, offers, redemptions, progress)
    held = [one for one in every if since is None or one.start >= day_of(since)]
    if not held:
        raise TooLittleData(
            gettext(
                "No customer with a history before the campaign redeemed any of these offers; "
                "import earlier purchases."
            )
        )
    rankers = [_known_at(every, one.start) for one in held]
    lists: dict[str, list[np.ndarray]] = {"model": [], **{name: [] for name in held[0].rivals}}
    truths: list[np.ndarray] = []
    at = 0
    for one, ranker in zip(held, rankers, strict=True):
        truths += [np.flatnonzero(row) + at for row in one.redeemed]
        for name, scores in {"model": ranker.scores(one.told), **one.rivals}.items():
            lists[name] += [np.argsort(-row, kind="stable")[:k] + at for row in scores]
        at += one.day.shape[1]
    found = {name: ranking(each, truths, k=k, items=at) for name, each in lists.items()}
    best = max((name for name in found if name != "model"), key=lambda name: found[name].ndcg)
    gained = found["model"].each["ndcg"] - found[best].each["ndcg"]
    return {
        "customers": len(truths),
        "campaigns": len(held),
        "offers": at,
        "metrics": _metrics(found["model"]),
        "intervals": {"ndcg": found["model"].interval(seed=seed)},
        "baselines": {name: _metrics(one) for name, one in found.items() if name != "model"},
        "over_best_baseline": {
            "baseline": best,
            "ndcg": float(gained.mean()),
            "interval": interval(gained, seed=seed),
        },
        "learned": sum(ranker.learned_from > 0 for ranker in rankers),
        "seconds": round(time.perf_counter() - began, 3),
    }


def _metrics(one: Any) -> dict[str, float]:
    return {"ndcg": one.ndcg, "recall": one.recall, "map": one.map, "hit_rate": one.hit_rate}


def _known_at(every: list[Campaign], day: int) -> OfferRanker:
    """Learned from the campaigns that began before this day, of their redemptions only those before it."""
    past = [one for one in every if one.start < day]
    return learn([one.told for one in past], [one.known(day) for one in past]) if past else PLAIN


def _checked(frame: "DataFrame", columns: tuple[str, ...], name: str) -> None:
    missing = [column for column in columns if column not in frame]
    if missing:
        raise BadInput(
            gettext("The {name} lack the column {missing!r}; they take {columns}.").format(
                name=name, missing=missing[0], columns=", ".join(columns)
            )
        )


def _campaigns(
    lake: "Lake", offers: "DataFrame", redemptions: "DataFrame", progress: Progress
) -> list[Campaign]:
    """In order of their start; without those that nobody with a history redeemed anything of."""
    items = catalogue(lake, in_stock_only=False)
    starts = offers.groupby("campaign_id")["starts_at"].min().sort_values(kind="stable")
    last = datetime.fromtimestamp(
        float(day_of(_utc(starts.iloc[-1])) * DAY), tz=_utc(starts.iloc[-1]).tzinfo
    )
    history = read(lake, last, shift=0)  # as the moments of the files are counted
    made = []
    for number, (name, begins) in enumerate(starts.items()):
        mine = offers[offers["campaign_id"] == name]
        taken = redemptions[redemptions["campaign_id"] == name]
        day = day_of(_utc(begins))
        found = _campaign(history.before(day), day, items, mine, taken)
        made += [found] if found is not None else []
        progress(number + 1, len(starts), "Looking at campaigns")
    return made


def _utc(moment: Any) -> datetime:
    import pandas as pd

    at = pd.Timestamp(moment)
    told: datetime = (
        at.tz_localize("UTC") if at.tzinfo is None else at.tz_convert("UTC")
    ).to_pydatetime()
    return told


def _campaign(
    history: History, day: int, items: Catalogue, offers: "DataFrame", redemptions: "DataFrame"
) -> Campaign | None:
    holds = {
        str(name): list(each.astype(str)) for name, each in offers.groupby("offer_id")["item_id"]
    }
    alive = np.bincount(history.customer, minlength=len(history.customers)) > 0
    row = positions(history.customers, redemptions["customer_id"].astype(str))
    names = np.array(sorted(holds), dtype=object)
    column = positions(names, redemptions["offer_id"].astype(str))
    known = (row >= 0) & (column >= 0)
    known[known] &= alive[row[known]]
    if not known.any():
        return None
    rows, place = np.unique(row[known], return_inverse=True)
    when = np.array([day_of(_utc(at)) for at in redemptions["redeemed_at"][known]])
    redeemed = np.full((len(rows), len(names)), NEVER, dtype=np.int64)
    np.minimum.at(redeemed, (place, column[known]), when)
    shelf: Covered = covered({name: holds[name] for name in names}, history, items)
    popular = np.broadcast_to(liked_lately(history, shelf, day), redeemed.shape)
    rivals = {"popular": popular} | {
        name: own_purchases(history, shelf, day, rows, int(name.removeprefix("own_")))
        for name in PURCHASES
    }
    return Campaign(day, signals(history, shelf, day, rows), rivals, redeemed)


def table(file: Path) -> "DataFrame":
    """A CSV or Parquet file; ids stay text.

    Raises
    ------
    BadInput
        Where it cannot be read.
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
