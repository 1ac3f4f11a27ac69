"""List the places in the customers' attributes, such as their cities."""

from typing import TYPE_CHECKING

from retention.audiences.evaluate import attribute_names

if TYPE_CHECKING:
    from retention.lake import Lake

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
MAX_PLACES = 20_000  # per field; a field with more values holds something else


def known_places(lake: "Lake") -> dict[str, tuple[str, str]]:
    """Return the field and the value of each place, by its lower-case name.

    Parameters
    ----------
    lake : Lake
        The shop's lake.

    Returns
    -------
    dict of str to (str, str)
        Empty if the customers have no attribute that is a place.
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
