"""Training: learn which items go together, and tune the mixture on the last horizon before the cutoff."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix

from retention.errors import BadInput, TooLittleData
from retention.progress import Progress, part, silent
from retention.recommend.artefact import TrainedRecommender
from retention.recommend.blend import MIXTURES, Mixture, blended, collaborative_scores, learnable
from retention.recommend.catalogue import Catalogue, catalogue
from retention.recommend.matrices import Axes, ids, top
from retention.recommend.metrics import Ranking, ranking
from retention.recommend.models import MODELS, Collaborative, fitting
from retention.recommend.preferences import HALF_LIVES, bought_between, buyers, decayed, preferences

if TYPE_CHECKING:
    from retention.lake import Lake

POPULAR_DAYS = 28
READING = "Reading what customers bought"
MIN_BUYERS = 5
TUNED_ON = 2_000  # customers; half of them choose, the other half report
FEWEST_TO_TUNE = 40
FEWEST_CUSTOMERS, FEWEST_ITEMS = 20, 10  # below, there is nothing to learn from others
BATCH = 256
K = 10


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that is known about customers and items before one cutoff, as matrices over the same axes.

    ``bought`` says with ones what was ever bought; ``popularity`` counts the buyers of the last 28 days.
    """

    axes: Axes
    faded: dict[int, csr_matrix]
    histories: csr_matrix
    bought: csr_matrix
    popularity: np.ndarray


def snapshot(
    lake: "Lake", cutoff: datetime, items: Catalogue, min_buyers: int, progress: Progress = silent
) -> Snapshot:
    """Read the history before the cutoff; the items are those bought by at least ``min_buyers`` customers.

    Raises
    ------
    TooLittleData
        Where no event with an item lies before the cutoff.
    """
    progress(0, 4, READING)
    frame = preferences(lake, cutoff)
    progress(1, 4, READING)
    if frame.empty:
        raise TooLittleData(
            f"There are no events with items before {cutoff:%d %b %Y}; import some, or choose a later cutoff."
        )
    counted = buyers(lake, cutoff)
    kept = [item for item, count in counted.items() if count >= min_buyers and item not in items.barred]
    axes = Axes(ids(frame["customer_id"]), ids(kept))
    progress(2, 4, READING)
    recent = buyers(lake, cutoff, POPULAR_DAYS)
    places = axes.place(frame)
    progress(3, 4, READING)
    return Snapshot(
        axes,
        {half_life: places.matrix(frame[decayed(half_life)].to_numpy()) for half_life in HALF_LIVES},
        places.matrix(learnable(frame)),
        places.matrix((frame["purchase_days"] > 0).to_numpy()),
        np.array([recent.get(item, 0) for item in axes.items], dtype=np.float32),
    )


def train(
    lake: "Lake",
    *,
    cutoff: datetime,
    horizon_days: int = 28,
    seed: int = 0,
    model: str = "auto",
    min_buyers: int = MIN_BUYERS,
    progress: Progress = silent,
) -> TrainedRecommender:
    """Learn from everything before the cutoff.

    Parameters
    ----------
    lake : Lake
    cutoff : datetime
        Nothing at or after it is seen.
    horizon_days : int
        Length of the window before the cutoff on which the mixture is tuned.
    seed : int
        The same seed and data give the same recommender.
    model : {"auto", "ease", "als", "item_knn"}
        The collaborative part; ``auto`` chooses by size.
    min_buyers : int
        Items bought by fewer customers are not learned about (one's own are still offered again).

    Raises
    ------
    BadInput
        For an unknown model.
    TooLittleData
        Where there are no events with items before the cutoff.
    """
    if model != "auto" and model not in MODELS:
        raise BadInput(f"There is no recommendation model {model!r}; choose auto, {', '.join(MODELS)}.")
    progress(0, 4000, "Reading the catalogue")
    items = catalogue(lake, in_stock_only=False)
    mixture, metrics, note = _tune(
        lake, cutoff, horizon_days, items, min_buyers, model, seed, part(progress, 0, 4, span=2)
    )
    now = snapshot(lake, cutoff, items, min_buyers, part(progress, 2, 4))
    fitted = fit(now, model, seed, part(progress, 3, 4))
    rung = _rung(now, fitted) + note
    progress(4000, 4000, "Recommendations learned")
    return TrainedRecommender(
        now.axes.items, fitted, mixture, cutoff, horizon_days, seed, min_buyers, metrics, rung
    )


def fit(known: Snapshot, model: str, seed: int, progress: Progress = silent) -> Collaborative | None:
    """Fit the collaborative part; None where the shop is too small for one."""
    customers, items = known.histories.shape
    if customers < FEWEST_CUSTOMERS or items < FEWEST_ITEMS or not known.histories.nnz:
        return None
    chosen: Collaborative = fitting(customers, items) if model == "auto" else MODELS[model]()
    return chosen.fit(known.histories, seed=seed, progress=progress)


def _rung(known: Snapshot, fitted: Collaborative | None) -> str:
    customers, items = known.histories.shape
    size = f"{customers:,} customers, {items:,} items"
    if fitted is None:
        return (
            f"Own purchases and popularity only: {size}; learning from others takes at least "
            f"{FEWEST_CUSTOMERS} customers and {FEWEST_ITEMS} items bought by several."
        )
    return f"Own purchases and {fitted.name} on {size}."


def rank(
    known: Snapshot,
    rows: np.ndarray,
    score: Callable[[np.ndarray], np.ndarray],
    *,
    new_only: bool = False,
    k: int = K,
    progress: Progress = silent,
) -> list[np.ndarray]:
    """The best ``k`` items of each customer (row), in batches; ``score`` may answer −∞ for "not this one".

    ``new_only`` leaves out what the customer has ever bought.
    """
    lists: list[np.ndarray] = []
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        scores = score(batch)
        if new_only:
            scores = np.where(known.bought[batch].toarray() > 0, -np.inf, scores)
        lists.extend(top(line, k) for line in scores)
        progress(start + len(batch), len(rows), "Ranking")
    return lists


def truths(known: Snapshot, frame: Any, rows: np.ndarray, *, new_only: bool = False) -> list[np.ndarray]:
    """What each of these customers bought in a window, as positions; with ``new_only`` what they never had before."""
    real = known.axes.place(frame).matrix(np.ones(len(frame)))
    if new_only:
        real = csr_matrix(real - real.multiply(known.bought))
        real.eliminate_zeros()
    return [real.indices[real.indptr[row] : real.indptr[row + 1]] for row in rows]


def popular(known: Snapshot) -> Callable[[np.ndarray], np.ndarray]:
    """Baseline: what most customers bought in the last 28 days, the same for everybody."""
    return lambda rows: np.broadcast_to(known.popularity, (len(rows), len(known.popularity)))


def buy_it_again(known: Snapshot, half_life: int = 90) -> Callable[[np.ndarray], np.ndarray]:
    """Baseline: one's own purchases, faded; nothing else."""

    def score(rows: np.ndarray) -> np.ndarray:
        faded = known.faded[half_life][rows].toarray()
        return np.where((known.bought[rows].toarray() > 0) & (faded > 0), faded, -np.inf)

    return score


def blend(
    known: Snapshot, model: Collaborative | None, mixture: Mixture
) -> Callable[[np.ndarray], np.ndarray]:
    """Our own ranking."""

    def score(rows: np.ndarray) -> np.ndarray:
        others = collaborative_scores(model, known.histories[rows])
        return blended(
            known.faded[mixture.half_life][rows].toarray(), others, known.popularity, mixture.weight
        )

    return score


def _tune(
    lake: "Lake",
    cutoff: datetime,
    horizon_days: int,
    items: Catalogue,
    min_buyers: int,
    model: str,
    seed: int,
    progress: Progress,
) -> tuple[Mixture, dict[str, Any], str]:
    """The mixture with the best NDCG in the last horizon; measured on the customers that did not choose it."""
    start = cutoff - timedelta(days=horizon_days)
    too_short = " The mixture is our default: the history is too short to tune it."
    try:
        then = snapshot(lake, start, items, min_buyers, part(progress, 0, 4))
    except TooLittleData:
        return Mixture(), {}, too_short
    window = bought_between(lake, start, cutoff, known_before=cutoff)
    all_rows = np.arange(len(then.axes.customers))
    active = np.array(
        [row for row, real in zip(all_rows, truths(then, window, all_rows), strict=True) if len(real)],
        dtype=int,
    )
    if len(active) < FEWEST_TO_TUNE:
        return Mixture(), {}, too_short
    drawn = np.random.default_rng(seed).permutation(active)[:TUNED_ON]
    choosing, reporting = np.sort(drawn[::2]), np.sort(drawn[1::2])
    fitted = fit(then, model, seed, part(progress, 1, 4))
    best = _best(then, fitted, window, choosing, part(progress, 2, 4))

    scorers = (blend(then, fitted, best), popular(then), buy_it_again(then))
    ours, popularity, again = (
        compare(
            then, window, reporting, score, progress=part(part(progress, 3, 4), number, len(scorers))
        ).as_dict()
        for number, score in enumerate(scorers)
    )
    metrics = {
        **ours,
        "customers": len(reporting),
        "baselines": {"popular": popularity, "buy_it_again": again},
    }
    return best, metrics, ""


def _best(
    then: Snapshot,
    fitted: Collaborative | None,
    window: Any,
    rows: np.ndarray,
    progress: Progress,
) -> Mixture:
    """The others' scores are worked out once a batch; each mixture of the grid then ranks with them."""
    lists: dict[Mixture, list[np.ndarray]] = {mixture: [] for mixture in MIXTURES}
    for start in range(0, len(rows), BATCH // 4):
        batch = rows[start : start + BATCH // 4]
        others = collaborative_scores(fitted, then.histories[batch])
        for mixture in MIXTURES:
            faded = then.faded[mixture.half_life][batch].toarray()
            scores = blended(faded, others, then.popularity, mixture.weight)
            lists[mixture].extend(top(line, K) for line in scores)
        progress(start, len(rows), "Tuning the mixture")
    real = truths(then, window, rows)
    size = len(then.axes.items)
    return max(MIXTURES, key=lambda mixture: ranking(lists[mixture], real, k=K, items=size).ndcg)


def compare(
    known: Snapshot,
    window: Any,
    rows: np.ndarray,
    score: Callable[[np.ndarray], np.ndarray],
    *,
    k: int = K,
    new_only: bool = False,
    progress: Progress = silent,
) -> Ranking:
    """Rank for these customers and compare with what they bought in the window."""
    lists = rank(known, rows, score, new_only=new_only, k=k, progress=progress)
    return ranking(lists, truths(known, window, rows, new_only=new_only), k=k, items=len(known.axes.items))
