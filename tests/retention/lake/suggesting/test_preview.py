"""Test the preview of an import."""

from datetime import date

import numpy as np
import pandas as pd
import pytest

from retention.lake import Lake
from retention.lake.suggesting.preview import preview
from retention.lake.suggesting.suggest import propose


def _shop(path) -> str:
    """Write 30 orders of 10 customers; 5 are cancelled. The last is late in the evening, UTC."""
    rows = [
        f"o{n},c{n % 10},2025-01-{1 + n:02}T23:30:00Z,sku{n % 4},10.50,"
        f"{'cancelled' if n < 5 else 'done'}\n"
        for n in range(30)
    ]
    path.write_text(f"order_id,customer_id,order_date,sku,line_total,status\n{''.join(rows)}")
    return str(path)


def _seen(settings, folder, *files: str, more: str = ""):
    """Preview files by the map that is proposed for them; return the map, too."""
    text = propose(Lake.open(settings), "events", files[0], None, files[1:]).text + more
    (folder / "map.toml").write_text(text)
    return preview(settings, [*files], folder / "map.toml"), text


def test_preview_counts_customers_orders_revenue_and_days(settings, tmp_path):
    own = settings.model_copy(update={"timezone": "Europe/Berlin"})
    file = _shop(tmp_path / "shop.csv")
    seen, _ = _seen(own, tmp_path, file, more='currency = { value = "eur" }\n')
    assert (seen.customers, seen.orders, seen.revenue) == (10, 25, {"EUR": 262.5})
    assert (seen.first_day, seen.last_day) == (date(2025, 1, 7), date(2025, 1, 31))
    expected = [("cancelled", 5, 30)]
    assert [(one.value, one.orders, one.of_orders) for one in seen.left_out] == expected
    assert seen.text == (
        "10 customers, 25 orders, sales of 262 EUR, 7 Jan 2025 to 31 Jan 2025; "
        "5 of 30 orders are cancelled: left out"
    )


def test_preview_leaves_the_home_as_it_was(settings, tmp_path):
    file = _shop(tmp_path / "shop.csv")
    before = sorted(settings.home.rglob("*")) if settings.home.exists() else []
    assert _seen(settings, tmp_path, file)[0].orders == 25
    assert (sorted(settings.home.rglob("*")) if settings.home.exists() else []) == before
    assert Lake.open(settings).newest_event() is None


def test_preview_applies_the_shops_cleaning_rules(settings, tmp_path):
    file = _shop(tmp_path / "shop.csv")
    settings.home.mkdir(exist_ok=True)
    (settings.home / "clean.toml").write_text("[impossible_date]\nearliest = 2025-01-11\n")
    seen, _ = _seen(settings, tmp_path, file)
    assert (seen.orders, seen.report.rows_quarantined) == (20, 5)


def test_preview_counts_cancelled_orders_of_a_known_export(settings, tmp_path):
    path = tmp_path / "orders.csv"
    rows = [
        f"#{n},c{n % 4}@example.org,{'voided' if n < 3 else 'pending'},PKR,20,"
        f"2025-01-{n + 1:02} 10:00:00 +0500,1,Tea,20\n"
        for n in range(20)
    ]
    path.write_text(
        "Name,Email,Financial Status,Currency,Subtotal,Created at,Lineitem quantity,"
        f"Lineitem name,Lineitem price\n{''.join(rows)}"
    )
    seen = preview(settings, [str(path)], format_name="shopify-orders")
    assert (seen.customers, seen.orders, seen.revenue) == (4, 17, {"PKR": 340.0})
    expected = [("cancelled", 3, 20)]
    assert [(one.code, one.orders, one.of_orders) for one in seen.left_out] == expected


def test_orders_without_ids_are_one_per_customer_and_local_day(settings, tmp_path):
    own = settings.model_copy(update={"timezone": "Asia/Tokyo"})
    path = tmp_path / "till.csv"
    lines = ["c1,2025-01-01T14:00:00Z", "c1,2025-01-01T16:00:00Z", "c1,2025-01-02T10:00:00Z"]
    text = "customer_id,occurred_at,event_type\n" + "".join(f"{x},purchase\n" for x in lines)
    path.write_text(text)
    assert preview(own, [str(path)]).orders == 2  # 1 Jan, and 2 Jan twice


# How a row says that it is a refund.
@pytest.mark.parametrize("told_by", ["price", "price and quantity", "type"])
def test_refund_with_a_negative_price_is_not_left_out(settings, tmp_path, told_by):
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
    file = tmp_path / "shop.csv"
    rows.to_csv(file, index=False)
    seen, _ = _seen(settings, tmp_path, str(file))
    kept = sold.drop(back.index)
    assert (seen.orders, sum(seen.revenue.values())) == (len(kept), kept.unit_price.sum())
    assert [(one.code, one.orders) for one in seen.left_out] == [("cancelled", len(back))]


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
def test_order_is_what_the_shop_calls_an_order(settings, tmp_path, name, number, code, columns):
    lines = _baskets(7)
    files = []
    for export in number(lines):
        files.append(str(tmp_path / f"export-{len(files)}.csv"))
        named = {"number": name, "customer": "customer_id", "placed": "date"}
        export.drop(columns="order").rename(columns=named).to_csv(files[-1], index=False)
    seen, _ = _seen(settings, tmp_path, *files)
    rule = seen.as_dict()["order_rule"]
    assert (rule["code"], [*rule["columns"]]) == (code, columns)
    day = lines.placed.dt.date
    orders = lines.groupby(["customer", day]).ngroups if code == "day" else lines.order.nunique()
    assert (seen.orders, seen.customers) == (orders, lines.customer.nunique())
    assert sum(seen.revenue.values()) == pytest.approx(lines.price.sum())


@pytest.mark.parametrize("newer_first", [False, True])
def test_preview_of_several_exports_counts_the_newest_state(settings, tmp_path, newer_first):
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
    files = []
    for name, export in (("a", first), ("b", second)):
        files.append(str(tmp_path / f"{name}.csv"))
        export.to_csv(files[-1], index=False)
    files = files[::-1] if newer_first else files
    seen, _ = _seen(settings, tmp_path, *files)
    newest = pd.concat([first, second]).drop_duplicates("order_id", keep="last")
    sold = newest[newest.status == "completed"]
    assert (seen.orders, sum(seen.revenue.values())) == (len(sold), sold.line_total.sum())
    assert seen.report.orders_superseded == 40


def _till_preview(settings, tmp_path, lines: pd.DataFrame):
    """Preview the export of a till by the proposed map."""
    file = str(tmp_path / "shop.csv")
    named = {"number": "receipt", "customer": "customer_id", "placed": "date"}
    lines.drop(columns="order").rename(columns=named).to_csv(file, index=False)
    return _seen(settings, tmp_path, file)[0]


def test_number_of_an_order_stays_text_in_an_expression(settings, tmp_path):
    [lines] = _tills(_baskets(7))
    lines["number"] = [f"{'R' if n == 3 else '0'}{n}" for n in lines.number]
    seen = _till_preview(settings, tmp_path, lines)
    assert seen.order_rule.code == "columns"
    assert (seen.orders, seen.report.rows_quarantined) == (lines.order.nunique(), 0)


@pytest.mark.parametrize("event_id", ["", "row"])
@pytest.mark.parametrize("form", ["day", "compact", "seconds", "millis", "excel"])
def test_till_numbers_join_days_in_any_form(settings, tmp_path, form, event_id):
    [lines] = _tills(_baskets(7))
    at = lines.placed
    lines["placed"] = {
        "day": at.dt.strftime("%Y-%m-%d"),
        "compact": at.dt.strftime("%Y%m%d"),
        "seconds": at.astype("datetime64[s]").astype("int64"),
        "millis": at.astype("datetime64[ms]").astype("int64"),
        "excel": (at - pd.Timestamp("1899-12-30")).dt.days,
    }[form]
    if event_id:
        lines.insert(0, "row id", range(1, len(lines) + 1))
    seen = _till_preview(settings, tmp_path, lines)
    assert seen.order_rule.code == "columns"
    assert (seen.orders, seen.report.rows_quarantined) == (lines.order.nunique(), 0)
    assert seen.last_day == at.max().date()


def _order_totals(lines: pd.DataFrame) -> pd.DataFrame:
    """Lines that each have the total of their order, as columns of an export."""
    total = lines.groupby("order").price.transform("sum").round(2)
    named = {"order": "order_id", "customer": "customer_id", "placed": "order_date"}
    return lines.assign(order_total=total, quantity=1).drop(columns="price").rename(columns=named)


@pytest.mark.parametrize(
    "case", ["plain", "equal", "no number", "left out", "tests", "no customer"]
)
def test_each_line_gets_its_share_of_the_orders_total(settings, tmp_path, case):
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
    file = tmp_path / "shop.csv"
    rows.to_csv(file, index=False)
    seen, text = _seen(settings, tmp_path, str(file))
    assert "_order_lines" in text
    assert sum(seen.revenue.values()) == pytest.approx(sales, abs=0.05)
