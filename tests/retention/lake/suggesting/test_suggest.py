"""Test that proposed maps import files like handwritten maps."""

import io
import json
import random
import tomllib
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest

from retention.errors import BadInput
from retention.lake import Lake
from retention.lake.importing.import_files import import_files
from retention.lake.reading.column_formats import count_formats
from retention.lake.suggesting import profiles
from retention.lake.suggesting.suggest import propose, suggest
from retention.settings import Settings

BY_HAND = {
    "gifts": """[events]
timezone    = "Europe/London"
where       = { sql = '''"Price" > 0 AND NOT lower("Description") LIKE '%test product%' ''' }
customer_id = "Customer ID"
occurred_at = "InvoiceDate"
order_id    = "Invoice"
item_id     = "StockCode"
quantity    = "Quantity"
amount      = { sql = '"Quantity" * "Price"' }
currency    = { value = "GBP" }
event_type  = { sql = '''CASE WHEN "Invoice" LIKE 'C%' THEN 'return' ELSE 'purchase' END''' }
""",
    "discs": """[events]
customer_id = "column1"
occurred_at = "column2"
quantity    = "column3"
amount      = "column4"
event_type  = { value = "purchase" }
""",
    "laden": """[events]
customer_id = "Kundennummer"
occurred_at = "Bestelldatum"
order_id    = "Bestellnummer"
item_id     = "Artikelnummer"
quantity    = "Menge"
amount      = "Gesamtbetrag"
event_type  = { sql = '''CASE WHEN "Menge" < 0 THEN 'return' ELSE 'purchase' END''' }
""",
}


def _gifts(at, rng):
    rows = ["Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID,Country"]
    for number in range(400):
        when = at(number).strftime("%d/%m/%Y %H:%M")
        who = "" if rng.random() < 0.2 else f"{12346 + number // 3 % 60}.0"
        invoice = f"{'C' if number % 25 == 0 else ''}{536365 + number // 3}"
        code = (
            rng.choice(["85123A", "22423", "71053", "84406B"])
            if number % 40
            else rng.choice(["POST", "M", "BANK CHARGES"])
        )
        title = "This is a test product." if number % 100 == 99 else '"LANTERN, RED £"'
        price = "0.00" if number % 50 == 7 else f"{rng.randint(85, 900) / 100:.2f}"
        land = "United Kingdom" if number % 9 else "France"
        rows.append(
            f"{invoice},{code},{title},{-1 if invoice[0] == 'C' else rng.randint(1, 48)},"
            f"{when},{price},{who},{land}"
        )
    return "\n".join(rows).encode("cp1252")


def _discs(at, rng):
    rows = [
        f" {1 + number // 4:05} {at(number * 30):%Y%m%d} "
        f"{rng.randint(1, 5):2} {rng.randint(900, 9000) / 100:7.2f}"
        for number in range(300)
    ]
    return "\n".join(rows).encode()


def _laden(at, rng):
    rows = ["Kundennummer;Bestellnummer;Bestelldatum;Artikelnummer;Menge;Gesamtbetrag;Ort"]
    rows += [
        f"{500 + number // 3 % 40};{9000 + number // 3};{at(number):%d.%m.%Y};"
        f"{rng.randint(100, 120)};{-1 if number % 30 == 0 else 2};"
        f"1.{rng.randint(100, 999)},{rng.randint(10, 99)};Köln"
        for number in range(300)
    ]
    return "\n".join(rows).encode("cp1252")


MADE = {"gifts": _gifts, "laden": _laden, "discs": _discs}


def _rows(home, path, map_text):
    settings = Settings(home=home, _env_file=None)
    home.mkdir()
    (home / "map.toml").write_text(map_text)
    lake = Lake.open(settings)
    report = import_files(lake, None, settings, "events", [path], home / "map.toml")
    return report, _events(lake)


def _events(lake) -> list[dict]:
    return lake.table("events").order_by("event_id").to_pyarrow().to_pylist()


@pytest.mark.nightly_after(2)
@pytest.mark.parametrize("kind", BY_HAND)
def test_proposed_map_imports_like_a_handwritten_one(kind, lake, tmp_path, write_file):
    content = MADE[kind](_at, random.Random(kind))
    path = write_file(content, f"{kind}.{'txt' if kind == 'discs' else 'csv'}")
    proposed = suggest(lake, "events", path)
    mine, rows = _rows(tmp_path / "proposed", path, proposed)
    theirs, expected = _rows(tmp_path / "by-hand", path, BY_HAND[kind])
    assert rows == expected, proposed
    assert len(rows) > 200
    found = (mine.quarantine_text, mine.rows_filtered)
    assert found == (theirs.quarantine_text, theirs.rows_filtered)


def _at(number: int) -> datetime:
    return datetime(2010, 1, 4, 8, 26) + timedelta(hours=17 * number)


@pytest.fixture
def section_of(lake, write_file):
    """Return a function that writes a file, and returns the section of the proposed map."""

    def do(content, name="rows.csv", table="events", of=lake):
        return tomllib.loads(suggest(of, table, write_file(content, name)))[table]

    return do


def _day(n: int) -> str:
    return f"2025-01-{n % 28 + 1:02}"


def _moment(n: int) -> str:
    return f"{_day(n)}T10:00:00Z"


def _buyer(n: int) -> dict[str, str]:
    return {"id": f"u{n % 20}"}


def _log(rows: int = 60, **fields: Callable[[int], Any]) -> str:
    """Return JSON lines; a field's function gets the number of the line."""
    records = ({name: of(n) for name, of in fields.items()} for n in range(rows))
    return "".join(f"{json.dumps(record)}\n" for record in records)


def test_translates_event_words(lake, import_proposed):
    numbered = enumerate(["addtocart", "view", "transaction", "hover"] * 20)
    rows = "".join(f"{n % 9},{kind},item{n % 7},{_day(n)}\n" for n, kind in numbered)
    proposal, report = import_proposed(f"visitorid,event,itemid,timestamp\n{rows}")
    assert "WHEN 'addtocart' THEN 'cart'" in proposal.text
    assert "unknown, quarantined: hover" in proposal.text
    assert {event["event_type"] for event in _events(lake)} == {"view", "cart", "purchase"}
    assert report.rows_quarantined == 20


@pytest.mark.parametrize("name", ["type", "typ", "kind", "was"])
def test_finds_the_event_type_by_content(name, section_of):
    kinds = ["view", "cart", "search", "email_click", "purchase"]
    fields = {name: lambda n: kinds[n % 5], "at": _moment, "sku": lambda n: f"s{n % 7}"}
    text = _log(100, user=lambda n: f"u{n % 30}", **fields)
    assert section_of(text, "clicks.jsonl")["event_type"] == name


def test_product_type_is_not_the_event_type(section_of):
    rows = "".join(f"{n % 9},{('mug', 'rug')[n % 2]},{_day(n)},{n}.50\n" for n in range(60))
    section = section_of(f"customer,type,date,total\n{rows}")
    assert section["event_type"] == {"value": "purchase"}


@pytest.mark.parametrize("name", ["Store ID", "Filiale", "Location Name", "门店名称"])
def test_finds_the_store_of_an_order(name, section_of):
    rows = "".join(f"{n % 9},{('Nord', 'Sued')[n % 2]},{_day(n)},{n}.50\n" for n in range(60))
    assert section_of(f"customer,{name},date,total\n{rows}")["store"] == name


def test_nested_fields_have_dotted_names(lake, tmp_path, import_proposed):
    kinds = ["product_viewed", "added_to_cart", "order_completed", "order_refunded"]
    text = _log(
        200,
        evt=lambda n: {"name": kinds[n % 4], "ts": f"{_day(n)}T10:00:00+02:00"},
        user=lambda n: {"id": f"u{n // 3 % 30}"},
        line=lambda n: {"product": {"sku": f"s{n % 7}"}, "qty": 2, "unit_price": 1.5},
        order=lambda n: {"no": n // 3},
    )
    proposal, report = import_proposed(text, name="clicks.jsonl")
    section, events = tomllib.loads(proposal.text)["events"], _events(lake)
    found = (section["customer_id"], section["order_id"], section["item_id"])
    assert found == ("user.id", "order.no", "line.product.sku")
    assert report.rows_quarantined == 0
    assert {event["event_type"] for event in events} >= {"view", "cart", "purchase", "return"}
    first = events[0]
    assert (first["quantity"], first["amount"], first["occurred_at"].hour) == (2.0, 3.0, 8)
    by_hand = proposal.text.replace(
        '"line.qty" * "line.unit_price"', '"line"."qty" * "line"."unit_price"'
    )
    assert by_hand != proposal.text
    assert _rows(tmp_path / "by-hand", str(tmp_path / "clicks.jsonl"), by_hand)[1] == events


def test_unnests_orders_into_lines(lake, import_proposed):
    def order(n):
        items = [{"sku": f"s{(n + p) % 7}", "title": f"Tea {(n + p) % 7}"} for p in range(n % 3)]
        lines = [item | {"qty": p + 1, "price": 2.5} for p, item in enumerate(items)]
        return {"no": n, "created_at": f"{_day(n)}T10:00:00+02:00", "total": 99.5, "lines": lines}

    taxes = [{"name": "VAT", "rate": 0.2}]
    text = _log(id=lambda n: f"r{n}", order=order, user=_buyer, taxes=lambda _: taxes)
    proposal, report = import_proposed(text, name="orders.jsonl")
    section, events = tomllib.loads(proposal.text)["events"], _events(lake)
    found = (section["customer_id"], section["order_id"], section["item_id"], section["title"])
    assert found == ("user.id", "order.no", "line.sku", "line.title")
    counts = (report.rows_read, report.rows_filtered, report.rows_accepted, report.rows_quarantined)
    assert counts == (80, 20, 60, 0)  # 20 of the 60 orders list nothing
    assert {(event["quantity"], event["amount"]) for event in events} == {(1.0, 2.5), (2.0, 5.0)}


def test_api_orders_have_line_ids_prices_and_discounts(lake, import_proposed):
    line = {"sku": "s", "quantity": 2, "price": "2.50", "total_discount": "0.25"}
    proposal, report = import_proposed(
        _log(
            id=lambda n: 1000 + n,
            created_at=_moment,
            total_price=lambda _: "99.50",
            customer=lambda n: {"id": n % 20},
            line_items=lambda n: [{"id": 100 + 2 * n} | line, {"id": 101 + 2 * n} | line],
        ),
        name="orders.jsonl",
    )
    expected = {
        "order_id": "id",
        "event_id": "line.id",
        "discount": "line.total_discount",
        "amount": {"sql": '"line.quantity" * "line.price"'},
    }
    assert tomllib.loads(proposal.text)["events"].items() >= expected.items()
    # Equal lines of an order are two sales.
    assert (report.rows_accepted, sum(event["amount"] for event in _events(lake))) == (120, 600.0)


LINE = [{"sku": "s1", "qty": 1, "total": 2.5}]


def test_keeps_views_in_a_log_of_orders_and_views(lake, import_proposed):
    """Unnesting must not drop rows without a list."""
    log_lines = []
    for n in range(100, 160):
        visit = {"user": _buyer(n), "at": f"{_day(n)}T10:{n - 100}:00Z"}
        lines = [*LINE, {"sku": "s2", "qty": 2, "total": 5}]
        log_lines.append({"what": "view"} | visit)
        log_lines.append({"what": "order"} | visit | {"order": f"o{n}", "lines": lines})
    _, report = import_proposed("\n".join(map(json.dumps, log_lines)), name="log.jsonl")
    assert report.rows_read == report.rows_accepted == 180
    kinds = Counter((event["event_type"], event["item_id"]) for event in _events(lake))
    assert kinds == {("view", None): 60, ("purchase", "s1"): 60, ("purchase", "s2"): 60}


@pytest.mark.parametrize("none", [[], None], ids=["[]", "null"])
def test_counts_orders_without_lines(lake, import_proposed, none):
    """An order without lines is filtered and counted; it is not a sale."""
    orders = {"id": lambda n: f"o{n}", "lines": lambda n: none if n == 50 else LINE}
    proposal, report = import_proposed(_log(user=_buyer, at=_moment, **orders), name="orders.jsonl")
    assert "1 order without lines" in proposal.text
    assert (report.rows_read, report.rows_filtered, report.rows_accepted) == (60, 1, 59)
    assert "o50" not in {event["order_id"] for event in _events(lake)}


@pytest.mark.parametrize("none", [[], None], ids=["[]", "null"])
def test_keeps_views_with_an_empty_list(lake, import_proposed, none):
    mixed = {"what": lambda n: ("order", "view")[n % 2], "lines": lambda n: (LINE, none)[n % 2]}
    _, report = import_proposed(_log(user=_buyer, at=_moment, **mixed), name="log.jsonl")
    assert report.rows_read == 60
    assert {event["event_type"] for event in _events(lake)} == {"view", "purchase"}


@pytest.mark.parametrize(
    ("zone", "offset", "named"),
    [("Asia/Kolkata", "", True), ("Asia/Kolkata", "Z", False), ("UTC", "", False)],
)
def test_times_without_zone_get_the_shops_time_zone(settings, section_of, zone, offset, named):
    """RETENTION_TIMEZONE gives the zone. A column's name may have braces."""
    lines = [f"u{n % 9},2025-01-{n + 1:02} 01:30:00{offset},{n}\n" for n in range(28)]
    own = Lake.open(settings.model_copy(update={"timezone": zone}))
    section = section_of("who,date {local},order\n" + "".join(lines), of=own)
    assert section.get("timezone") == (zone if named else None)
    assert section["occurred_at"] == "date {local}"


def test_reads_decimal_columns(section_of):
    frame = pd.DataFrame({"customer": ["a", "b"] * 20, "order_id": [f"o{n}" for n in range(40)]})
    frame["order_date"] = pd.date_range("2025-01-01", periods=40)
    frame["total"] = [Decimal(f"{10 + n}.50") for n in range(40)]
    assert section_of(frame, "orders.parquet")["amount"] == "total"


def test_pieces_on_hand_become_in_stock(section_of):
    text = "SKU,Dept,Maker,Stock on hand\n" + "".join(f"s{n},tea,Ann,{n % 9}\n" for n in range(40))
    section = section_of(text, table="items")
    assert section == {
        "item_id": "SKU",
        "category": "Dept",
        "brand": "Maker",
        "in_stock": {"sql": '"Stock on hand" > 0'},
    }


@pytest.mark.parametrize("line", [True, False], ids=["of the line", "of one"])
def test_amount_column_may_be_a_quantity(line, section_of):
    draw, rows = random.Random(3), []
    for n in range(400):
        item, pieces = draw.randrange(40), draw.choice((1, 1, 2, 3))
        price = (50 + 7 * item) * (pieces if line else 1)
        rows.append(f"11/{1 + n % 28}/2000,{n % 50:08d},47{item:06d},{pieces},{price}")
    text = "TRANSACTION_DT,CUSTOMER_ID,PRODUCT_ID,AMOUNT,SALES_PRICE\n" + "\n".join(rows) + "\n"
    section = section_of(text)
    assert section["quantity"] == "AMOUNT"
    assert section["amount"] == ("SALES_PRICE" if line else {"sql": '"AMOUNT" * "SALES_PRICE"'})


@pytest.mark.parametrize(("people", "doubted"), [(200, True), (150, False)])
def test_doubts_a_customer_id_that_never_repeats(lake, write_file, people, doubted):
    rows = (f"o{n},c{n % people},2024-01-{1 + n % 28:02}" for n in range(200))
    text = "order_id,customer_id,order_purchase_timestamp\n" + "\n".join(rows) + "\n"
    assert ("a new one for each order" in suggest(lake, "events", write_file(text))) == doubted


def test_items_from_sales_get_their_most_frequent_title(lake, import_proposed):
    lines = (
        "1,A,WHITE MUG,2.5\n2,A,WHITE MUG,2.5\n3,B,RED BAG,4\n4,B,RED BAG,3\n5,B,RED BAG,4\n"
        "6,A,damaged,0\n7,B,,0\n"
    )
    import_proposed("Invoice,StockCode,Description,Price\n" + lines, "items")
    items = lake.table("items").execute().set_index("item_id")
    assert items.title.to_dict() == {"A": "WHITE MUG", "B": "RED BAG"}
    assert items.price.to_dict() == {"A": 2.5, "B": 4.0}


@pytest.mark.parametrize("decimal", [".", ","], ids=["point", "comma"])
def test_item_price_from_line_prices_is_per_piece(decimal, lake, import_proposed):
    draw, rows = random.Random(3), []
    for n in range(400):
        item, pieces = draw.randrange(8), draw.choice((1, 2, 2, 3, 3, 3))
        price = f"{(1.25 + item) * pieces:.2f}".replace(".", decimal)
        rows.append(f"{1 + n % 28:02}.11.2024;{n % 50};p{item};{pieces};{price}")
    # Taken off the bill again.
    rows += [f"01.12.2024;{n % 50};p7;0;0{decimal}00" for n in range(30)]
    import_proposed("Datum;Kunde;SKU;Menge;Preis\n" + "\n".join(rows) + "\n", "items")
    items = lake.table("items").execute().set_index("item_id")
    assert items.price.to_dict() == {f"p{item}": 1.25 + item for item in range(8)}


def test_constant_columns_become_customer_attributes(lake, import_proposed):
    """In a file of sales, categories of items and spend are not attributes of customers."""
    columns = {
        "customer": [f"c{n}" for n in range(60)] * 4,
        "Age Group": ["20-29", "30-39", None] * 80,
        "Country": ["UK", "France"] * 120,
        "category": ["tea"] * 60 + ["jam"] * 180,
        "pieces": [1, 2, 3] * 80,
    }
    proposal, _ = import_proposed(pd.DataFrame(columns), "customers")
    section = tomllib.loads(proposal.text)["customers"]
    expected = {"sql": """json_object('age_group', "Age Group", 'country', "Country")"""}
    assert section["attributes"] == expected
    assert "Not used: category, pieces" in proposal.text
    held = lake.table("customers").execute().set_index("customer_id").attributes.map(json.loads)
    assert held["c1"] == {"age_group": "30-39", "country": "France"}
    assert held["c2"] == {"age_group": None, "country": "UK"}


def test_recall_and_parent_become_item_attributes(lake, import_proposed):
    rows = [
        {"sku": f"s{n}", "title": f"Tea {n}", "price": n + 0.5}
        | {"attrs": {"recalled": n == 3, "parent_id": f"p{n % 5}"}}
        for n in range(20)
    ]
    import_proposed("\n".join(map(json.dumps, rows)), "items", name="items.jsonl")
    attributes = lake.table("items").execute().set_index("item_id").attributes.map(json.loads)
    assert attributes["s3"] == {"recalled": True, "parent_id": "p3"}
    assert attributes["s4"] == {"recalled": False, "parent_id": "p4"}


@pytest.mark.parametrize(("styles", "has_style"), [(2, False), (60, True)])
def test_style_is_an_attribute_only_for_few_variants(lake, write_file, styles, has_style):
    """With styles like casual and boho, a list would have one item of each."""
    rows = [f"s{n},Dress {n},{n}.5,style {n % styles}" for n in range(180)]
    file = write_file("\n".join(["sku,title,price,style", *rows]))
    assert ("json_object('style'" in suggest(lake, "items", file)) == has_style


def test_skips_sales_to_guests(import_proposed):
    """They are filtered instead of quarantined, which would count them twice."""
    columns = {"Customer ID": [13000.0, 13001.0, None] * 40, "Country": ["UK", "France", "UK"] * 40}
    proposal, report = import_proposed(pd.DataFrame(columns), "customers")
    assert "33.3% of the lines are of nobody who is known" in proposal.text
    assert "quarantined" not in proposal.text
    assert (report.rows_accepted, report.rows_filtered, report.rows_quarantined) == (2, 40, 0)


def test_proposes_a_map_of_customers(section_of):
    text = "Client ID,E-Mail,Opt-in,Nom\n1,a@x.de,yes,Ann\n2,b@x.de,no,Bo\n"
    assert section_of(text, table="customers") == {
        "customer_id": "Client ID",
        "email": "E-Mail",
        "name": "Nom",
        "marketing_consent": "Opt-in",
    }


def test_refuses_a_file_without_a_likely_column(section_of):
    with pytest.raises(BadInput, match="looks like occurred_at"):
        section_of("colour,size\nred,1\nblue,2\n")


# ---------------------------------------------------------------- the time of day


def _sales(names: str, moments: list[str]) -> str:
    rows = [f"K{row % 7:03},{moment},T{row:04},Tea,2,4.50" for row, moment in enumerate(moments)]
    return "\n".join([f"Customer ID,{names},Transaction ID,Item,Qty,Net Sales", *rows]) + "\n"


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize(
    ("names", "moments"),
    [
        ("Date,Time", "{at:%m/%d/%y},{at:%H:%M:%S}"),
        ("Datum,Uhrzeit", "{at:%d.%m.%Y},{at:%H:%M}"),
        ("Date,Time", "{at:%Y%m%d},{at:%H:%M}"),
        ("Order Date,Order Time", "{at:%Y-%m-%d},{at:%I:%M %p}"),
        ("下单日期,下单时间", "{at:%Y-%m-%d},{at:%H:%M:%S}"),
    ],
)
def test_date_and_time_of_day_become_one_time(lake, import_proposed, names, moments):
    begin = datetime(2023, 6, 1, 8, 15)
    times = [begin + timedelta(hours=7 * row, minutes=row) for row in range(60)]
    import_proposed(_sales(names, [moments.format(at=at) for at in times]))
    frame = lake.table("events").execute().sort_values("occurred_at")
    assert [at.to_pydatetime().replace(tzinfo=None) for at in frame.occurred_at] == times


@pytest.mark.parametrize(
    "names", ["Date,Pickup Time", "Date,Duration", "Order Date,Delivery Time", "Date,Service Time"]
)
def test_other_times_are_not_the_time_of_the_order(section_of, names):
    moments = [f"2023-06-{1 + row % 28:02},{row % 24:02}:30" for row in range(60)]
    assert section_of(_sales(names, moments))["occurred_at"] == names.split(",")[0]


def test_date_in_text_of_a_typed_source_stays_alone(section_of):
    """Expressions over a Parquet file's texts get them unread."""
    at = datetime(2023, 6, 1, 8, 15)
    text = _sales("Date,Time", [f"{at + timedelta(days=row):%m/%d/%y},08:15" for row in range(60)])
    frame = pd.read_csv(io.StringIO(text))
    assert section_of(frame, "till.parquet")["occurred_at"] == "Date"


def test_map_counts_the_statuses_of_all_files(lake, write_file):
    files = []
    for status in ("completed", "refunded"):
        rows = "".join(f"o{n},c{n % 10},{_day(n)},sku{n % 4},10.5,{status}\n" for n in range(40))
        text = f"order_id,customer_id,order_date,sku,line_total,status\n{rows}"
        files.append(write_file(text, f"{status}.csv"))
    other = write_file("sku,title\na,b\n", "other.csv")
    proposal = propose(lake, "events", files[0], None, [other, files[1]])
    assert tomllib.loads(proposal.text)["events"]["leave_out"] == {"status": ["refunded"]}


def test_formats_of_a_wide_file_are_counted_a_few_columns_at_a_time(section_of, monkeypatch):
    columns = [f"note_{number}" for number in range(10)]
    text = ",".join(["customer_id", "order_date", "total", *columns])
    rows = [f"{n % 9},2024-01-0{1 + n % 9},5{',x' * len(columns)}" for n in range(40)]
    widths: list[int] = []

    def count_widths(con, relation, names, kinds):
        widths.append(len(kinds))
        return count_formats(con, relation, names, kinds)

    monkeypatch.setattr(profiles, "BATCH_COLUMNS", 4)
    monkeypatch.setattr(profiles, "count_formats", count_widths)
    assert section_of("\n".join([text, *rows]))["amount"] == "total"
    assert (max(widths), sum(widths)) == (4, 13)
