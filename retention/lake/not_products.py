"""Postage, samples and the like: kept as money of their order, and listed among the items as not to be recommended."""

# ruff: noqa: S608 - SQL is put together from escaped literals (mapping.literal) and names of our own
from typing import TYPE_CHECKING

from retention.lake.clean_policy import CleanPolicy
from retention.lake.mapping import literal

if TYPE_CHECKING:
    from retention.lake.lake import Lake

ATTRIBUTES = {"recommendable": False}


def mark(lake: "Lake", relation: str, policy: CleanPolicy) -> list[str]:
    """Add the codes among new events that are no products to the items, where nobody has described them yet.

    Codes that begin with a digit are never looked at. Returns the codes added.
    """
    import pandas as pd

    if policy.not_a_product.action != "mark":
        return []
    known = lake.table("items").get_name()
    found = lake.duckdb.execute(
        f"SELECT item_id FROM (SELECT DISTINCT item_id FROM {relation} WHERE item_id >= ':') "
        f"WHERE regexp_full_match(item_id, {literal(policy.not_a_product.item)}, 'i') "
        f'AND item_id NOT IN (SELECT item_id FROM "{known}") ORDER BY 1'
    ).fetchall()
    codes = [code for (code,) in found]
    if codes:
        lake.upsert("items", pd.DataFrame({"item_id": codes, "attributes": [ATTRIBUTES] * len(codes)}))
    return codes
