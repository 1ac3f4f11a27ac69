"""What a file of customers, or of their orders, says of a customer beside the table's own columns: a country, an age group."""
# ruff: noqa: S608 - names are quoted and literals escaped (mapping.quoted, mapping.literal)

import re
from collections.abc import Collection
from typing import Any

from retention.lake.mapping import literal, quoted
from retention.lake.reading.sources import Source
from retention.lake.suggesting.profiles import FEW, ROWS, Profile

OF_ITEMS = (
    "recalled",
    "recall",
    "parent_id",
    "parent",
    "variant_of",
    "style",
)  # docs/recommendations.md
VARIANTS = 10  # of one style, on average: a style of more is a taste (casual, boho)
ONE = 0.98  # of the customers who stand there several times say one thing


def of_customers(
    con: Any, source: Source, profiles: list[Profile], chosen: Collection[Profile], who: Profile
) -> str:
    """SQL of a JSON object of these columns, by their names in lower case; empty where there are none.

    Of few different words, no number (`orders` so far, spend), and the same in nearly all rows of a customer: in a file of
    sales the category is the item's.
    """
    few = [
        one
        for one in profiles
        if one not in chosen
        and 1 < one.distinct <= min(FEW, one.rows / 10)
        and not (one.is_number or one.is_moment or one.emails)
    ]
    if not few:
        return ""
    told = ", ".join(
        f"count(DISTINCT {quoted(one.name)}) > 1 AS differs_{n}" for n, one in enumerate(few)
    )
    several = ", ".join(f"avg(differs_{n}::INTEGER) FILTER (lines > 1)" for n in range(len(few)))
    found = con.execute(
        f"SELECT {several} FROM (SELECT count(*) AS lines, {told} FROM (FROM {source.relation} LIMIT {ROWS}) "
        f"WHERE {quoted(who.name)} IS NOT NULL GROUP BY {quoted(who.name)})"
    ).fetchall()[0]
    theirs = [one.name for one, share in zip(few, found, strict=True) if (share or 0.0) <= 1 - ONE]
    listed = ", ".join(f"{literal(_key(name))}, {quoted(name)}" for name in theirs)
    return f"json_object({listed})" if listed else ""


def of_items(profiles: list[Profile], chosen: Collection[Profile]) -> str:
    """SQL of a JSON object of the columns that lists ask for, `OF_ITEMS`, whatever they are nested in; empty where there are none."""
    there = {_key(one.name.rpartition(".")[2]): one for one in profiles if one not in chosen}
    style = there.get("style")
    if style and style.filled * style.rows > VARIANTS * style.distinct:
        del there["style"]
    listed = ", ".join(
        f"{literal(key)}, {quoted(there[key].name)}" for key in OF_ITEMS if key in there
    )
    return f"json_object({listed})" if listed else ""


def _key(name: str) -> str:
    return re.sub(r"\W+", "_", name.casefold()).strip("_")
