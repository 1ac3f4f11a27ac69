"""Test `retention start`: from a shop's file to a list of customers at risk."""

import csv
import io
import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sqlalchemy

from bot.terminal import run
from bot.terminal.terminal_runner import printed
from retention.features.order_rhythm import GRID
from retention.lake import Lake
from retention.lake.importing.import_files import import_files
from retention.settings import Settings
from tests import field_shops
from tests.shop_counts import COUNTS, Figures
from tests.shop_files import SHOPS, lines, person, visits, write_rows
from tests.workbooks import write_workbook

# Of all made-up shops: names, streets and telephone numbers.
PERSONAL = ("Kiefernweg", "Hill Road", "0300 1", "139000", "王0", "浙江省")


def shop_file(folder: Path, name: str = "shop.csv", header: str | None = None) -> str:
    """Write a small shop whose customers order every week; two ids look like formulas."""
    rng = np.random.default_rng(20)
    orders = visits(rng, 60, "2024-01-02", 200, 8, 120)
    rows = []
    for row in lines(rng, orders, 12, 2):
        customer = ("=1+1", "@SUM(A1)")[row.customer] if row.customer < 2 else f"c{row.customer}"
        order = (f"o{row.order}", customer, person(row.customer), f"{row.at:%Y-%m-%d %H:%M:%S}")
        rows.append((*order, f"sku{row.item}", row.quantity, f"{row.quantity * row.price:.2f}"))
    header = header or "order_id,customer_id,customer_name,order_date,sku,quantity,line_total"
    return write_rows(folder / name, header, rows).arguments[0]


def write_text(path: Path, head: str, rows: list[tuple]) -> str:
    """Write rows without quotes; return the path."""
    path.write_text("\n".join([head, *(",".join(map(str, row)) for row in rows)]))
    return str(path)


def _march(n: int) -> str:
    return f"2024-03-{1 + n % 28:02}"


def start(capsys, *arguments: str) -> dict:
    """Run the command as a script does, and return its JSON object."""
    assert run(["start", *arguments, "--yes", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refusal(capsys, *arguments: str) -> str:
    """Return the error of a refused command, which must have imported nothing."""
    assert run(["start", *arguments]) == 2
    assert Lake.open(Settings()).newest_event() is None
    return capsys.readouterr().err


# ---------------------------------------------------------------- a small shop


def test_start_turns_a_file_into_a_list_and_repeats_nothing(home, tmp_path, capsys):
    file = shop_file(tmp_path)
    assert run(["start", file, "--yes", "--out", "lists"]) == 0
    captured = capsys.readouterr()
    steps = [line for line in captured.err.splitlines() if line.startswith("Step ")]
    counted = ["Importing", "Training a churn model", "Listing the customers at risk"]
    named = ["Reading the columns", "Counting customers and orders", *counted]
    assert steps == [f"Step {number} of 5: {name}" for number, name in enumerate(named, 1)]
    assert "shop.csv: 60 customers," in captured.err
    assert "What to do next" in captured.out
    assert "Churn means: no order within" in captured.out

    again = start(capsys, file, "--out", "lists")
    assert again["import"]["rows_accepted"] == 0
    assert again["import"]["rows_duplicate"] == again["import"]["rows_read"]
    assert again["queued"] is None
    assert [path.name for path in (home / "maps").iterdir()] == ["shop.toml"]

    page, table, *_lapsed = map(Path, again["files"])
    rows = list(csv.DictReader(io.StringIO(table.read_bytes().decode("utf-8-sig"))))
    assert len(rows) == again["cohort_size"] == len(again["cohort"])
    assert not [row for row in rows if row["customer_id"].startswith(("=", "@"))]
    assert "<h1>" in page.read_text(encoding="utf-8")


@pytest.fixture
def nobody(monkeypatch) -> None:
    """Nobody can be asked, so the command ends after it has shown the figures."""
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))


def asked(monkeypatch, answer: str) -> None:
    """A person at a terminal types an answer."""
    answers = io.StringIO(f"{answer}\n")
    monkeypatch.setattr(answers, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", answers)


def test_nothing_is_imported_without_a_person_or_yes(home, tmp_path, nobody, capsys):
    error = refusal(capsys, shop_file(tmp_path))
    assert "60 customers" in error
    assert "Add --yes" in error
    assert not list(tmp_path.glob("at-risk*"))


def test_answering_no_imports_nothing_and_names_the_map(home, tmp_path, monkeypatch, capsys):
    asked(monkeypatch, "n")
    error = refusal(capsys, shop_file(tmp_path))
    assert "Are these your shop's figures?" in error
    assert f"--map {home / 'maps' / 'shop.toml'}" in error


def test_orders_counted_otherwise_than_before_are_refused(home, tmp_path, nobody, capsys):
    rows = [(n % 9, f"c{n % 31}", f"2023-03-{1 + n // 9:02}", 5.5) for n in range(180)]
    file = write_text(tmp_path / "till.csv", "receipt,customer_id,date,total", rows)
    assert "the same date and receipt" in refusal(capsys, file)
    [proposed] = (home / "maps").iterdir()
    text = proposed.read_text()
    earlier = home / "maps" / "of-an-earlier-version.toml"
    earlier.write_text(re.sub("(?m)^order_id.*$", 'order_id = "receipt"', text))
    proposed.unlink()
    import_files(Lake.open(Settings()), None, Settings(), "events", [file], earlier)
    assert run(["start", file, "--yes"]) == 2
    assert f"with --map {earlier}" in capsys.readouterr().err
    assert not proposed.exists()


@pytest.mark.nightly
def test_corrected_map_is_not_replaced(home, tmp_path, nobody, capsys):
    file = shop_file(tmp_path)
    refusal(capsys, file)
    stored = home / "maps" / "shop.toml"
    stored.write_text(stored.read_text() + "# corrected\n")
    refusal(capsys, file)
    assert stored.read_text().endswith("# corrected\n")
    assert (home / "maps" / "shop-2.toml").exists()


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("write", "means", "noun"),
    [
        (field_shops.subscription_box, "renewal", "payments"),
        (field_shops.course_platform, "activity", "active days"),
    ],
)
def test_page_of_a_field_says_what_churn_means(home, tmp_path, capsys, write, means, noun):
    shop = write(tmp_path, 60)
    data = start(capsys, *shop.files, "--out", "lists")
    days = shop.events.groupby([shop.events.customer, shop.events["at"].dt.date]).ngroups
    assert data["preview"]["figures"].startswith(f"60 customers, {days:,} {noun}")
    assert data["import"]["rows_quarantined"] == 0
    assert data["definition"]["means"] == means
    assert len(data["maps"]) == 2
    page = Path(data["files"][0]).read_text(encoding="utf-8")
    assert {"renewal": "not renewed within", "activity": "no activity within"}[means] in page
    assert "“Order” here means" in page
    assert start(capsys, *shop.files)["import"]["rows_accepted"] == 0
    capsys.readouterr()
    assert run(["definition", "set", "--horizon", "40d"]) == 0
    assert "no order" not in capsys.readouterr().out  # it stays what the exports say


MAP = "[events]\ncustomer_id = '{}'\noccurred_at = '{}'\nevent_type = {{ value = 'purchase' }}\n"


@pytest.mark.nightly
def test_missing_file_column_or_other_shape_is_refused_by_name(home, tmp_path, capsys):
    assert "no such file" in refusal(capsys, "nowhere.csv", "--yes")
    (tmp_path / "map.toml").write_text(MAP.format("buyer", "order_date"))
    first = shop_file(tmp_path)
    assert "buyer" in refusal(capsys, first, "--map", "map.toml", "--yes")
    other = shop_file(tmp_path, "other.csv", "order,buyer,name,day,sku,quantity,line_total")
    assert "other.csv" in refusal(capsys, first, other, "--yes")


def test_sqlite_file_without_a_query_gets_a_hint(home, tmp_path, capsys):
    path = tmp_path / "shop.sqlite"
    with closing(sqlite3.connect(path)) as shop, shop:
        shop.execute("CREATE TABLE orders (id)")
    error = refusal(capsys, str(path), "--yes")
    assert f"'sqlite:///{path}' --query" in error


def test_guessed_customer_needs_a_person(home, tmp_path, monkeypatch, capsys):
    towns = [f"Town {number % 30}" for number in range(90)]
    rows = [(town, f"2024-03-{1 + n % 28:02}", n % 7 + 0.5) for n, town in enumerate(towns)]
    path = write_text(tmp_path / "towns.csv", "town,day,total", rows)
    error = refusal(capsys, path, "--yes")
    assert "town was chosen because of its values" in error
    assert f"--map {home / 'maps' / 'towns.toml'}" in error
    assert not list(tmp_path.glob("at-risk*"))

    asked(monkeypatch, "")  # by default, no
    monkeypatch.setenv("RETENTION_HOME", str(tmp_path / "second"))
    refusal(capsys, path)


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize(
    ("header", "row", "said"),
    [
        (
            "First Name,Last Name,Email,Accepts Email Marketing",
            lambda n: ("Ada", "Ahorn", f"a{n}@b.org", "yes"),
            "has no orders",
        ),
        (
            "day,order_count,total,customer_city",  # a count of orders is no customer
            lambda n: (_march(n), n % 40, n + 0.5, f"City {n % 30}"),
            "because of its values",
        ),
        (
            "master_id,channel,first_order_date,last_order_date,order_num,value_total",
            lambda n: (f"m-{n}", "Web", _march(n), _march(n + 1), 2 + n % 9, 9.5 + n),
            "first_order_date, last_order_date",
        ),
        (
            "CustomerID,Recency,Frequency,Monetary",
            lambda n: (n, n, 3, n + 0.5),
            "Export the orders",
        ),
        (
            "customer_id,created_at,n_orders,lifetime_value",
            lambda n: (f"c{n}", "2021-01-02", 3, n + 0.5),
            "Export the orders",
        ),
        (
            "email,signup,Last Purchase,Total Orders",
            lambda n: (f"a{n}@b.org", "2021-01-02", "2023-04-05", 3),
            "Export the orders",
        ),
        (
            "customer_id,order_date,total",  # as a spreadsheet spoils long numbers
            lambda n: (f"9.9{n % 9}E+14", _march(n), n + 0.5),
            "Export customer_id as text",
        ),
    ],
)
def test_file_that_is_no_list_of_orders_is_refused(home, tmp_path, capsys, header, row, said):
    path = write_text(tmp_path / "export.csv", header, [row(n) for n in range(10, 100)])
    assert said in refusal(capsys, path, "--yes")


def test_orders_of_one_time_buyers_are_no_sums(home, tmp_path, nobody, capsys):
    rows = [(*row, "2023-05-01", n % 5) for n, row in enumerate(order_rows(30))]
    header = ",".join((*ORDERS, "last_updated", "customer_orders"))
    path = write_text(tmp_path / "o.csv", header, rows)
    assert "30 customers, 30 orders" in refusal(capsys, path)


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("created_at", [f"{1700000000 + 86_400 * n}" for n in range(90)]),
        ("created_at", [f"{1700000000000 + 86_400_000 * n}" for n in range(90)]),
        ("ts_of_till", [f"{1700000000 + 86_400 * n}" for n in range(90)]),
        ("Order Date", [f"{45000 + n}" for n in range(90)]),
        ("date", [f"20230101{n % 24:02}" for n in range(90)]),
    ],
)
def test_times_in_the_guise_of_numbers_are_recognised(
    home, tmp_path, nobody, capsys, column, values
):
    rows = [(n % 30, value, n + 0.5) for n, value in enumerate(values)]
    path = write_text(tmp_path / "epochs.csv", f"customer_id,{column},total", rows)
    assert re.search(r"30 customers.*\b2023\b", refusal(capsys, path))


# ---------------------------------------------------------------- titles, sheets, several files

ORDERS = ("order_number", "customer_id", "order_date", "total")


def order_rows(orders: int = 90) -> list[tuple]:
    """Orders of 30 customers on days of 2023, of 5 and a half each."""
    return [(f"A{n}", f"c{n % 30}", f"2023-03-{1 + n % 28:02}", 5.5) for n in range(orders)]


@pytest.mark.nightly_after(2)
@pytest.mark.parametrize(
    "titles",
    [
        [("1", "2", "3", "4")],
        [("Orders, of, March",), (), ("Made on", "2024-01-01"), (), ()],
        [("column",) * 4, ("", "", "", "")],
    ],
)
@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_title_rows_above_the_names_are_skipped(home, tmp_path, nobody, capsys, titles, kind):
    rows = [*titles, ORDERS, ("", "", "", ""), *order_rows()]
    path = tmp_path / f"march.{kind}"
    if kind == "xlsx":
        write_workbook(path, {"Orders": rows})
    else:
        mark = "," if len(titles) < 5 else ";"
        path.write_text("\n".join(mark.join(map(str, row)) for row in rows))
    assert "30 customers, 90 orders, sales of 495, 1 Mar 2023" in refusal(capsys, str(path))


@pytest.mark.nightly
def test_sheet_is_chosen_by_content_or_by_name(home, tmp_path, nobody, capsys):
    customers = [(f"c{n}", f"c{n}@example.org", f"2020-01-{1 + n % 28:02}") for n in range(30)]
    path = tmp_path / "shop.xlsx"
    write_workbook(
        path,
        {
            "About": [("The shop's book",)],
            "Customers": [("customer_id", "email", "created_at"), *customers],
            "Orders": [("Orders of March",), ORDERS, *order_rows()],
            "Draft": [(*ORDERS, "note"), *((*row, "x") for row in order_rows(40))],
        },
    )
    assert "30 customers, 90 orders, sales of 495" in refusal(capsys, str(path))
    named = refusal(capsys, str(path), "--sheet", "Draft")
    assert "30 customers, 40 orders, sales of 220" in named
    assert 'no rows in a sheet "Nowhere"' in refusal(capsys, str(path), "--sheet", "Nowhere")
    csv_file = write_rows(tmp_path / "o.csv", ",".join(ORDERS), order_rows()).arguments[0]
    assert "o.csv is none" in refusal(capsys, csv_file, "--sheet", "Orders")


@pytest.mark.nightly
def test_all_sheets_with_the_columns_of_the_map_are_read(home, tmp_path, nobody, capsys):
    months = {
        "March": [ORDERS, *order_rows()],
        "April": [
            ("note", *map(str.upper, ORDERS)),
            *(("x", f"B{row[0]}", *row[1:]) for row in order_rows(60)),
        ],
        "Targets": [("month", "orders"), ("March", 90)],
        "Empty": [ORDERS],
    }
    write_workbook(tmp_path / "shop.xlsx", months)
    error = refusal(capsys, str(tmp_path / "shop.xlsx"))
    assert "30 customers, 150 orders, sales of 825" in error
    assert "Targets. Sheets read: March, April." in error


def related_tables() -> dict[str, list[tuple]]:
    """Orders of 30 customers, their lines, and what the shop knows of customers and products."""
    days, price = [f"2023-03-{1 + n % 28:02}" for n in range(90)], [n % 7 + 0.5 for n in range(180)]
    totals = [price[2 * n] + price[2 * n + 1] for n in range(90)]
    orders = [(f"A{n}", f"c{n % 30}", days[n], totals[n]) for n in range(90)]
    of_lines = [(f"A{n // 2}", f"P{n % 7}", 1, price[n]) for n in range(180)]
    customers = [(f"c{n}", "2020-01-01", "cancelled", 999) for n in range(30)]
    return {
        "orders": [("id", "customer_id", "order_date", "total"), *orders],
        "lines": [("order_id", "product_id", "quantity", "unit_price"), *of_lines],
        "customers": [("customer_id", "created_at", "status", "total_spent"), *customers],
        "products": [("sku", "price"), *((f"P{n}", n + 0.5) for n in range(7))],
    }


def write_tables(folder: Path, *names: str, without: str = "") -> list[str]:
    """Write some of the tables, without a column."""
    files = []
    for name in names:
        head, *rows = related_tables()[name]
        kept = [place for place, column in enumerate(head) if column != without]
        text = [",".join(str(row[place]) for place in kept) for row in (head, *rows)]
        (folder / f"{name}.csv").write_text("\n".join(text))
        files.append(str(folder / f"{name}.csv"))
    return files


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize(
    ("names", "without", "joins"),
    [
        (("orders", "lines"), "", 1),
        (("lines", "orders"), "total", 1),
        (("customers", "lines", "orders"), "", 2),
        (("orders", "lines", "products"), "unit_price", 2),
    ],
)
def test_related_files_are_joined_by_their_keys(
    home, tmp_path, nobody, capsys, names, without, joins
):
    files = write_tables(tmp_path, *names, without=without)
    error = refusal(capsys, *files)
    assert "30 customers, 90 orders, sales of 625, 1 Mar 2023" in error
    assert error.count(" joined with ") == joins
    assert "0 rows without a match" in error


def test_persons_of_another_file_replace_new_ids_for_each_order(home, tmp_path, nobody, capsys):
    rows = order_rows()
    tables = {
        "order_id,customer_id,order_date": [(r[0], f"k{r[0]}", r[2]) for r in rows],
        "order_id,sku,price": [(r[0], "P1", r[3]) for r in rows],
        "customer_id,customer_unique_id": [(f"k{r[0]}", r[1]) for r in rows],
    }
    files = [write_text(tmp_path / f"{head}.csv", head, part) for head, part in tables.items()]
    assert "30 customers, 90 orders, sales of 495" in refusal(capsys, *files)


def test_file_that_adds_nothing_is_left_out(home, tmp_path, nobody, capsys):
    error = refusal(capsys, *write_tables(tmp_path, "customers", "orders"))
    assert "customers.csv adds nothing to the sales of orders.csv" in error
    assert "30 customers, 90 orders, sales of 625" in error
    [stored] = (home / "maps").iterdir()
    assert stored.name == "orders.toml"


def test_file_without_a_common_key_is_refused_by_name(home, tmp_path, nobody, capsys):
    files = write_tables(tmp_path, "orders", "lines")
    (tmp_path / "shops.csv").write_text("shop,town\n1,Bath\n2,York\n")
    error = refusal(capsys, *files, str(tmp_path / "shops.csv"))
    assert "shops.csv cannot be joined with" in error


@pytest.mark.parametrize("lines", [10, 178])
def test_orders_without_a_line_are_not_lost_in_silence(home, tmp_path, nobody, capsys, lines):
    [orders] = write_tables(tmp_path, "orders")
    head, *rows = related_tables()["lines"]
    some = write_text(tmp_path / "lines.csv", ",".join(head), rows[-lines:])
    error = refusal(capsys, orders, some)
    lost = 90 - lines // 2
    assert f"{lost / 90:.1%} of the orders of orders.csv are not in lines.csv" in error
    assert ("leave it out" in error) == (lost > 1)


@pytest.mark.parametrize("names", [("orders", "lines"), ("lines", "orders")])
def test_complete_lines_need_no_complete_orders(home, tmp_path, nobody, capsys, names):
    head, *orders = related_tables()["orders"]
    of_lines = related_tables()["lines"][1:]
    lines = [(*orders[n // 2][:3], row[1], row[3]) for n, row in enumerate(of_lines)]
    write_text(tmp_path / "orders.csv", ",".join(head), orders)
    write_text(tmp_path / "lines.csv", "order_id,customer_id,order_date,sku,total", lines)
    files = [str(tmp_path / f"{name}.csv") for name in names]
    assert "30 customers, 90 orders, sales of 625" in refusal(capsys, *files)


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize("head", ["Row ID,order_id", "order_id,line"])
def test_complete_exports_with_other_columns_are_all_read(home, tmp_path, nobody, capsys, head):
    files, is_new = [], head.startswith("Row")
    for year, more, of_more in ((2023, "", ()), (2024, ",source", ("web",))):
        # The newer export has orders of its own, or those of the older one.
        order, of = (f"{year}-", year) if is_new else ("A", 2023)
        rows = [(f"c{n % 30}", f"{of}-03-{1 + n % 28:02}", 5, *of_more) for n in range(90)]
        keys = [(n + 1, f"{order}{n}") for n in range(90)]
        rows = [
            (*(key if is_new else key[::-1]), *row) for key, row in zip(keys, rows, strict=True)
        ]
        columns = f"{head},customer_id,order_date,total{more}"
        files.append(write_text(tmp_path / f"{year}.csv", columns, rows))
    orders = 180 if is_new else 90
    assert f"30 customers, {orders} orders, sales of {orders * 5}" in refusal(capsys, *files)


def test_numbers_of_rows_join_no_files(home, tmp_path, nobody, capsys):
    orders = [(n + 1, f"c{n % 30}", f"2023-03-{1 + n % 28:02}", 5.5) for n in range(90)]
    first = write_text(tmp_path / "orders.csv", "Row ID,customer_id,order_date,total", orders)
    notes = [(n + 1, f"note {n}") for n in range(90)]
    second = write_text(tmp_path / "notes.csv", "Row ID,title", notes)
    error = refusal(capsys, first, second)
    assert "notes.csv does not have" in error
    assert "joined" not in error


def test_joining_tells_of_broken_lines(home, tmp_path, nobody, capsys):
    files = write_tables(tmp_path, "orders", "lines")
    with Path(files[1]).open("a") as text:
        text.write("\nA1,P1,1,2,too,many,values\n")
    assert "lines.csv: 1 line cannot be read" in refusal(capsys, *files)


@pytest.mark.nightly
def test_joined_files_have_one_quarantine_file(home, tmp_path, capsys):
    files = write_tables(tmp_path, "orders", "lines")
    orders = Path(files[0])
    orders.write_text(orders.read_text().replace("2023-03-01", "some day"))
    for _ in range(2):
        assert start(capsys, *files)["import"]["rows_quarantined"]
    assert len(list((home / "quarantine").rglob("events-*.parquet"))) == 1


@pytest.mark.nightly
def test_named_sheet_of_two_workbooks_is_read(home, tmp_path, nobody, capsys):
    for number in (1, 2):
        rows = [(f"{number}{row[0]}", *row[1:]) for row in order_rows()]
        extra = [("c1", "x")] * number
        book = {"Other": [("customer_id", f"note {number}"), *extra], "Mine": [ORDERS, *rows]}
        write_workbook(tmp_path / f"{number}.xlsx", book)
    books = [str(tmp_path / f"{number}.xlsx") for number in (1, 2)]
    assert "30 customers, 180 orders" in refusal(capsys, *books, "--sheet", "Mine")


@pytest.mark.nightly
def test_sheets_are_joined_where_no_sheet_suffices(home, tmp_path, nobody, capsys):
    tables = related_tables()
    sheets = {name: tables[name] for name in ("customers", "orders", "lines")}
    sheets["orders"] = [row[:3] for row in sheets["orders"]]
    write_workbook(tmp_path / "shop.xlsx", sheets)
    error = refusal(capsys, str(tmp_path / "shop.xlsx"))
    assert "30 customers, 90 orders, sales of 625" in error


def test_lines_without_orders_or_prices_say_how_to_add_them(home, tmp_path, nobody, capsys):
    error = refusal(capsys, *write_tables(tmp_path, "lines"))
    assert "retention start lines.csv OTHER.csv" in error
    head, *rows = [(*row[:3], "P1") for row in related_tables()["orders"]]
    head = ",".join((*head[:3], "sku"))
    path = write_text(tmp_path / "sales.csv", head, rows)
    assert "retention start sales.csv PRICES.csv" in refusal(capsys, path)


@pytest.mark.nightly
def test_joined_files_make_a_list_and_leave_no_copy(home, tmp_path, capsys):
    files = write_tables(tmp_path, "orders", "lines")
    data = start(capsys, *files)
    assert data["import"]["rows_accepted"] == 180
    assert data["again"].split()[:2] == ["retention", "start"]
    assert not list(home.rglob("*joined.jsonl"))
    page = (Path(__file__).parents[3] / "docs/start/first_list.md").read_text(encoding="utf-8")
    section = page.partition("## Read the result in a script")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    for key in re.findall(r"`([\w.]+)`", " ".join(rows)):
        value = data
        for part in key.split("."):
            assert part in value, key
            value = value[part]
    assert data["preview"]["currency"] == ""


def test_preview_counts_rows_left_out(home, tmp_path, nobody, capsys):
    rows = [(*row, "cancelled" if n % 9 == 0 else "paid") for n, row in enumerate(order_rows())]
    path = write_text(tmp_path / "o.csv", ",".join((*ORDERS, "status")), rows)
    assert "10 of 90 orders are cancelled" in refusal(capsys, path)


def test_error_names_no_file_that_is_gone(home, tmp_path, capsys):
    rows = [(n % 30, f"day {n}", n + 0.5) for n in range(90)]
    path = write_text(tmp_path / "days.csv", "customer_id,date,total", rows)
    (tmp_path / "map.toml").write_text(MAP.format("customer_id", "date"))
    error = refusal(capsys, path, "--map", "map.toml", "--yes")
    named = [Path(name) for name in re.findall(r"/[\w./-]+", error)]
    assert all(path.exists() for path in named), error


def test_folder_that_cannot_be_written_is_refused_first(home, tmp_path, capsys):
    (tmp_path / "taken").write_text("a file, no folder")
    error = refusal(capsys, shop_file(tmp_path), "--yes", "--out", "taken/lists")
    assert "Name another --out" in error
    assert not (home / "maps").exists()


def test_map_of_a_database_does_not_hold_its_password(home, tmp_path, monkeypatch, nobody, capsys):
    shop = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'shop.sqlite'}")
    rows = [{"buyer_id": f"b{n % 9}", "ordered_at": _march(n), "total": 9.5} for n in range(40)]
    pd.DataFrame(rows).to_sql("sales", shop, index=False)
    monkeypatch.setattr("sqlalchemy.create_engine", lambda url: shop)
    url = "postgresql://desk:s3cret@db.example.org/sales?sslpassword=hidden"
    assert run(["start", url, "--query", "SELECT * FROM sales"]) == 2
    captured = capsys.readouterr()
    assert "9 customers" in captured.err
    [stored] = (home / "maps").iterdir()
    assert stored.name == "sales.toml"
    assert not re.search("s3cret|hidden", captured.out + captured.err + stored.read_text())


# ---------------------------------------------------------------- twelve shops


@pytest.mark.nightly
@pytest.mark.parametrize("name", SHOPS)
def test_start_reads_every_shop_as_an_analyst_counts_it(home, tmp_path, capsys, name):
    shop = SHOPS[name](tmp_path)
    data = start(capsys, *shop.arguments)
    counted = COUNTS[name](shop)
    assert_same_figures(data["preview"], counted)
    assert_plausible_definition(data["definition"]["horizon_days"], counted)
    assert_useful_list(data, printed("bot/start", data, Settings()))


def assert_same_figures(preview: dict, counted: Figures) -> None:
    assert (preview["customers"], preview["orders"]) == (counted.customers, counted.orders)
    assert preview["revenue"] == {counted.currency: pytest.approx(counted.revenue, abs=0.01)}
    assert preview["first_day"] == counted.first_day.isoformat()
    assert preview["last_day"] == counted.last_day.isoformat()
    assert sum(one["orders"] for one in preview["left_out"]) == counted.cancelled


def assert_plausible_definition(horizon: int, counted: Figures) -> None:
    assert horizon in GRID
    if np.isnan(counted.gap_days):  # nobody came back, in hours
        assert horizon == GRID[0]
    else:
        assert counted.gap_days <= horizon <= max(14, 8 * counted.gap_days)


def assert_useful_list(data: dict, text: str) -> None:
    """The list tells customers apart, or its first line says why not; it names nobody."""
    if not data["cohort"]:
        assert re.match("There is no model yet|No active customer", text)
    elif data["cohort_size"] > 0.9 * data["customers"]:
        assert text.startswith("All ")
    for customer in data["cohort"][:20]:
        assert str(customer["customer_id"]) in text
    assert not [word for word in PERSONAL if word in text]
    assert not [number for number in range(1500) if person(number) in text]
