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
from retention.lake.importing.import_files import import_files
from retention.lake.reading.archives import extract_table, scratch_folder
from tests.retention.lake.test_importing import RETAIL
from tests.workbooks import write_workbook, zipped

COLUMNS = ("Invoice", "StockCode", "Quantity", "InvoiceDate", "Price", "Customer ID")
FIRST = [
    (489434, "00123", 2, datetime(2009, 12, 1, 7, 45), 2.5, 13085),
    ("C489449", "85048", -1, datetime(2009, 12, 1, 9), 4, 13085),
]
SECOND = [(489450, 85048, 3, datetime(2010, 12, 2, 8), 1.25, 12346)]


@pytest.fixture
def events_of(lake, import_file):
    """Return a function that imports bytes and returns the report and the events."""

    def do(content, name):
        report = import_file(content, RETAIL, name=name)
        columns = ["event_id", "customer_id", "event_type", "order_id", "item_id", "amount"]
        rows = lake.table("events").order_by("occurred_at").select(*columns).execute()
        return report, rows.to_dict("records")

    return do


@pytest.mark.nightly
def test_zipped_workbook_gives_the_rows_of_the_csv_file_once(events_of, tmp_path):
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
    report, rows = events_of(archive.read_bytes(), "online.zip")
    assert (report.rows_accepted, report.rows_quarantined) == (3, 0)
    assert [(row["customer_id"], row["item_id"], row["event_type"]) for row in rows] == [
        ("13085", "00123", "purchase"),
        ("13085", "85048", "return"),
        ("12346", "85048", "purchase"),
    ]
    text = "\n".join(",".join(map(str, row)) for row in [COLUMNS, *FIRST, *SECOND])
    for content, name in ((book.read_bytes(), "online.xlsx"), (text, "online.csv")):
        report, same = events_of(content, name)
        assert (report.rows_accepted, report.rows_duplicate) == (0, 3)
        assert same == rows


@pytest.mark.nightly
def test_map_with_numbered_lines_reads_the_sheet_with_its_columns(import_proposed, tmp_path):
    book = tmp_path / "book.xlsx"
    orders = [(n + 1, f"o{n // 2}", f"c{n % 9}", "2024-03-05", f"p{n % 7}", 5) for n in range(60)]
    head = ("Row ID", "Order ID", "Customer ID", "Order Date", "Product ID", "Sales")
    write_workbook(book, {"People": [("Person", "Region"), ("Ada", "West")], "O": [head, *orders]})
    proposal, report = import_proposed(book.read_bytes(), name="book.xlsx")
    assert "_equal_line" in proposal.text
    assert report.rows_accepted == 60


TWO = zipped({"a.csv": "x\n1\n", "b.csv": "x\n1\n"})
WHOLE = gzip.compress(b"customer_id,occurred_at\n" + b"1,2025-01-01\n" * 5000)


UNPACKABLE = {
    "two.zip": (TWO, "two.zip holds a.csv, b.csv; unpack it"),
    "none.zip": (zipped({"read.me": "nothing"}), "holds nothing that can be imported"),
    "torn.zip": (TWO[:40], "cannot be read as ZIP"),
    "torn.xlsx": (b"not a workbook", "cannot be read as WORKBOOK"),
    "bin.csv.gz": (b"\x00\x01customer_id", "gzip, though its name says so; name it bin.csv,"),
    "torn.csv.gz": (WHOLE[: len(WHOLE) // 2], "torn.csv.gz is damaged or not whole"),
}


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize("name", UNPACKABLE)  # by name: the packed bytes hold the time of day
def test_refuses_packed_files_that_cannot_be_unpacked(import_file, name):
    content, says = UNPACKABLE[name]
    with pytest.raises(BadInput, match=re.escape(says)):
        import_file(content, name=name)


def test_refuses_a_folder(lake, settings, tmp_path):
    with pytest.raises(BadInput, match="is a folder; name its files, like"):
        import_files(lake, None, settings, "events", [str(tmp_path)])


def test_workbook_that_needs_too_much_memory_is_refused(lake, settings, tmp_path):
    """A cell in the last corner of a sheet of 1.5 kB aborted the process."""
    whole, stray = tmp_path / "whole.xlsx", tmp_path / "stray.xlsx"
    write_workbook(whole, {"orders": [["customer_id"], ["C1"]]})
    sheet = "xl/worksheets/sheet1.xml"
    with zipfile.ZipFile(whole) as book, zipfile.ZipFile(stray, "w") as other:
        for part in book.namelist():
            text = book.read(part).decode()
            if part == sheet:
                cell = '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row></sheetData>'
                text = text.replace("</sheetData>", cell)
            other.writestr(part, text)
    with pytest.raises(BadInput, match=r"stray\.xlsx needs too much memory"):
        import_files(lake, None, settings, "customers", [str(stray)])


@pytest.mark.parametrize(("at", "byte"), [(30 + len("a.csv"), 0x07), (-6, 0xFF)])
def test_reports_damaged_archives(tmp_path, at, byte):
    """A block of an unknown kind; a list of members that lies before the file's beginning."""
    path = tmp_path / "a.zip"
    harmed = bytearray(zipped({"a.csv": "a,b\n" + "1,2\n" * 100}))
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
