"""How good are the recommendations? Trained before a cutoff, compared with what was bought after it, beside baselines."""

import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from retention.errors import BadInput, TooLittleData
from retention.progress import Progress, part, silent
from retention.recommend.catalogue import catalogue
from retention.recommend.preferences import bought_between
from retention.recommend.training import (
    MIN_BUYERS,
    K,
    blend,
    buy_it_again,
    compare,
    popular,
    snapshot,
    train,
    truths,
)

if TYPE_CHECKING:
    from retention.lake import Lake


def evaluate(
    lake: "Lake",
    *,
    cutoff: datetime,
    horizon_days: int = 28,
    k: int = K,
    min_buyers: int = MIN_BUYERS,
    new_items_only: bool = False,
    model: str = "auto",
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, Any]:
    """The contract's JSON of ``retention evaluate recommend``.

    Ranks the items bought by at least ``min_buyers`` customers before the cutoff (and not barred by the catalogue) for
    the customers who have a history and bought one of them in ``[cutoff, cutoff + horizon)``; with
    ``new_items_only`` one they had never bought, and such items leave both list and truth.

    Raises
    ------
    BadInput
        For a ``k`` or ``min_buyers`` below 1.
    TooLittleData
        Where there is no history, no such item, or no such customer.
    """
    if k < 1 or min_buyers < 1:
        raise BadInput(f"k is {k} and min-buyers {min_buyers}; both must be at least 1.")
    began = time.perf_counter()
    trained = train(
        lake, cutoff=cutoff, horizon_days=horizon_days, seed=seed, model=model, min_buyers=min_buyers,
        progress=part(progress, 0, 3, span=2),
    )  # fmt: skip
    trained_in = time.perf_counter() - began
    known = snapshot(lake, cutoff, catalogue(lake, in_stock_only=False), min_buyers)
    if not len(known.axes.items):
        raise TooLittleData(f"No item was bought by {min_buyers} customers before {cutoff:%d %b %Y}.")
    window = bought_between(lake, cutoff, cutoff + timedelta(days=horizon_days))
    everyone = np.arange(len(known.axes.customers))
    real = truths(known, window, everyone, new_only=new_items_only)
    rows = np.array([row for row, items in zip(everyone, real, strict=True) if len(items)], dtype=int)
    if not len(rows):
        raise TooLittleData(
            f"Nobody with a history bought any of {len(known.axes.items):,} items in the {horizon_days} days "
            f"from {cutoff:%d %b %Y}; choose an earlier cutoff."
        )
    scorers = {
        "model": blend(known, trained.model, trained.mixture),
        "popular": popular(known),
        "buy_it_again": buy_it_again(known),
    }
    began = time.perf_counter()
    found = {
        name: compare(
            known, window, rows, score, k=k, new_only=new_items_only,
            progress=part(part(progress, 2, 3), number, len(scorers)),
        )
        for number, (name, score) in enumerate(scorers.items())
    }  # fmt: skip
    return {
        "customers": found["model"].customers,
        "items": len(known.axes.items),
        "metrics": found["model"].as_dict(),
        "baselines": {name: found[name].as_dict() for name in ("popular", "buy_it_again")},
        "model": trained.estimator,
        "parameters": trained.parameters,
        "rung": trained.rung,
        "seconds": {"train": round(trained_in, 3), "score": round(time.perf_counter() - began, 3)},
    }
