"""Recommendation models on a generated shop; top 10 beside implicit's own.

The shop has 200,000 customers, 20,000 items and 5 million pairs.
"""

import json
import subprocess
import sys
import time
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from tests.benchmarks.measure import Figure, alone, in_turns, paired, peak_mb

CUSTOMERS, ITEMS, PAIRS = 200_000, 20_000, 5_000_000
TYPES, FACTORS, K = 50, 64, 10
SMALL = 50_000  # customers of the comparison with implicit
BATCH = 1_000  # of implicit's own batched call
LEFT_OUT = ("mult_dae", "sasrec")  # hours without a GPU, and none is promised there


def shop(
    customers: int = CUSTOMERS, items: int = ITEMS, pairs: int = PAIRS
) -> tuple[csr_matrix, Any]:
    """Generate preferences and their side information.

    Customers like three of fifty kinds of items, and a few items are liked by very many.
    """
    from retention.recommend.models.base import PurchaseDays, Segments, SideInformation

    rng = np.random.default_rng(0)
    customer = np.sort(np.floor(customers * rng.random(pairs) ** 1.5).astype(np.int64))
    liked = rng.integers(0, TYPES, (customers, 3))[customer, rng.integers(0, 3, pairs)]
    popular = np.floor(items / TYPES * rng.random(pairs) ** 2.5).astype(np.int64)
    item = np.where(rng.random(pairs) < 0.7, popular * TYPES + liked, rng.integers(0, items, pairs))
    matrix = csr_matrix(
        (np.ones(pairs, dtype=np.float32), (customer, item)), shape=(customers, items)
    )
    matrix.data = np.log1p(matrix.data)
    row = np.repeat(np.arange(customers), np.diff(matrix.indptr))
    age = rng.uniform(0, 300, matrix.nnz)
    known = csr_matrix(
        (
            np.ones(3 * customers, np.float32),
            rng.integers(0, customers, 3 * customers),
            np.arange(customers + 1) * 3,
        ),
        shape=(customers, customers),
    )
    words = [f"kind {number % TYPES} of thing, size {number // TYPES}" for number in range(items)]
    labels = np.array([f"channel:{number}" for number in range(8)])
    member = csr_matrix(np.eye(8, dtype=np.float32)[rng.integers(0, 8, customers)])
    side = SideInformation(
        PurchaseDays(row, matrix.indices, age),
        words,
        Segments(labels, member),
        csr_matrix(known @ matrix),
    )
    return matrix, side


def top_10() -> dict[str, Figure]:
    """Measure the filtered top 10 of all customers.

    The peer is implicit's own batched, filtered ``recommend`` with the same factors.
    """
    from implicit.cpu.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    from tests.benchmarks.retrieval import top_items

    matrix, _ = shop(SMALL, ITEMS, PAIRS * SMALL // CUSTOMERS)
    rng = np.random.default_rng(1)
    left, right = (rng.normal(size=(size, FACTORS)).astype(np.float32) for size in (SMALL, ITEMS))
    kept: dict[str, np.ndarray] = {}

    def ours() -> None:
        kept["ours"] = top_items(left, right, K, without=matrix)[0]

    def implicits() -> None:
        with threadpool_limits(limits=1, user_api="blas"):
            engine = AlternatingLeastSquares(factors=FACTORS, num_threads=0)
            engine.user_factors, engine.item_factors = left, right
            batches = [
                np.arange(start, min(start + BATCH, SMALL)) for start in range(0, SMALL, BATCH)
            ]
            kept["implicit"] = np.vstack(
                [engine.recommend(rows, matrix[rows], N=K)[0] for rows in batches]
            )

    pairs = in_turns(ours, implicits, times=3)
    assert (kept["ours"] == kept["implicit"]).mean() > 0.9999
    return {"top_10": paired(pairs, "s", most=0.65)}


def models() -> dict[str, Figure]:
    """Each in a process of its own: a peak is a process's."""
    from retention.recommend.models import MODELS

    figures = {}
    for name in [name for name in MODELS if name not in LEFT_OUT]:
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.tastes", name],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        fit, top, peak = json.loads(done.stdout.splitlines()[-1])
        print(f"  {name}: {fit:.1f} s, {top:.1f} s, {peak:.0f} MiB", file=sys.stderr, flush=True)
        figures |= {
            f"model_{name}": alone(fit, "s"),
            f"model_{name}_top": alone(top, "s"),
            f"model_{name}_peak": alone(peak, "MiB"),
        }
    return figures


def _one(name: str) -> tuple[float, float, float]:
    from retention.recommend.models import MODELS
    from tests.benchmarks.retrieval import top_items_of_model

    matrix, side = shop()
    began = time.perf_counter()
    model = MODELS[name]().fit(matrix, side=side)
    fitted = time.perf_counter()
    ids, _ = top_items_of_model(
        model, matrix, K, side=side, without=None if name == "repeat" else matrix
    )
    assert (ids >= 0).any()
    return fitted - began, time.perf_counter() - fitted, peak_mb()


if __name__ == "__main__":
    print(json.dumps(_one(sys.argv[1])))
