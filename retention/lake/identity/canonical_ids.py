"""Compute canonical ids from decisions on links.

The lake's views join the tables of canonical ids. Linking itself starts in `review.link`, or after
an import in `import_log.link_customers`.
"""
# ruff: noqa: S608 - SQL only contains our own names, numbers and escaped literals

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

from retention.lake.schema import LINKS
from retention.lake.storage import delta_store

if TYPE_CHECKING:
    import pandas as pd

    from retention.lake.lake import Lake

Identity = datetime | Literal["now", "stored"]
CONSENTS = ("marketing_consent", "sms_consent", "whatsapp_consent", "tracking_consent")
CUSTOMER_TABLES = ("events", "customers", "treatments", "texts", "text_signals")
_UNREAD = ("probability", "evidence", "decided_by")
_COLUMNS = [name for name in LINKS.names if name not in _UNREAD]


class Identities:
    """Canonical ids of a lake.

    They are reloaded after each new decision.

    Point-in-time views use a link if its evidence existed at the cutoff (``evident_at``), even if
    the link is newer; see docs/operator/identity.md. Ids connected by any number of links are one
    customer. The id known first is the canonical one.
    """

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._version = ""
        self._log: Any = None
        self._tables: dict[tuple[datetime | None, datetime | None], str] = {}
        self._mapping_of: dict[str, dict[str, str]] = {}

    def table(self, before: datetime | None = None, identity: Identity = "now") -> str:
        """Create a DuckDB table of merged ids.

        `before`: only use links with evidence before this time.
        Returns: name of the table ``_old, _canonical``, or "" without merged ids.
        """
        if identity == "stored" or not self._refresh():
            return ""
        key = (before, None if identity == "now" else identity)
        if key not in self._tables:
            self._tables[key] = self._create_table(accepted_links(self._log, *key))
        return self._tables[key]

    def canonical_ids(
        self, before: datetime | None = None, identity: Identity = "now"
    ) -> dict[str, str]:
        """Return merged ids and their canonical ids.

        `before`, `identity`: see `table`.
        """
        return self._mapping_of.get(self.table(before, identity), {})

    def resolved(self, ids: Any) -> set[str]:
        """Return the canonical ids of customer ids."""
        canonical_ids = self.canonical_ids()
        return {canonical_ids.get(customer, customer) for customer in ids}

    def _refresh(self) -> bool:
        """Reload a changed log; return whether links exist."""
        version = delta_store.newest_commit(self._lake.root, LINKS)
        if version and version != self._version:
            self._log, self._version = history(self._lake), version
            self._tables.clear()
        return bool(version)

    def _create_table(self, links: pd.DataFrame) -> str:
        import pyarrow as pa

        mapping = canonical_ids(links, self._log)
        if not mapping:
            return ""
        content = "\n".join(map("\t".join, sorted(mapping.items())))
        name = "people_" + sha256(content.encode()).hexdigest()[:16]
        if name not in self._mapping_of:
            rows = pa.table({"_old": list(mapping), "_canonical": list(mapping.values())})
            self._lake.duckdb.register("_people", rows)
            sql = f'CREATE OR REPLACE TEMP TABLE "{name}" AS SELECT * FROM _people'
            self._lake.duckdb.execute(sql)
            self._lake.duckdb.unregister("_people")
            self._mapping_of[name] = mapping
        return name


def history(lake: Lake) -> pd.DataFrame:
    """Read all decisions on all links, in order."""
    paths = delta_store.files(delta_store.open_table(lake.root, LINKS))
    columns = ", ".join(
        f"make_timestamp(epoch_us({name})) AS {name}" if LINKS[name].kind == "moment" else name
        for name in _COLUMNS
    )
    relation = f"read_parquet({paths!r}) ORDER BY seq, link_id"
    if not paths:
        columns = ", ".join(f"NULL AS {name}" for name in _COLUMNS)
        relation = "(SELECT 1) WHERE false"
    return lake.duckdb.execute(f"SELECT {columns} FROM {relation}").df()


def latest(log: pd.DataFrame, at: datetime | None = None) -> pd.DataFrame:
    """Return the newest decision on each link."""
    if at is not None:
        log = log[log["decided_at"] <= _naive(at)]
    return log.drop_duplicates("link_id", keep="last")


def accepted_links(
    log: pd.DataFrame, before: datetime | None, at: datetime | None = None
) -> pd.DataFrame:
    """Select the accepted links.

    `before`: only links with evidence before this time.
    """
    links = latest(log, at)
    links = links[links["state"] == "accepted"]
    if before is None:
        return links
    return links[links["evident_at"].isna() | (links["evident_at"] < _naive(before))]


def canonical_ids(links: pd.DataFrame, log: pd.DataFrame) -> dict[str, str]:
    """Map merged ids to their group's oldest id.

    The age of an id is stored with its first link. Later data does not change canonical ids.

    Returns: without the canonical ids themselves.
    """
    if not len(links):
        return {}
    import pandas as pd

    ids, group = components(links["customer_id"], links["same_as"])
    since = _since(log).reindex(ids)
    customers = pd.DataFrame({"id": ids, "group": group, "since": since.to_numpy()})
    customers = customers.sort_values(["group", "since", "id"], na_position="last")
    first = customers.groupby("group")["id"].transform("first")
    is_merged = customers["id"] != first
    return dict(zip(customers["id"][is_merged], first[is_merged], strict=True))


def components(left: pd.Series, right: pd.Series) -> tuple[Any, Any]:
    """Compute the connected components of pairs."""
    import numpy as np
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    both_sides = np.concatenate([left.to_numpy(dtype=object), right.to_numpy(dtype=object)])
    ids, positions = np.unique(both_sides, return_inverse=True)
    n = len(left)
    shape = (len(ids), len(ids))
    graph = coo_matrix((np.ones(n, dtype=np.int8), (positions[:n], positions[n:])), shape=shape)
    return ids, connected_components(graph, directed=False)[1]


def _since(log: pd.DataFrame) -> pd.Series:
    """Return the start of each id. It comes from the earliest link that has one."""
    import pandas as pd

    pairs = (("customer_id", "customer_since"), ("same_as", "same_as_since"))
    sides = [log[[*side, "seq"]].set_axis(["id", "since", "seq"], axis=1) for side in pairs]
    known = pd.concat(sides).dropna(subset=["since"]).sort_values("seq", kind="stable")
    return known.drop_duplicates("id").set_index("id")["since"]


def _naive(moment: datetime) -> Any:
    import pandas as pd

    return pd.Timestamp(moment).tz_convert("UTC").tz_localize(None)


# ---------------------------------------------------------------- SQL of the lake's views


def resolve_customers(columns: list[str], relation: str, where: str, merged_ids: str) -> str:
    """Return SQL of rows with canonical customer ids."""
    resolved = ", ".join(
        "coalesce(_canonical, customer_id)::VARCHAR AS customer_id"
        if column.endswith(" AS customer_id")
        else column
        for column in columns
    )
    return f'SELECT {resolved} {relation} LEFT JOIN "{merged_ids}" ON customer_id = _old {where}'


def merge_customers(rows: str, merged_ids: str) -> str:
    """Return SQL that merges rows per canonical id.

    A refusal in any row counts. E-mail address and telephone number come from a row whose consent
    is for them, if there is one. Other fields come from the canonical row, then from the oldest
    other row.
    """
    own, firsts = "customer_id = who", "own DESC, created_at NULLS LAST, customer_id"
    consented = f"marketing_consent IS TRUE DESC, {firsts}"
    has_phone_consent = "sms_consent IS TRUE DESC, whatsapp_consent IS TRUE DESC"

    def first(name: str, order: str = firsts) -> str:
        return f"first({name} ORDER BY {order}) FILTER ({name} IS NOT NULL) AS {name}"

    columns = ", ".join(
        [
            "who AS customer_id",
            first("email", consented),
            first("phone", f"{has_phone_consent}, {consented}"),
            *(first(name) for name in ("name", "locale", "timezone")),
            "min(created_at) AS created_at",
            *(f"bool_and({name}) AS {name}" for name in CONSENTS),
            """list_reduce(list_prepend('{}',
                list(attributes ORDER BY own, created_at DESC NULLS FIRST, customer_id DESC)
                FILTER (attributes IS NOT NULL)),
                lambda low, high: json_merge_patch(low, high)::VARCHAR) AS attributes""",
        ]
    )
    linked = (
        f'(SELECT _old AS id, _canonical AS who FROM "{merged_ids}" '
        f'UNION SELECT _canonical, _canonical FROM "{merged_ids}")'
    )
    return (
        f"WITH _rows AS ({rows}), _linked AS {linked} "
        "SELECT _rows.* FROM _rows ANTI JOIN _linked ON customer_id = id "
        f"UNION ALL SELECT {columns} FROM "
        f"(SELECT _rows.*, who, {own} AS own FROM _rows JOIN _linked ON customer_id = id) "
        "GROUP BY who"
    )
