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

from retention.lake.identity import canonical_ids, keys, links
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
    """Result of a linking run.

    Attributes
    ----------
    accepted : int
        New accepted links.
    proposed : int
        New links for review.
    shared : tuple of SharedKey
        Keys of too many customers.
    note : str
        Reason, if the data did not suffice.
    """

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

    Parameters
    ----------
    lake : Lake
    rules : IdentityRules
    by : str
        User; ``import`` after an import.
    changed_ids : iterable of str, optional
        Stored ids that have just got a new key. Their new links are valid from now, to avoid data
        leakage; other new links from when both ids were known. None: all new links from now.

    Returns
    -------
    LinkingResult
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
        new_links = links.order_by_age(lake, pairs, changed_ids)
        new_links = links.hold_back(log, _with_evidence(new_links), rules.largest)
        links.add(lake, log, new_links[[*LINK_COLUMNS]], by)
    accepted = int((new_links["state"] == "accepted").sum())
    return LinkingResult(accepted, len(new_links) - accepted, shared)


def ids_with_new_keys(con: Any, fresh: str, known: str) -> list[str]:
    """Find stored customers with new keys.

    Parameters
    ----------
    con : duckdb.DuckDBPyConnection
    fresh : str
        Table of customers to write.
    known : str
        Table of stored customers.

    Returns
    -------
    list of str
        Customer ids.
    """
    changed = " OR ".join(
        f"new.{name} IS DISTINCT FROM old.{name}" for name in ("email", "phone", "attributes")
    )
    rows = con.execute(
        f'SELECT customer_id FROM {fresh} AS new JOIN "{known}" AS old USING (customer_id) '
        f"WHERE {changed}"
    ).fetchall()
    return [row[0] for row in rows]


LINK_COLUMNS = (
    "link_id",
    "customer_id",
    "same_as",
    "customer_since",
    "same_as_since",
    "method",
    "probability",
    "state",
    "evidence",
    "evident_at",
)


def shared_keys(lake: Lake, rules: IdentityRules, limit: int = 20) -> tuple[SharedKey, ...]:
    """Return keys of too many customers.

    Parameters
    ----------
    lake : Lake
        `keys.collect` must have run on it.
    rules : IdentityRules
    limit : int
        Maximum number of keys.
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
    return lake.duckdb.execute(
        f"""
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
    ).df()


def _undecided(lake: Lake, log: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Select undecided, unmerged pairs.

    An equal key replaces a proposal by similarity. ``has_separated`` marks keys with pairs that a
    person separated.
    """
    decisions = canonical_ids.latest(log).set_index("link_id")
    canonical_by_id = canonical_ids.canonical_ids(decisions[decisions["state"] == "accepted"], log)
    ids = [
        links.link_id(*pair) for pair in zip(pairs["customer_id"], pairs["same_as"], strict=True)
    ]
    state, method = (
        decisions[name].reindex(ids).reset_index(drop=True) for name in ("state", "method")
    )
    left, right = (
        pairs[name].map(lambda customer: canonical_by_id.get(customer, customer))
        for name in ("customer_id", "same_as")
    )
    is_undecided = state.isna() | (
        (state == "proposed") & (method == "probable") & pairs["names_agree"]
    )
    is_separated = state.isin(links.SEPARATED)
    has_separated = is_separated.groupby([pairs["method"], pairs["same_as"]]).transform("any")
    pairs = pairs.assign(has_separated=has_separated)
    return pairs[is_undecided & (left != right)].reset_index(drop=True)


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
