"""List the places in the customers' attributes, such as their cities, and what is sold.

Imports copy them into SQL, so that the bot understands both without opening the lake.
"""

from typing import TYPE_CHECKING

from retention import clock
from retention.db import Transaction
from retention.db.tables import PlaceList

if TYPE_CHECKING:
    from retention.lake.lake import Lake

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
MAX_PLACES = 20_000  # per field; a field with more values holds something else


def attribute_names(lake: "Lake") -> list[str]:
    """Return the names of the customers' attributes, in alphabetical order."""
    view = lake.table("customers").get_name()
    rows = lake.duckdb.execute(
        f'SELECT DISTINCT unnest(json_keys(attributes)) FROM "{view}" '  # noqa: S608
        "WHERE json_valid(attributes) AND json_type(attributes) = 'OBJECT'"
    ).fetchall()
    return sorted({str(name) for (name,) in rows} - INTERNAL_ATTRIBUTES)


def known_places(lake: "Lake") -> dict[str, tuple[str, str]]:
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
            f'SELECT DISTINCT json_extract_string(attributes, ?) AS place FROM "{view}"',  # noqa: S608
            [f'$."{by_lower[field]}"'],
        ).df()["place"]
        values = sorted(column.dropna())[:MAX_PLACES]
        for value in values:
            if value and not value.isdigit():
                places.setdefault(" ".join(value.lower().split()), (name, value))
    return places


def known_goods(lake: "Lake") -> dict[str, tuple[str, str]]:
    """Return the column and the value of each category and brand, by its lower-case name."""
    items = lake.table("items").get_name()
    goods: dict[str, tuple[str, str]] = {}
    for column in GOODS:
        rows = lake.duckdb.execute(
            f'SELECT DISTINCT "{column}" FROM "{items}" WHERE "{column}" IS NOT NULL ORDER BY 1'  # noqa: S608
        ).fetchmany(MAX_PLACES)
        for (value,) in rows:
            goods.setdefault(" ".join(str(value).lower().split()), (column, str(value)))
    return goods


def read(lake: "Lake") -> list[list[str]]:
    """Return the places and the goods of the lake as rows for `write`."""
    entries = [[name, *place] for name, place in known_places(lake).items()]
    return entries + [
        [name, f"{_BOUGHT}{column}", value] for name, (column, value) in known_goods(lake).items()
    ]


def write(session: Transaction, entries: list[list[str]]) -> None:
    """Replace the places and the goods in SQL."""
    team_id = session.settings.team_id
    session.merge(PlaceList(team_id=team_id, entries=entries, updated_at=clock.wall()))


def stored(session: Transaction) -> dict[str, tuple[str, str]] | None:
    """Return the places as of the last import, as `known_places`; None before the first copy."""
    row = session.get(PlaceList, session.settings.team_id)
    if row is None:
        return None
    entries = row.entries
    return {name: (field, value) for name, field, value in entries if not field.startswith(_BOUGHT)}


def stored_goods(session: Transaction) -> dict[str, tuple[str, str]]:
    """Return the categories and brands as of the last import, as `known_goods`."""
    row = session.get(PlaceList, session.settings.team_id)
    return {
        name: (field.removeprefix(_BOUGHT), value)
        for name, field, value in (row.entries if row else ())
        if field.startswith(_BOUGHT)
    }
