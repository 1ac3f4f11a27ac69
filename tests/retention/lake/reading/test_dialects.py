"""Test the detection of encodings, delimiters, numbers and dates in text files."""

import gzip

import pandas as pd
import pyarrow as pa
import pytest

from retention.errors import BadInput
from retention.lake.importing.import_files import import_files
from retention.lake.reading.dialect import detect_encoding

MAP = """[events]
customer_id = "Customer"
occurred_at = "Date"
item_id     = "Item"
amount      = "Amount"
event_type  = { value = "purchase" }
"""


HEADER = "Customer,Date,Item,Amount\n"


@pytest.fixture
def import_bytes(import_file, lake):
    """Return a function that imports a file and returns the report and the events."""

    def do(content, name="shop.csv", map_text=MAP):
        report = import_file(content, map_text, name=name)
        events = lake.table("events").order_by(["occurred_at", "item_id"]).execute()
        return report, events.to_dict("records")

    return do


WORDS = {
    "utf-8": "Café crème £5, Müller, Łódź, Привет",
    "utf-8-sig": "Café crème £5, Müller",
    "utf-16": "Café crème £5, Привет",
    "utf-16-le": "Cafe creme £5 for two people",
    "cp1252": "Café crème, £5 “tea” – Müller’s",
    "cp1251": "Привет чайник фарфоровый белый с цветами подарок",
    "cp932": "陶器のティーポット 花柄 白い カップ 日本語",
    "gb18030": "白色瓷茶壶 带花朵图案 礼物 中文商品名称",
}


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize("encoding", WORDS)
def test_detects_and_reads_encodings(import_bytes, encoding):
    words = WORDS[encoding]
    rows = "".join(f'{number};2025-01-{number + 1:02};"{words}";3.50\n' for number in range(1, 20))
    report, events = import_bytes(f"Customer;Date;Item;Amount\n{rows}".encode(encoding))
    assert [event["item_id"] for event in events] == [words] * 19
    assert report.files[0].items() >= {"encoding": encoding, "delimiter": ";"}.items()


def test_one_late_pound_sign_reveals_the_encoding(tmp_path):
    path = tmp_path / "long.csv"
    path.write_bytes(b"a,b\n" + b"1,plain\n" * 400_000 + "2,£3 mug\n".encode("cp1252"))
    assert detect_encoding(path, None) == "cp1252"
    path.write_bytes(gzip.compress("1,naïve café\n".encode() * 50 + "2,£3 mug\n".encode("cp1252")))
    assert detect_encoding(path, "gzip") == "utf-8 with windows-1252 bytes"


def test_reads_a_file_of_two_encodings(import_bytes):
    rows = "1,2025-01-01,naïve,1\n".encode() * 3 + "2,2025-01-02,café,2\n".encode("cp1252")
    _, events = import_bytes(b"Customer,Date,Item,Amount\n" + rows)
    assert {event["item_id"] for event in events} == {"naïve", "café"}


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize(
    ("date", "amount", "delimiter"),
    [
        ("31.12.2024", "1.234,56", ";"),
        ("31/12/2024", "€ 1.234,56", "\t"),
        ("31-12-2024 00:00", "1234,56 EUR", "|"),
        ("12/31/2024 12:00:00 AM", '"$1,234.56"', ","),
        ("20241231", "1 234.56", ","),
        ("31 Dec 2024", "£1234.56", ","),
        ("1735603200", "1234.56", ","),
        ("2024-12-31T01:00:00+0100", "USD 1234.56", ","),
        ("31/12/24", "1234,56", ";"),
        ("31-Dec-24", "1234.56", ","),
        ("31-DEC-2024", "1234.56", ","),
        ("Tue Dec 31 2024", "1234.56", ","),
        ("Tue Dec 31 00:00:00 2024", "1234.56", ","),
        ('"Tuesday, December 31, 2024"', "1234.56", ","),
        ("2024123100", "1234.56", ","),
        ("202412310000", "1234.56", ","),
        ("1735603200000", "1234.56", ","),
        ("45657", "1234.56", ","),
        ("45657.0", "1234,56", ";"),
    ],
)
def test_reads_decimal_marks_money_and_dates(import_bytes, date, amount, delimiter):
    row = delimiter.join(["1", date, "a", amount])
    _, (event,) = import_bytes(f"{HEADER.replace(',', delimiter)}{row}\n")
    assert (event["occurred_at"].isoformat(), event["amount"]) == ("2024-12-31T00:00:00", 1234.56)


@pytest.mark.parametrize("epoch", ["1735603200", "1735603200000", "1735603200.0"])
def test_seconds_since_1970_are_in_no_time_zone(import_bytes, epoch):
    text = MAP + "timezone = 'America/New_York'\n"
    _, events = import_bytes(f"{HEADER}1,{epoch},a,1\n", map_text=text)
    assert events[0]["occurred_at"].isoformat() == "2024-12-31T00:00:00"


def test_reads_accounting_negatives(import_bytes):
    numbered = enumerate(["(1,234.50)", "-£5.00", "5.00-", "£-7"], 1)
    rows = "".join(f'{n},2025-01-0{n},a,"{amount}"\n' for n, amount in numbered)
    _, events = import_bytes(HEADER + rows)
    assert [event["amount"] for event in events] == [-1234.5, -5, -5, -7]


def test_expressions_use_decimal_commas_and_numeric_dates(import_bytes):
    text = MAP.replace('"Amount"', "{ sql = '\"Amount\" * 2' }").replace(
        '"Date"', "{ sql = '\"Date\" + INTERVAL 1 DAY' }"
    )
    report, events = import_bytes(
        b"Customer;Date;Item;Amount\n"
        + b"1;13/02/2025;a;1,50\n2;01/02/2025;a;2,50\n" * 9
        + b"2;x;a;y\n",
        map_text=text,
    )
    assert {event["amount"] for event in events} == {3, 5}
    assert events[0]["occurred_at"].isoformat() == "2025-02-02T00:00:00"
    assert report.rows_quarantined == 1
    assert (report.files[0]["decimal"], report.files[0]["dates"]) == (",", {"Date": "day first"})


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize(
    ("sql", "order"),
    [
        ('"No" + 1000', "1007"),
        ("printf('%06d', \"No\")", "000007"),
        ("strftime(\"Till date\", '%Y%m%d')", "20250113"),
        ('"No" || \'-\' || "Till"', "7-R3"),
        ('concat_ws(\'-\', "Till", ("No"))', "R3-7"),
    ],
)
def test_expressions_of_orders_get_numbers_and_dates(import_bytes, sql, order):
    content = b"Customer,Date,Item,Amount,No,Till date,Till\n1,2025-01-13,a,2,7,13/01/2025,R3\n"
    content += b"1,2025-01-13,a,2,8,13/01/2025,4\n" * 20
    _, events = import_bytes(content, map_text=f"{MAP}order_id = {{ sql = '''{sql}''' }}\n")
    assert order in {event["order_id"] for event in events}


def test_invalid_dates_do_not_decide_day_or_month_first(import_bytes):
    rows = "1;31.01.2025;a;1\n" * 40 + "1;99.99.2022;a;1\n"
    report, events = import_bytes(f"Customer;Date;Item;Amount\n{rows}")
    assert (len({event["occurred_at"] for event in events}), report.rows_quarantined) == (1, 1)
    assert not any("month first" in note for note in report.files[0].get("notes", []))


def test_reads_indian_digit_groups(import_bytes):
    """Amounts grouped as in India were no numbers: all large orders stood in quarantine."""
    amounts = enumerate(["1,00,000.50", "12,34,56,789", "1,200.00"])
    rows = "".join(f'{n},2025-01-02,a{n},"{amount}"\n' for n, amount in amounts)
    report, events = import_bytes(HEADER + rows)
    assert [event["amount"] for event in events] == [100000.5, 123456789, 1200]
    assert report.files[0]["decimal"] == "."


def test_notes_duplicate_columns_that_the_map_reads(import_bytes):
    """Reading the first of two columns with the same name must not be silent."""
    report, events = import_bytes(
        b"Customer,Date,Item,Amount,amount,Note,Note\n1,2025-01-02,a,1,9,x,y\n"
    )
    assert events[0]["amount"] == 1
    (note,) = report.files[0]["notes"]
    assert note.startswith("Amount: several columns are called so, and the first of them is read")
    once, _ = import_bytes(b"Customer,Date,Item,Amount,Note,Note\n1,2025-01-02,a,1,x,y\n")
    assert "notes" not in once.files[0]


def test_notes_ambiguous_dates_and_lets_the_map_decide(import_bytes):
    content = b"Customer,Date,Item,Amount\n1,03/04/2025,a,1\n"
    report, events = import_bytes(content)
    assert events[0]["occurred_at"].isoformat() == "2025-04-03T00:00:00"
    assert "dayfirst = false" in report.files[0]["notes"][0]
    report, events = import_bytes(content, map_text=MAP + "dayfirst = false\n")
    assert events[0]["occurred_at"].isoformat() == "2025-03-04T00:00:00"
    assert "notes" not in report.files[0]


def test_one_day_above_twelve_decides_a_column(import_bytes):
    rows = "".join(f"1,{month}/{day}/2025 9:05,a,1\n" for month, day in [(1, 2), (3, 4), (1, 28)])
    report, events = import_bytes(HEADER + rows)
    expected = ["01-02 09:05", "01-28 09:05", "03-04 09:05"]
    assert [event["occurred_at"].strftime("%m-%d %H:%M") for event in events] == expected
    assert report.files[0]["dates"] == {"Date": "month first"}


def test_restores_ids_from_floats_and_counts_missing_ones(import_bytes):
    rows = (
        b"12345.0,2025-01-01,85123A,1\n,2025-01-02,22,2\n"
        b"nan,2025-01-02,22,2\n12346.0,2025-01-03,21.5,1\n"
    )
    report, events = import_bytes(b"Customer,Date,Item,Amount\n" + rows)
    assert [event["customer_id"] for event in events] == ["12345", "12346"]
    assert [event["item_id"] for event in events] == ["85123A", "21.5"]
    assert report.quarantine_text == {"customer_id is missing": 2}


@pytest.mark.parametrize(
    ("column", "number"),
    [("Customer", "9.94E+14"), ("Order", "9,94E+14"), ("Customer", "1e+16"), ("Order", "9.94E14")],
)
def test_refuses_identities_that_a_spreadsheet_cut(import_bytes, column, number):
    text = f"{MAP}order_id = 'Order'\n"
    cut = {"Customer": "1", "Order": "7"} | {column: f'"{number}"'}
    rows = f"1,7,2025-01-01,a,2\n{cut['Customer']},{cut['Order']},2025-01-02,a,2\n"
    with pytest.raises(BadInput, match=rf"1 value of {column} .*as text"):
        import_bytes(f"Customer,Order,Date,Item,Amount\n{rows}".encode(), map_text=text)


def test_warns_of_item_ids_that_a_spreadsheet_cut(import_bytes):
    report, _ = import_bytes(b"Customer,Date,Item,Amount\n1,2025-01-01,4.01E+12,2\n")
    assert "Export Item as text" in report.files[0]["notes"][0]


@pytest.mark.parametrize(
    "settings_text", ["", 'delimiter = " "\nheader = false\n'], ids=["detected", "in the map"]
)
def test_reads_space_separated_columns_without_header(import_bytes, settings_text):
    text = MAP + settings_text
    for place, name in enumerate(("Customer", "Date", "Item", "Amount"), 1):
        text = text.replace(f'"{name}"', f'"column{place}"')
    content = (
        b" 00001 19970101  1   11.77\n 00002 19970112  1   12.00\n 00002 19970112  5   77.00\n"
    )
    report, events = import_bytes(content, "cdnow.txt", text)
    expected = [("00001", 11.77), ("00002", 12), ("00002", 77)]
    assert [(event["customer_id"], event["amount"]) for event in events] == expected
    assert report.files[0]["delimiter"] == "spaces"
    assert report.files[0]["header"] is False


@pytest.mark.parametrize(
    "above",
    ["\n\n", "Sales of 2025\n", "Sales of 2025;;;\n\n", "From 2025-01-01;to 2025-02-01\n;;;\n"],
)
def test_skips_lines_above_the_header(import_bytes, above):
    rows = "".join(f"c{number};2025-01-{number:02};pot;{number},50\n" for number in range(1, 20))
    report, events = import_bytes(f"{above}Customer;Date;Item;Amount\n{rows}".encode())
    assert (report.rows_read, report.rows_accepted, report.files[0]["header"]) == (19, 19, True)
    assert [event["amount"] for event in events] == [number + 0.5 for number in range(1, 20)]


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize(
    ("content", "columns", "rows"),
    [
        ("ID,Name,When\n1,Amy,2025-01-01\n2,David,2025-01-02\n", ("id", "name", "when"), 2),
        ("ID,Name,When\n1,Sidname,2025-01-01 when\n2,B,2025-01-02\n", ("ID", "Name", "When"), 2),
        ("Candidate names, whenever\nid,name,when\n1,Amy,2025-01-01\n", ("id", "name", "when"), 1),
        ('Rep; 2025\n"id";"name; x";"when"\n1;Amy;2025-01-01\n', ("id", "name; x", "when"), 1),
        ("Re\x0cport \u2028 a\nid;name;when\n1;Amy;2025-01-01\n", ("id", "name", "when"), 1),
    ],
)
def test_detects_a_header_by_whole_names(import_bytes, content, columns, rows):
    customer, item, when = columns
    text = (
        f'[events]\ncustomer_id = "{customer}"\nitem_id = "{item}"\noccurred_at = "{when}"\n'
        'event_type = { value = "view" }\n'
    )
    report, _ = import_bytes(content.encode(), map_text=text)
    assert (report.rows_read, report.files[0]["header"]) == (rows, True)


def test_quoted_spaces_do_not_separate_columns(import_bytes):
    text = (
        '[events]\ncustomer_id = "column1"\nitem_id = "column2"\noccurred_at = "column3"\n'
        'delimiter = " "\nheader = false\nevent_type = { value = "view" }\n'
    )
    _, events = import_bytes(b'1 "Amy Lee" 2025-01-01\n2 "Bob Ray" 2025-01-02\n', map_text=text)
    assert [event["item_id"] for event in events] == ["Amy Lee", "Bob Ray"]


def test_refuses_a_file_of_blank_lines(import_bytes):
    with pytest.raises(BadInput, match=r"shop\.csv is empty"):
        import_bytes(b"\n \n\n")


def test_settings_of_the_map_take_precedence(import_bytes):
    text = MAP + 'encoding = "cp850"\ndelimiter = ":"\ndecimal = ","\ndate_format = "%Y/%d/%m"\n'
    content = "Customer:Date:Item:Amount\n1:2025/31/01:café:1.234\n".encode("cp850")
    _, events = import_bytes(content, map_text=text)
    assert events[0]["item_id"] == "café"
    assert events[0]["amount"] == 1234
    assert events[0]["occurred_at"].isoformat() == "2025-01-31T00:00:00"
    for line, says in [
        ('encoding = "utf-9"', "utf-9"),
        ('decimal = "x"', "decimal mark"),
        ("dayfirst = 1", "neither true"),
        ('date_format = "dd.mm.yyyy"', "dd.mm.yyyy"),
        ('date_format = "%d.%m.%Q"', "%d.%m.%Q"),
    ]:
        with pytest.raises(BadInput, match=says):
            import_bytes(b"Customer,Date,Item,Amount\n1,2025-01-31,a,1\n", map_text=MAP + line)


def test_date_format_of_the_map_takes_precedence(import_bytes):
    text = MAP + 'date_format = "%Y-%d-%m"\n'
    _, events = import_bytes(f"{HEADER}1,2025-02-01,a,1\n2,2025-03-01,a,1\n", map_text=text)
    expected = ["2025-01-02", "2025-01-03"]
    assert [event["occurred_at"].isoformat()[:10] for event in events] == expected


@pytest.mark.parametrize(("second", "fitting"), [("01/02/2025", 0), ("2025-02-01", 1)])
def test_notes_values_that_do_not_fit_the_date_format(import_bytes, second, fitting):
    first = "31.12.2024" if fitting else "31/12/2024"
    lines = f"Customer,Date,Item,Amount\n1,{first},a,1\n2,{second},a,1\n".encode()
    report, events = import_bytes(lines, map_text=MAP + 'date_format = "%d.%m.%Y"\n')
    expected = ["2024-12-31", "2025-02-01"]
    assert [event["occurred_at"].isoformat()[:10] for event in events] == expected
    expected = " ".join(report.files[0]["notes"])
    assert f"{fitting} of 2 values are written as date_format = '%d.%m.%Y'" in expected


def test_quarantines_times_without_offset_among_zoned_ones(import_bytes):
    """Their time zone is unknown."""
    text = MAP + 'timezone = "America/New_York"\ndate_format = "%d.%m.%Y %H:%M %z"\n'
    lines = (
        b"Customer,Date,Item,Amount\n1,28.12.2024 10:00 +0200,a,1\n"
        b"2,2024-12-29 10:00:00,a,1\n3,2024-12-30 10:00+02:00,a,1\n"
    )
    report, events = import_bytes(lines, map_text=text)
    expected = ["2024-12-28T08:00:00", "2024-12-30T08:00:00"]
    assert [event["occurred_at"].isoformat() for event in events] == expected
    assert report.quarantine_text == {"Date is no date or time": 1}


def test_imports_all_files_of_a_pattern(lake, settings, tmp_path, write_file):
    text = "customer_id,event_type,occurred_at\n{},view,2025-01-01\n".format
    write_file(gzip.compress(text(1).encode()), "a.csv.gz")
    write_file(gzip.compress(text(2).encode("utf-16")), "b.csv.gz")
    write_file(pa.compress(text(3).encode(), codec="zstd", asbytes=True), "c.csv.zst")
    files = [f"{tmp_path}/*.csv.gz", f"{tmp_path}/c*"]
    report = import_files(lake, None, settings, "events", files)
    expected = (3, ["a.csv.gz", "b.csv.gz", "c.csv.zst"])
    assert (report.rows_accepted, [file["file"] for file in report.files]) == expected
    with pytest.raises(BadInput, match="matches no file"):
        import_files(lake, None, settings, "events", [f"{tmp_path}/*.tsv"])


def test_text_column_stays_text_despite_a_few_dates(import_bytes):
    text = MAP + "query = { sql = '''concat(\"Note\", '!')''' }\n"
    numbered = enumerate(["Married", "12 OZ", "1/2 lb", "Single", "3/4/25 CT"] * 2, 1)
    rows = "".join(f"1,2025-01-{n:02},a{n},1,{note}\n" for n, note in numbered)
    content = f"Customer,Date,Item,Amount,Note\n{rows}".encode()
    report, events = import_bytes(content, map_text=text)
    assert [event["query"] for event in events][:3] == ["Married!", "12 OZ!", "1/2 lb!"]
    assert report.rows_quarantined == 0
    columns = {"Customer": "1", "Date": "31/12/2024", "Item": "a", "Amount": "1,50", "Note": "5"}
    _, events = import_bytes(pd.DataFrame([columns]), "typed.parquet", text)
    (event,) = (event for event in events if event["query"] == "5!")
    assert (event["amount"], event["occurred_at"].isoformat()) == (1.5, "2024-12-31T00:00:00")


@pytest.mark.nightly_after(3)
@pytest.mark.parametrize(
    "settings_text", ["", 'delimiter = ";"\ndecimal = "."\nheader = true\nencoding = "utf-8"\n']
)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("count", [40, 30_000])  # within what is sniffed, and far beyond it
def test_unclosed_quote_costs_only_its_line(import_bytes, settings_text, packed, count):
    lines = [f"c{number};2025-01-02 10:00:00;tea {number};3.50" for number in range(count)]
    broken_line = [
        '"c1;2025-01-03 10:00:00;tea;3.50',
        'c1;2025-01-03 10:00:00;"tea;3.50',
        'c1;2025-01-03 10:00:00;"t"ea;3.50',
    ]
    whole = [
        'c2;2025-01-03 10:00:00;"two\nlines";3.50',
        'c2;2025-01-03 10:00:00;"half; ""a"" cup";3.50',
        'c2;2025-01-03 10:00:00;5" nail;3.50',
    ]
    step = count // 8
    for place, line in enumerate([*broken_line, *whole], start=1):
        lines.insert(place * step, line)
    text = "\n".join(["Customer;Date;Item;Amount", *lines, broken_line[0]]).encode()
    name = "shop.csv.gz" if packed else "shop.csv"
    content = gzip.compress(text) if packed else text
    report, events = import_bytes(content, name, MAP + settings_text)
    assert report.quarantine_text == {"the line is broken: unquoted value": 4}
    assert (report.rows_read, report.rows_accepted) == (count + 7, count + 3)
    assert {"two\nlines", 'half; "a" cup', '5" nail'} < {event["item_id"] for event in events}


@pytest.mark.parametrize("delimiter", ["::", "||"])
def test_field_may_contain_one_character_of_a_long_delimiter(import_bytes, delimiter):
    item = f"Mission{delimiter[0]} Impossible {{}}"
    rows = [["c1", "2025-01-02 10:00:00", item.format(number), "3.50"] for number in range(40)]
    rows.insert(20, ["c1", "2025-01-02 10:00:00", '"t"ea', "3.50"])
    rows.insert(0, ["Customer", "Date", "Item", "Amount"])
    text = "\n".join(map(delimiter.join, rows))
    report, events = import_bytes(text.encode(), map_text=f'{MAP}delimiter = "{delimiter}"\n')
    assert {event["item_id"] for event in events} == {item.format(number) for number in range(40)}
    assert report.quarantine_text == {"the line is broken: unquoted value": 1}


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize("count", [40, 40_000])
def test_rejects_lines_in_another_encoding_near_a_broken_line(import_bytes, count):
    lines = [f"c1;2025-01-02;café {number};3.50".encode() for number in range(count)]
    lines[count - 10] = "c1;2025-01-02;café;3.50".encode("cp1252")
    lines.insert(count // 2, 'c1;2025-01-02;"thé"s;3.50'.encode())
    lines.insert(count // 2, 'c1;2025-01-02;"thé"s;3.50'.encode("cp1252"))
    text = b"\n".join([b"Customer;Date;Item;Amount", *lines])
    report, events = import_bytes(text, map_text=f'{MAP}encoding = "utf-8"\n')
    assert len(events) == count - 1
    assert not any("\ufffd" in event["item_id"] for event in events)
    expected = {"the line is broken: invalid encoding": 1, "the line is broken: unquoted value": 2}
    assert report.quarantine_text == expected


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_detects_the_escape_despite_a_broken_line(import_bytes, ending):
    lines = [
        f'"c{number}";"2025-01-02 10:00:00";"tea \\"x\\" {number}";"3.50"' for number in range(200)
    ]
    lines.insert(100, '"c1";"2025-01-02 10:00:00";"t"ea;3.50')
    report, events = import_bytes(ending.join(["Customer;Date;Item;Amount", *lines]).encode())
    assert {event["item_id"] for event in events} == {f'tea "x" {number}' for number in range(200)}
    assert report.quarantine_text == {"the line is broken: unquoted value": 1}


def test_backslash_before_a_closing_quote_is_no_escape(import_bytes):
    lines = [f'"c{number}";"2025-01-02";"C:\\{number}\\";"3.50"' for number in range(40)]
    lines.insert(20, '"c1";"2025-01-02";"t"ea;3.50')
    _, events = import_bytes("\n".join(["Customer;Date;Item;Amount", *lines]).encode())
    assert {event["item_id"] for event in events} == {f"C:\\{number}\\" for number in range(40)}


@pytest.mark.nightly_after(12)
@pytest.mark.parametrize("settings_text", ["", "header = true\n"])
@pytest.mark.parametrize(
    "broken_line",
    ['Customer;Date;"Item;Amount', '"Customer;Date;Item;Amount', 'Customer;Date;"It"em;Amount'],
)
@pytest.mark.parametrize("count", [3, 40, 40_000])
@pytest.mark.parametrize("item", ["cup", 'cup 5"'])  # or closed by a customer's quote
def test_refuses_a_broken_header(import_bytes, settings_text, broken_line, count, item):
    lines = [f"anna{number};2025-01-02;cup;3.50" for number in range(count)]
    lines[1] = f"anna1;2025-01-02;{item};3.50"
    with pytest.raises(BadInput) as refused:
        import_bytes("\n".join([broken_line, *lines]).encode(), map_text=MAP + settings_text)
    assert str(refused.value).startswith(
        "Line 1 of shop.csv, which names the columns, has a quote that it does not close;"
    )
    assert "anna" not in str(refused.value)


def test_column_name_may_contain_a_line_break(import_bytes):
    report, _ = import_bytes(b'Customer;Date;Item;Amount;"Paid\non"\nc1;2025-01-02;cup;3.50;x\n')
    assert report.rows_accepted == 1


# Transcoded, broken lines removed.
@pytest.mark.parametrize("content", ["Customer;Item\nc;1\n1é\r", '""c1;2\n"a";\r\n"a"'])
def test_error_names_the_original_file(import_bytes, content):
    with pytest.raises(BadInput, match=r"shop\.csv cannot be read as CSV: .*sniffing") as refused:
        import_bytes(content.encode("cp1252"), map_text=f"{MAP}header = false\n")
    assert "/" not in str(refused.value)
