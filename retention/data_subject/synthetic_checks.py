"""Check that a made-up shop copies nobody: nearest distances and membership.

References
----------
Platzer and Reutterer (2021), Holdout-based empirical assessment of mixed-type synthetic data.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from retention.data_subject.synthetic import (
    MIN_CUSTOMERS,
    customer_table,
    goods_of,
    make_up,
    order_table,
    purchases,
    statistics,
)

if TYPE_CHECKING:
    from retention.lake import Lake

MOST = 5_000  # customers that are compared
HALVES = 4  # random halves of the customers that the membership test is repeated for


@dataclass(frozen=True, slots=True)
class Checks:
    """How close a made-up shop is to the real one.

    ``nearer``: share of made-up customers that are nearer to a real one than that one is to the
    nearest other real customer. Copies have 1.
    ``membership``: AUC of an attacker who tells customers that the statistics are of from others,
    by the distance to the nearest made-up one. Guessing has .5.
    ``figures``: the same figure of both shops.
    """

    nearer: float
    membership: float
    figures: dict[str, tuple[float, float]]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def check(
    lines: pd.DataFrame,
    made_up: pd.DataFrame,
    make: Callable[[pd.DataFrame], pd.DataFrame],
    seed: int,
) -> Checks:
    """Compare a made-up shop with the real one.

    `lines`, `made_up`: order lines of both.
    `make`: makes up order lines from the real lines of some customers.
    """
    rng = np.random.default_rng(seed)
    real, own = _features(lines), _features(made_up)
    real_sample, own_sample = _sample(real, rng), _sample(own, rng)
    nearest = _distances(real, real_sample, other=True)
    search = NearestNeighbors(n_neighbors=1).fit(_scaled(real, real_sample))
    distance, place = search.kneighbors(_scaled(real, own_sample))
    nearer = float((distance[:, 0] < nearest[place[:, 0]]).mean())
    attacks = [_attack(lines, real, make, rng) for _ in range(HALVES)]
    return Checks(nearer, float(np.mean(attacks)), _figures(lines, made_up))


def _attack(
    lines: pd.DataFrame,
    real: pd.DataFrame,
    make: Callable[[pd.DataFrame], pd.DataFrame],
    rng: np.random.Generator,
) -> float:
    """Return the AUC of an attacker on the customers of a random half."""
    ids = rng.permutation(real.index.to_numpy())
    members, others = ids[: len(ids) // 2], ids[len(ids) // 2 :]
    from_half = _sample(_features(make(lines[lines.customer_id.isin(members)])), rng)
    known, unknown = (
        _distances(real, from_half, real.loc[half[:MOST]]) for half in (members, others)
    )
    labels = np.r_[np.ones(len(known)), np.zeros(len(unknown))]
    return float(roc_auc_score(labels, -np.r_[known, unknown]))


def write_made_up(
    lake: "Lake", folder: Path, customers: int | None = None, seed: int = 0
) -> dict[str, Any]:
    """Write a made-up shop as CSV files, and return its checks."""
    lines, goods = purchases(lake), goods_of(lake)
    known = statistics(lines, goods)
    tables = make_up(known, customers or known.customers, seed)
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)

    def again(some: pd.DataFrame) -> pd.DataFrame:
        half = statistics(some, goods, MIN_CUSTOMERS // 2)
        return make_up(half, half.customers, seed)["events"]

    checks = check(lines, tables["events"], again, seed)
    rows = {name: len(table) for name, table in tables.items()}
    return {"folder": str(folder), "rows": rows, **checks.as_dict()}


def _features(lines: pd.DataFrame) -> pd.DataFrame:
    """Return what tells customers apart: a row for each."""
    people = customer_table(order_table(lines))
    begin = people["first"].min()
    return pd.DataFrame(
        {
            "orders": np.log1p(people.orders),
            "gap": np.log1p(people.gap.fillna(0)),
            "lines": np.log1p(people.lines),
            "amount": np.log1p(people.amount.clip(lower=0).fillna(0)),
            "first": (people["first"] - begin).dt.total_seconds() / 86_400,
            "last": (people["last"] - begin).dt.total_seconds() / 86_400,
        }
    )


def _sample(features: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    if len(features) <= MOST:
        return features
    return features.iloc[rng.choice(len(features), MOST, replace=False)]


def _scaled(real: pd.DataFrame, features: pd.DataFrame) -> np.ndarray:
    scale = real.std().replace(0, 1)
    return ((features - real.mean()) / scale).to_numpy()


def _distances(
    real: pd.DataFrame, among: pd.DataFrame, of: pd.DataFrame | None = None, *, other: bool = False
) -> np.ndarray:
    """Return the distance of each row to the nearest among some, or to the nearest other one."""
    points = _scaled(real, among)
    search = NearestNeighbors(n_neighbors=2 if other else 1).fit(points)
    found, _ = search.kneighbors(points if of is None else _scaled(real, of))
    return np.asarray(found[:, -1])


def _figures(lines: pd.DataFrame, made_up: pd.DataFrame) -> dict[str, tuple[float, float]]:
    def figures(each: pd.DataFrame) -> dict[str, float]:
        orders = order_table(each)
        people = customer_table(orders)
        weekend = orders["at"].dt.dayofweek >= 5
        return {
            "orders_per_customer": float(people.orders.mean()),
            "median_gap_days": float(orders.gap.median()),
            "lines_per_order": float(orders.lines.mean()),
            "amount_per_order": float(orders.amount.mean()),
            "weekend_share": float(weekend.mean()),
            "one_order_share": float((people.orders == 1).mean()),
        }

    real, own = figures(lines), figures(made_up)
    return {name: (real[name], own[name]) for name in real}
