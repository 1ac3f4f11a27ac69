"""Read the shop's average margin, and which figures an import made up."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from retention.lake.lake import naive

if TYPE_CHECKING:
    from retention.lake import Lake

MARGIN_DAYS = 56  # of sales, for the average margin


def average_margin(lake: "Lake", before: datetime, default: float) -> tuple[float, bool]:
    """Return the average margin of recent sales.

    Parameters
    ----------
    lake : Lake
        The shop's lake.
    before : datetime
        End of the period of `MARGIN_DAYS`.
    default : float
        Margin to use if items have none.

    Returns
    -------
    tuple[float, bool]
        Margin as a share of sales, and whether it comes from the items.
    """
    events, items = lake.table("events", before), lake.table("items")
    recent = events.filter(
        events.event_type == "purchase",
        events.occurred_at >= naive(before - timedelta(days=MARGIN_DAYS)),
    )
    sold = recent.join(items, recent.item_id == items.item_id).select(recent.amount, items.margin)
    sold = sold.filter(sold.margin.notnull(), sold.amount > 0)
    sums = (
        sold.aggregate(sales=sold.amount.sum(), earned=(sold.amount * sold.margin).sum())
        .execute()
        .iloc[0]
    )
    if not sums["sales"] or sums["sales"] != sums["sales"]:
        return default, False
    return float(sums["earned"] / sums["sales"]), True


def assumed_fields(lake: "Lake", table: str, columns: Sequence[str]) -> list[str]:
    """Return the columns that an import made up.

    Parameters
    ----------
    lake : Lake
        The shop's lake.
    table : str
        Table of the lake.
    columns : sequence of str
        Columns to check.

    Returns
    -------
    list of str
        Columns named in the rows' ``attributes``.
    """
    attributes = lake.table(table).select("attributes")
    texts = (
        attributes.filter(attributes.attributes.contains('"assumed"'))
        .distinct()
        .limit(200)
        .execute()
    )
    assumed = {
        field for text in texts["attributes"] for field in json.loads(text).get("assumed", [])
    }
    return [field for field in columns if field in assumed]
