"""Count the made-up shop files (`tests.shop_files`) with pandas, as an analyst would.

Nothing of the product is used, so the product's figures can be compared with these.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import date

import pandas as pd

from tests.shop_files import ShopFile


@dataclass(frozen=True)
class Figures:
    """What a shop's owner knows.

    Attributes
    ----------
    customers, orders : int
        Of orders that count.
    revenue : float
        Their sum.
    currency : str
        Empty if the file names none.
    first_day, last_day : date
        Local days of the file's events that count.
    cancelled : int
        Orders that do not count: cancelled, refused or wholly returned.
    gap_days : float
        Median days between a customer's order days; NaN if nobody came back.
    """

    customers: int
    orders: int
    revenue: float
    currency: str
    first_day: date
    last_day: date
    cancelled: int
    gap_days: float


def figures(
    sales: pd.DataFrame, currency: str = "", cancelled: int = 0, last_day: date | None = None
) -> Figures:
    """Count sales.

    Parameters
    ----------
    sales : pandas.DataFrame
        Columns ``customer``, ``order``, ``at`` and ``amount``; rows that count.
    currency : str
    cancelled : int
    last_day : date, optional
        Of the events, if a return is later than the last sale.
    """
    days = sales.assign(day=sales["at"].dt.normalize())[["customer", "day"]].drop_duplicates()
    gaps = days.sort_values(["customer", "day"]).groupby("customer").day.diff().dt.days
    last_sale = sales["at"].max().date()
    return Figures(
        sales.customer.nunique(),
        sales.order.nunique(),
        float(sales.amount.sum()),
        currency,
        sales["at"].min().date(),
        max(last_sale, last_day or last_sale),
        cancelled,
        float(gaps.median()),
    )


def rows(
    frame: pd.DataFrame, customer: str, order: str, at: pd.Series, amount: pd.Series
) -> pd.DataFrame:
    """Name the columns that `figures` counts."""
    return pd.DataFrame(
        {"customer": frame[customer], "order": frame[order], "at": at, "amount": amount}
    )


def german(amounts: pd.Series) -> pd.Series:
    """Read amounts such as 1.234,56."""
    return amounts.str.replace(".", "").str.replace(",", ".").astype(float)


def superstore(shop: ShopFile) -> Figures:
    frame = pd.read_csv(shop.path, encoding="cp1252")
    at = pd.to_datetime(frame["Order Date"], format="%m/%d/%Y")
    return figures(rows(frame, "Customer ID", "Order ID", at, frame["Sales"]))


def coffee(shop: ShopFile) -> Figures:
    """Sales on cards; an order is a customer's day, because the log has no orders."""
    frame = pd.read_csv(shop.path).dropna(subset=["card"])
    frame["order"] = frame.card + frame.date
    return figures(rows(frame, "card", "order", pd.to_datetime(frame.datetime), frame.money))


def shopify(shop: ShopFile) -> Figures:
    """Fields of the order are only on its first line. Voided orders do not count."""
    frame = pd.read_csv(shop.path)
    frame["status"] = frame.groupby("Name")["Financial Status"].transform("first")
    at = pd.to_datetime(frame["Created at"]).dt.tz_convert("UTC").dt.tz_localize(None)
    amount = frame["Lineitem quantity"] * frame["Lineitem price"]
    frame = rows(frame, "Email", "Name", at, amount).assign(status=frame.status)
    voided = frame[frame.status == "voided"]
    last_day = voided["at"].max().date()
    sales = frame[frame.status != "voided"]
    return figures(sales, "PKR", voided.order.nunique(), last_day)


def cosmetics(shop: ShopFile) -> Figures:
    """A basket of one session is an order."""
    frame = pd.read_csv(shop.path)
    frame = frame[frame.event_type == "purchase"]
    at = pd.to_datetime(frame.event_time, format="%Y-%m-%d %H:%M:%S UTC")
    frame = frame.assign(at=at).drop_duplicates(["user_id", "at", "product_id"])
    return figures(rows(frame, "user_id", "user_session", frame["at"], frame.price))


def taobao(shop: ShopFile) -> Figures:
    frame = pd.read_csv(shop.path, encoding="gb18030")
    is_closed = frame["订单状态"] == "交易关闭"
    sales = frame[~is_closed]
    at = pd.to_datetime(sales["订单创建时间"])
    return figures(
        rows(sales, "买家会员名", "订单编号", at, sales["实付金额"]), "", int(is_closed.sum())
    )


def invoices(shop: ShopFile) -> Figures:
    """A Storno has the number of its invoice after ST-."""
    frame = pd.read_csv(shop.path, sep=";", encoding="latin-1", dtype=str)
    at = pd.to_datetime(frame.Belegdatum, format="%d.%m.%Y")
    number, is_storno = frame.Belegnummer.str[3:], frame.Belegart == "Stornorechnung"
    is_undone = number.isin(number[is_storno])
    sales = frame[~is_undone]
    return figures(
        rows(sales, "Kundennummer", "Belegnummer", at[~is_undone], german(sales.Gesamtpreis)),
        "EUR",
        number[is_storno].nunique(),
        at.max().date(),
    )


def chinook(shop: ShopFile) -> Figures:
    with closing(sqlite3.connect(shop.path)) as opened:
        frame = pd.read_sql("SELECT * FROM Invoice", opened, parse_dates=["InvoiceDate"])
    return figures(rows(frame, "CustomerId", "InvoiceId", frame.InvoiceDate, frame.Total))


def gifts(shop: ShopFile) -> Figures:
    """Lines without a customer do not count; C cancels the invoice of the same number."""
    frame = pd.read_csv(shop.path, dtype=str).dropna(subset=["CustomerID"])
    at = pd.to_datetime(frame.InvoiceDate, format="%m/%d/%Y %H:%M")
    number, is_cancellation = frame.InvoiceNo.str.lstrip("C"), frame.InvoiceNo.str.startswith("C")
    is_undone = number.isin(number[is_cancellation])
    sales = frame[~is_undone]
    amount = sales.Quantity.astype(int) * sales.UnitPrice.astype(float)
    return figures(
        rows(sales, "CustomerID", "InvoiceNo", at[~is_undone], amount),
        "GBP",
        number[is_cancellation].nunique(),
        at.max().date(),
    )


def discs(shop: ShopFile) -> Figures:
    frame = pd.read_csv(shop.path, dtype={"customer_id": str, "date": str})
    frame["order"] = frame.customer_id + frame.date
    return figures(rows(frame, "customer_id", "order", pd.to_datetime(frame.date), frame.dollars))


def woocommerce(shop: ShopFile) -> Figures:
    frame = pd.read_csv(shop.path, sep=";", encoding="utf-8-sig", dtype=str)
    is_left_out = frame.Bestellstatus.isin(["Storniert", "Fehlgeschlagen", "Rückerstattet"])
    sales, number = frame[~is_left_out], frame.Bestellnummer[is_left_out].nunique()
    at = pd.to_datetime(sales.Bestelldatum, format="%d.%m.%Y %H:%M")
    return figures(
        rows(sales, "E-Mail (Rechnung)", "Bestellnummer", at, german(sales.Positionssumme)),
        "",
        number,
    )


def receipts(shop: ShopFile) -> Figures:
    frame = pd.read_csv(shop.path, sep="\t")
    at = pd.to_datetime(frame.date_time)
    return figures(rows(frame, "loyalty_card", "receipt_no", at, frame.line_total))


def square(shop: ShopFile) -> Figures:
    """A refund has its transaction's number and an R."""
    frame = pd.read_csv(shop.path)
    at = pd.to_datetime(frame.Date, format="%m/%d/%y")
    number, is_refund = frame["Transaction ID"].str.rstrip("R"), frame["Event Type"] == "Refund"
    is_undone = number.isin(number[is_refund])
    sales = frame[~is_undone]
    amount = sales["Net Sales"].str.replace("[$,]", "", regex=True).astype(float)
    return figures(
        rows(sales, "Customer ID", "Transaction ID", at[~is_undone], amount),
        "",
        number[is_refund].nunique(),
    )


COUNTS: dict[str, Callable[[ShopFile], Figures]] = {
    count.__name__: count
    for count in (
        *(superstore, coffee, shopify, cosmetics, taobao, invoices, chinook),
        *(gifts, discs, woocommerce, receipts, square),
    )
}
