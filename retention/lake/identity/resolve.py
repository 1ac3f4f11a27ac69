"""From links to customers: who, at a moment, is one with whom, as a small table that the lake's views join."""
# ruff: noqa: S608 - SQL is put together from names of our own

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

from retention.lake import store
from retention.lake.schema import LINKS

if TYPE_CHECKING:
    import pandas as pd

Identity = datetime | Literal["now", "stored"]
BY_CUSTOMER = ("events", "customers", "treatments")
_COLUMNS = (
    "link_id",
    "customer_id",
    "same_as",
    "customer_since",
    "same_as_since",
    "method",
    "state",
    "evident_at",
    "decided_at",
    "seq",
)


class Identities:
    """What the links of one lake come to; read anew when somebody has decided.

    A link counts before a moment where its evidence was there by then (``evident_at``), whenever it was made: see
    docs/data.md. Within those that count, customers who are linked, however many steps apart, are one; the one known
    first lends the id.
    """

    def __init__(self, lake: store.LakeTables) -> None:
        self._lake = lake
        self._mark = ""
        self._log: Any = None
        self._tables: dict[tuple[datetime | None, datetime | None], str] = {}
        self._made: dict[str, dict[str, str]] = {}

    def table(self, before: datetime | None = None, identity: Identity = "now") -> str:
        """Name of a DuckDB table ``_old, _canonical`` of the ids that stand for another; empty where there are none.

        Parameters
        ----------
        before : datetime, optional
            Only links whose evidence was there before this moment.
        identity : datetime or {"now", "stored"}
            By which decisions: today's, those made by a moment, or none.
        """
        if identity == "stored" or not self._refresh():
            return ""
        key = (before, None if identity == "now" else identity)
        if key not in self._tables:
            self._tables[key] = self._make(accepted(self._log, *key))
        return self._tables[key]

    def people(self, before: datetime | None = None, identity: Identity = "now") -> dict[str, str]:
        """Id → the id it stands for now, of those ids that are not their customer's own."""
        name = self.table(before, identity)
        return self._made[name] if name else {}

    def resolved(self, ids: Any) -> set[str]:
        """The customers that these ids stand for."""
        people = self.people()
        return {people.get(one, one) for one in ids}

    def _refresh(self) -> bool:
        """Whether there are links; those that were made meanwhile are read."""
        mark = store.newest_commit(self._lake.root, LINKS)
        if mark and mark != self._mark:
            self._log, self._mark = history(self._lake), mark
            self._tables.clear()
        return bool(mark)

    def _make(self, links: pd.DataFrame) -> str:
        import pyarrow as pa

        people = canonical(links, self._log)
        if not people:
            return ""
        name = (
            "people_"
            + sha256("\n".join(map("\t".join, sorted(people.items()))).encode()).hexdigest()[:16]
        )
        if name not in self._made:
            rows = pa.table({"_old": list(people), "_canonical": list(people.values())})
            self._lake.duckdb.register("_people", rows)
            self._lake.duckdb.execute(
                f'CREATE OR REPLACE TEMP TABLE "{name}" AS SELECT * FROM _people'
            )
            self._lake.duckdb.unregister("_people")
            self._made[name] = people
        return name


def history(lake: store.LakeTables) -> pd.DataFrame:
    """Every decision on every link, in the order in which they were made."""
    paths = store.files(store.open_table(lake.root, LINKS))
    columns = ", ".join(
        f"make_timestamp(epoch_us({name})) AS {name}" if LINKS[name].kind == "moment" else name
        for name in _COLUMNS
    )
    if not paths:
        columns, relation = (
            ", ".join(f"NULL AS {name}" for name in _COLUMNS),
            "(SELECT 1) WHERE false",
        )
    else:
        relation = f"read_parquet({paths!r}) ORDER BY seq, link_id"
    return lake.duckdb.execute(f"SELECT {columns} FROM {relation}").df()


def current(log: pd.DataFrame, at: datetime | None = None) -> pd.DataFrame:
    """The newest decision on each link (made by ``at``)."""
    if at is not None:
        log = log[log["decided_at"] <= _naive(at)]
    return log.drop_duplicates("link_id", keep="last")


def accepted(
    log: pd.DataFrame, before: datetime | None, at: datetime | None = None
) -> pd.DataFrame:
    """The links that count."""
    links = current(log, at)
    links = links[links["state"] == "accepted"]
    if before is None:
        return links
    return links[links["evident_at"].isna() | (links["evident_at"] < _naive(before))]


def canonical(links: pd.DataFrame, log: pd.DataFrame) -> dict[str, str]:
    """Id → canonical id, of the ids that differ from it: the oldest of each group, by when it was first linked.

    How old a customer is was noted with their first link and stays so: data that comes later moves nobody's id.
    """
    if not len(links):
        return {}
    ids, group = components(links["customer_id"], links["same_as"])
    since = _since(log).reindex(ids)
    import pandas as pd

    people = pd.DataFrame({"id": ids, "group": group, "since": since.to_numpy()})
    people = people.sort_values(["group", "since", "id"], na_position="last")
    first = people.groupby("group")["id"].transform("first")
    differ = people["id"] != first
    return dict(zip(people["id"][differ], first[differ], strict=True))


def components(one: pd.Series, other: pd.Series) -> tuple[Any, Any]:
    """Ids in order, and the number of each one's group, both (n,): linked however many steps apart is one group."""
    import numpy as np
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    both = np.concatenate([one.to_numpy(dtype=object), other.to_numpy(dtype=object)])
    ids, place = np.unique(both, return_inverse=True)
    n = len(one)
    graph = coo_matrix(
        (np.ones(n, dtype=np.int8), (place[:n], place[n:])), shape=(len(ids), len(ids))
    )
    return ids, connected_components(graph, directed=False)[1]


def _since(log: pd.DataFrame) -> pd.Series:
    """When each id was first known, as its earliest link that knew it says."""
    import pandas as pd

    sides = [
        log[[*side, "seq"]].set_axis(["id", "since", "seq"], axis=1)
        for side in (("customer_id", "customer_since"), ("same_as", "same_as_since"))
    ]
    known = pd.concat(sides).dropna(subset=["since"]).sort_values("seq", kind="stable")
    return known.drop_duplicates("id").set_index("id")["since"]


def _naive(moment: datetime) -> Any:
    import pandas as pd

    return pd.Timestamp(moment).tz_convert("UTC").tz_localize(None)


# ---------------------------------------------------------------- SQL of the lake's views


def joined(columns: list[str], relation: str, where: str, people: str) -> str:
    """SQL of a relation's rows with their customers resolved; ``relation`` begins with FROM, ``where`` with WHERE."""
    named = ", ".join(
        "coalesce(_canonical, customer_id)::VARCHAR AS customer_id"
        if one.endswith(" AS customer_id")
        else one
        for one in columns
    )
    return f'SELECT {named} {relation} LEFT JOIN "{people}" ON customer_id = _old {where}'


def merged(rows: str, people: str) -> str:
    """SQL of the customers table ``rows`` with one row for each customer.

    A person who said no anywhere has said no. E-mail address and telephone number are of a row that consented, where
    there is one; everything else is the canonical row's own, then that of the row which came next.
    """
    own, firsts = "customer_id = who", "own DESC, created_at NULLS LAST, customer_id"
    consented = f"marketing_consent IS TRUE DESC, {firsts}"

    def first(name: str, order: str = firsts) -> str:
        return f"first({name} ORDER BY {order}) FILTER ({name} IS NOT NULL) AS {name}"

    columns = ", ".join(
        [
            "who AS customer_id",
            first("email", consented),
            first("phone", consented),
            *(first(name) for name in ("name", "locale", "timezone")),
            "min(created_at) AS created_at",
            "bool_and(marketing_consent) AS marketing_consent",
            """list_reduce(list_prepend('{}', list(attributes ORDER BY own, created_at DESC NULLS FIRST, customer_id DESC)
                FILTER (attributes IS NOT NULL)), lambda low, high: json_merge_patch(low, high)::VARCHAR) AS attributes""",
        ]
    )
    linked = f'(SELECT _old AS id, _canonical AS who FROM "{people}" UNION SELECT _canonical, _canonical FROM "{people}")'
    return (
        f"WITH _rows AS ({rows}), _linked AS {linked} SELECT _rows.* FROM _rows ANTI JOIN _linked ON customer_id = id "
        f"UNION ALL SELECT {columns} FROM (SELECT _rows.*, who, {own} AS own FROM _rows JOIN _linked ON customer_id = id) "
        "GROUP BY who"
    )
