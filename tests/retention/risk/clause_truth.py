"""Check the numbers of a clause or reason against features recomputed from raw rows."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest

from retention.churn.explaining import facts
from retention.churn.explaining.clauses import Clause
from retention.churn.explaining.facts import AMOUNT_OF
from retention.templating import RAISES, count, percent


@dataclass(frozen=True)
class RawFacts:
    """Recomputed features of the typical and of the active customers, and the shop's churn rate."""

    typical: pd.Series
    active: pd.DataFrame
    churn_rate: float
    horizon: int

    def check_reason(self, reason: dict[str, Any], row: pd.Series) -> None:
        """Assert that a reason is among those that the raw rows support, with true numbers."""
        raises, text = reason["direction"] == RAISES, reason["text"]
        if reason["feature"] == "season" or text in self._of_the_shop(row, raises):
            return
        clauses = dict(self._stated(reason, row))
        assert text in clauses, (text, [*clauses])
        stated = clauses[text]
        check(stated, row, self.horizon)
        if stated.code == "usual_gap":
            assert stated.values["typical"] == _gap(self.typical.gap_median)
        elif stated.code in ("only_order", "only_order_recent", "recent"):
            assert stated.values["typical"] == np.floor(self.typical.recency_days)

    def _stated(self, reason: dict[str, Any], row: pd.Series) -> Iterator[tuple[str, Clause]]:
        """Yield the reasons that a group has in a direction, in words and as clauses."""
        group, direction = reason["feature"], reason["direction"]
        customer = facts.Customer(row, self.typical, self.horizon)
        for fact in facts.FACTS:
            if group in fact.groups and (stated := fact.state(customer, direction == RAISES)):
                yield facts.fact_text(*stated), Clause(*stated, (group,), 0.0, direction)
        for amount in facts.supporting_amounts(group, customer, direction == RAISES):
            values = {"amount": row[amount.column], "typical": self.typical[amount.column]}
            clause = Clause(amount.column, values, (group,), 0.0, direction)
            yield amount.text(customer), clause

    def _of_the_shop(self, row: pd.Series, raises: bool) -> set[str]:
        """Return the reasons that compare a customer with all others, or tell of the shop alone."""
        silence, orders, others = row.recency_days, row.orders_all, self.active
        longer, later = (
            (others.recency_days < silence).mean(),
            (others.recency_days > silence).mean(),
        )
        more, fewer = (others.orders_all > orders).mean(), (others.orders_all < orders).mean()
        days, ordered, h = facts.days_text(silence), count(orders, "order"), self.horizon
        churned, returned = percent(self.churn_rate), percent(1 - self.churn_rate)
        active = "of the active customers"
        texts = (
            (True, 1, f"no order for {days}"),
            (True, 1, f"{churned} of the shop's customers place no order within {h} days"),
            (True, longer, f"no order for {days}, longer than {percent(longer)} {active}"),
            (True, more, f"{ordered} ever, and {percent(more)} {active} have more"),
            (False, 1, f"last order {days} ago"),
            (False, 1, f"{returned} of the shop's customers order again within {h} days"),
            (
                False,
                later,
                f"last order {days} ago, more recent than that of {percent(later)} {active}",
            ),
            (False, fewer, f"{ordered} ever, and {percent(fewer)} {active} have fewer"),
            (raises, 1, "several small signs together, none of which stands out"),
        )
        return {text for side, share, text in texts if side == raises and share > 0.5}


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
        case "recent":
            assert values["days"] == days < values["typical"]
            assert not raises
        case "silent_share" | "recent_share":
            assert values["days"] == days
            assert raises == (clause.code == "silent_share")
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
            paused = values["longest"] > values["usual"]
            assert paused == raises == (clause.code == "irregular")
        case "one_day":
            assert raises
            assert np.isnan(row.gap_median)
        case "overdue_items":
            assert values == {"overdue": row.overdue_items, "items": row.regular_items}
            assert bool(row.overdue_items) == raises
        case "no_regular_item":
            assert raises
            assert row.regular_items == 0
            assert values == {"days": 4 * horizon}
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
