"""Find item codes that are not products, such as postage, and mark them as not recommendable."""

# ruff: noqa: S608 - SQL consists of quoted names and escaped literals
from retention.lake.cleaning.cleaning_rules import CleanPolicy
from retention.lake.lake import Lake
from retention.lake.mapping import literal

NOT_RECOMMENDABLE = {"recommendable": False}


def find_non_products(lake: Lake, relation: str, policy: CleanPolicy) -> set[str]:
    """Return new item codes that are not products.

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
    rows = lake.duckdb.execute(
        f"SELECT item_id FROM (SELECT DISTINCT item_id FROM {relation} WHERE item_id >= ':') "
        f"WHERE regexp_full_match(item_id, {literal(policy.not_a_product.item)}, 'i') "
        f'AND item_id NOT IN (SELECT item_id FROM "{known}") ORDER BY 1'
    ).fetchall()
    return {code for (code,) in rows}


def mark_non_products(lake: Lake, codes: set[str]) -> None:
    """Add the codes to the items as not recommendable.

    Parameters
    ----------
    lake : Lake
        The shop's data.
    codes : set of str
        Item ids, from `find_non_products`.
    """
    import pandas as pd

    if codes:
        lake.upsert(
            "items",
            pd.DataFrame(
                {"item_id": sorted(codes), "attributes": [NOT_RECOMMENDABLE] * len(codes)}
            ),
        )
