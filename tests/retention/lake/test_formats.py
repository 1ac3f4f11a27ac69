"""Test the maps of known exports."""

import csv
import json
import re
from io import StringIO

import pytest

from retention.errors import BadInput
from retention.lake import formats
from retention.lake.importing.mapping import read_map
from retention.lake.schema import TABLES
from retention.lake.suggesting.suggest import suggest

SHOPIFY_ORDERS = """Name,Email,Financial Status,Paid at,Fulfillment Status,Fulfilled at,\
Accepts Marketing,Currency,Subtotal,Shipping,Taxes,Total,Discount Code,Discount Amount,\
Shipping Method,Created at,Lineitem quantity,Lineitem name,Lineitem price,\
Lineitem compare at price,Lineitem sku,Lineitem requires shipping,Lineitem taxable,\
Lineitem fulfillment status,Billing Name,Billing Phone,Cancelled at,Payment Method,Refunded Amount,\
Vendor,Id,Tags,Risk Level,Source,Lineitem discount,Phone
#1004,Cy@Example.com,partially_refunded,2025-07-04 10:00:00 +0100,fulfilled,\
2025-07-05 09:00:00 +0100,no,GBP,30.00,3.00,0.00,33.00,,0.00,Standard,2025-07-04 09:59:00 +0100,1,\
Mug,10.00,,MUG-1,true,true,fulfilled,Cy Chi,,,Shopify Payments,4.00,Acme,5004,,Low,web,0.00,
#1004,Cy@Example.com,,,,,,,,,,,,,,2025-07-04 09:59:00 +0100,2,Tea - Green / 100 g,10.00,,,true,\
true,fulfilled,,,,,,Acme,,,,,0.00,
#1003,bo@example.com,refunded,2025-07-03 10:00:00 +0100,fulfilled,,no,GBP,20.00,0.00,0.00,20.00,,\
0.00,Pickup,2025-07-03 10:00:00 +0100,1,Mug,20.00,,MUG-1,true,true,fulfilled,Bo Bell,,,cash,20.00,\
Acme,5003,,Low,pos,0.00,
#1002,ann@example.com,voided,,unfulfilled,,no,GBP,10.00,0.00,0.00,10.00,,0.00,Standard,\
2025-07-02 10:00:00 +0100,1,Mug,10.00,,MUG-1,true,true,pending,Ann Ash,,2025-07-02 18:00:00 +0100,\
Shopify Payments,0.00,Acme,5002,,Low,web,0.00,
#1001,ann@example.com,paid,2025-07-01 10:00:00 +0100,fulfilled,,yes,GBP,45.00,5.00,0.00,50.00,\
SUMMER,5.00,Standard,2025-07-01 10:00:00 +0100,3,Mug,10.00,,MUG-1,true,true,fulfilled,Ann Ash,\
+441234,,Shopify Payments,0.00,Acme,5001,,Low,web,0.00,+441234
#1001,ann@example.com,,,,,,,,,,,,,,2025-07-01 10:00:00 +0100,2,Plate,10.00,,PLATE,true,true,\
fulfilled,,,,,,Acme,,,,,0.00,
#1000,,paid,2025-06-30 10:00:00 +0100,fulfilled,,no,GBP,10.00,0.00,0.00,10.00,,0.00,,\
2025-06-30 10:00:00 +0100,1,Mug,10.00,,MUG-1,true,true,fulfilled,,,,cash,0.00,Acme,5000,,Low,pos,\
0.00,
"""
SHOPIFY_CUSTOMERS = """Customer ID,First Name,Last Name,Email,Accepts Email Marketing,\
Default Address Company,Default Address Country Code,Default Address Phone,Phone,\
Accepts SMS Marketing,Total Spent,Total Orders,Note,Tax Exempt,Tags
'6001,Ann,Ash,Ann@example.com,yes,,GB,,'+441234,no,50.00,1,,no,"vip, friend"
'6002,Bo,,bo@example.com,no,,GB,+449999,,no,0.00,0,,no,
"""
SHOPIFY_PRODUCTS = """Handle,Title,Body (HTML),Vendor,Product Category,Type,Tags,Published,\
Option1 Name,Option1 Value,Option2 Name,Option2 Value,Variant SKU,Variant Inventory Tracker,\
Variant Inventory Qty,Variant Price,Variant Compare At Price,Image Src,Image Position,\
Cost per item,Status
mug,Mug,"<p>A mug, blue.</p>",Acme,Home & Garden > Kitchen > Mugs,Mugs,,true,Title,Default Title,,,\
MUG-1,shopify,5,10.00,12.00,https://x/1.jpg,1,4.00,active
mug,,,,,,,,,,,,,,,,,https://x/2.jpg,2,,
tea,Tea,,Leaf,Food > Tea,,,true,Kind,Green,Size,100 g,,shopify,0,10.00,,,,,active
tea,,,,,,,,,Black,,100 g,TEA-B,,,11.00,,,,,
"""
WOO_HEADER = "order_id,order_number,date,status,order_currency,customer_id,billing_email,refunds,"
WOO_LINES = f"""{WOO_HEADER}item_name,item_sku,item_product_id,item_quantity,item_subtotal,\
item_total,item_refunded,item_refunded_qty
11,11,2025-07-01 10:00:00,completed,EUR,7,Ann@example.com,,Mug,MUG-1,3,2,20.00,18.00,0,0
11,11,2025-07-01 10:00:00,completed,EUR,7,Ann@example.com,\
id:90|date:2025-07-09 08:00:00|amount:5.00|reason:,Tea,,4,1,5.00,5.00,-5.00,-1
12,12,2025-07-02 10:00:00,cancelled,EUR,0,bo@example.com,,Mug,MUG-1,3,1,10.00,10.00,0,0
13,13,2025-07-03 10:00:00,failed,EUR,0,bo@example.com,,Mug,MUG-1,3,1,10.00,10.00,0,0
"""
WOO_PACKED = f"""{WOO_HEADER}line_items
11,11,2025-07-01 10:00:00,completed,EUR,7,Ann@example.com,\
id:90|date:2025-07-09 08:00:00|amount:5.00|reason:,\
"id:1|name:Mug; blue|product_id:3|sku:MUG-1|quantity:2|subtotal:20.00|subtotal_tax:0.00|\
total:18.00|total_tax:0.00|refunded:0.00|refunded_qty:0|meta:;id:2|name:Tea|product_id:4|sku:|\
quantity:1|subtotal:5.00|subtotal_tax:0.00|total:5.00|total_tax:0.00|refunded:-5.00|\
refunded_qty:-1|meta:"
12,12,2025-07-02 10:00:00,wc-cancelled,EUR,0,bo@example.com,,\
"id:3|name:Mug|product_id:3|sku:MUG-1|quantity:1|subtotal:10.00|total:10.00|refunded:0.00|\
refunded_qty:0"
13,13,2025-07-03 10:00:00,failed,EUR,0,bo@example.com,,\
"id:4|name:Mug|product_id:3|sku:MUG-1|quantity:1|subtotal:10.00|total:10.00"
"""
WOO_CUSTOMERS = """customer_id,first_name,last_name,user_login,email,date_registered,billing_phone,\
billing_country
7,Ann,Ash,ann,Ann@example.com,2024-01-01 10:00:00,+331,FR
"""
WOO_PRODUCTS = """ID,Type,SKU,Name,Published,"Is featured?","Visibility in catalog","Tax status",\
"In stock?",Stock,"Sale price","Regular price",Categories,Tags,Images,Parent,Brands,\
"Attribute 1 name","Attribute 1 value(s)"
3,simple,MUG-1,"<b>Mug</b> &quot;5 < 6&quot;",1,0,visible,taxable,1,5,"8,50","10,00",\
"Home > Kitchen > Mugs &amp; Cups, Sale",,https://x/1.jpg,,Acme,,
4,variable,TEA,Tea,1,0,visible,taxable,1,,,,Tea,,,,Leaf,Kind,"Green, Black"
5,variation,,"Tea - Green",1,0,visible,taxable,0,0,,"5,00",,,,TEA,,Kind,Green
"""


@pytest.fixture
def import_text(lake, import_file):
    """Return a function that imports a known export and returns the report and the rows."""

    def do(name, text, table="events"):
        order = {"customers": "customer_id", "items": "item_id"}
        order["events"] = ["order_id", "event_type", "item_id"]
        report, again = (
            import_file(text.encode("utf-8-sig"), table=table, format_name=name) for _ in range(2)
        )
        assert again.rows_accepted == 0
        return report, lake.table(table).order_by(order[table]).to_pyarrow().to_pylist()

    return do


def _lines(events):
    return [
        (e["event_type"], e["order_id"], e["item_id"], e["quantity"], e["amount"]) for e in events
    ]


def test_shopify_orders_with_refunds_and_cancellations(import_text):
    report, events = import_text("shopify-orders", SHOPIFY_ORDERS)
    assert report.quarantine_text == {"customer_id is missing": 1}
    assert report.files[0]["rows"] == 7
    assert _lines(events) == [
        ("purchase", "#1001", "MUG-1", 3, 27),
        ("purchase", "#1001", "PLATE", 2, 18),
        ("cancelled", "#1002", "MUG-1", 1, 10),
        ("return", "#1002", "MUG-1", -1, -10),
        ("cancelled", "#1003", "MUG-1", 1, 20),
        ("return", "#1003", "MUG-1", -1, -20),
        ("purchase", "#1004", "MUG-1", 1, 10),
        ("purchase", "#1004", "Tea - Green / 100 g", 2, 20),
        ("return", "#1004", None, None, -4),
    ]
    first, cancelled, part = events[0], events[3], events[8]
    expected = {"customer_id": "ann@example.com", "discount": 3, "currency": "GBP"}
    assert first.items() >= {**expected, "channel": "web"}.items()
    assert first["occurred_at"].isoformat() == "2025-07-01T09:00:00"
    assert cancelled["occurred_at"].isoformat() == "2025-07-02T17:00:00"
    assert cancelled["available_at"] is None
    # Nobody knows when: not before the newest date.
    assert part["available_at"].isoformat() == "2025-07-04T08:59:00"
    assert part["customer_id"] == "cy@example.com"
    assert events[4]["channel"] == "store"


def test_reads_prices_rewritten_by_a_spreadsheet(import_text):
    """Unreadable prices are quarantined; the sale must not lose its amount silently.

    The order's subtotal must not be spread over the readable lines only.
    """
    text = (
        SHOPIFY_ORDERS.replace("GBP,45.00,", 'GBP,"1.045,01",')
        .replace(",3,Mug,10.00,", ',3,Mug,"€ 341,67",')
        .replace(",2,Plate,10.00,", ',2,Plate,"10,00",')
        .replace(",1,Mug,20.00,", ",1,Mug,free,")
        .replace(",2,Tea - Green / 100 g,10.00,", ",2,Tea - Green / 100 g,free,")
    )
    report, events = import_text("shopify-orders", text)
    assert report.quarantine_text == {"amount is no number": 3, "customer_id is missing": 1}
    lines = _lines(events)
    assert ("purchase", "#1004", "MUG-1", 1, 10) in lines
    expected = [("purchase", "#1001", "MUG-1", 3, 1025.01), ("purchase", "#1001", "PLATE", 2, 20)]
    assert lines[:2] == expected
    assert "#1003" not in {order for _, order, *_ in lines}


def test_shopify_orders_contain_customers(import_text):
    _, customers = import_text("shopify-orders", SHOPIFY_ORDERS, "customers")
    assert [(row["customer_id"], row["name"], row["marketing_consent"]) for row in customers] == [
        ("ann@example.com", "Ann Ash", False),
        ("bo@example.com", "Bo Bell", False),
        ("cy@example.com", "Cy Chi", False),
    ]


def test_shopify_customers(import_text):
    _, (ann, bo) = import_text("shopify-customers", SHOPIFY_CUSTOMERS, "customers")
    expected = ("ann@example.com", "Ann Ash", "+441234", True)
    assert (ann["customer_id"], ann["name"], ann["phone"], ann["marketing_consent"]) == expected
    assert '"6001"' in ann["attributes"]
    assert (bo["name"], bo["phone"], bo["marketing_consent"]) == ("Bo", "+449999", False)


def test_shopify_products_match_the_items_of_orders(import_text):
    report, items = import_text("shopify-products", SHOPIFY_PRODUCTS, "items")
    assert report.rows_quarantined == 0
    assert [
        (row["item_id"], row["title"], row["category"], row["brand"], row["price"], row["in_stock"])
        for row in items
    ] == [
        ("MUG-1", "Mug", "Mugs", "Acme", 10, True),
        ("TEA-B", "Tea - Black / 100 g", "Tea", "Leaf", 11, True),
        ("Tea - Green / 100 g", "Tea - Green / 100 g", "Tea", "Leaf", 10, False),
    ]
    assert items[0]["margin"] == pytest.approx(0.6)


def test_shopify_stock_gift_cards_and_variants(import_text):
    head, *rows = SHOPIFY_PRODUCTS.splitlines()
    head += ",Variant Inventory Policy,Gift Card"
    rows = [
        f"{row},{'continue' if 'Green' in row else 'deny'},"
        f"{'true' if row.startswith('mug') else ''}"
        for row in rows
    ]
    text = "\n".join([head, *rows])
    _, (mug, black, green) = import_text("shopify-products", text, "items")
    assert (green["title"], green["in_stock"]) == ("Tea - Green / 100 g", True)
    attributes = [json.loads(row["attributes"]) for row in (mug, black, green)]
    found = [(row["recommendable"], row["parent"]) for row in attributes]
    # Of one variant the title tells sizes apart.
    assert found == [(False, None), (None, "tea"), (None, "tea")]


@pytest.mark.parametrize("text", [WOO_LINES, WOO_PACKED])
def test_reads_woocommerce_orders_by_line_or_packed(import_text, text):
    report, events = import_text("woocommerce-orders", text)
    assert _lines(events) == [
        ("purchase", "11", "4", 1, 5),
        ("purchase", "11", "MUG-1", 2, 18),
        ("return", "11", "4", -1, -5),
        ("cancelled", "12", "MUG-1", 1, 10),
        ("return", "12", "MUG-1", -1, -10),
    ]
    assert report.rows_filtered == 1
    assert events[2]["occurred_at"].isoformat() == "2025-07-09T08:00:00"
    expected = ("ann@example.com", 2, "EUR")
    assert (events[1]["customer_id"], events[1]["discount"], events[1]["currency"]) == expected


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize("sign", ["&#36;%s", "&euro;%s", "Rs. %s", "S/.%s", "%s kr."])
def test_currency_symbols_are_not_digits(import_text, sign):
    """&#36;12.50 is 12.50, not 3,612.50."""
    written = re.sub(r"(?<=,)(-?\d+\.00)\b", lambda amount: sign % amount[1], WOO_LINES)
    _, events = import_text("woocommerce-orders", written)
    assert [e["amount"] for e in events] == [5, 18, -5, 10, -10]


@pytest.mark.parametrize("text", [WOO_LINES, WOO_PACKED])
def test_reads_woocommerce_amounts_in_any_notation(import_text, text):
    """Decimal commas must not lose the amounts."""
    dear = text.replace("18.00", "1.018.00").replace("20.00", "1.020.00")
    german = [
        [re.sub(r"(?<![\d.-])(-?[\d.]+)\.00\b", r"€ \1,00", cell) for cell in row]
        for row in csv.reader(StringIO(dear))
    ]
    written = "\n".join(",".join(f'"{cell}"' for cell in row) for row in german)
    _, events = import_text("woocommerce-orders", written)
    assert [(e["item_id"], e["quantity"], e["amount"], e["discount"]) for e in events] == [
        ("4", 1, 5, 0),
        ("MUG-1", 2, 1018, 2),
        ("4", -1, -5, None),
        ("MUG-1", 1, 10, 0),
        ("MUG-1", -1, -10, None),
    ]


def test_filters_orders_of_shopifys_test_gateway(import_text):
    tried = SHOPIFY_ORDERS.replace("Shopify Payments", "(for testing) Bogus Gateway")
    report, events = import_text("shopify-orders", tried)
    assert {event["order_id"] for event in events} == {"#1003"}
    assert report.rows_filtered == report.rows_read - len(events) - 1  # the guest's


def test_woocommerce_customers_and_products(import_text):
    _, (ann,) = import_text("woocommerce-customers", WOO_CUSTOMERS, "customers")
    expected = ("ann@example.com", "Ann Ash", None)
    assert (ann["customer_id"], ann["name"], ann["marketing_consent"]) == expected
    _, items = import_text("woocommerce-products", WOO_PRODUCTS, "items")
    assert [
        (row["item_id"], row["category"], row["brand"], row["price"], row["in_stock"])
        for row in items
    ] == [
        ("5", "Tea", "Leaf", 5, False),
        ("MUG-1", "Mugs & Cups", "Acme", 8.5, True),
        ("TEA", "Tea", "Leaf", None, True),
    ]
    assert [json.loads(row["attributes"])["parent"] for row in items] == ["TEA", None, None]
    assert '"recommendable":false' in items[2]["attributes"]
    assert items[1]["title"] == 'Mug "5 < 6"'  # the export writes names as HTML


@pytest.mark.parametrize(
    ("table", "format_name", "text", "expected_name"),
    [
        ("items", "shopify-products", SHOPIFY_ORDERS, "shopify-orders"),
        ("events", "woocommerce-orders", WOO_PRODUCTS, "woocommerce-products"),
        ("events", "woocommerce-orders", SHOPIFY_ORDERS, "shopify-orders"),
    ],
)
def test_refuses_another_export_and_names_it(import_file, table, format_name, text, expected_name):
    says = f"export.csv is no export of {format_name}: .* use --format {expected_name}"
    with pytest.raises(BadInput, match=says):
        import_file(text, table=table, name="export.csv", format_name=format_name)


@pytest.mark.parametrize(
    ("table", "how", "says"),
    [
        ("items", ["shopify-products"], "has no rows that the map"),
        ("events", ["shopify"], "shopify-orders"),
        ("events", ["shopify-orders"], 'does not fit .* it has no column "Name"; there are'),
        ("events", ["shopify-products"], "no section"),
        ("events", ["shopify-orders", ""], "its own map"),
    ],
)
def test_refuses_a_file_that_is_not_of_the_format(import_file, table, how, says):
    name, *map_text = how
    with pytest.raises(BadInput, match=says):
        import_file("a,b\n1,2\n", *map_text, table=table, format_name=name)


@pytest.mark.parametrize("name", formats.names())
def test_reads_the_map_of_each_format(name):
    path = formats.FOLDER / f"{name}.toml"
    tables = [table for table in TABLES if f"[{table}]" in path.read_text()]
    assert all(read_map(path, TABLES[table]) for table in tables)
    assert tables


ONE_MORE = (
    "id:{}|name:Mug|product_id:3|sku:MUG-1|quantity:1|subtotal:10.00|total:10.00|"
    "refunded:0.00|refunded_qty:0"
)
EQUAL = {
    "shopify-orders": (
        SHOPIFY_ORDERS.splitlines()[0] + "\n",
        "#{order},ann@example.com,{paid},,,,no,GBP,20.00,0,0,20.00,,0.00,,"
        "2025-07-0{order} 10:00:00 +0100,1,Mug,10.00,,MUG-1,true,true,,,,,,{back},Acme,,,,web,"
        "0.00,\n#{order},ann@example.com,,,,,,,,,,,,,,"
        "2025-07-0{order} 10:00:00 +0100,1,Mug,10.00,,MUG-1,true,true,,,,,,,Acme,,,,,0.00,\n",
        ("paid", "refunded"),
    ),
    "woocommerce-orders": (
        f"{WOO_HEADER}line_items\n",
        "{order},{order},2025-07-0{order} 10:00:00,{paid},EUR,7,ann@example.com,,"
        f"{ONE_MORE.format('9{order}')};{ONE_MORE.format('10{order}')}\n",
        ("completed", "refunded"),
    ),
}


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize("name", EQUAL)
def test_keeps_equal_lines_and_skips_overlapping_exports(name, lake, import_file):
    head, order, (paid, refunded) = EQUAL[name]

    def import_text(*orders):
        text = head + "".join(
            order.format(order=n, paid=p, back="0" if p == paid else "20.00") for n, p in orders
        )
        report = import_file(text, format_name=name)
        return report.rows_accepted, report.rows_duplicate

    assert import_text((1, paid), (2, paid)) == (4, 0)
    assert import_text((3, paid), (2, refunded)) == (4, 2)
    assert import_text((3, paid), (2, refunded), (1, paid)) == (0, 8)
    events = lake.table("events").execute()
    expected = {"cancelled": 20, "purchase": 40, "return": -20}
    assert events.groupby("event_type").amount.sum().to_dict() == expected


def test_deduplicates_woocommerce_lines_by_number(import_file):
    head, order, (paid, _) = EQUAL["woocommerce-orders"]
    text = head + 2 * order.format(order=1, paid=paid)
    report = import_file(text, format_name="woocommerce-orders")
    assert (report.rows_accepted, report.rows_duplicate) == (2, 2)


@pytest.mark.parametrize(
    ("table_name", "text", "name", "table"),
    [
        ("events", SHOPIFY_ORDERS, "shopify-orders", "events"),
        ("customers", SHOPIFY_ORDERS, "shopify-orders", "customers"),
        ("customers", SHOPIFY_CUSTOMERS, "shopify-customers", "customers"),
        ("items", SHOPIFY_PRODUCTS, "shopify-products", "items"),
        ("events", WOO_LINES, "woocommerce-orders", "events"),
        ("events", WOO_PACKED, "woocommerce-orders", "events"),
        ("customers", WOO_CUSTOMERS, "woocommerce-customers", "customers"),
        ("events", WOO_PRODUCTS, "woocommerce-products", "items"),
    ],
)
def test_suggest_names_the_format_of_a_known_export(
    table_name, text, name, table, lake, write_file
):
    proposed = suggest(lake, table_name, write_file(text, "export.csv"))
    shop, kind = ("Shopify" if "shopify" in name else "WooCommerce"), name.partition("-")[2]
    assert f"reads like a {shop} export of {kind}" in proposed
    assert f"retention import {table} export.csv --format {name}\n" in proposed
    assert all(line.startswith("#") for line in proposed.splitlines())
