"""The log of links: pairs of customer ids that are, may be, or are not one customer; every decision is a row.

A pair's newest row is what holds. Nothing is rewritten: undoing a merge is one more row, and what was decided when, and by
whom, stays readable. Whoever writes holds the table's advisory lock from reading the log to adding to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from retention import clock
from retention.lake import store
from retention.lake.identity import resolve
from retention.lake.schema import LINKS
from retention.lake.store import to_arrow

if TYPE_CHECKING:
    import pandas as pd

    from retention.lake.lake import Lake

PARTED = ("undone", "rejected")
KINDS = {
    "email": "the same e-mail address",
    "phone": "the same telephone number",
    "probable": "likeness",
}


def link_id(one: str, other: str) -> str:
    """Name of the pair: the same whichever comes first."""
    low, high = sorted((one, other))
    return "L" + sha256(f"{low}\x1f{high}".encode()).hexdigest()[:13]


@contextmanager
def writing(lake: Lake) -> Iterator[pd.DataFrame]:
    """Hold the log: nobody else adds to it until the end. Yields the log as it is."""
    with store.locked(lake.root, LINKS):
        yield resolve.history(lake)


def add(
    lake: Lake, log: pd.DataFrame, rows: pd.DataFrame, by: str, at: datetime | None = None
) -> int:
    """Add decisions (columns of the table but those of the decision) in one commit; returns how many."""
    if not len(rows):
        return 0
    first = 0 if log.empty else int(log["seq"].max()) + 1
    rows = rows.assign(
        decided_at=at or clock.now(), decided_by=by, seq=range(first, first + len(rows))
    )
    store.append(lake.root, LINKS, to_arrow(rows, LINKS))
    return len(rows)


def admit(log: pd.DataFrame, found: pd.DataFrame, largest: int) -> pd.DataFrame:
    """Leave to a person what would overrule one, or would make one customer of too many ids.

    Parameters
    ----------
    log : DataFrame
        The decisions so far.
    found : DataFrame
        ``customer_id, same_as, state, evidence``: new links, accepted or proposed.
    largest : int
        The most ids that may become one customer by themselves.

    Returns
    -------
    DataFrame
        The same, with ``proposed`` and the reason in the place of ``accepted`` where a person has to look.
    """
    import numpy as np
    import pandas as pd

    held = resolve.current(log)
    new = found["state"] == "accepted"
    if not new.any():
        return found
    pairs = ["customer_id", "same_as"]
    both = pd.concat([held.loc[held["state"] == "accepted", pairs], found.loc[new, pairs]])
    ids, group = resolve.components(both["customer_id"], both["same_as"])
    of = dict(zip(ids, group, strict=True))
    parted = held[held["state"].isin(PARTED)]
    left, right = parted["customer_id"].map(of), parted["same_as"].map(of)
    forbidden = set(left[(left == right) & left.notna()].astype(int))
    large = set(np.flatnonzero(np.bincount(group) > largest))
    place = found["customer_id"].map(of)
    found = found.copy()
    for reason, groups in (
        ("would join customers whom a person parted", forbidden),
        ("would join too many", large),
    ):
        held_back = new & place.isin(groups)
        found.loc[held_back, "state"] = "proposed"
        found.loc[held_back, "evidence"] = [
            {**evidence, "held_back": reason} for evidence in found.loc[held_back, "evidence"]
        ]
    return found


def since(lake: Lake, ids: Iterable[str]) -> dict[str, datetime]:
    """When each of these ids was first known: customer since, or the first event; ids without either are left out."""
    import pyarrow as pa

    customers, events = (
        lake.table(name, identity="stored").get_name() for name in ("customers", "events")
    )
    lake.duckdb.register("_ids", pa.table({"id": pa.array(list(ids), pa.string())}))
    rows = lake.duckdb.execute(
        f"""SELECT id, min(moment) FROM (
                SELECT id, created_at AS moment FROM _ids JOIN "{customers}" ON customer_id = id
                UNION ALL SELECT id, min(occurred_at) AS moment FROM _ids JOIN "{events}" ON customer_id = id GROUP BY id)
            GROUP BY id HAVING min(moment) IS NOT NULL"""  # noqa: S608 - names of our own
    ).fetchall()
    lake.duckdb.unregister("_ids")
    return dict(rows)


def aged(lake: Lake, pairs: pd.DataFrame, learned: Iterable[str] = ()) -> pd.DataFrame:
    """Pairs with the older id as ``same_as``, since when each is known, and from when on the link counts.

    Parameters
    ----------
    pairs : DataFrame
        ``customer_id, same_as`` in any order.
    learned : iterable of str
        Ids of which a key has just been learned, though they were known before: what it tells was not known earlier.
    """
    import pandas as pd

    known = since(lake, {*pairs["customer_id"], *pairs["same_as"]})
    at = {name: pd.to_datetime(pairs[name].map(known)) for name in ("customer_id", "same_as")}
    last = pd.Timestamp.max
    mine, theirs = (at[name].fillna(last) for name in ("customer_id", "same_as"))
    swap = (mine < theirs) | ((mine == theirs) & (pairs["customer_id"] < pairs["same_as"]))
    new = {
        "customer_id": pairs["same_as"].where(swap, pairs["customer_id"]),
        "same_as": pairs["customer_id"].where(swap, pairs["same_as"]),
        "customer_since": at["same_as"].where(swap, at["customer_id"]),
        "same_as_since": at["customer_id"].where(swap, at["same_as"]),
    }
    frame = pairs.assign(**new)
    names = [link_id(*pair) for pair in zip(frame["customer_id"], frame["same_as"], strict=True)]
    fresh = set(learned)
    late = frame["customer_id"].isin(fresh) | frame["same_as"].isin(fresh)
    now = pd.Timestamp(clock.now()).tz_convert("UTC").tz_localize(None)
    born = frame[["customer_since", "same_as_since"]].max(axis=1)
    return frame.assign(link_id=names, evident_at=born.where(~late, now))


def ids_of(lake: Lake, customer_id: str) -> tuple[str, ...]:
    """Every id that is this customer, the canonical one first: what erasure has to reach.

    An id that nobody is linked with is alone.
    """
    people = lake.identities.people()
    who = people.get(customer_id, customer_id)
    return (who, *sorted(old for old, canonical in people.items() if canonical == who))


def forget(lake: Lake, ids: Iterable[str]) -> int:
    """Delete every decision about these ids; returns how many there were. The files go with the next vacuum."""
    from retention.lake.mapping import literal

    ids = list(ids)
    with writing(lake) as log:
        about = log["customer_id"].isin(ids) | log["same_as"].isin(ids)
        if about.any():
            listed = ", ".join(literal(one) for one in ids)
            store.delete(lake.root, LINKS, f"customer_id IN ({listed}) OR same_as IN ({listed})")
    return int(about.sum())


def described(lake: Lake) -> list[dict[str, Any]]:
    """The newest decision on every link, with all its columns, newest first."""
    table = lake.table("links")
    if not len(rows := table.execute()):
        return []
    newest = rows.sort_values("seq").drop_duplicates("link_id", keep="last")[::-1]
    return newest.to_dict("records")
