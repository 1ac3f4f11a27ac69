"""Check the numbers of a clause against features recomputed from raw rows."""

import numpy as np
import pandas as pd
import pytest

from retention.churn.explaining.clauses import Clause
from retention.churn.explaining.facts import AMOUNT_OF


def _gap(value: float) -> int:
    return max(round(value), 1)


def check(clause: Clause, row: pd.Series, horizon: int) -> None:
    """Assert that a clause's numbers are true and support its direction."""
    values, raises = clause.values, clause.direction == "raises"
    assert (clause.weight > 0) == raises or not clause.weight
    days = float(np.floor(row.recency_days))
    match clause.code:
        case "silent":
            assert raises
            assert row.recency_days > row.gap_median
            longest = _gap(row.gap_max)
            assert values == {"days": days, "usual": _gap(row.gap_median), "longest": longest}
        case "on_time":
            assert not raises
            assert row.recency_days < row.gap_median
            assert values == {"days": days, "usual": _gap(row.gap_median)}
        case "within_pauses":
            assert not raises
            assert values == {"days": days, "longest": round(row.gap_max)}
            assert row.recency_days < row.gap_max
        case "only_order" | "only_order_recent":
            assert np.isnan(row.gap_median)
            assert values["days"] == days
            assert values["typical"] is None or (days > values["typical"]) == raises
        case "recent" | "silent_share" | "recent_share":
            assert values["days"] == days
        case "orders_change" | "spend_change":
            stem = clause.code.removesuffix("_change")
            wide = values["days"] == 2 * horizon
            assert wide or values["days"] == horizon
            now, both = row[f"{stem}_{2 if wide else 1}h"], row[f"{stem}_{4 if wide else 2}h"]
            assert values["now"] == pytest.approx(now)
            assert values["before"] == pytest.approx(both - now)
            assert (values["now"] < values["before"]) == raises
        case "usual_gap":
            assert values["usual"] == _gap(row.gap_median)
            assert (values["usual"] > values["typical"]) == raises
        case "last_gap":
            assert values == {"last": _gap(row.gap_last), "usual": _gap(row.gap_median)}
            assert (row.gap_last > row.gap_median) == raises
        case "irregular" | "regular":
            assert values == {"usual": _gap(row.gap_median), "longest": round(row.gap_max)}
        case "one_day":
            assert raises
            assert np.isnan(row.gap_median)
        case "overdue_items":
            assert values == {"overdue": row.overdue_items, "items": row.regular_items}
            assert bool(row.overdue_items) == raises
        case "no_regular_item":
            assert row.regular_items == 0
        case "few_orders_share" | "many_orders_share":
            assert values["orders"] == row.orders_all
            assert raises == (clause.code == "few_orders_share")
        case "season" | "rating":
            pass  # no raw figure in the made-up shops
        case column:
            assert column in AMOUNT_OF
            assert values["amount"] == pytest.approx(row[column], abs=1e-6)
            more_raises = AMOUNT_OF[column].more_raises
            if more_raises is not None:
                assert (values["amount"] > values["typical"]) == (more_raises == raises)
