"""Copy customer ids, places and goods into SQL, so that the bot finds them without the lake."""

# ruff: noqa: S608 - SQL consists of quoted names and escaped literals

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from typing import Any

from sqlalchemy import bindparam, delete, func, insert, or_, select, update

from retention import clock
from retention.db import Database, Transaction
from retention.db.tables import DirectoryEntry, PlaceList
from retention.errors import BadInput
from retention.lake.lake import Lake
from retention.lake.schema import TABLES
from retention.lake.storage import delta_store
from retention.privacy import email_hash, pseudonym
from retention.privacy.erased import erased_customers
from retention.settings import Settings
from retention.text import gettext

MAX_SHARED_ROWS = 100  # rows with one e-mail address that may be one customer
MAX_NAMESAKES = 5  # named in an error
MAX_CANDIDATES = 2_000  # compared for a nearest match
# Tables of the lake
FOLLOWED_TABLES = ("events", "customers", "items", "relations", "texts", "links")


def followed_state(lake: Lake) -> str:
    """Hash the state of the lake that the directory follows."""
    parts = [
        str(lake.root),
        *(delta_store.newest_commit(lake.root, TABLES[name]) for name in FOLLOWED_TABLES),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def sync(lake: Lake, database: Database) -> int:
    """Update the directory and the places from the lake; return the number of changed entries.

    The directory lists every id with an event, a customer row or a relation.
    """
    snapshot = read(lake, database.settings)
    with database.transaction() as session:
        return write(session, snapshot)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the lake has for the directory and the places, read at or after a state of it."""

    lake: Lake
    state: str
    entries: list[dict]
    places: list[list[str]]

    @property
    def is_current(self) -> bool:
        """Whether the lake has not changed since."""
        return followed_state(self.lake) == self.state


def read(lake: Lake, settings: Settings) -> Snapshot:
    """Read what `write` needs, which takes seconds and must not hold a write transaction."""
    state = followed_state(lake)
    return Snapshot(lake, state, _entries(lake, settings), read_places(lake))


def write(session: Transaction, snapshot: Snapshot) -> int:
    """Update the directory and the places; return the number of changed entries.

    The lake may have changed since the snapshot. Then no entry is removed, because live events may
    have added it. A customer who was erased since is left out.
    """
    write_places(session, snapshot.places)
    wanted = {entry["customer_id"]: entry for entry in snapshot.entries}
    same_team = DirectoryEntry.team_id == session.settings.team_id
    columns = [getattr(DirectoryEntry, name) for name in _COLUMNS]
    rows = session.execute(select(*columns).where(same_team))
    known = {row.customer_id: dict(row._mapping) for row in rows}
    added = [entry for id_, entry in wanted.items() if id_ not in known]
    changed = [entry for id_, entry in wanted.items() if id_ in known and known[id_] != entry]
    # After `known` was read: live events reach the lake first, and then the directory.
    removed = [id_ for id_ in known if id_ not in wanted] if snapshot.is_current else []
    gone = erased_customers(session).among(entry["customer_id"] for entry in (*added, *changed))
    added = [entry for entry in added if entry["customer_id"] not in gone]
    changed = [entry for entry in changed if entry["customer_id"] not in gone]
    if added:
        session.execute(
            insert(DirectoryEntry),
            [{**entry, "team_id": session.settings.team_id} for entry in added],
        )
    now = clock.now()
    for entry in changed:
        before = known[entry["customer_id"]]
        # A removed address is not a new one.
        has_new_email = entry["email_hash"] not in (None, before["email_hash"])
        # With another key, all hashes and pseudonyms differ.
        if has_new_email and before["pseudonym"] == entry["pseudonym"]:
            entry["email_changed_at"] = now
        at = DirectoryEntry.customer_id == entry["customer_id"]
        session.execute(update(DirectoryEntry).where(same_team, at).values(**entry))
    for start in range(0, len(removed), 500):
        sql = delete(DirectoryEntry).where(
            same_team, DirectoryEntry.customer_id.in_(removed[start : start + 500])
        )
        session.execute(sql)
    return len(added) + len(changed) + len(removed)


_COLUMNS = ("customer_id", "canonical_id", "pseudonym", "email_hash", "display_name", "segment")


def _entries(lake: Lake, settings: Settings) -> list[dict]:
    events, customers, relations, texts = (
        lake.table(name, identity="stored").get_name()
        for name in ("events", "customers", "relations", "texts")
    )
    people = lake.identities.canonical_ids()
    rows = lake.duckdb.execute(
        "SELECT id, c.email, c.name, c.attributes FROM "
        f'(SELECT DISTINCT customer_id AS id FROM "{events}" '
        f'UNION SELECT customer_id FROM "{customers}" '
        f'UNION SELECT customer_id FROM "{relations}" UNION SELECT other_id FROM "{relations}" '
        f'UNION SELECT customer_id FROM "{texts}") '
        f'LEFT JOIN "{customers}" AS c ON c.customer_id = id ORDER BY id'
    ).fetchall()
    key = settings.key
    return [
        {
            "customer_id": id_,
            "canonical_id": people.get(id_),
            "pseudonym": pseudonym(key, id_),
            "email_hash": email_hash(key, email) if email else None,
            "display_name": name,
            "segment": json.loads(attributes).get("segment") if attributes else None,
        }
        for id_, email, name, attributes in rows
    ]


def display_names(session: Transaction, ids: Iterable[str]) -> dict[str, str]:
    """Return the names of customers who have one, by customer id."""
    is_own = DirectoryEntry.team_id == session.settings.team_id
    rows = select(DirectoryEntry.customer_id, DirectoryEntry.display_name).where(
        is_own, DirectoryEntry.customer_id.in_(list(ids)), DirectoryEntry.display_name.is_not(None)
    )
    return {customer_id: name for customer_id, name in session.execute(rows).tuples() if name}


# Prepared statements: composing one takes longer than running it.
_VALUE: Any = bindparam("value")
_FOUND = {
    name: getattr(DirectoryEntry, name) == _VALUE
    for name in ("customer_id", "pseudonym", "email_hash")
} | {"display_name": func.lower(DirectoryEntry.display_name) == func.lower(_VALUE)}
_BY = {
    name: select(DirectoryEntry.customer_id, DirectoryEntry.canonical_id)
    .where(DirectoryEntry.team_id == bindparam("team_id"), is_found)
    .limit(MAX_SHARED_ROWS)
    for name, is_found in _FOUND.items()
}


class Namesakes(BadInput):
    """Several customers have a name; the message has their pseudonyms."""


@dataclass(frozen=True, slots=True)
class CustomerMatch:
    """A customer, the searched id if merged, and whether the text was a name."""

    customer_id: str
    merged: str | None = None
    by_name: bool = False


def find(session: Transaction, text: str) -> str:
    """Return the id of the customer that a text names.

    `text`: customer id, pseudonym, e-mail address or full name. A merged id gives the canonical
    one.
    Raises `BadInput`: if no customer, or more than one, matches. The message names the nearest ids.
    """
    return find_match(session, text).customer_id


def may_be_name(session: Transaction, text: str) -> bool:
    """Return whether a word of a text is part of any customer's name."""
    name = " " + func.lower(DirectoryEntry.display_name) + " "
    words = [name.contains(f" {word} ", autoescape=True) for word in text.lower().split()]
    whole = name == " " + func.lower(text) + " "  # SQLite lowers only A to Z, Python lowers É
    own_team = DirectoryEntry.team_id == session.settings.team_id
    found = select(DirectoryEntry.customer_id).where(own_team, or_(whole, *words)).limit(1)
    return session.scalar(found) is not None


def find_match(session: Transaction, text: str) -> CustomerMatch:
    """Find a customer and a merged id.

    Raises `BadInput`: if no customer, or more than one, matches. The message names the nearest ids.
    """
    query_text = text.strip()
    lookups: dict[str, Callable[[str], str]] = {
        "customer_id": str,
        "pseudonym": _as_pseudonym,
        "email_hash": partial(email_hash, session.settings.key),
        "display_name": lambda name: " ".join(name.split()),
    }
    for column, normalise in lookups.items():
        rows = session.execute(
            _BY[column], {"team_id": session.settings.team_id, "value": normalise(query_text)}
        ).all()
        people = {canonical or id_ for id_, canonical in rows}
        if len(people) == 1:
            merged = rows[0].customer_id if len(rows) == 1 and rows[0].canonical_id else None
            return CustomerMatch(people.pop(), merged, column == "display_name")
        if people and column == "display_name":
            names = sorted(pseudonym(session.settings.key, id_) for id_ in people)
            message = gettext("{count} customers have this name; use one of {names}.")
            count = len(names)
            raise Namesakes(message.format(count=count, names=", ".join(names[:MAX_NAMESAKES])))
        if people:
            message = gettext(
                "{query_text} stands for more than one customer; use the customer id."
            )
            raise BadInput(message.format(query_text=query_text))
    same_team = DirectoryEntry.team_id == session.settings.team_id
    if not session.scalar(select(func.count()).select_from(DirectoryEntry).where(same_team)):
        message = gettext(
            "There is no customer {query_text!r}, for no data has been imported yet with this "
            "database. Where the lake has data from before (RETENTION_DATABASE_URL is "
            "another now), let an admin run: retention db upgrade"
        )
        raise BadInput(message.format(query_text=query_text))
    # A similar number is another customer, not a correction.
    is_number = query_text.strip().isdigit()
    near = [] if is_number else _nearest(session, query_text)
    hint = f"; the nearest {'is' if len(near) == 1 else 'are'} {', '.join(near)}" if near else ""
    message = gettext(
        "There is no customer {query_text!r}{hint}. Give a customer id, a pseudonym, a "
        "name or an e-mail address."
    )
    raise BadInput(message.format(query_text=query_text, hint=hint))


def _as_pseudonym(text: str) -> str:
    letters = re.sub(
        r"[^0-9A-Z]", "", text.upper().replace("O", "0").replace("I", "1").replace("L", "1")
    )
    return f"{letters[:4]}-{letters[4:]}"


def _nearest(session: Transaction, query_text: str) -> list[str]:
    """Return the three most similar ids.

    Ids with the same beginning come first because a large shop cannot compare all.
    """
    column = DirectoryEntry.customer_id
    query = select(column).where(DirectoryEntry.team_id == session.settings.team_id)
    begins = column.startswith(query_text[: max(1, len(query_text) // 2)], autoescape=True)
    candidates = [
        *session.scalars(query.where(begins).order_by(column).limit(MAX_CANDIDATES)),
        *session.scalars(query.order_by(column).limit(MAX_CANDIDATES)),
    ]
    return get_close_matches(query_text, list(dict.fromkeys(candidates)), n=3, cutoff=0.5)


INTERNAL_ATTRIBUTES = frozenset({"assumed"})

# In the order in which a name of several fields is understood: Berlin is a city, then a state.
PLACE_FIELDS = (
    "city",
    "town",
    "城市",
    "province",
    "省份",
    "state",
    "region",
    "地区",
    "country",
    "国家",
)
GOODS = ("category", "brand")  # columns of items; `Bought` of the audience grammar has the same
_BOUGHT = "bought "  # before the column, in the field of an entry
_COUNTED = "counted "  # before the field of a condition; the entry's name is a number of customers
MAX_COUNTED = 500  # values of a field, for a menu
MAX_PLACES = 20_000  # per field; a field with more values holds something else
_ATTRIBUTES: delta_store.DataCache[list[str]] = delta_store.DataCache(8, all_tables=True)


def attribute_names(lake: Lake) -> list[str]:
    """Return the names of all customers' attributes, in alphabetical order; cached by the data."""
    return _ATTRIBUTES.get(lake, None, lambda: _attribute_names(lake.whole))


def _attribute_names(lake: Lake) -> list[str]:
    view = lake.table("customers").get_name()
    rows = lake.duckdb.execute(
        f'SELECT DISTINCT unnest(json_keys(attributes)) FROM "{view}" '
        "WHERE json_valid(attributes) AND json_type(attributes) = 'OBJECT'"
    ).fetchall()
    return sorted({str(name) for (name,) in rows} - INTERNAL_ATTRIBUTES)


def own_store(lake: Lake) -> str | None:
    """Return the customers' own column ``store``, which counts before the store of orders."""
    return next((name for name in attribute_names(lake) if name.lower() == "store"), None)


def known_places(lake: Lake) -> dict[str, tuple[str, str]]:
    """Return the field and the value of each place, by its lower-case name.

    Returns: empty if the customers have no attribute that is a place.
    """
    by_lower = {name.lower(): name for name in attribute_names(lake)}
    view = lake.table("customers").get_name()
    places: dict[str, tuple[str, str]] = {}
    for field in PLACE_FIELDS:
        if field not in by_lower:
            continue
        # The audience grammar finds city and country in any spelling of the attribute.
        name = field if field in ("city", "country") else by_lower[field]
        column = lake.duckdb.execute(
            f'SELECT DISTINCT json_extract_string(attributes, ?) AS place FROM "{view}"',
            [f'$."{by_lower[field]}"'],
        ).df()["place"]
        values = sorted(column.dropna())[:MAX_PLACES]
        for value in values:
            if value and not value.isdigit():
                places.setdefault(" ".join(value.lower().split()), (name, value))
    return places


def known_goods(lake: Lake) -> dict[str, tuple[str, str]]:
    """Return the column and the value of each category and brand, by its lower-case name."""
    items = lake.table("items").get_name()
    goods: dict[str, tuple[str, str]] = {}
    for column in GOODS:
        rows = lake.duckdb.execute(
            f'SELECT DISTINCT "{column}" FROM "{items}" WHERE "{column}" IS NOT NULL ORDER BY 1'
        ).fetchmany(MAX_PLACES)
        for (value,) in rows:
            goods.setdefault(" ".join(str(value).lower().split()), (column, str(value)))
    return goods


def counted_values(lake: Lake) -> list[tuple[str, str, int]]:
    """Return bought and viewed categories, and stores, each with its number of customers."""
    events, items = (lake.table(name).get_name() for name in ("events", "items"))
    stores = f"SELECT 'store', store, customer_id FROM \"{events}\" WHERE event_type = 'purchase'"
    if own := own_store(lake):
        value = f"json_extract_string(attributes, '$.\"{own}\"')"
        customers = lake.table("customers").get_name()
        stores = f"SELECT 'store', {value}, customer_id FROM \"{customers}\""
    rows: list[tuple[str, str, int]] = lake.duckdb.execute(
        f"""
        SELECT field, value, count(DISTINCT customer_id) AS customers FROM (
            SELECT if(event_type = 'purchase', 'bought category', 'viewed category') AS field,
                category AS value, customer_id
            FROM "{events}" JOIN "{items}" USING (item_id)
            WHERE event_type IN ('purchase', 'view', 'cart')
            UNION ALL
            {stores}
        ) WHERE length(value) <= 150 GROUP BY field, value
        QUALIFY row_number() OVER (PARTITION BY field ORDER BY customers DESC, value)
            <= {MAX_COUNTED}
        ORDER BY field, customers DESC, value
        """
    ).fetchall()
    return rows


def read_places(lake: Lake) -> list[list[str]]:
    """Return the places and the goods of the lake as rows for `write`."""
    entries = [[name, *place] for name, place in known_places(lake).items()]
    entries += [
        [name, f"{_BOUGHT}{column}", value] for name, (column, value) in known_goods(lake).items()
    ]
    return entries + [
        [str(customers), f"{_COUNTED}{field}", value]
        for field, value, customers in counted_values(lake)
    ]


def write_places(session: Transaction, entries: list[list[str]]) -> None:
    """Replace the places and the goods in SQL."""
    team_id = session.settings.team_id
    session.merge(PlaceList(team_id=team_id, entries=entries, updated_at=clock.wall()))


def stored_places(session: Transaction) -> dict[str, tuple[str, str]] | None:
    """Return the places as of the last import, as `known_places`; None before the first copy."""
    row = session.get(PlaceList, session.settings.team_id)
    if row is None:
        return None
    entries = row.entries
    return {
        name: (field, value)
        for name, field, value in entries
        if not field.startswith((_BOUGHT, _COUNTED))
    }


def stored_goods(session: Transaction) -> dict[str, tuple[str, str]]:
    """Return the categories and brands as of the last import, as `known_goods`."""
    row = session.get(PlaceList, session.settings.team_id)
    return {
        name: (field.removeprefix(_BOUGHT), value)
        for name, field, value in (row.entries if row else ())
        if field.startswith(_BOUGHT)
    }


def stored_counts(session: Transaction) -> dict[str, dict[str, int]]:
    """Return the numbers of customers as of the last import, by field and value; most first."""
    row = session.get(PlaceList, session.settings.team_id)
    counts: dict[str, dict[str, int]] = {}
    for customers, field, value in row.entries if row else ():
        if field.startswith(_COUNTED):
            counts.setdefault(field.removeprefix(_COUNTED), {})[value] = int(customers)
    return counts
