"""Twelve small made-up shop files, each of the shape of its platform's export.

Seeded: the same files every time. `tests.shop_counts` counts them without the product's code.
"""

import csv
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter, itemgetter
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
    rows: Iterable[Iterable[object]],
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


SHOPS: dict[str, Callable[[Path], ShopFile]] = {}
Rows = Iterator[dict[str, object]]


def shop_file(name: str, seed: int, **form: str) -> Callable[[Callable[..., Rows]], None]:
    """Register a shop whose rows, with the names of their columns, a function makes."""

    def register(make: Callable[..., Rows]) -> None:
        def write(folder: Path) -> ShopFile:
            rows = list(make(np.random.default_rng(seed)))
            return write_rows(folder / name, ",".join(rows[0]), map(dict.values, rows), **form)

        SHOPS[make.__name__] = write

    return register


def with_undone(
    rng: np.random.Generator, of_shop: list[Line], share: float, delay: timedelta
) -> Iterator[tuple[Line, int, datetime]]:
    """Undo a share of the orders later: yield lines with their sign and time."""
    for _, of_order in by_order(of_shop):
        for sign in (1, -1)[: 1 + (rng.random() < share)]:
            for row in of_order:
                yield row, sign, row.at + (delay if sign < 0 else timedelta())


@shop_file("superstore.csv", 1, encoding="cp1252")
def superstore(rng: np.random.Generator) -> Rows:
    """A Superstore: dates m/d/Y, Row ID, a discount rate, and orders every four months."""
    orders = visits(rng, 700, "2020-01-03", 1430, 240, 3000, joining=700)
    cities = [("Dover", "Delaware", "19901", "East"), ("Boise", "Idaho", "83702", "West")]
    for number, row in enumerate(lines(rng, orders, 180, 3), 1):
        discount = float(rng.choice([0, 0, 0, 0.2, 0.4]))
        sales = round(row.quantity * row.price * (1 - discount), 4)
        group = ("Furniture", "Supplies", "Technology")[row.item % 3]
        shipped = row.at + timedelta(days=int(rng.integers(0, 7)))
        yield {
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


@shop_file("coffee.csv", 2)
def coffee(rng: np.random.Generator) -> Rows:
    """A coffee machine's log: some pay in cash and stay unknown."""
    orders = visits(rng, 420, "2024-03-01", 390, 9, 160, shape=1.0)
    for row in orders:
        drink, price = DRINKS[rng.integers(0, len(DRINKS))]
        in_cash = rng.random() < 0.06
        stamp = row.at + timedelta(milliseconds=int(rng.integers(1, 1000)))
        yield {
            "date": f"{row.at:%Y-%m-%d}",
            "datetime": f"{stamp:%Y-%m-%d %H:%M:%S.%f}"[:-3],
            "cash_type": "cash" if in_cash else "card",
            "card": "" if in_cash else f"ANON-0000-0000-{row.customer + 1:04}",
            "money": f"{price + (1.3 if in_cash else 0):.2f}",
            "coffee_name": drink,
        }


@shop_file("orders_export_1.csv", 3)
def shopify(rng: np.random.Generator) -> Rows:
    """A Shopify shop paid on delivery: most orders are pending, refused ones are voided."""
    orders = visits(rng, 900, "2024-01-05", 420, 55, 220)
    header = (
        "Name,Email,Financial Status,Paid at,Fulfillment Status,Fulfilled at,Accepts Marketing,"
        "Currency,Subtotal,Shipping,Taxes,Total,Discount Code,Discount Amount,Shipping Method,"
        "Created at,Lineitem quantity,Lineitem name,Lineitem price,Lineitem compare at price,"
        "Lineitem sku,Lineitem requires shipping,Lineitem taxable,Lineitem fulfillment status,"
        "Billing Name,Billing Street,Billing City,Billing Phone,Cancelled at,Payment Method,"
        "Refunded Amount,Vendor,Id,Tags,Source"
    )
    for order, of_order in by_order(lines(rng, orders, 60, 3)):
        first = of_order[0]
        status = str(rng.choice(["pending", "pending", "pending", "paid", "paid", "voided"]))
        stamp = f"{first.at:%Y-%m-%d %H:%M:%S} +0500"
        subtotal = sum(row.quantity * row.price for row in of_order)
        for place, row in enumerate(of_order):
            values: dict[str, object] = dict.fromkeys(header.split(","), "")
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
            yield values


@shop_file("2019-Oct.csv", 4)
def cosmetics(rng: np.random.Generator) -> Rows:
    """The first hours of a log of all events, as REES46 writes it."""
    start = datetime(2019, 10, 1)
    for second in np.sort(rng.integers(0, 4 * 3600, 9000)):
        user, item = int(rng.integers(0, 900)), int(rng.integers(0, 300))
        kind = str(rng.choice(["view", "cart", "purchase"], p=[0.86, 0.08, 0.06]))
        yield {
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


@shop_file("ExportOrderList.csv", 5, encoding="gb18030")
def taobao(rng: np.random.Generator) -> Rows:
    """A Taobao order list in GB18030: one row per order, closed orders among them."""
    orders = visits(rng, 520, "2023-02-01", 500, 75, 330)
    for row in orders:
        item, pieces = int(rng.integers(0, 30)), int(rng.choice([1, 1, 2, 3]))
        status = str(
            rng.choice(["交易成功", "卖家已发货,等待买家确认", "交易关闭"], p=[0.9, 0.02, 0.08])
        )
        total, is_closed = pieces * (19.9 + 3 * item), status == "交易关闭"
        yield {
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


@shop_file("Rechnungen.csv", 6, encoding="latin-1", delimiter=";")
def invoices(rng: np.random.Generator) -> Rows:
    """German invoices in Latin-1: decimal commas, and Stornos with a number of their own."""
    orders = visits(rng, 450, "2022-01-10", 800, 60, 500)
    sold = with_undone(rng, lines(rng, orders, 90, 4), 0.04, timedelta(days=1))
    for row, sign, at in sorted(sold, key=itemgetter(2)):
        yield {
            "Belegart": "Rechnung" if sign > 0 else "Stornorechnung",
            "Belegnummer": f"{'RE' if sign > 0 else 'ST'}-{10000 + row.order}",
            "Belegdatum": f"{at:%d.%m.%Y}",
            "Kundennummer": f"K{20000 + row.customer}",
            "Kunde": f"{person(row.customer)} GmbH",
            "Artikelnummer": f"A-{row.item:04}",
            "Bezeichnung": f"Schlüssel für Tür {row.item}",
            "Menge": sign * row.quantity,
            "Einzelpreis": german(10 * row.price),
            "Gesamtpreis": german(sign * row.quantity * 10 * row.price),
            "Währung": "EUR",
        }


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


SHOPS["chinook"] = chinook


@shop_file("online_retail.csv", 8)
def gifts(rng: np.random.Generator) -> Rows:
    """A gift shop: cancellations with a C, lines without a customer, several countries."""
    orders = visits(rng, 600, "2010-12-01", 700, 45, 400)
    rows = []
    for _, of_order in by_order(lines(rng, orders, 150, 6)):
        is_guest, is_cancelled = rng.random() < 0.08, rng.random() < 0.03
        for sign in (1, -1)[: 1 + is_cancelled]:
            delay = timedelta(days=2 if sign < 0 else 0)
            rows += [(row.at + delay, sign, is_guest, row) for row in of_order]
    for at, sign, is_guest, row in sorted(rows, key=itemgetter(0)):
        yield {
            "InvoiceNo": f"{'C' if sign < 0 else ''}{536365 + row.order}",
            "StockCode": f"{20000 + row.item}{'A' if row.item % 5 == 0 else ''}",
            "Description": f"RED TEA TOWEL {row.item}",
            "Quantity": sign * row.quantity,
            "InvoiceDate": f"{at.month}/{at.day}/{at:%Y} {at.hour}:{at:%M}",
            "UnitPrice": f"{row.price:.2f}",
            "CustomerID": "" if is_guest else 12346 + row.customer,
            "Country": "France" if row.customer % 10 == 0 else "United Kingdom",
        }


@shop_file("cds.csv", 9)
def discs(rng: np.random.Generator) -> Rows:
    """A CD shop: everybody begins in one quarter, and few come back."""
    orders = visits(rng, 1500, "1997-01-01", 545, 140, 160, shape=1.0, joining=84)
    for row in orders:
        pieces = int(rng.choice([1, 1, 2, 3, 5]))
        total = pieces * float(rng.choice([11.77, 14.96, 16.99]))
        yield {
            "customer_id": f"{row.customer + 1:05}",
            "date": f"{row.at:%Y%m%d}",
            "cds": pieces,
            "dollars": f"{total:.2f}",
        }


@shop_file("bestellungen.csv", 10, encoding="utf-8-sig", delimiter=";")
def woocommerce(rng: np.random.Generator) -> Rows:
    """A WooCommerce export of a German admin: one row per order line."""
    orders = visits(rng, 650, "2023-03-01", 560, 50, 320)
    statuses = ["Abgeschlossen", "In Bearbeitung", "Storniert", "Fehlgeschlagen", "Rückerstattet"]
    for order, of_order in by_order(lines(rng, orders, 70, 3)):
        status = str(rng.choice(statuses, p=[0.86, 0.04, 0.05, 0.02, 0.03]))
        total = sum(row.quantity * row.price for row in of_order)
        for row in of_order:
            first, last = person(row.customer).split()
            yield {
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


@shop_file("receipts.tsv", 11, delimiter="\t")
def receipts(rng: np.random.Generator) -> Rows:
    """A grocer's receipts with loyalty cards, separated by tabs."""
    for row in lines(rng, visits(rng, 350, "2024-01-02", 365, 12, 260), 240, 5):
        yield {
            "receipt_no": f"R{row.order:07}",
            "loyalty_card": f"9800{row.customer:06}",
            "date_time": f"{row.at:%Y-%m-%dT%H:%M:%S}",
            "article": 4000 + row.item,
            "description": f"Article {row.item}",
            "qty": row.quantity,
            "line_total": f"{row.quantity * row.price / 6:.2f}",
        }


@shop_file("items.csv", 12)
def square(rng: np.random.Generator) -> Rows:
    """A Square till's item sales: dollars with a sign, refunds as negative lines."""
    orders = visits(rng, 400, "2023-06-01", 420, 18, 230)
    sold = with_undone(rng, lines(rng, orders, 40, 2), 0.02, timedelta(minutes=20))
    for row, sign, at in sold:
        sales = dollars(sign * row.quantity * row.price)
        yield {
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
            "Transaction ID": f"TX{row.order:06}{'R' if sign < 0 else ''}",
            "Payment ID": f"PY{row.order:06}{'R' if sign < 0 else ''}",
            "Device Name": "Till 1",
            "Notes": "",
            "Details": f"https://squareup.com/dashboard/sales/transactions/TX{row.order:06}",
            "Event Type": "Payment" if sign > 0 else "Refund",
            "Location": "Main Street",
            "Customer ID": f"CUST{row.customer:05}",
            "Customer Name": person(row.customer),
        }


def dollars(amount: float) -> str:
    """Write an amount as a till does."""
    return f"-${-amount:,.2f}" if amount < 0 else f"${amount:,.2f}"
