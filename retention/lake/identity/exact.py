"""Links by exact keys: who shares an e-mail address, a telephone number or a named attribute is one customer.

A key that too many share (a family's telephone, the shop's own address) links nobody and is told. Customers who share a
telephone number but whose names do not agree are left to a person.
"""
# ruff: noqa: S608 - SQL only contains our own names, numbers and escaped literals

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from retention.lake.identity import keys, links, resolve
from retention.lake.identity.rules import IdentityRules

if TYPE_CHECKING:
    import pandas as pd

    from retention.lake.lake import Lake

PROBABILITY = {"email": 0.999, "phone": 0.98}  # as good as sure; what a person decides is sure
_ATTRIBUTE = 0.999
_NAMES_AGREE = (
    0.8  # Jaro-Winkler; "Ann Smith" and "Smith, Anne" agree, "Ann Smith" and "Bob Smith" do not
)


@dataclass(frozen=True, slots=True)
class SharedKey:
    """A key of so many customers that it tells none of them; ``key`` is shown in part only."""

    kind: str
    key: str
    customers: int


@dataclass(frozen=True, slots=True)
class Linked:
    """What a run of linking came to: links accepted, pairs left to a person, keys that link nobody, and why it may be little."""

    accepted: int
    proposed: int
    shared: tuple[SharedKey, ...] = ()
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"shared": [asdict(key) for key in self.shared]}


def link(
    lake: Lake, rules: IdentityRules, *, by: str, learned: Iterable[str] | None = ()
) -> Linked:
    """Link whoever shares a key and is not linked, or parted, yet. Doing it again does nothing.

    Parameters
    ----------
    lake : Lake
    rules : IdentityRules
    by : str
        Who asked; ``import`` after an import.
    learned : iterable of str, optional
        Ids known before, of which a key has just been learned: links by it count from now on, not earlier. None: it may
        be any of them, so all count from now on, which is late at worst and never foresight.
    """
    keys.collect(lake, rules)
    shared = shared_keys(lake, rules)
    with links.writing(lake) as log:
        pairs = _pairs(lake, rules)
        if len(pairs):
            pairs = _new(lake, log, pairs)
        if not len(pairs):
            return Linked(0, 0, shared)
        found = links.aged(lake, pairs, pairs["customer_id"] if learned is None else learned)
        found = links.admit(log, _said(found), rules.largest)
        links.add(lake, log, found[[*COLUMNS]], by)
    accepted = int((found["state"] == "accepted").sum())
    return Linked(accepted, len(found) - accepted, shared)


def learned(con: Any, fresh: str, known: str) -> list[str]:
    """Ids among the customers to be written that were there before, and of which a key is new."""
    changed = " OR ".join(
        f"new.{name} IS DISTINCT FROM old.{name}" for name in ("email", "phone", "attributes")
    )
    rows = con.execute(
        f'SELECT customer_id FROM {fresh} AS new JOIN "{known}" AS old USING (customer_id) WHERE {changed}'
    ).fetchall()
    return [row[0] for row in rows]


COLUMNS = (
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


def shared_keys(lake: Lake, rules: IdentityRules, most: int = 20) -> tuple[SharedKey, ...]:
    """The keys that too many customers have, the commonest first; `keys.collect` has run."""
    rows = lake.duckdb.execute(
        "SELECT kind, key, count(DISTINCT customer_id) AS n FROM identity_keys GROUP BY ALL "
        f"HAVING n > {rules.most_shared} ORDER BY n DESC, key LIMIT {most}"
    ).fetchall()
    return tuple(SharedKey(kind, _masked(key), n) for kind, key, n in rows)


def _masked(key: str) -> str:
    local, at, domain = key.partition("@")
    return f"{local[:1]}…@{domain}" if at else f"…{key[-3:]}"


def _pairs(lake: Lake, rules: IdentityRules) -> pd.DataFrame:
    """Who shares a usable key, each with one of its holders (always the same), by the surest key they share."""
    likeness = "greatest(jaro_winkler_similarity(one, other), jaro_winkler_similarity(sorted_one, sorted_other))"
    words = "list_aggregate(list_sort(string_split_regex(trim({}), '[\\s,.]+')), 'string_agg', ' ')"
    return lake.duckdb.execute(
        f"""
        WITH usable AS (
            SELECT kind, place, key, min(customer_id) AS head FROM identity_keys
            GROUP BY ALL HAVING count(DISTINCT customer_id) BETWEEN 2 AND {rules.most_shared}
        ), named AS (
            SELECT k.*, lower(strip_accents(name)) AS spelt FROM identity_keys AS k SEMI JOIN usable USING (kind, key)
        ), pairs AS (
            SELECT kind, u.place, a.customer_id, u.head AS same_as, a.spelt AS one, b.spelt AS other,
                   {words.format("a.spelt")} AS sorted_one, {words.format("b.spelt")} AS sorted_other
            FROM usable AS u JOIN named AS a USING (kind, key)
            JOIN named AS b ON b.kind = u.kind AND b.key = u.key AND b.customer_id = u.head
            WHERE a.customer_id <> u.head
        )
        SELECT kind AS method, customer_id, same_as, coalesce({likeness} >= {_NAMES_AGREE}, true) AS names_agree
        FROM pairs QUALIFY row_number() OVER (PARTITION BY customer_id, same_as ORDER BY place) = 1
        ORDER BY customer_id, same_as
        """
    ).df()


def _new(lake: Lake, log: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Those that are not one customer already and on which nobody has decided: a key outweighs a proposal by likeness.

    ``parted`` are those by a key of which a person has said that it does not make one customer of its holders.
    """
    held = resolve.current(log).set_index("link_id")
    people = resolve.canonical(held[held["state"] == "accepted"], log)
    ids = [
        links.link_id(*pair) for pair in zip(pairs["customer_id"], pairs["same_as"], strict=True)
    ]
    state, method = (held[name].reindex(ids).reset_index(drop=True) for name in ("state", "method"))
    one, other = (
        pairs[name].map(lambda who: people.get(who, who)) for name in ("customer_id", "same_as")
    )
    open_ = state.isna() | ((state == "proposed") & (method == "probable") & pairs["names_agree"])
    parted = state.isin(links.PARTED).groupby([pairs["method"], pairs["same_as"]]).transform("any")
    return pairs.assign(parted=parted)[open_ & (one != other)].reset_index(drop=True)


def _said(found: pd.DataFrame) -> pd.DataFrame:
    """The links as they are to be written: what speaks for them, how surely, and whether a person has to look."""
    doubtful = ((found["method"] == "phone") & ~found["names_agree"]) | found["parted"]
    return found.assign(
        probability=found["method"].map(PROBABILITY).fillna(_ATTRIBUTE),
        state=doubtful.map({True: "proposed", False: "accepted"}),
        evidence=[
            {method: "equal"}
            | ({} if agree else {"name": "different"})
            | ({"held_back": "a person parted others with the same key"} if parted else {})
            for method, agree, parted in zip(
                found["method"], found["names_agree"], found["parted"], strict=True
            )
        ],
    )
