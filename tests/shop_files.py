"""Twelve small made-up shop files, each of the shape of its platform's export.

Seeded: the same files every time. `tests.shop_counts` counts them without the product's code.
"""

import csv
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np

FIRST_NAMES = ("Ada", "Bela", "Cleo", "Dario", "Edda", "Falk", "Gwen", "Hugo", "Ines", "Jaro")
LAST_NAMES = ("Ahorn", "Brook", "Cedar", "Dune", "Elder", "Fjord", "Grove", "Heath", "Islet")
DRINKS = (("Latte", 38.7), ("Americano", 28.9), ("Espresso", 24.0), ("Cocoa", 35.2))


@dataclass(frozen=True)
class ShopFile:
    """A written shop file.

    Attributes
    ----------
    path : Path
        The file.
    arguments : tuple of str
        What `retention start` is called with.
    """

    path: Path
    arguments: tuple[str, ...]


def person(number: int) -> str:
    """Return a made-up name."""
    first = FIRST_NAMES[number % len(FIRST_NAMES)]
    return f"{first} {LAST_NAMES[number // len(FIRST_NAMES) % len(LAST_NAMES)]}{number}"


def address(number: int) -> str:
    """Return a made-up e-mail address."""
    return f"{person(number).replace(' ', '.').lower()}@example.org"


class Order(NamedTuple):
    """An order: its number, its customer's number, and its local time."""

    order: int
    customer: int
    at: datetime


class Line(NamedTuple):
    """A line of an order; ``price`` is that of one piece."""

    order: int
    customer: int
    at: datetime
    item: int
    quantity: int
    price: float


def visits(
    rng: np.random.Generator,
    customers: int,
    begin: str,
    days: int,
    gap: float,
    stay: float,
    *,
    shape: float = 2.0,
    joining: float | None = None,
) -> list[Order]:
    """Draw orders of customers who order at their own pace until they stop.

    Parameters
    ----------
    rng : numpy.random.Generator
    customers : int
    begin : str
        First day.
    days : int
        Length of the history.
    gap : float
        Mean days between two orders of a typical customer.
    stay : float
        Mean days until a customer stops.
    shape : float
        Regularity of the gaps; 1 is a Poisson process.
    joining : float, optional
        Days in which all customers order first; by default nearly the whole history.

    Returns
    -------
    list of Order
        By time; the shop is open from 8 am to 8 pm.
    """
    first_day, rows = datetime.fromisoformat(begin), []
    joined = rng.uniform(0, joining or 0.9 * days, customers)
    paces = gap * rng.gamma(4, 1 / 4, customers)
    for customer in range(customers):
        day, end = joined[customer], joined[customer] + rng.exponential(stay)
        while True:
            seconds = int(rng.integers(8 * 3600, 20 * 3600))
            rows.append((first_day + timedelta(days=int(day), seconds=seconds), customer))
            day += max(1.5, rng.gamma(shape, paces[customer] / shape))
            if day >= min(days, end):
                break
    return [Order(number, customer, at) for number, (at, customer) in enumerate(sorted(rows))]


def lines(rng: np.random.Generator, orders: list[Order], items: int, most: int) -> list[Line]:
    """Draw the lines of orders: different items with quantity and price.

    Parameters
    ----------
    rng : numpy.random.Generator
    orders : list of Order
    items : int
        Different items of the shop; the first are bought most.
    most : int
        Most lines of an order.
    """
    prices = np.round(rng.gamma(2, 9, items) + 1.5, 2)
    drawn = []
    for order in orders:
        count = int(rng.integers(1, most + 1))
        for item in {int(place) for place in items * rng.random(count) ** 1.6}:
            quantity = int(rng.choice([1, 1, 1, 2, 3, 6]))
            drawn.append(Line(*order, item, quantity, float(prices[item])))
    return drawn


def by_order(of_shop: list[Line]) -> list[tuple[int, list[Line]]]:
    """Group lines by order."""
    return [(order, list(group)) for order, group in groupby(of_shop, attrgetter("order"))]


def write_rows(
    path: Path,
    header: str,
    rows: Iterable[Sequence[object]],
    *,
    encoding: str = "utf-8",
    delimiter: str = ",",
) -> ShopFile:
    """Write delimited text; commas separate the header's names here."""
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(header.split(","))
        writer.writerows(rows)
    return ShopFile(path, (str(path),))


def write_table(path: Path, rows: list[dict[str, object]], **form: str) -> ShopFile:
    """Write rows with the names of their columns."""
    return write_rows(path, ",".join(rows[0]), (tuple(row.values()) for row in rows), **form)


def superstore(folder: Path) -> ShopFile:
    """A Superstore: dates m/d/Y, Row ID, a discount rate, and orders every four months."""
    rng = np.random.default_rng(1)
    orders = visits(rng, 700, "2020-01-03", 1430, 240, 3000, joining=700)
    cities = [("Dover", "Delaware", "19901", "East"), ("Boise", "Idaho", "83702", "West")]
    rows = []
    for number, row in enumerate(lines(rng, orders, 180, 3), 1):
        discount = float(rng.choice([0, 0, 0, 0.2, 0.4]))
        sales = round(row.quantity * row.price * (1 - discount), 4)
        group = ("Furniture", "Supplies", "Technology")[row.item % 3]
        shipped = row.at + timedelta(days=int(rng.integers(0, 7)))
        rows.append(
            {
                "Row ID": number,
                "Order ID": f"US-{row.at.year}-{100000 + row.order}",
                "Order Date": f"{row.at.month}/{row.at.day}/{row.at.year}",
                "Ship Date": f"{shipped.month}/{shipped.day}/{shipped.year}",
                "Ship Mode": ("Standard Class", "First Class")[row.order % 2],
                "Customer ID": f"{person(row.customer)[0]}B-{10000 + row.customer}",
                "Customer Name": person(row.customer),
                "Segment": ("Consumer", "Corporate", "Home Office")[row.customer % 3],
                "Country": "United States",
                **dict(
                    zip(
                        ["City", "State", "Postal Code", "Region"],
                        cities[row.customer % 2],
                        strict=True,
                    )
                ),
                "Product ID": f"{group[:3].upper()}-PR-{10000000 + row.item}",
                "Category": group,
                "Sub-Category": f"{group} kind {row.item % 7}",
                "Product Name": f"Product “No. {row.item}”",
                "Sales": sales,
                "Quantity": row.quantity,
                "Discount": discount,
                "Profit": round(sales * rng.normal(0.12, 0.2), 4),
            }
        )
    return write_table(folder / "superstore.csv", rows, encoding="cp1252")


def coffee(folder: Path) -> ShopFile:
    """A coffee machine's log: some pay in cash and stay unknown."""
    rng = np.random.default_rng(2)
    orders = visits(rng, 420, "2024-03-01", 390, 9, 160, shape=1.0)
    rows = []
    for row in orders:
        drink, price = DRINKS[rng.integers(0, len(DRINKS))]
        in_cash = rng.random() < 0.06
        stamp = row.at + timedelta(milliseconds=int(rng.integers(1, 1000)))
        rows.append(
            {
                "date": f"{row.at:%Y-%m-%d}",
                "datetime": f"{stamp:%Y-%m-%d %H:%M:%S.%f}"[:-3],
                "cash_type": "cash" if in_cash else "card",
                "card": "" if in_cash else f"ANON-0000-0000-{row.customer + 1:04}",
                "money": f"{price + (1.3 if in_cash else 0):.2f}",
                "coffee_name": drink,
            }
        )
    return write_table(folder / "coffee.csv", rows)


def shopify(folder: Path) -> ShopFile:
    """A Shopify shop paid on delivery: most orders are pending, refused ones are voided."""
    rng = np.random.default_rng(3)
    orders = visits(rng, 900, "2024-01-05", 420, 55, 220)
    header = (
        "Name,Email,Financial Status,Paid at,Fulfillment Status,Fulfilled at,Accepts Marketing,"
        "Currency,Subtotal,Shipping,Taxes,Total,Discount Code,Discount Amount,Shipping Method,"
        "Created at,Lineitem quantity,Lineitem name,Lineitem price,Lineitem compare at price,"
        "Lineitem sku,Lineitem requires shipping,Lineitem taxable,Lineitem fulfillment status,"
        "Billing Name,Billing Street,Billing City,Billing Phone,Cancelled at,Payment Method,"
        "Refunded Amount,Vendor,Id,Tags,Source"
    )
    rows = []
    for order, of_order in by_order(lines(rng, orders, 60, 3)):
        first = of_order[0]
        status = str(rng.choice(["pending", "pending", "pending", "paid", "paid", "voided"]))
        stamp = f"{first.at:%Y-%m-%d %H:%M:%S} +0500"
        subtotal = sum(row.quantity * row.price for row in of_order)
        for place, row in enumerate(of_order):
            values = dict.fromkeys(header.split(","), "")
            values |= {
                "Name": f"#{1001 + order}",
                "Email": address(row.customer),
                "Created at": stamp,
                "Lineitem quantity": row.quantity,
                "Lineitem name": f"Scarf {row.item}",
                "Lineitem price": f"{row.price:.2f}",
                "Lineitem sku": f"SC-{row.item:03}",
                "Vendor": "Scarves & Co",
            }
            if not place:
                values |= {
                    "Financial Status": status,
                    "Paid at": stamp if status == "paid" else "",
                    "Fulfillment Status": "fulfilled",
                    "Accepts Marketing": "yes" if row.customer % 3 else "no",
                    "Currency": "PKR",
                    "Subtotal": f"{subtotal:.2f}",
                    "Shipping": "200.00",
                    "Taxes": "0.00",
                    "Total": f"{subtotal + 200:.2f}",
                    "Discount Amount": "0.00",
                    "Billing Name": person(row.customer),
                    "Billing Street": f"{row.customer} Hill Road",
                    "Billing City": "Lahore",
                    "Billing Phone": f"0300 {1000000 + row.customer}",
                    "Payment Method": "Cash on Delivery (COD)",
                    "Refunded Amount": "0.00",
                    "Id": 5500000000000 + order,
                    "Source": "web",
                }
            rows.append(list(values.values()))
    return write_rows(folder / "orders_export_1.csv", header, rows)


def cosmetics(folder: Path) -> ShopFile:
    """The first hours of a log of all events, as REES46 writes it."""
    rng = np.random.default_rng(4)
    start, rows = datetime(2019, 10, 1), []
    for second in np.sort(rng.integers(0, 4 * 3600, 9000)):
        user, item = int(rng.integers(0, 900)), int(rng.integers(0, 300))
        kind = str(rng.choice(["view", "cart", "purchase"], p=[0.86, 0.08, 0.06]))
        rows.append(
            {
                "event_time": f"{start + timedelta(seconds=int(second)):%Y-%m-%d %H:%M:%S} UTC",
                "event_type": kind,
                "product_id": 44600000 + item,
                "category_id": 2103807459595387724 + item % 20,
                "category_code": ("", "electronics.smartphone", "appliances.kitchen")[item % 3],
                "brand": ("", "runail", "irisk")[item % 3],
                "price": round(2 + item * 0.37, 2),
                "user_id": 541300000 + user,
                "user_session": f"{user:08x}-0000-4000-8000-{user % 7:012x}",
            }
        )
    return write_table(folder / "2019-Oct.csv", rows)


def taobao(folder: Path) -> ShopFile:
    """A Taobao order list in GB18030: one row per order, closed orders among them."""
    rng = np.random.default_rng(5)
    orders = visits(rng, 520, "2023-02-01", 500, 75, 330)
    rows = []
    for row in orders:
        item, pieces = int(rng.integers(0, 30)), int(rng.choice([1, 1, 2, 3]))
        status = str(
            rng.choice(["交易成功", "卖家已发货,等待买家确认", "交易关闭"], p=[0.9, 0.02, 0.08])
        )
        total, is_closed = pieces * (19.9 + 3 * item), status == "交易关闭"
        rows.append(
            {
                "订单编号": f"{1_800_000_000_000_000_000 + row.order * 7919}",
                "买家会员名": f"买家{row.customer:04}号",
                "买家应付货款": f"{total:.2f}",
                "买家应付邮费": "0.00",
                "总金额": f"{total:.2f}",
                "实付金额": f"{0 if is_closed else total:.2f}",
                "订单状态": status,
                "收货人姓名": f"王{row.customer:04}",
                "收货地址": f"浙江省 杭州市 文一路 {row.customer} 号",
                "联系手机": f"'139{row.customer:08}",
                "订单创建时间": f"{row.at:%Y-%m-%d %H:%M:%S}",
                "订单付款时间": ""
                if is_closed
                else f"{row.at + timedelta(minutes=2):%Y-%m-%d %H:%M:%S}",
                "宝贝标题": f"手工陶瓷杯 第{item}款",
                "宝贝种类": 1,
                "物流单号": f"No:YT{row.order:010}",
                "宝贝总数量": pieces,
                "店铺名称": "小窑陶瓷",
            }
        )
    return write_table(folder / "ExportOrderList.csv", rows, encoding="gb18030")


def invoices(folder: Path) -> ShopFile:
    """German invoices in Latin-1: decimal commas, and Stornos with a number of their own."""
    rng = np.random.default_rng(6)
    orders = visits(rng, 450, "2022-01-10", 800, 60, 500)
    rows = []
    for order, of_order in by_order(lines(rng, orders, 90, 4)):
        is_cancelled = rng.random() < 0.04
        for kind, sign in (("Rechnung", 1), ("Stornorechnung", -1))[: 1 + is_cancelled]:
            for row in of_order:
                at = row.at + timedelta(days=1 if sign < 0 else 0)
                rows.append(
                    (
                        at,
                        {
                            "Belegart": kind,
                            "Belegnummer": f"{'RE' if sign > 0 else 'ST'}-{10000 + order}",
                            "Belegdatum": f"{at:%d.%m.%Y}",
                            "Kundennummer": f"K{20000 + row.customer}",
                            "Kunde": f"{person(row.customer)} GmbH",
                            "Artikelnummer": f"A-{row.item:04}",
                            "Bezeichnung": f"Schlüssel für Tür {row.item}",
                            "Menge": sign * row.quantity,
                            "Einzelpreis": german(10 * row.price),
                            "Gesamtpreis": german(sign * row.quantity * 10 * row.price),
                            "Währung": "EUR",
                        },
                    )
                )
    ordered = [row for _, row in sorted(rows, key=lambda each: each[0])]
    return write_table(folder / "Rechnungen.csv", ordered, encoding="latin-1", delimiter=";")


def german(amount: float) -> str:
    """Write an amount as 1.234,56."""
    return f"{amount:,.2f}".translate(str.maketrans(",.", ".,"))


def chinook(folder: Path) -> ShopFile:
    """A Chinook-like SQLite database of songs sold."""
    rng = np.random.default_rng(7)
    orders = visits(rng, 300, "2021-01-01", 1000, 70, 700)
    sold = lines(rng, orders, 200, 6)
    path = folder / "chinook.sqlite"
    with closing(sqlite3.connect(path)) as shop, shop:
        shop.executescript(
            "CREATE TABLE Customer (CustomerId INTEGER PRIMARY KEY, FirstName, LastName, Country, "
            "Email); CREATE TABLE Track (TrackId INTEGER PRIMARY KEY, Name, UnitPrice NUMERIC); "
            "CREATE TABLE Invoice (InvoiceId INTEGER PRIMARY KEY, CustomerId INTEGER, "
            "InvoiceDate DATETIME, BillingCountry, Total NUMERIC); "
            "CREATE TABLE InvoiceLine (InvoiceLineId INTEGER PRIMARY KEY, InvoiceId INTEGER, "
            "TrackId INTEGER, UnitPrice NUMERIC, Quantity INTEGER);"
        )
        shop.executemany(
            "INSERT INTO Customer VALUES (?, ?, ?, ?, ?)",
            [
                (number + 1, *person(number).split(), "Norway", address(number))
                for number in range(300)
            ],
        )
        tracks = [
            (item + 1, f"Song {item}", 1.99 if item % 9 == 0 else 0.99) for item in range(200)
        ]
        shop.executemany("INSERT INTO Track VALUES (?, ?, ?)", tracks)
        for order, of_order in by_order(sold):
            number, first = order + 1, of_order[0]
            songs = [tracks[row.item] for row in of_order]
            total = round(sum(song[2] for song in songs), 2)
            shop.execute(
                "INSERT INTO Invoice VALUES (?, ?, ?, ?, ?)",
                (number, first.customer + 1, f"{first.at:%Y-%m-%d} 00:00:00", "Norway", total),
            )
            shop.executemany(
                "INSERT INTO InvoiceLine (InvoiceId, TrackId, UnitPrice, Quantity) "
                "VALUES (?, ?, ?, 1)",
                [(number, song[0], song[2]) for song in songs],
            )
    query = (
        "SELECT Invoice.InvoiceId, CustomerId, InvoiceDate, TrackId, InvoiceLine.UnitPrice, "
        "Quantity FROM Invoice JOIN InvoiceLine USING (InvoiceId)"
    )
    return ShopFile(path, (f"sqlite:///{path}", "--query", query))


def gifts(folder: Path) -> ShopFile:
    """A gift shop: cancellations with a C, lines without a customer, several countries."""
    rng = np.random.default_rng(8)
    orders = visits(rng, 600, "2010-12-01", 700, 45, 400)
    rows = []
    for order, of_order in by_order(lines(rng, orders, 150, 6)):
        is_guest, is_cancelled = rng.random() < 0.08, rng.random() < 0.03
        for sign in (1, -1)[: 1 + is_cancelled]:
            for row in of_order:
                at = row.at + timedelta(days=2 if sign < 0 else 0)
                rows.append(
                    (
                        at,
                        {
                            "InvoiceNo": f"{'C' if sign < 0 else ''}{536365 + order}",
                            "StockCode": f"{20000 + row.item}{'A' if row.item % 5 == 0 else ''}",
                            "Description": f"RED TEA TOWEL {row.item}",
                            "Quantity": sign * row.quantity,
                            "InvoiceDate": f"{at.month}/{at.day}/{at:%Y} {at.hour}:{at:%M}",
                            "UnitPrice": f"{row.price:.2f}",
                            "CustomerID": "" if is_guest else 12346 + row.customer,
                            "Country": "France" if row.customer % 10 == 0 else "United Kingdom",
                        },
                    )
                )
    ordered = [row for _, row in sorted(rows, key=lambda each: each[0])]
    return write_table(folder / "online_retail.csv", ordered)


def discs(folder: Path) -> ShopFile:
    """A CD shop: everybody begins in one quarter, and few come back."""
    rng = np.random.default_rng(9)
    orders = visits(rng, 1500, "1997-01-01", 545, 140, 160, shape=1.0, joining=84)
    rows = []
    for row in orders:
        pieces = int(rng.choice([1, 1, 2, 3, 5]))
        total = pieces * float(rng.choice([11.77, 14.96, 16.99]))
        rows.append((f"{row.customer + 1:05}", f"{row.at:%Y%m%d}", pieces, f"{total:.2f}"))
    return write_rows(folder / "cds.csv", "customer_id,date,cds,dollars", rows)


def woocommerce(folder: Path) -> ShopFile:
    """A WooCommerce export of a German admin: one row per order line."""
    rng = np.random.default_rng(10)
    orders = visits(rng, 650, "2023-03-01", 560, 50, 320)
    statuses = ["Abgeschlossen", "In Bearbeitung", "Storniert", "Fehlgeschlagen", "Rückerstattet"]
    rows = []
    for order, of_order in by_order(lines(rng, orders, 70, 3)):
        status = str(rng.choice(statuses, p=[0.86, 0.04, 0.05, 0.02, 0.03]))
        total = sum(row.quantity * row.price for row in of_order)
        for row in of_order:
            first, last = person(row.customer).split()
            rows.append(
                {
                    "Bestellnummer": 2000 + order,
                    "Bestellstatus": status,
                    "Bestelldatum": f"{row.at:%d.%m.%Y %H:%M}",
                    "Vorname (Rechnung)": first,
                    "Nachname (Rechnung)": last,
                    "Adresse (Rechnung)": f"Kiefernweg {row.customer}",
                    "E-Mail (Rechnung)": address(row.customer),
                    "Zahlungsmethode": "PayPal",
                    "Artikelnummer": f"SEIFE-{row.item:02}",
                    "Artikelname": f"Seife Nr. {row.item}",
                    "Menge": row.quantity,
                    "Artikelpreis": german(row.price),
                    "Positionssumme": german(row.quantity * row.price),
                    "Gesamtsumme der Bestellung": german(total),
                }
            )
    path = folder / "bestellungen.csv"
    return write_table(path, rows, encoding="utf-8-sig", delimiter=";")


def receipts(folder: Path) -> ShopFile:
    """A grocer's receipts with loyalty cards, separated by tabs."""
    rng = np.random.default_rng(11)
    orders = visits(rng, 350, "2024-01-02", 365, 12, 260)
    rows = [
        {
            "receipt_no": f"R{row.order:07}",
            "loyalty_card": f"9800{row.customer:06}",
            "date_time": f"{row.at:%Y-%m-%dT%H:%M:%S}",
            "article": 4000 + row.item,
            "description": f"Article {row.item}",
            "qty": row.quantity,
            "line_total": f"{row.quantity * row.price / 6:.2f}",
        }
        for row in lines(rng, orders, 240, 5)
    ]
    return write_table(folder / "receipts.tsv", rows, delimiter="\t")


def square(folder: Path) -> ShopFile:
    """A Square till's item sales: dollars with a sign, refunds as negative lines."""
    rng = np.random.default_rng(12)
    orders = visits(rng, 400, "2023-06-01", 420, 18, 230)
    rows = []
    for order, of_order in by_order(lines(rng, orders, 40, 2)):
        is_refunded = rng.random() < 0.02
        for kind, sign in (("Payment", 1), ("Refund", -1))[: 1 + is_refunded]:
            for row in of_order:
                at = row.at + timedelta(minutes=20 if sign < 0 else 0)
                sales = dollars(sign * row.quantity * row.price)
                rows.append(
                    {
                        "Date": f"{at:%m/%d/%y}",
                        "Time": f"{at:%H:%M:%S}",
                        "Time Zone": "Eastern Time (US & Canada)",
                        "Category": "Bakery",
                        "Item": f"Loaf {row.item}",
                        "Qty": f"{sign * row.quantity}.0",
                        "Price Point Name": "Regular",
                        "SKU": f"LF{row.item:03}",
                        "Modifiers Applied": "",
                        "Gross Sales": sales,
                        "Discounts": "$0.00",
                        "Net Sales": sales,
                        "Tax": "$0.00",
                        "Transaction ID": f"TX{order:06}{'R' if sign < 0 else ''}",
                        "Payment ID": f"PY{order:06}{'R' if sign < 0 else ''}",
                        "Device Name": "Till 1",
                        "Notes": "",
                        "Details": f"https://squareup.com/dashboard/sales/transactions/TX{order:06}",
                        "Event Type": kind,
                        "Location": "Main Street",
                        "Customer ID": f"CUST{row.customer:05}",
                        "Customer Name": person(row.customer),
                    }
                )
    return write_table(folder / "items.csv", rows)


def dollars(amount: float) -> str:
    """Write an amount as a till does."""
    return f"-${-amount:,.2f}" if amount < 0 else f"${amount:,.2f}"


SHOPS: dict[str, Callable[[Path], ShopFile]] = {
    write.__name__: write
    for write in (
        *(superstore, coffee, shopify, cosmetics, taobao, invoices, chinook),
        *(gifts, discs, woocommerce, receipts, square),
    )
}
