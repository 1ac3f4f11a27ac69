"""Test the preview of an import."""

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from retention.lake import Lake
from retention.lake.suggesting.preview import Preview, preview
from retention.lake.suggesting.suggest import propose
from retention.settings import Settings


def _shop() -> str:
    """Return 30 orders of 10 customers; 5 are cancelled. The last is late in the evening, UTC."""
    rows = [
        f"o{n},c{n % 10},2025-01-{1 + n:02}T23:30:00Z,sku{n % 4},10.50,"
        f"{'cancelled' if n < 5 else 'done'}\n"
        for n in range(30)
    ]
    return f"order_id,customer_id,order_date,sku,line_total,status\n{''.join(rows)}"


@pytest.fixture
def seen(settings, write_file):
    """Return a function that previews files by the map that is proposed for them."""

    def do(*contents, own: Settings = settings, more: str = "") -> Preview:
        files = [write_file(each, f"shop-{place}.csv") for place, each in enumerate(contents)]
        text = propose(Lake.open(own), "events", files[0], None, files[1:]).text
        return preview(own, files, Path(write_file(text + more, "map.toml")))

    return do


def _sums(found: Preview) -> tuple[int, float]:
    return found.orders, pytest.approx(sum(found.revenue.values()), abs=0.05)


def test_preview_counts_customers_orders_revenue_and_days(settings, seen):
    own = settings.model_copy(update={"timezone": "Europe/Berlin"})
    found = seen(_shop(), own=own, more='currency = { value = "eur" }\n')
    assert (found.customers, found.orders, found.revenue) == (10, 25, {"EUR": 262.5})
    assert (found.first_day, found.last_day) == (date(2025, 1, 7), date(2025, 1, 31))
    expected = [("cancelled", 5, 30)]
    assert [(one.value, one.orders, one.of_orders) for one in found.left_out] == expected
    assert found.text == (
        "10 customers, 25 orders, sales of 262 EUR, 7 Jan 2025 to 31 Jan 2025; "
        "5 of 30 orders are cancelled: left out"
    )


def test_preview_leaves_the_home_as_it_was(settings, seen):
    before = sorted(settings.home.rglob("*")) if settings.home.exists() else []
    assert seen(_shop()).orders == 25
    assert (sorted(settings.home.rglob("*")) if settings.home.exists() else []) == before
    assert Lake.open(settings).newest_event() is None


def test_preview_applies_the_shops_cleaning_rules(settings, seen):
    settings.home.mkdir(exist_ok=True)
    (settings.home / "clean.toml").write_text("[impossible_date]\nearliest = 2025-01-11\n")
    found = seen(_shop())
    assert (found.orders, found.report.rows_quarantined) == (20, 5)


def test_preview_counts_cancelled_orders_of_a_known_export(settings, write_file):
    rows = [
        f"#{n},c{n % 4}@example.org,{'voided' if n < 3 else 'pending'},PKR,20,"
        f"2025-01-{n + 1:02} 10:00:00 +0500,1,Tea,20\n"
        for n in range(20)
    ]
    text = (
        "Name,Email,Financial Status,Currency,Subtotal,Created at,Lineitem quantity,"
        f"Lineitem name,Lineitem price\n{''.join(rows)}"
    )
    found = preview(settings, [write_file(text)], format_name="shopify-orders")
    assert (found.customers, found.orders, found.revenue) == (4, 17, {"PKR": 340.0})
    expected = [("cancelled", 3, 20)]
    assert [(one.code, one.orders, one.of_orders) for one in found.left_out] == expected


def test_orders_without_ids_are_one_per_customer_and_local_day(settings, write_file):
    own = settings.model_copy(update={"timezone": "Asia/Tokyo"})
    lines = ["c1,2025-01-01T14:00:00Z", "c1,2025-01-01T16:00:00Z", "c1,2025-01-02T10:00:00Z"]
    text = "customer_id,occurred_at,event_type\n" + "".join(f"{x},purchase\n" for x in lines)
    assert preview(own, [write_file(text)]).orders == 2  # 1 Jan, and 2 Jan twice


# How a row says that it is a refund.
@pytest.mark.nightly_after(1)
@pytest.mark.parametrize("told_by", ["price", "price and quantity", "type"])
def test_refund_with_a_negative_price_is_not_left_out(seen, told_by):
    rng = np.random.default_rng(5)
    sold = pd.DataFrame({"order_no": [f"o{n}" for n in range(400)], "quantity": 1})
    sold["customer_id"] = [f"c{n}" for n in rng.integers(0, 60, 400)]
    sold["date"] = pd.Timestamp("2025-01-01") + pd.to_timedelta(np.arange(400) // 3, unit="D")
    sold["sku"] = [f"s{n}" for n in range(400)]
    sold["unit_price"] = rng.integers(5, 90, 400) + 0.5
    back = sold.iloc[::16].assign(unit_price=-sold.unit_price)
    back["date"] += pd.Timedelta(days=2)
    if told_by == "price and quantity":
        back["quantity"] = -1
    free = sold.iloc[1:9].assign(unit_price=0, order_no="free")
    rows = pd.concat([sold, back, free])
    if told_by == "type":
        rows["type"] = np.where(rows.unit_price < 0, "refund", "sale")
    found, kept = seen(rows), sold.drop(back.index)
    assert (len(kept), kept.unit_price.sum()) == _sums(found)
    assert [(one.code, one.orders) for one in found.left_out] == [("cancelled", len(back))]


def _baskets(seed: int, days: int = 60) -> pd.DataFrame:
    """Lines of a shop's orders: order (its place), customer, placed, sku, price."""
    rng = np.random.default_rng(seed)
    number = np.arange(12 * days)
    orders = pd.DataFrame({"order": number, "customer": rng.integers(0, 25, len(number))})
    orders["placed"] = pd.Timestamp("2025-01-01") + pd.to_timedelta(number * 2 + 1, unit="h")
    lines = orders.loc[orders.index.repeat(rng.integers(1, 5, len(orders)))].reset_index(drop=True)
    lines["sku"] = [f"s{n}" for n in rng.integers(0, 90, len(lines))]
    lines["price"] = rng.integers(100, 9_000, len(lines)) / 100
    return lines.drop_duplicates(["order", "sku"], ignore_index=True)


def _export(lines: pd.DataFrame, name: str = "receipt") -> pd.DataFrame:
    """Return lines as a till exports them, with its name for the number of an order."""
    named = {"number": name, "customer": "customer_id", "placed": "date"}
    return lines.drop(columns="order").rename(columns=named)


def _tills(lines):
    """Receipts that are numbered from 1 each day."""
    return [lines.assign(number=lines.order % 12 + 1)]


def _years(lines):
    """Two exports that each number from 1."""
    half = lines.order.max() // 2
    return [
        lines[lines.order <= half].assign(number=lambda rows: rows.order + 1),
        lines[lines.order > half].assign(number=lambda rows: rows.order - half),
    ]


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize(
    ("name", "number", "code", "columns"),
    [
        ("order_no", lambda lines: [lines.assign(number=lines.order)], "number", ["order_no"]),
        ("receipt", _tills, "columns", ["date", "receipt"]),
        ("order_no", _years, "columns", ["date", "order_no"]),
        (
            "order",  # 1, 2, 3 … in each order
            lambda lines: [lines.assign(number=lines.groupby("order").cumcount() + 1)],
            "columns",
            ["date"],
        ),
        ("order_pos", lambda lines: [lines.assign(number=range(len(lines)))], "columns", ["date"]),
        ("shelf", lambda lines: [lines.assign(number="a")], "day", []),
    ],
    ids=["plain", "tills that number per day", "exports that collide", "lines", "rows", "none"],
)
def test_order_is_what_the_shop_calls_an_order(seen, name, number, code, columns):
    lines = _baskets(7)
    found = seen(*(_export(each, name) for each in number(lines)))
    rule = found.order_rule
    assert (rule.code, [*rule.columns]) == (code, columns)
    day = lines.placed.dt.date
    orders = lines.groupby(["customer", day]).ngroups if code == "day" else lines.order.nunique()
    assert found.customers == lines.customer.nunique()
    assert (orders, lines.price.sum()) == _sums(found)


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize("newer_first", [False, True])
def test_preview_of_several_exports_counts_the_newest_state(seen, newer_first):
    number = np.arange(400)
    first = pd.DataFrame({"order_id": [f"o{n}" for n in number], "line_total": 10.0 + number % 7})
    first["customer_id"] = [f"c{n % 90}" for n in number]
    first["order_date"] = pd.Timestamp("2025-01-01") + pd.to_timedelta(number * 3, unit="h")
    first["status"] = "completed"
    second = first.tail(300).copy()
    second["order_date"] = second.order_date.where(second.index < 390)  # 10 new orders
    second["order_date"] = second.order_date.fillna(pd.Timestamp("2025-03-01"))
    second.loc[150:179, "status"] = "refunded"
    second.loc[180:189, "line_total"] = 1.0
    first = first.head(390)
    found = seen(second, first) if newer_first else seen(first, second)
    newest = pd.concat([first, second]).drop_duplicates("order_id", keep="last")
    sold = newest[newest.status == "completed"]
    assert (len(sold), sold.line_total.sum()) == _sums(found)
    assert found.report.orders_superseded == 40


def test_number_of_an_order_stays_text_in_an_expression(seen):
    [lines] = _tills(_baskets(7))
    lines["number"] = [f"{'R' if n == 3 else '0'}{n}" for n in lines.number]
    found = seen(_export(lines))
    assert found.order_rule.code == "columns"
    assert (found.orders, found.report.rows_quarantined) == (lines.order.nunique(), 0)


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize("form", ["day", "compact", "seconds", "millis", "excel", "row id"])
def test_till_numbers_join_days_in_any_form(seen, form):
    [lines] = _tills(_baskets(7))
    at = lines.placed
    lines["placed"] = {
        "day": at.dt.strftime("%Y-%m-%d"),
        "compact": at.dt.strftime("%Y%m%d"),
        "seconds": at.astype("datetime64[s]").astype("int64"),
        "millis": at.astype("datetime64[ms]").astype("int64"),
        "excel": (at - pd.Timestamp("1899-12-30")).dt.days,
        "row id": at,
    }[form]
    if form == "row id":
        lines.insert(0, "row id", range(1, len(lines) + 1))
    found = seen(_export(lines))
    assert found.order_rule.code == "columns"
    assert (found.orders, found.report.rows_quarantined) == (lines.order.nunique(), 0)
    assert found.last_day == at.max().date()


def _order_totals(lines: pd.DataFrame) -> pd.DataFrame:
    """Lines that each have the total of their order, as columns of an export."""
    total = lines.groupby("order").price.transform("sum").round(2)
    named = {"order": "order_id", "customer": "customer_id", "placed": "order_date"}
    return lines.assign(order_total=total, quantity=1).drop(columns="price").rename(columns=named)


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize(
    "case", ["plain", "equal", "no number", "left out", "tests", "no customer"]
)
def test_each_line_gets_its_share_of_the_orders_total(seen, case):
    rows = _order_totals(_baskets(7, 30))
    is_second = rows.order_id.duplicated() & (rows.order_id % 2 == 0)
    sales = rows.drop_duplicates("order_id").order_total.sum()
    if case == "equal":
        rows = pd.concat([rows, rows[rows.order_id % 3 == 0]])
    elif case == "no number":
        single = rows[~rows.order_id.duplicated()].head(40)
        rows = pd.concat([rows, single.assign(order_id=None, customer_id=99)])
        sales += single.order_total.sum()
    elif case == "left out":
        rows["line_status"] = is_second.map({True: "cancelled", False: "completed"})
    elif case == "tests":
        rows["title"] = is_second.map({True: "test product", False: "A mug"})
    elif case == "no customer":
        rows["customer_id"] = rows.customer_id.astype(str).where(~is_second, None)
    assert sum(seen(rows).revenue.values()) == pytest.approx(sales, abs=0.05)
