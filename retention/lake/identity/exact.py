"""Link customers with equal keys.

Keys are e-mail addresses, telephone numbers and attributes.

A key of too many customers, such as the shop's own address, links none of them and is reported.
Customers with the same telephone number but different names are left for review.
"""
# ruff: noqa: S608 - SQL only contains our own names, numbers and escaped literals

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from retention.lake.identity import keys, links
from retention.lake.identity.keys import IdentityRules

if TYPE_CHECKING:
    import pandas as pd

    from retention.lake.lake import Lake

PROBABILITY = {"email": 0.999, "phone": 0.98}
ATTRIBUTE_PROBABILITY = 0.999
# Jaro-Winkler similarity: "Ann Smith" agrees with "Smith, Anne", but not with "Bob Smith".
MIN_NAME_SIMILARITY = 0.8


@dataclass(frozen=True, slots=True)
class SharedKey:
    """A key of too many customers, masked."""

    kind: str
    key: str
    customers: int


@dataclass(frozen=True, slots=True)
class LinkingResult:
    """Result of a linking run."""

    accepted: int
    proposed: int
    shared: tuple[SharedKey, ...] = ()
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the result for JSON."""
        return asdict(self) | {"shared": [asdict(key) for key in self.shared]}


def link(
    lake: Lake, rules: IdentityRules, *, by: str, changed_ids: Iterable[str] | None = ()
) -> LinkingResult:
    """Link customers with equal keys. Idempotent.

    Pairs that are linked, or that a person separated, are skipped.

    `by`: user; ``import`` after an import.
    `changed_ids`: stored ids that have just got a new key. Their new links are valid from now, to
    avoid data leakage; other new links from when both ids were known. None: all new links from now.
    """
    keys.collect(lake, rules)
    shared = shared_keys(lake, rules)
    with links.locked_log(lake) as log:
        pairs = _pairs(lake, rules)
        if len(pairs):
            pairs = _undecided(lake, log, pairs)
        if not len(pairs):
            return LinkingResult(0, 0, shared)
        if changed_ids is None:
            changed_ids = pairs["customer_id"]
        counts = links.store(lake, log, _with_evidence(pairs), rules, by, changed_ids)
    return LinkingResult(*counts, shared)


def ids_with_new_keys(con: Any, fresh: str, known: str) -> list[str]:
    """Find stored customers with new keys."""
    names = ("email", "phone", "attributes")
    changed = " OR ".join(f"new.{name} IS DISTINCT FROM old.{name}" for name in names)
    rows = con.execute(
        f'SELECT customer_id FROM {fresh} AS new JOIN "{known}" AS old USING (customer_id) '
        f"WHERE {changed}"
    ).fetchall()
    return [row[0] for row in rows]


def shared_keys(lake: Lake, rules: IdentityRules, limit: int = 20) -> tuple[SharedKey, ...]:
    """Return keys of too many customers.

    `lake`: `keys.collect` must have run on it.
    """
    rows = lake.duckdb.execute(
        "SELECT kind, key, count(DISTINCT customer_id) AS n FROM identity_keys GROUP BY ALL "
        f"HAVING n > {rules.most_shared} ORDER BY n DESC, key LIMIT {limit}"
    ).fetchall()
    return tuple(SharedKey(kind, _masked(key), n) for kind, key, n in rows)


def _masked(key: str) -> str:
    local, at, domain = key.partition("@")
    return f"{local[:1]}…@{domain}" if at else f"…{key[-3:]}"


def _pairs(lake: Lake, rules: IdentityRules) -> pd.DataFrame:
    """Pair the customers of each usable key.

    All are paired with the smallest id of the key.

    A pair with several keys gets the most reliable one.
    """
    similarity = (
        "greatest(jaro_winkler_similarity(one, other), "
        "jaro_winkler_similarity(sorted_one, sorted_other))"
    )
    words = "list_aggregate(list_sort(string_split_regex(trim({}), '[\\s,.]+')), 'string_agg', ' ')"
    sql = f"""
        WITH usable AS (
            SELECT kind, place, key, min(customer_id) AS head FROM identity_keys
            GROUP BY ALL HAVING count(DISTINCT customer_id) BETWEEN 2 AND {rules.most_shared}
        ), named AS (
            SELECT k.*, lower(strip_accents(name)) AS spelt
            FROM identity_keys AS k SEMI JOIN usable USING (kind, key)
        ), pairs AS (
            SELECT kind, u.place, a.customer_id, u.head AS same_as,
                   a.spelt AS one, b.spelt AS other,
                   {words.format("a.spelt")} AS sorted_one,
                   {words.format("b.spelt")} AS sorted_other
            FROM usable AS u JOIN named AS a USING (kind, key)
            JOIN named AS b ON b.kind = u.kind AND b.key = u.key AND b.customer_id = u.head
            WHERE a.customer_id <> u.head
        )
        SELECT kind AS method, customer_id, same_as,
               coalesce({similarity} >= {MIN_NAME_SIMILARITY}, true) AS names_agree
        FROM pairs QUALIFY row_number() OVER (PARTITION BY customer_id, same_as ORDER BY place) = 1
        ORDER BY customer_id, same_as
        """
    return lake.duckdb.execute(sql).df()


def _undecided(lake: Lake, log: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Select undecided, unmerged pairs.

    An equal key replaces a proposal by similarity. ``has_separated`` marks keys with pairs that a
    person separated.
    """
    decisions, ids, is_apart = links.compare(log, pairs)
    decisions = decisions.set_index("link_id").reindex(ids).reset_index(drop=True)
    state, method = decisions["state"], decisions["method"]
    is_undecided = state.isna() | (
        (state == "proposed") & (method == "probable") & pairs["names_agree"]
    )
    is_separated = state.isin(links.SEPARATED)
    has_separated = is_separated.groupby([pairs["method"], pairs["same_as"]]).transform("any")
    pairs = pairs.assign(has_separated=has_separated)
    return pairs[is_undecided & is_apart].reset_index(drop=True)


def _with_evidence(pairs: pd.DataFrame) -> pd.DataFrame:
    """Add probability, state and evidence of each link."""
    is_doubtful = ((pairs["method"] == "phone") & ~pairs["names_agree"]) | pairs["has_separated"]
    return pairs.assign(
        probability=pairs["method"].map(PROBABILITY).fillna(ATTRIBUTE_PROBABILITY),
        state=is_doubtful.map({True: "proposed", False: "accepted"}),
        evidence=[
            {method: "equal"}
            | ({} if names_agree else {"name": "different"})
            | ({"held_back": "a person parted others with the same key"} if has_separated else {})
            for method, names_agree, has_separated in zip(
                pairs["method"], pairs["names_agree"], pairs["has_separated"], strict=True
            )
        ],
    )
