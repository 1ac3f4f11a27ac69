"""Test the rows that a person should look at."""

import pandas as pd
import pytest

from retention.lake import Lake, quality
from retention.settings import Settings


@pytest.fixture
def findings_of(import_file):
    """Return a function that imports rows and returns the findings."""

    def do(rows: list[dict], own: Settings) -> list[dict]:
        import_file(pd.DataFrame(rows), own=own)
        return quality.find_findings(Lake.open(own))

    return do


def _sale(n: int, **more) -> dict:
    at = f"2025-01-{n % 28 + 1:02} 10:00:00"
    sale = {"customer_id": f"c{n % 9}", "order_id": f"o{n}", "item_id": f"i{n % 5}"}
    sale |= {"event_type": "purchase", "occurred_at": at}
    return sale | {"quantity": 1, "amount": 10 + n % 7, "currency": "EUR"} | more


def test_ordinary_sales_have_no_findings(settings, findings_of):
    assert findings_of([_sale(n) for n in range(80)], settings) == []


def test_names_returns_that_cancel_no_order(settings, findings_of):
    back = {"event_type": "return", "occurred_at": "2025-02-03 09:00:00"}
    rows = [
        *(_sale(n) for n in range(60)),
        _sale(3, **back),  # of order o3
        _sale(4, **back, customer_id="stranger", order_id="r1"),
        _sale(5, **back, item_id=None, amount=2),  # a partial refund of order o5
    ]
    (finding,) = findings_of(rows, settings)
    expected = ("unmatched_returns", 1, 3)
    assert (finding["code"], finding["returns"], finding["of_returns"]) == expected
    assert finding["examples"] == [{"order": "r1", "item": "i4", "day": "2025-02-03"}]
    assert "r1" in finding["text"]


@pytest.mark.parametrize("is_cancelled", [False, True], ids=["kept", "cancelled"])
def test_names_a_line_that_dominates_the_revenue(settings, findings_of, is_cancelled):
    typo = {"quantity": 80_995, "amount": 168_469.6, "order_id": "o581483"}
    rows = [*(_sale(n) for n in range(60)), _sale(2, **typo)]
    if is_cancelled:
        rows.append(_sale(2, **typo, event_type="return", occurred_at="2025-01-03 10:12:00"))
    rows = [row | {"item_id": row["item_id"] + str(row["order_id"])} for row in rows]
    own = settings.model_copy(update={"timezone": "Australia/Sydney"})
    (finding,) = findings_of(rows, own)
    assert finding["code"] == "dominating_line"
    expected = ("o581483", "2025-01-03", is_cancelled)
    assert (finding["order"], finding["day"], finding["is_cancelled"]) == expected
    assert finding["share"] > 0.99
    assert "168,469.60 EUR" in finding["text"]
