"""Mark postage, samples and the like as not recommendable."""

# ruff: noqa: S608 - SQL is put together from escaped literals (mapping.literal) and names of our own
from typing import TYPE_CHECKING

from retention.lake.cleaning.policy import CleanPolicy
from retention.lake.mapping import literal

if TYPE_CHECKING:
    from retention.lake.lake import Lake

ATTRIBUTES = {"recommendable": False}


def codes(lake: "Lake", relation: str, policy: CleanPolicy) -> set[str]:
    """Return item codes of new events that are not products.

    Codes that start with a digit, or already have an item row, are ignored.

    Parameters
    ----------
    lake : Lake
        Known items.
    relation : str
        Table of new events.
    policy : CleanPolicy
        Gives the pattern.

    Returns
    -------
    set of str
        Empty if the rule is off.
    """
    if policy.not_a_product.action != "mark":
        return set()
    known = lake.table("items").get_name()
    found = lake.duckdb.execute(
        f"SELECT item_id FROM (SELECT DISTINCT item_id FROM {relation} WHERE item_id >= ':') "
        f"WHERE regexp_full_match(item_id, {literal(policy.not_a_product.item)}, 'i') "
        f'AND item_id NOT IN (SELECT item_id FROM "{known}") ORDER BY 1'
    ).fetchall()
    return {code for (code,) in found}


def mark(lake: "Lake", found: set[str]) -> None:
    """Add the codes to the items as not recommendable."""
    import pandas as pd

    if found:
        lake.upsert(
            "items",
            pd.DataFrame({"item_id": sorted(found), "attributes": [ATTRIBUTES] * len(found)}),
        )
