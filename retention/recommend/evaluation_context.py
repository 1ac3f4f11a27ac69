"""One moment: what was known of items and customers then, and how lists made then compare with what came after."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from retention.errors import BadInput
from retention.progress import Progress, part, silent
from retention.recommend.blas_threads import one_blas_thread
from retention.recommend.catalogue import Catalogue
from retention.recommend.history import History, pairs
from retention.recommend.id_index import positions
from retention.recommend.item_stats import shelf
from retention.recommend.matrices import in_rows, some_rows, top
from retention.recommend.metrics import Ranking, ranking
from retention.recommend.models import DEEP, MODELS, Als, Collaborative, default_model
from retention.recommend.models.neighbours import UserKnn
from retention.recommend.models.neural import require_torch
from retention.recommend.ranking.features import NAMES, Scene
from retention.recommend.ranking.ranker import MIXTURE_HALF_LIFE, POPULAR, Ranker, mixture_scores
from retention.recommend.sources import Candidates, Learned, Said, candidates
from retention.text import gettext

AUTO = ("auto", "blend")  # candidates of several sources, put in order by a ranker
BATCH = 256
K = 10
LESS_KNOWN = (
    0.06  # of log-odds a logarithm of buyers: coverage +.016 for NDCG −.0012 on Complete Journey
)
FEWEST_CUSTOMERS, FEWEST_ITEMS = 20, 10  # below, there is nothing to learn from others
BOTH, NEW = POLICIES = (
    "both",
    "new",
)  # whether what a customer has bought before may be offered again
Wanted = tuple[str, str]  # whose list, and under which policy
Score = Callable[[np.ndarray], np.ndarray]  # customers → (customers × items), −∞ for "not this one"


@dataclass(frozen=True, slots=True)
class Moment:
    """What was learned from before one moment, and the customers as they stood."""

    learned: Learned
    scene: Scene

    @property
    def bought(self) -> csr_matrix:
        """Ones where a customer has ever bought an item."""
        return self.scene.bought

    @property
    def size(self) -> tuple[int, int]:
        """Customers and items."""
        return len(self.scene.history.customers), len(self.learned.shelf.items)


def moment(
    history: History,
    at: float,
    items: Catalogue,
    *,
    min_buyers: int,
    model: str = "auto",
    seed: int = 0,
    progress: Progress = silent,
) -> Moment:
    """Learn from a history, all of it before ``at`` (days since 1970)."""
    scene = scene_at(history, at, items, min_buyers)
    progress(1, 4, "Learning which items go together")
    fitted = _collaborative(scene.liked, model, seed, part(progress, 1, 4, span=2))
    near = UserKnn().fit(scene.liked, seed=seed) if fitted is not None else None
    progress(4, 4, "Learning which items go together")
    return Moment(Learned(scene.shelf, fitted, near), scene)


def scene_at(history: History, at: float, items: Catalogue, min_buyers: int) -> Scene:
    """All customers of a history, and the shelf as it stood at a moment (days since 1970)."""
    seen = pairs(history, at)
    stock = shelf(history, seen, int(np.ceil(at)), items, min_buyers)
    return Scene(stock, history, seen, at, positions(stock.items, history.items))


def _collaborative(
    liked: csr_matrix, model: str, seed: int, progress: Progress
) -> Collaborative | None:
    """None where the shop is too small for one."""
    customers, items = liked.shape
    active = int((np.diff(liked.indptr) > 0).sum())
    if active < FEWEST_CUSTOMERS or items < FEWEST_ITEMS:
        return None
    chosen = default_model(customers, items) if model in AUTO else MODELS[model]()
    assert isinstance(chosen, Collaborative)  # a model that stands alone is learned elsewhere
    return chosen.fit(liked, seed=seed, progress=progress)


def checked_model(model: str) -> str:
    """The name, if there is such a model.

    Raises
    ------
    BadInput
        Where there is none, or it cannot be learned here.
    """
    if model not in AUTO and model not in MODELS:
        raise BadInput(
            gettext("There is no recommendation model {model!r}; choose {AUTO}, {MODELS}.").format(
                model=model, AUTO=", ".join(AUTO), MODELS=", ".join(MODELS)
            )
        )
    if model in DEEP:
        require_torch(model)
    return model


def truth(then: Moment, history: History, start: int, end: int) -> csr_matrix:
    """Ones where a customer with a history bought an item of the shelf on a day in ``[start, end)``.

    ``history`` may be another than the moment's, of the same or of other ids.
    """
    who, what = history.between(start, end)
    row = positions(then.scene.history.customers, history.customers)[who]
    column = positions(then.learned.shelf.items, history.items)[what]
    known = (row >= 0) & (column >= 0)
    real = csr_matrix((np.ones(int(known.sum())), (row[known], column[known])), shape=then.size)
    alive = np.bincount(then.scene.seen.customer, minlength=then.size[0]) > 0
    real = csr_matrix(real.multiply(alive[:, None].astype(float)))
    real.eliminate_zeros()
    return real


def only_new(then: Moment, real: csr_matrix) -> csr_matrix:
    """The part of a truth that the customer had never bought before."""
    fresh = csr_matrix(real - real.multiply(then.bought))
    fresh.eliminate_zeros()
    return fresh


def rank(
    then: Moment,
    rows: np.ndarray,
    scores: Mapping[Wanted, Score],
    *,
    k: int = K,
    progress: Progress = silent,
) -> dict[Wanted, list[np.ndarray]]:
    """The best ``k`` items of each customer, in batches, by several scores under several policies.

    Parameters
    ----------
    scores : mapping
        (name, policy) → score. The same score under both policies is asked only once; under ``new`` what the customer
        ever bought is left out.
    """
    lists: dict[Wanted, list[np.ndarray]] = {wanted: [] for wanted in scores}
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        bought = then.bought[batch].toarray() > 0
        said: dict[int, np.ndarray] = {}
        for wanted, score in scores.items():
            if id(score) not in said:
                with one_blas_thread():
                    said[id(score)] = score(batch)
            found = said[id(score)]
            found = np.where(bought, -np.inf, found) if wanted[1] == NEW else found
            lists[wanted].extend(top(line, k) for line in found)
        progress(start + len(batch), len(rows), "Ranking")
    return lists


def compare(
    then: Moment,
    real: csr_matrix,
    rows: np.ndarray,
    score: Score,
    *,
    progress: Progress = silent,
) -> Ranking:
    """Rank for these customers and compare with what they bought."""
    lists = rank(then, rows, {("", BOTH): score}, progress=progress)["", BOTH]
    return ranking(lists, bought_by(real, rows), k=K, items=then.size[1])


def bought_by(real: csr_matrix, rows: np.ndarray) -> list[np.ndarray]:
    """Positions of the items each of these customers bought."""
    return [real.indices[real.indptr[row] : real.indptr[row + 1]] for row in rows]


def popular(then: Moment) -> Score:
    """Baseline: what most customers bought in the last 28 days, the same for everybody."""
    lately = then.learned.shelf.fact("buyers_28")
    return lambda rows: np.broadcast_to(lately, (len(rows), len(lately)))


def buy_it_again(then: Moment, half_life: int = 90) -> Score:
    """Baseline: one's own purchases, faded; nothing else."""
    faded = _faded(then, half_life)

    def score(rows: np.ndarray) -> np.ndarray:
        values = faded[rows].toarray()
        return np.where((then.bought[rows].toarray() > 0) & (values > 0), values, -np.inf)

    return score


def collaborative(then: Moment) -> Score:
    """The collaborative model alone."""
    return lambda rows: Said(then.learned, some_rows(then.scene.liked, rows)).others


def factors(then: Moment, seed: int = 0) -> Score:
    """Baseline: ALS, learned from the same histories."""
    known, liked = then.learned.model, then.scene.liked
    model = known if isinstance(known, Als) else Als().fit(liked, seed=seed)
    return lambda rows: model.scores(some_rows(liked, rows))


def mixed(then: Moment, others: Score | None = None) -> Score:
    """One's own faded purchases and the collaborative model (as it has answered already), added up; where there is too little for a ranker."""
    faded, said = _faded(then, MIXTURE_HALF_LIFE), others or collaborative(then)
    total = float(
        then.learned.shelf.fact("buyers_28").sum()
    )  # the same whoever else is asked about
    share = then.scene.shelf.fact("buyers_28") / max(total, 1.0)

    def score(rows: np.ndarray) -> np.ndarray:
        own, known = faded[rows].toarray(), said(rows)
        return mixture_scores(
            own, np.pad(known, ((0, 0), (0, own.shape[1] - known.shape[1]))), share
        )

    return score


FirstStage = Callable[[np.ndarray], Candidates]


def first_stage(then: Moment, *, batches: int | None = None) -> FirstStage:
    """Candidates by customers, remembered, for several rankers that are compared on the same customers.

    ``batches`` is how many batches to remember; default all, which suits a few hundred customers only.
    """
    made: dict[bytes, Candidates] = {}

    def stage(rows: np.ndarray) -> Candidates:
        key = rows.tobytes()
        if key not in made:
            if batches is not None and len(made) >= batches:
                made.clear()
            made[key] = candidates(then.learned, then.scene, rows)
        return made[key]

    return stage


def ranked(then: Moment, ranker: Ranker, stage: FirstStage | None = None) -> Score:
    """The two stages: candidates, put in order by the ranker."""

    def score(rows: np.ndarray) -> np.ndarray:
        found = stage(rows) if stage is not None else candidates(then.learned, then.scene, rows)
        dense = np.full((len(rows), then.scene.shelf.size), -np.inf)
        dense[found.row, found.column] = log_odds(ranker, found)
        return dense

    return score


def log_odds(ranker: Ranker, found: Candidates) -> np.ndarray:
    """Of each candidate; of what a customer has bought before, the less known first."""
    known = found.own * np.log1p(np.nan_to_num(found.view[:, NAMES.index("item_buyers_28")]))
    less = 0.0 if ranker.kind == POPULAR else LESS_KNOWN
    return ranker.scores(found.view) - less * known


def _faded(then: Moment, half_life: int) -> csr_matrix:
    seen, column = then.scene.seen, then.scene.place[then.scene.seen.item]
    known = column >= 0
    values = seen.faded[half_life][known].astype(np.float32)
    return in_rows(seen.customer[known], column[known], values, then.scene.size)
