"""Erase a customer from lake, database and quarantine.

Rows that enter counts (assignments, sends, coupons) stay under a random name. All other rows are
deleted. Each step may run twice. Jobs, messages and files: `retention.privacy.mentions`.
"""
# ruff: noqa: S608 - SQL is built from quoted names and escaped literals (mapping.quoted, .literal)

import re
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, select, update

from retention.connect.shops import webhook_inbox
from retention.db import Transaction, tables
from retention.db.tables import Assignment, CallEntry, Coupon, DirectoryEntry, Impression, Send
from retention.lake.importing import quarantine
from retention.lake.importing.mapping import literal, quoted
from retention.lake.schema import FREE_TEXTS, TABLES
from retention.lake.storage import delta_store
from retention.lake.storage.old_versions import erase_from_log, erase_from_old_files
from retention.privacy import pseudonym
from retention.privacy.erased import ERASED_PREFIX, ErasedCustomers
from retention.service import store as chats
from retention.settings import Settings
from retention.texts import theme_store

if TYPE_CHECKING:
    from retention.lake import Lake

# Columns of the lake with customer ids. An erasure deletes their rows.
CUSTOMER_COLUMNS = {
    table: [column for column in ("customer_id", "same_as", "other_id") if column in table.names]
    for table in TABLES.values()
    if "customer_id" in table.names
}
_ONLY_PERSONAL = (
    tables.Suppression,
    tables.Feedback,
    tables.Pause,
    tables.Note,
    tables.LiveScore,
    tables.LiveFiring,
    tables.Profile,
    tables.AudienceMember,
    tables.ListMember,
)
_TABLES_WITH_CUSTOMERS = (
    tables.Assignment,
    tables.Send,
    tables.MessageEvent,
    tables.Impression,
    tables.Coupon,
    tables.Redemption,
    tables.DirectoryEntry,
    tables.CallEntry,
    tables.Conversation,
    *_ONLY_PERSONAL,
)
_FULL_NAME = re.compile(r"[^\W\d_][^\d@]+ [^\d@]*[^\W\d_]{2}")  # a word alone means much else
_DIGITS = 7  # of the shortest telephone number that identifies a customer


def merged_ids(lake: "Lake", customer_id: str) -> list[str]:
    """Return every id of a customer, merged ones included.

    Returns: sorted; at least ``customer_id``.
    """
    people = lake.identities.canonical_ids()
    canonical = people.get(customer_id, customer_id)
    merged = {each for each, target in people.items() if target == canonical}
    return sorted({canonical, customer_id, *merged})


def ids_in_directory(session: Transaction, ids: Sequence[str]) -> list[str]:
    """Return a customer's ids from the directory.

    The directory is in SQL. It is erased last, so a second run finds the ids here when the lake has
    none.
    """
    own_team = DirectoryEntry.team_id == session.settings.team_id
    canonical = func.coalesce(DirectoryEntry.canonical_id, DirectoryEntry.customer_id)
    canonical_ids = select(canonical).where(own_team, DirectoryEntry.customer_id.in_(ids))
    return list(
        session.scalars(
            select(DirectoryEntry.customer_id).where(own_team, canonical.in_(canonical_ids))
        )
    )


def all_ids(lake: "Lake", session: Transaction, customer_ids: Iterable[str]) -> list[str]:
    """Return every id of some customers, of the lake and of the directory, sorted."""
    linked = sorted({each for known in customer_ids for each in merged_ids(lake, known)})
    return sorted({*linked, *ids_in_directory(session, linked)})


def contact_details(lake: "Lake", ids: Sequence[str]) -> list[str]:
    """Return these customers' e-mail addresses, telephone numbers and full names.

    Returns: sorted and distinct. Cells such as "unknown", and names of others too, are left out.
    """
    rows = lake.table("customers", identity="stored")
    own = rows.filter(rows.customer_id.isin(list(ids)))
    contacts = own.select("email", "phone").execute()
    cells = {
        value.strip() for column in contacts for value in contacts[column] if isinstance(value, str)
    }
    names = {name for name in own.name.execute().dropna() if _FULL_NAME.fullmatch(name)}
    if names:
        others = rows.filter(~rows.customer_id.isin(list(ids)), rows.name.isin(list(names)))
        names -= set(others.name.execute())
    return sorted({value for value in cells if _is_contact(value)} | names)


def _is_contact(cell: str) -> bool:
    """Return whether a cell is an address or a number. Many customers share "unknown" or "-"."""
    return "@" in cell or sum(map(str.isdigit, cell)) >= _DIGITS


def erase_from_lake(lake: "Lake", ids: Sequence[str]) -> dict[str, int]:
    """Delete the customer's rows from the lake.

    Readers see the change at once. The nightly clean-up deletes the old files a day later.
    """
    id_list = ", ".join(literal(customer_id) for customer_id in ids)
    deleted: dict[str, int] = {}
    for table, columns in CUSTOMER_COLUMNS.items():
        predicate = " OR ".join(f"{column} IN ({id_list})" for column in columns)
        with delta_store.locked(lake.root, table):
            before = _rows(lake.root, table)
            if before:
                delta_store.delete(lake.root, table, predicate)
            deleted[table.name] = before - _rows(lake.root, table)
    return deleted


def erase_from_old_versions(lake: "Lake", ids: Sequence[str], contacts: Sequence[str]) -> int:
    """Delete the customer from the files of earlier versions, and from the tables' logs.

    Returns: the number of files.
    """
    id_list, changed = ", ".join(map(literal, ids)), 0
    for table, columns in CUSTOMER_COLUMNS.items():
        rows = " OR ".join(f"{column} IN ({id_list})" for column in columns)
        free, texts = FREE_TEXTS.get(table.name), ""
        if free and contacts:
            named = f"regexp_matches({free}, {literal(_pattern(contacts))}, 'i')"
            texts = f"CASE WHEN {named} THEN NULL ELSE {free} END AS {free}"
        with delta_store.locked(lake.root, table):
            changed += erase_from_old_files(lake.root, table, lake.duckdb, rows, texts)
            changed += erase_from_log(lake.root, table)
    return changed


def erase_from_searches(lake: "Lake", contacts: Sequence[str]) -> int:
    """Empty the searches and texts of others that name an address or a number; return how many."""
    cleared = 0
    for name, column in FREE_TEXTS.items() if contacts else ():
        named = f"regexp_like({column}, {literal(_pattern(contacts))}, 'i')"
        with delta_store.locked(lake.root, TABLES[name]):
            cleared += delta_store.clear(lake.root, TABLES[name], column, named)
    return cleared


def _pattern(contacts: Sequence[str]) -> str:
    """Return a regular expression of texts that have one of these; bob@x.de has no b@x.de."""
    escaped = "|".join(re.escape(each).replace("\\ ", " ") for each in contacts)
    return rf"(^|[^\w.+-])({escaped})($|[^\w-])"


def erase_from_quarantine(lake: "Lake", settings: Settings, identifiers: Sequence[str]) -> int:
    """Delete quarantined rows that hold a customer's identifier, or their address in a text."""
    con, deleted = lake.duckdb, 0
    for path, condition in _quarantined(lake, settings, identifiers):
        read = f"read_parquet({literal(path)})"
        total, matching = con.execute(
            f"SELECT count(*), count(*) FILTER ({condition}) FROM {read}"
        ).fetchall()[0]
        if matching == total:
            quarantine.remove(settings, path)
        elif matching:
            rewritten = path.with_suffix(".erasing")
            con.execute(
                f"COPY (SELECT * FROM {read} WHERE NOT ({condition})) "
                f"TO {literal(rewritten)} (FORMAT parquet)"
            )
            quarantine.replace(settings, rewritten, path)
        deleted += matching
    return deleted


def quarantined_rows(
    lake: "Lake", settings: Settings, identifiers: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the quarantined rows that `erase_from_quarantine` deletes."""
    rows: list[dict[str, Any]] = []
    for path, condition in _quarantined(lake, settings, identifiers):
        query = f"SELECT * FROM read_parquet({literal(path)}) WHERE {condition}"
        rows += rows_of(lake, query)
    return rows


def rows_of(lake: "Lake", query: str) -> list[dict[str, Any]]:
    """Return the rows of a DuckDB query by column."""
    result = lake.duckdb.execute(query)
    names = [column[0] for column in result.description]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def _quarantined(
    lake: "Lake", settings: Settings, identifiers: Sequence[str]
) -> Iterator[tuple[Path, str]]:
    """Yield the files of the quarantine with the condition of a customer's rows."""
    identifier_list = ", ".join(literal(identifier) for identifier in identifiers)
    addresses = [identifier for identifier in identifiers if "@" in identifier]
    named = literal(_pattern(addresses)) if addresses else "NULL"
    for path in quarantine.files(settings):
        described = f"DESCRIBE SELECT * FROM read_parquet({literal(path)})"
        columns = [row[0] for row in lake.duckdb.execute(described).fetchall()]
        own = [quoted(name) for name in columns if name not in quarantine.META]
        yield (
            path,
            " OR ".join(
                f"coalesce({cell} IN ({identifier_list}), false) "
                f"OR coalesce(regexp_matches({cell}, {named}, 'i'), false)"
                for cell in (f"{column}::VARCHAR" for column in own)
            )
            or "false",
        )


def erase_from_sql(session: Transaction, ids: Sequence[str]) -> dict[str, int]:
    """Delete or rename the customer's rows in SQL.

    The directory is left out.

    Unused codes become void and queued sends are cancelled. In campaigns that are not live yet, the
    customer's rows are deleted: nothing was sent, so no count needs them.
    """
    rows: Counter[str] = Counter()

    def run(statement: Any) -> None:
        rows[statement.table.name] += session.change(statement)

    unsent = select(tables.Campaign.id).where(tables.Campaign.window_ends_at.is_(None))
    for reserved in (Coupon, Assignment):
        run(delete(reserved).where(reserved.customer_id.in_(ids), reserved.campaign_id.in_(unsent)))
    queued = update(Send).where(Send.customer_id.in_(ids), Send.state == "queued")
    session.change(queued.values(state="cancelled", error="erased", error_code="erased"))
    unused = Coupon.customer_id.in_(ids), Coupon.state.in_(("reserved", "issued"))
    session.change(update(Coupon).where(*unused).values(state="void"))
    for customer_id in ids:
        random_name = f"{ERASED_PREFIX}{secrets.token_hex(8)}"
        # A call counts in its campaign's result; what was said in it does not stay.
        calls = update(CallEntry).where(CallEntry.customer_id == customer_id)
        session.change(calls.values(note=""))
        own_calls_and_codes = (Impression, CallEntry, Coupon, tables.Redemption)
        for table in (Assignment, Send, tables.MessageEvent, *own_calls_and_codes):
            renamed = update(table).where(table.customer_id == customer_id)
            if table is Send:  # a mail server's answer names the address
                renamed = renamed.values(error=None)
            if table in (Coupon, tables.Redemption):
                renamed = renamed.values(order_id=None)
            run(renamed.values(customer_id=random_name))
    keys = session.settings.keys.all
    names = [pseudonym(key, customer_id) for key in keys for customer_id in ids]
    session.change(delete(tables.Thread).where(tables.Thread.customer.in_(names)))
    webhook_inbox.empty_quarantined(session)
    theme_store.forget_phrases(session)
    session.execute(delete(tables.StoredClick))  # what was typed or chosen may name the customer
    rows.update(chats.erase(session, ids))
    for personal in _ONLY_PERSONAL:
        run(delete(personal).where(personal.customer_id.in_(ids)))
    return dict(rows)


def erase_from_directory(session: Transaction, ids: Sequence[str]) -> int:
    """Delete the customer's rows of the directory."""
    return session.change(delete(DirectoryEntry).where(DirectoryEntry.customer_id.in_(ids)))


def remaining_rows(session: Transaction, ids: Sequence[str]) -> int:
    """Count SQL rows that still name the customer.

    Returns: 0 after a complete erasure.
    """
    return sum(
        session.scalar(select(func.count()).select_from(table).where(table.customer_id.in_(ids)))
        or 0
        for table in _TABLES_WITH_CUSTOMERS
    )


def reappeared_ids(lake: "Lake", session: Transaction, erased: ErasedCustomers) -> list[str]:
    """Return erased ids that are stored again.

    A job that had read them before the erasure wrote them back.
    """
    if not erased.hashes:
        return []
    ids: set[str] = set()
    for table, columns in CUSTOMER_COLUMNS.items():
        paths = delta_store.files(delta_store.open_table(lake.root, table))
        for column in columns if paths else ():
            query = (
                f"SELECT DISTINCT {column} FROM read_parquet({paths!r}) WHERE {column} IS NOT NULL"
            )
            ids.update(customer_id for (customer_id,) in lake.duckdb.execute(query).fetchall())
    for naming in _TABLES_WITH_CUSTOMERS:
        ids.update(filter(None, session.scalars(select(naming.customer_id).distinct())))
    return sorted(erased.among(ids))


def _rows(root: delta_store.Root, table: Any) -> int:
    delta = delta_store.open_table(root, table)
    files = [] if delta is None else delta_store.files(delta)
    return sum(delta_store.row_count(Path(path)) for path in files)
