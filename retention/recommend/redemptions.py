"""Does the order of a campaign's coupons agree with what was redeemed? Each campaign judged with what was known at its start."""

import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from retention.errors import BadInput, TooLittleData
from retention.progress import Progress, silent
from retention.recommend.catalogue import Catalogue, catalogue
from retention.recommend.history import DAY, History, day_of, read
from retention.recommend.id_index import positions
from retention.recommend.metrics import interval, ranking
from retention.recommend.offers import (
    PLAIN,
    PURCHASES,
    Covered,
    OfferRanker,
    covered,
    learn,
    liked_lately,
    own_purchases,
    signals,
)
from retention.text import gettext

if TYPE_CHECKING:
    from pandas import DataFrame

    from retention.lake import Lake

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
