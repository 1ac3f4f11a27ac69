"""Store decisions on links in an append-only log.

A link is a pair of customer ids.

The newest row of a pair counts. Undoing a merge adds a row, so the log keeps the date and author of
each decision. Writers hold the table's advisory lock from reading the log to appending to it.
"""

# ruff: noqa: S608 - SQL only contains our own names, numbers and escaped literals

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from retention import clock
from retention.lake.identity import canonical_ids, keys
from retention.lake.identity.keys import IdentityRules
from retention.lake.schema import LINKS
from retention.lake.storage import delta_store
from retention.lake.storage.delta_store import to_arrow

if TYPE_CHECKING:
    import pandas as pd

    from retention.lake.identity.keys import IdentityRules
    from retention.lake.lake import Lake


SEPARATED = ("undone", "rejected")
COLUMNS = LINKS.names[:-3]  # of a new link; `add` gives the others


def link_id(left: str, right: str) -> str:
    """Return the id of an unordered pair."""
    low, high = sorted((left, right))
    return "L" + sha256(f"{low}\x1f{high}".encode()).hexdigest()[:13]


@contextmanager
def locked_log(lake: Lake) -> Iterator[pd.DataFrame]:
    """Lock the log and yield its rows."""
    with delta_store.locked(lake.root, LINKS):
        yield canonical_ids.history(lake)


def add(
    lake: Lake, log: pd.DataFrame, rows: pd.DataFrame, by: str, at: datetime | None = None
) -> int:
    """Append decisions in one commit.

    `rows`: columns of the table, without ``decided_at``, ``decided_by`` and ``seq``.
    """
    if not len(rows):
        return 0
    first = 0 if log.empty else int(log["seq"].max()) + 1
    decided_at = at or clock.now()
    rows = rows.assign(decided_at=decided_at, decided_by=by, seq=range(first, first + len(rows)))
    delta_store.append(lake.root, LINKS, to_arrow(rows, LINKS))
    return len(rows)


def compare(log: pd.DataFrame, pairs: pd.DataFrame) -> tuple[pd.DataFrame, list[str], pd.Series]:
    """Return the newest decisions, the pairs' link ids, and whether they are two customers."""
    decisions = canonical_ids.latest(log)
    merged = canonical_ids.canonical_ids(decisions[decisions["state"] == "accepted"], log)
    sides = [pairs[name] for name in ("customer_id", "same_as")]
    left, right = (side.map(lambda customer: merged.get(customer, customer)) for side in sides)
    return decisions, [*map(link_id, *sides)], left != right


def store(
    lake: Lake,
    log: pd.DataFrame,
    pairs: pd.DataFrame,
    rules: IdentityRules,
    by: str,
    changed_ids: Iterable[str] = (),
) -> tuple[int, int]:
    """Store new links; return how many are accepted and proposed.

    `pairs`: ``customer_id, same_as, method, probability, state, evidence``.
    `changed_ids`: see `order_by_age`.
    """
    new_links = hold_back(log, order_by_age(lake, pairs, changed_ids), rules.largest)
    add(lake, log, new_links[[*COLUMNS]], by)
    accepted = int((new_links["state"] == "accepted").sum())
    return accepted, len(new_links) - accepted


def hold_back(log: pd.DataFrame, new_links: pd.DataFrame, max_ids: int) -> pd.DataFrame:
    """Propose risky links instead of accepting them.

    Risky links contradict a person's decision or merge too many ids.

    `new_links`: ``customer_id, same_as, state, evidence``; accepted or proposed.
    `max_ids`: most ids that may become one customer without review.
    Returns: the links. Held-back ones are ``proposed``, with the reason in ``evidence``.
    """
    import numpy as np
    import pandas as pd

    decisions = canonical_ids.latest(log)
    is_accepted = new_links["state"] == "accepted"
    if not is_accepted.any():
        return new_links
    columns = ["customer_id", "same_as"]
    old = decisions.loc[decisions["state"] == "accepted", columns]
    accepted = pd.concat([old, new_links.loc[is_accepted, columns]])
    ids, groups = canonical_ids.components(accepted["customer_id"], accepted["same_as"])
    group_of = dict(zip(ids, groups, strict=True))
    separated = decisions[decisions["state"].isin(SEPARATED)]
    left, right = separated["customer_id"].map(group_of), separated["same_as"].map(group_of)
    contradicting = set(left[(left == right) & left.notna()].astype(int))
    too_large = set(np.flatnonzero(np.bincount(groups) > max_ids))
    link_groups = new_links["customer_id"].map(group_of)
    new_links = new_links.copy()
    for reason, bad_groups in (
        ("would join customers whom a person parted", contradicting),
        ("would join too many", too_large),
    ):
        is_held_back = is_accepted & link_groups.isin(bad_groups)
        new_links.loc[is_held_back, "state"] = "proposed"
        new_links.loc[is_held_back, "evidence"] = [
            {**evidence, "held_back": reason}
            for evidence in new_links.loc[is_held_back, "evidence"]
        ]
    return new_links


def first_known(lake: Lake, ids: Iterable[str]) -> dict[str, datetime]:
    """Return the start of each id. The start is "customer since" or the first event."""
    import pyarrow as pa

    names = ("customers", "events")
    customers, events = (lake.table(name, identity="stored").get_name() for name in names)
    lake.duckdb.register("_ids", pa.table({"id": pa.array(list(ids), pa.string())}))
    rows = lake.duckdb.execute(
        f"""SELECT id, min(moment) FROM (
                SELECT id, created_at AS moment FROM _ids JOIN "{customers}" ON customer_id = id
                UNION ALL SELECT id, min(occurred_at) AS moment
                FROM _ids JOIN "{events}" ON customer_id = id GROUP BY id)
            GROUP BY id HAVING min(moment) IS NOT NULL"""
    ).fetchall()
    lake.duckdb.unregister("_ids")
    return dict(rows)


def order_by_age(lake: Lake, pairs: pd.DataFrame, changed_ids: Iterable[str] = ()) -> pd.DataFrame:
    """Order each pair by age and add times.

    `pairs`: ``customer_id, same_as`` in any order.
    `changed_ids`: stored ids that have just got a new key. Their links are valid from now, others
    from when both ids were known.
    Returns: with the older id as ``same_as``, and ``link_id``, ``customer_since``,
    ``same_as_since`` and ``evident_at`` (start of the link's validity).
    """
    import pandas as pd

    start_of = first_known(lake, {*pairs["customer_id"], *pairs["same_as"]})
    start = {name: pd.to_datetime(pairs[name].map(start_of)) for name in ("customer_id", "same_as")}
    unknown = pd.Timestamp.max
    left, right = (start[name].fillna(unknown) for name in ("customer_id", "same_as"))
    swap = (left < right) | ((left == right) & (pairs["customer_id"] < pairs["same_as"]))
    ordered = pairs.assign(
        customer_id=pairs["same_as"].where(swap, pairs["customer_id"]),
        same_as=pairs["customer_id"].where(swap, pairs["same_as"]),
        customer_since=start["same_as"].where(swap, start["customer_id"]),
        same_as_since=start["customer_id"].where(swap, start["same_as"]),
    )
    link_ids = [*map(link_id, ordered["customer_id"], ordered["same_as"])]
    changed = set(changed_ids)
    is_changed = ordered["customer_id"].isin(changed) | ordered["same_as"].isin(changed)
    now = pd.Timestamp(clock.now()).tz_convert("UTC").tz_localize(None)
    both_known = ordered[["customer_since", "same_as_since"]].max(axis=1)
    return ordered.assign(link_id=link_ids, evident_at=both_known.where(~is_changed, now))


def ids_of(lake: Lake, customer_id: str) -> tuple[str, ...]:
    """Return a customer's ids, the canonical one first.

    `customer_id`: any id of the customer. An id without links is returned alone.
    """
    canonical_by_id = lake.identities.canonical_ids()
    own = canonical_by_id.get(customer_id, customer_id)
    return (own, *sorted(old for old, canonical in canonical_by_id.items() if canonical == own))


def forget(lake: Lake, ids: Iterable[str]) -> int:
    """Delete all decisions about ids. The next vacuum deletes the files."""
    from retention.lake.importing.mapping import literal

    ids = list(ids)
    with locked_log(lake) as log:
        is_about_ids = log["customer_id"].isin(ids) | log["same_as"].isin(ids)
        if is_about_ids.any():
            listed = ", ".join(map(literal, ids))
            is_of = f"customer_id IN ({listed}) OR same_as IN ({listed})"
            delta_store.delete(lake.root, LINKS, is_of)
    return int(is_about_ids.sum())


def latest_decisions(lake: Lake) -> list[dict[str, Any]]:
    """Return each link's newest decision, newest first."""
    table = lake.table("links")
    if not len(rows := table.execute()):
        return []
    newest = rows.sort_values("seq").drop_duplicates("link_id", keep="last")[::-1]
    return newest.to_dict("records")


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


def link_exact(
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
    with locked_log(lake) as log:
        pairs = _pairs(lake, rules)
        if len(pairs):
            pairs = _undecided(lake, log, pairs)
        if not len(pairs):
            return LinkingResult(0, 0, shared)
        if changed_ids is None:
            changed_ids = pairs["customer_id"]
        counts = store(lake, log, _with_evidence(pairs), rules, by, changed_ids)
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
    """Pair each usable key's customers with its smallest id; the most reliable key counts."""
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
    decisions, ids, is_apart = compare(log, pairs)
    decisions = decisions.set_index("link_id").reindex(ids).reset_index(drop=True)
    state, method = decisions["state"], decisions["method"]
    is_undecided = state.isna() | (
        (state == "proposed") & (method == "probable") & pairs["names_agree"]
    )
    is_separated = state.isin(SEPARATED)
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
