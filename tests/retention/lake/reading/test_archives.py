"""Test workbooks, archives and the scratch folder."""

import gzip
import re
import signal
import subprocess
import sys
import zipfile
from datetime import datetime

import pytest

from retention.errors import BadInput
from retention.lake import Lake
from retention.lake.importing.import_files import import_files
from retention.lake.reading import archives
from retention.lake.reading.archives import extract_table, scratch_folder
from retention.lake.suggesting.suggest import propose
from tests.workbooks import write_workbook

MAP = """[events]
timezone    = "Europe/London"
customer_id = "Customer ID"
occurred_at = "InvoiceDate"
order_id    = "Invoice"
item_id     = "StockCode"
quantity    = "Quantity"
amount      = { sql = '"Quantity" * "Price"' }
event_type  = { sql = '''CASE WHEN "Invoice" LIKE 'C%' THEN 'return' ELSE 'purchase' END''' }
"""
COLUMNS = ("Invoice", "StockCode", "Quantity", "InvoiceDate", "Price", "Customer ID")
FIRST = [
    (489434, "00123", 2, datetime(2009, 12, 1, 7, 45), 2.5, 13085),
    ("C489449", "85048", -1, datetime(2009, 12, 1, 9), 4, 13085),
]
SECOND = [(489450, 85048, 3, datetime(2010, 12, 2, 8), 1.25, 12346)]


@pytest.fixture
def retail(tmp_path):
    path = tmp_path / "retail.toml"
    path.write_text(MAP)
    return path


def _csv(path) -> None:
    rows = [COLUMNS, *FIRST, *SECOND]
    path.write_text("\n".join(",".join(map(str, row)) for row in rows) + "\n")


def _import(settings, database, retail, file):
    lake = Lake.open(settings)
    report = import_files(lake, database, settings, "events", [str(file)], map_path=retail)
    columns = [
        "event_id",
        "customer_id",
        "event_type",
        "occurred_at",
        "order_id",
        "item_id",
        "amount",
    ]
    rows = Lake.open(settings).table("events").select(*columns).order_by("occurred_at").execute()
    return report, rows.to_dict("records")


@pytest.mark.nightly
def test_zipped_workbook_gives_the_rows_of_the_csv_file_once(settings, database, retail, tmp_path):
    book, archive = tmp_path / "online.xlsx", tmp_path / "online.zip"
    sheets = {
        "2009": [COLUMNS, *FIRST],
        "2010": [COLUMNS, *SECOND],
        "Notes": [("About",), ("two years",)],
    }
    write_workbook(book, sheets)
    with zipfile.ZipFile(archive, "w") as zip_file:
        zip_file.write(book, "folder/online.xlsx")
        zip_file.writestr("LICENCE", "free")
        zip_file.writestr("__MACOSX/._online.xlsx", "x")
    report, rows = _import(settings, database, retail, archive)
    assert (report.rows_accepted, report.rows_quarantined) == (3, 0)
    assert [row["customer_id"] for row in rows] == ["13085", "13085", "12346"]
    assert [row["item_id"] for row in rows] == ["00123", "85048", "85048"]
    assert [row["event_type"] for row in rows] == ["purchase", "return", "purchase"]
    _csv(tmp_path / "online.csv")
    for again in (book, tmp_path / "online.csv"):
        report, same = _import(settings, database, retail, again)
        assert (report.rows_accepted, report.rows_duplicate) == (0, 3)
        assert same == rows


@pytest.mark.nightly
def test_map_with_numbered_lines_reads_the_sheet_with_its_columns(settings, tmp_path):
    book, lake = tmp_path / "book.xlsx", Lake.open(settings)
    orders = [(n + 1, f"o{n // 2}", f"c{n % 9}", "2024-03-05", f"p{n % 7}", 5) for n in range(60)]
    head = ("Row ID", "Order ID", "Customer ID", "Order Date", "Product ID", "Sales")
    write_workbook(book, {"People": [("Person", "Region"), ("Ada", "West")], "O": [head, *orders]})
    text = propose(lake, "events", str(book)).text
    assert "_equal_line" in text
    (tmp_path / "map.toml").write_text(text)
    report = import_files(lake, None, settings, "events", [str(book)], tmp_path / "map.toml")
    assert report.rows_accepted == 60


def test_refuses_archives_that_cannot_be_unpacked(settings, database, retail, tmp_path):
    two, none, torn = (tmp_path / name for name in ("two.zip", "none.zip", "torn.zip"))
    with zipfile.ZipFile(two, "w") as zip_file:
        zip_file.writestr("a.csv", "x\n1\n")
        zip_file.writestr("b.csv", "x\n1\n")
    with zipfile.ZipFile(none, "w") as zip_file:
        zip_file.writestr("read.me", "nothing")
    torn.write_bytes(two.read_bytes()[:40])
    (tmp_path / "torn.xlsx").write_bytes(b"not a workbook")
    for name, says in (
        ("two.zip", r"two.zip holds a.csv, b.csv; unpack it"),
        ("none.zip", "holds nothing that can be imported"),
        ("torn.zip", "cannot be read as ZIP"),
        ("torn.xlsx", "cannot be read as WORKBOOK"),
    ):
        with pytest.raises(BadInput, match=says):
            _import(settings, database, retail, tmp_path / name)


def test_workbook_that_needs_too_much_memory_is_refused(lake, settings, tmp_path):
    """A cell in the last corner of a sheet of 1.5 kB aborted the process."""
    whole, stray, large = (tmp_path / f"{name}.xlsx" for name in ("whole", "stray", "large"))
    write_workbook(whole, {"orders": [["customer_id"], ["C1"]]})
    sheet = "xl/worksheets/sheet1.xml"
    with zipfile.ZipFile(whole) as book, zipfile.ZipFile(stray, "w") as other:
        for part in book.namelist():
            text = book.read(part).decode()
            if part == sheet:
                cell = '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row></sheetData>'
                text = text.replace("</sheetData>", cell)
            other.writestr(part, text)
    with zipfile.ZipFile(large, "w") as book:
        book.writestr("xl/sharedStrings.xml", "")
        book.infolist()[0].file_size = archives.MAX_UNPACKED + 1
    for path in (stray, large):
        with pytest.raises(BadInput, match=f"{path.name} needs too much memory"):
            import_files(lake, None, settings, "customers", [str(path)])


def test_refuses_folders_and_uncompressed_files_with_a_remedy(lake, settings, tmp_path):
    whole = gzip.compress(b"customer_id,occurred_at\n" + b"1,2025-01-01\n" * 5000)
    for name, content, says in (
        (
            "bin.csv.gz",
            b"\x00\x01customer_id",
            "is not packed by gzip, though its name says so; name it bin.csv,",
        ),
        ("torn.csv.gz", whole[: len(whole) // 2], "torn.csv.gz is damaged or not whole"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadInput, match=re.escape(says)):
            import_files(lake, None, settings, "events", [str(tmp_path / name)])
    with pytest.raises(BadInput, match="is a folder; name its files, like"):
        import_files(lake, None, settings, "events", [str(tmp_path)])


@pytest.mark.parametrize(("at", "byte"), [(30 + len("a.csv"), 0x07), (-6, 0xFF)])
def test_reports_damaged_archives(tmp_path, at, byte):
    """A block of an unknown kind; a list of members that lies before the file's beginning."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", "a,b\n" + "1,2\n" * 100)
    harmed = bytearray(path.read_bytes())
    harmed[at] = byte
    path.write_bytes(harmed)
    with pytest.raises(BadInput, match="damaged or not whole; fetch it or pack it again"):
        extract_table(path, tmp_path, [".csv"])


# ---------------------------------------------------------------- scratch folder

KILLED = """
import os, signal
from retention.lake.reading.archives import scratch_folder
with scratch_folder() as folder:
    (folder / "rows.csv").write_text("ann@example.com")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def test_next_import_deletes_folders_of_killed_imports(temporary):
    assert subprocess.run([sys.executable, "-c", KILLED], check=False).returncode == -signal.SIGKILL
    assert [path.name for path in temporary.glob("*/*.csv")] == ["rows.csv"]
    with scratch_folder() as folder:
        assert list(temporary.iterdir()) == [folder]
    assert not list(temporary.iterdir())


def test_keeps_folders_of_running_imports(temporary):
    with scratch_folder() as other:
        (other / "rows.csv").touch()
        with scratch_folder() as mine:
            assert set(temporary.iterdir()) == {mine, other}
        assert (other / "rows.csv").exists()
