"""Test importing: every format, every kind of map, known rows, bad rows and refusals."""

import gzip
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tomllib
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import select

from retention import clock
from retention.campaigns.codes.redemptions import event_uses
from retention.db.tables import DirectoryEntry, ImportLog
from retention.errors import BadInput
from retention.lake import Lake, customer_directory
from retention.lake.identity import links
from retention.lake.importing.import_files import import_files
from retention.lake.importing.import_log import ImportListener
from retention.lake.importing.mapping import parse_section
from retention.lake.schema import EVENTS
from tests.world import scalars

RETAIL = """[events]
timezone    = "Europe/London"
where       = { sql = '"Price" > 0' }
customer_id = "Customer ID"
occurred_at = "InvoiceDate"
order_id    = "Invoice"
item_id     = "StockCode"
quantity    = "Quantity"
amount      = { sql = '"Quantity" * "Price"' }
event_type  = { sql = '''CASE WHEN "Invoice" LIKE 'C%' THEN 'return' ELSE 'purchase' END''' }
"""
HEADER = "Invoice,StockCode,Quantity,InvoiceDate,Price,Customer ID\n"
VIEW = "customer_id,event_type,occurred_at\nc,view,2025-01-01\n"
ROWS = (
    "1001,00123,2,2025-07-01 12:00:00,2.50,007\n1001,00124,1,2025-07-01 12:00:00,4.00,007\n"
    "C1002,00123,-1,2025-12-01 12:00:00,2.50,008\n1003,00125,1,2025-12-02 08:00:00,0,008\n"
)


def _events(lake):
    return lake.table("events").order_by(["occurred_at", "item_id"]).execute().to_dict("records")


def test_no_time_zone_note_if_the_shop_has_a_zone(settings, import_file):
    own = settings.model_copy(update={"timezone": "America/New_York"})
    assert import_file(HEADER + ROWS, RETAIL, own=own).timezone == ""


def test_imports_csv_with_the_documented_map(import_file, lake, database):
    report = import_file(HEADER + ROWS, RETAIL, database=database)
    assert (report.rows_read, report.rows_filtered, report.rows_accepted) == (4, 1, 3)
    first, second, third = _events(lake)
    assert (first["customer_id"], first["item_id"]) == ("007", "00123")  # an id is no number
    assert first["occurred_at"].isoformat() == "2025-07-01T11:00:00"  # London in summer
    assert third["occurred_at"].isoformat() == "2025-12-01T12:00:00"
    assert (first["amount"], second["amount"], third["amount"]) == (5.0, 4.0, -2.5)
    assert third["event_type"] == "return"
    assert report.timezone == "Europe/London"  # of the map; the installation has named none
    with database.reading() as session:
        assert session.query(ImportLog).one().report == report.as_dict()
        assert {entry.customer_id for entry in session.query(DirectoryEntry)} == {"007", "008"}


COMPRESS = {".gz": gzip.compress, ".zst": partial(pa.compress, codec="zstd", asbytes=True)}


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize("packed", ["", ".gz", ".zst"])
@pytest.mark.parametrize("kind", [".csv", ".tsv", ".parquet", ".jsonl"])
def test_every_file_format_gives_the_same_events(kind, packed, lake, import_file):
    rows = [
        ("1", "00123", 2, "2025-01-01 12:00:00", 2.5, "007"),
        ("C2", "00124", -1, "2025-01-02 12:00:00", 4.0, "008"),
    ]
    frame = pd.DataFrame(rows, columns=HEADER.strip().split(","))
    content = {
        ".csv": lambda: frame.to_csv(index=False).encode(),
        ".tsv": lambda: frame.to_csv(index=False, sep="\t").encode(),
        ".jsonl": lambda: frame.to_json(orient="records", lines=True).encode(),
        ".parquet": frame.to_parquet,
    }[kind]()
    if packed:
        content = COMPRESS[packed](content)
    assert import_file(content, RETAIL, name=f"s{kind}{packed}").rows_accepted == 2
    found = [(row["customer_id"], row["item_id"], row["amount"]) for row in _events(lake)]
    assert found == [("007", "00123", 5.0), ("008", "00124", -4.0)]


def test_importing_a_file_twice_changes_nothing(lake, import_file):
    text = HEADER + ROWS + ROWS.splitlines()[0] + "\n"
    first = import_file(text, RETAIL)
    assert (first.rows_accepted, first.rows_duplicate, first.rows_equal) == (3, 1, 1)
    before = lake.fingerprint(datetime(2026, 1, 1, tzinfo=UTC))
    again = import_file(text, RETAIL)
    assert (again.rows_accepted, again.rows_duplicate, again.rows_equal) == (0, 4, 1)
    assert lake.fingerprint(datetime(2026, 1, 1, tzinfo=UTC)) == before  # not even a new version


def test_unmapped_file_error_explains_how_to_get_a_map(import_file):
    says = r"orders\.csv has no column customer_id, .*import events --suggest-map FILE`"
    with pytest.raises(BadInput, match=says):
        import_file("Customer,When\na,2025-01-01\n", name="orders.csv")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "event_type,occurred_at\na,purchase,2025-01-01\n",
            r"`retention import events orders\.csv`",
        ),
        ("campaign_id,arm,sent_at\na,c,control,2025-01-01\n", "it is one of treatments"),
    ],
)
def test_refuses_customers_from_a_file_of_another_table(import_file, text, says):
    """Any file with a customer_id came in as customers, of whom nothing was known."""
    with pytest.raises(BadInput, match=says):
        import_file(f"customer_id,{text}", table="customers", name="orders.csv")


@pytest.mark.parametrize("text", ["customer_id,email\na,a@x.org\n", "customer_id,segment\na,new\n"])
def test_accepts_a_file_of_customers_without_a_map(import_file, text):
    assert import_file(text, table="customers").rows_accepted == 1


@pytest.mark.nightly
def test_reports_a_file_imported_with_another_map(import_file, database):
    def before(text, map_text):
        return import_file(text, map_text, database=database).before

    assert before(HEADER + ROWS, RETAIL) == ""
    assert before(HEADER + ROWS, RETAIL) == ""
    assert before(HEADER + ROWS, RETAIL.replace("Europe/London", "Europe/Berlin"))
    assert before(HEADER + ROWS + "1004,00125,1,2025-12-03 08:00:00,5,008\n", RETAIL) == ""


@pytest.mark.nightly
def test_different_files_or_queries_are_not_reported_as_repeated(
    lake, settings, database, tmp_path, write_file
):
    def before(files, map_text=RETAIL, **how):
        path = Path(write_file(map_text, "map.toml"))
        report = import_files(lake, database, settings, "events", files, path, **how)
        assert report.rows_accepted
        return report.before

    first = write_file(HEADER + ROWS)
    assert before([first]) == ""
    more = write_file(HEADER + "1004,00125,1,2025-12-03 08:00:00,5,008\n", "more.csv")
    assert before([first, more]) == ""
    # Of the same name and length.
    assert before([write_file(HEADER + ROWS.replace("100", "200"))]) == ""
    url = f"sqlite:///{tmp_path}/shop.db"
    with sqlite3.connect(tmp_path / "shop.db") as shop:
        pd.read_csv(io.StringIO(HEADER + ROWS.replace("100", "300"))).to_sql("sales", shop)
    for invoice in ("3001", "C3002"):
        assert before([url], query=f"SELECT * FROM sales WHERE Invoice = '{invoice}'") == ""
    freebies = RETAIL.replace(" > 0", " >= 0") + 'channel = { value = "web" }\n'
    assert before([first], freebies) == ""  # a row more; the others are the same events
    later = write_file(HEADER + "1005,00125,1,2025-12-04 08:00:00,5,008\n", "later.csv")
    assert before([later, more], RETAIL.replace("Europe/London", "Europe/Berlin"))


def test_ignores_import_logs_without_file_hashes(import_file, database):
    import_file(HEADER + ROWS, RETAIL, database=database)
    with database.transaction() as session:
        log = session.query(ImportLog).one()
        log.report = log.report | {"files": [{"file": "sales.csv", "rows": 4}]}
    berlin = RETAIL.replace("Europe/London", "Europe/Berlin")
    assert import_file(HEADER + ROWS, berlin, database=database).before == ""


def test_customer_upsert_keeps_columns_missing_in_the_file(import_file, lake):
    import_file("customer_id,name,email\n1,Ann,a@x.de\n2,Bo,b@x.de\n", table="customers")
    later = "customer_id,marketing_consent\n1,yes\n3,no\n3,yes\n"
    report = import_file(later, table="customers")
    # The last word on a customer counts.
    assert (report.rows_accepted, report.rows_duplicate) == (2, 1)
    rows = lake.table("customers").order_by("customer_id").to_pyarrow().to_pylist()
    expected = [("Ann", True), ("Bo", None), (None, True)]
    assert [(row["name"], row["marketing_consent"]) for row in rows] == expected
    again = import_file(later, table="customers")
    assert (again.rows_accepted, again.rows_duplicate) == (0, 3)


def test_bad_rows_are_quarantined_unchanged_with_the_reason(import_file):
    bad = (
        "1004,9,many,2025-01-01 10:00:00,1.00,1\n1005,9,1,yesterday,1.00,1\n"
        "1006,9,1,2025-01-01 10:00:00,1.00,\n1007,9,1,2125-01-01 10:00:00,1.00,1\n"
        "1008,9,1,2025-01-01 10:00:00,1.00,1,too,many\n"
    )
    good = "".join(f"{2000 + n},9,1,2025-02-01 10:00:00,1.00,{n}\n" for n in range(20))
    report = import_file(HEADER + good + bad, RETAIL, name="sales.csv")
    assert (report.rows_read, report.rows_accepted, report.rows_quarantined) == (25, 20, 5)
    assert {
        "Quantity is no number",
        "occurred_at is no date or time",
        "customer_id is missing",
        "occurred_at lies in the future",
    } < set(report.quarantine_text)
    quarantined = {row["Invoice"]: row for row in pq.read_table(report.quarantine_path).to_pylist()}
    told = {"Quantity": "many", "_reason": "Quantity is no number", "_file": "sales.csv"}
    assert quarantined["1004"].items() >= told.items()
    again = import_file(HEADER + good + bad, RETAIL, name="sales.csv")
    assert again.quarantine_path == report.quarantine_path
    assert (again.rows_accepted, again.rows_quarantined) == (0, 5)


def test_refuses_invalid_json_lines(import_file):
    text = (
        '{"item_id": "1", "title": "Tea", "price": 3}\nno json\n'
        '{"item_id": "2", "title": "Mate", "price": "dear"}\n'
    )
    report = import_file(text, table="items", name="items.jsonl")
    assert (report.rows_read, report.rows_accepted, report.rows_quarantined) == (3, 1, 2)


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize(
    ("name", "text", "map_text", "says"),
    [
        ("empty.csv", "", RETAIL, "is empty"),
        ("header.csv", HEADER, RETAIL, "has no rows"),
        ("x.docx", "?", RETAIL, "no kind that can be imported"),
        ("x.csv", "a\0b,\0\nc\0,d\xe9\0\n", RETAIL, "x.csv is no text"),
        ("x.parquet", "not parquet at all", RETAIL, "cannot be read as PARQUET"),
        ("x.csv", HEADER + "1,2,1,never,1.00,3\n" * 3, RETAIL, "No row of x.csv can be used"),
        ("x.csv", HEADER + "1,2,x,2025-01-01,1.00,3\n", RETAIL, "Quantity: text, by most"),
        ("x.csv", HEADER + "1,2,1,2025-01-01,-1,3\n", RETAIL, "`where`"),
        ("x.csv", HEADER + ROWS, RETAIL.replace('"StockCode"', '"Stock"'), 'is "StockCode"'),
        ("x.csv", HEADER + ROWS, RETAIL.replace('* "Price"', '* "Prise"'), '"Prise"'),
        ("x.csv", HEADER + ROWS, RETAIL.replace("item_id ", "item_it "), "no such column"),
        ("x.csv", HEADER + ROWS, RETAIL.replace("Europe/London", "London"), "IANA"),
        ("x.csv", HEADER + ROWS, RETAIL.replace('* "Price"', "* * 2"), "not SQL"),
        ("x.csv", HEADER + ROWS, RETAIL.replace("[events]", "[event]"), "no section [events]"),
        ("x.csv", HEADER + ROWS, RETAIL.replace('customer_id = "Customer ID"', ""), "customer_id"),
        ("x.csv", HEADER + ROWS, "[events", "not TOML"),
        ("x.csv", HEADER + ROWS, None, "customer_id"),
    ],
)
def test_refused_import_gives_one_sentence_and_changes_nothing(
    name, text, map_text, says, lake, database, import_file
):
    with pytest.raises(BadInput) as refusal:
        import_file(text, map_text, name=name, database=database)
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert lake.table("events").count().execute() == 0
    assert scalars(database, select(ImportLog)) == []


def test_missing_file_is_refused(lake, settings, tmp_path):
    with pytest.raises(BadInput, match=r"nowhere\.csv cannot be read: there is no such file"):
        import_files(lake, None, settings, "events", [str(tmp_path / "nowhere.csv")])


def test_removes_nul_characters_from_texts(lake, database, import_file):
    """PostgreSQL keeps none: one padded name made an import into a desk on it fail."""
    rows = [{"customer_id": "\0k1\0", "name": "Ann\0\0"}, {"customer_id": "k2", "name": "\0"}]
    text = "\n".join(json.dumps(row) for row in rows)
    import_file(text, table="customers", name="people.jsonl", database=database)
    names = lake.table("customers").execute().set_index("customer_id")["name"]
    assert (names["k1"], names.isna()["k2"]) == ("Ann", True)
    assert set(scalars(database, select(DirectoryEntry.customer_id))) == {"k1", "k2"}


def test_float_ids_from_pandas_become_ids_again(lake, import_file):
    columns = {"customer_id": [12345.0, None], "event_type": "view", "occurred_at": "2025-01-01"}
    report = import_file(pd.DataFrame(columns), name="float.parquet")
    assert report.quarantine_text == {"customer_id is missing": 1}
    assert _events(lake)[0]["customer_id"] == "12345"


CUSTOMERS, TYPES = st.sampled_from(["a", "b", ""]), st.sampled_from(["purchase", "view", "theft"])
ROW = st.tuples(CUSTOMERS, TYPES, st.integers(0, 3), st.one_of(st.none(), st.floats(-10, 10)))


@pytest.mark.nightly
@hypothesis_settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(ROW, min_size=1))
def test_row_counts_add_up_to_rows_read(tmp_path_factory, rows):
    from retention.settings import Settings

    home = tmp_path_factory.mktemp("home")
    settings = Settings(home=home, _env_file=None)
    customers, types, days, amounts = zip(*rows, strict=True)
    columns = {
        "customer_id": customers,
        "event_type": types,
        "amount": pa.array(amounts, pa.float64()),
        "occurred_at": [datetime(2025, 1, 1 + day) for day in days],
    }
    pq.write_table(pa.table(columns), home / "rows.parquet")
    lake = Lake.open(settings)
    try:
        report = import_files(lake, None, settings, "events", [str(home / "rows.parquet")])
    except BadInput:
        assert all(not customer or type_ == "theft" for customer, type_, _, _ in rows)
        return
    accepted, others = report.rows_accepted, report.rows_filtered + report.rows_duplicate
    assert accepted + others + report.rows_quarantined == report.rows_read == len(rows)
    assert lake.table("events").count().execute() == report.rows_accepted
    again = import_files(lake, None, settings, "events", [str(home / "rows.parquet")])
    assert again.rows_accepted == 0


KILLED = """
import os, signal, sys
from retention.lake import Lake
from retention.lake.storage import delta_store
from retention.lake.importing.import_files import import_files
from retention.settings import Settings
settings = Settings(home=sys.argv[1], _env_file=None)
# the files are written, the commit is not
delta_store._retry = lambda action: os.kill(os.getpid(), signal.SIGKILL)
import_files(Lake.open(settings), None, settings, "events", [sys.argv[2]])
"""


def test_killed_import_leaves_the_previous_version(import_file, lake, settings, write_file):
    header = "customer_id,event_type,occurred_at\n"
    import_file(header + "1,view,2025-01-01\n", name="a.csv")
    text = header + "2,view,2025-01-02\n3,view,2025-02-02\n"
    command = [sys.executable, "-c", KILLED, settings.home, write_file(text)]
    killed = subprocess.run(command, env={**os.environ, "PYTHONPATH": "."})
    assert killed.returncode == -signal.SIGKILL
    assert lake.table("events").count().execute() == 1
    assert import_file(text).rows_accepted == 2
    assert lake.table("events").count().execute() == 3


@pytest.mark.parametrize(
    ("line", "key", "text"),
    [
        ("""amount = { sql = 'coalesce("Invoice", 1)' }""", "amount", "Invoice"),
        ("""where = { sql = '"StockCode" + true' }""", "where", "StockCode"),
    ],
)
def test_error_names_the_refused_expression(import_file, line, key, text):
    other_lines = [row for row in RETAIL.splitlines() if not row.startswith(key)]
    rows = "A1001,X123,2,2025-07-01 12:00:00,2.50,007\n"
    says = rf"\[events\] {key}: DuckDB refuses the expression: .*\({text}: text"
    with pytest.raises(BadInput, match=says):
        import_file(HEADER + rows, "\n".join([*other_lines, line]))


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (
            """amount = { sql = '"Quantity" *' }""",
            r"amount: .*wrong or missing at '\*' \(character 12\)",
        ),
        ("where = { sql = 'CASE WHEN a THEN' }", r"where: .* at 'THEN' \(character 13\)"),
        ('amount = { sql = "a +\\n(b" }', r"amount: .* at 'b' \(line 2, character 2\)"),
        ("""title = { sql = "'abc" }""", "title: the expression .* a quote may be left open"),
    ],
)
def test_sql_syntax_error_shows_its_position(broken, says):
    with pytest.raises(BadInput, match=r"the map \[events\] " + says) as refused:
        parse_section(tomllib.loads(broken), EVENTS, "the map")
    assert "sqlglot" not in str(refused.value)
    assert "Required keyword" not in str(refused.value)


@contextmanager
def _killed_before_linking(monkeypatch):
    """Imports within are killed after their commit."""

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr("retention.lake.importing.import_log.link_customers", killed)
        yield


def test_next_import_finishes_one_killed_after_its_commit(database, import_file, monkeypatch):
    """Its rows are in the lake, but no customers were linked and the directory has none of them."""
    who = ("customer_id,email\na,x@x.org\nb,X@x.org\n", None, "customers")
    for arguments in (who, (VIEW,)):
        with _killed_before_linking(monkeypatch), pytest.raises(KeyboardInterrupt):
            import_file(*arguments, database=database)
    assert import_file(*who, database=database).linked["accepted"] == 1
    assert import_file(VIEW, database=database).rows_accepted == 0
    assert sorted(scalars(database, select(DirectoryEntry.customer_id))) == ["a", "b", "c"]


def test_import_reads_the_lake_before_its_transaction(
    lake, database, import_file, short_transactions
):
    """Slash commands gave up after 2 s, while an import held the lock of all writers."""
    seen = []
    listener = ImportListener(
        read=lambda lake, database: int(lake.table("events").count().execute()),
        in_transaction=lambda session, found: seen.append(found),
    )
    import_file(VIEW, database=database, listener=listener)
    assert seen == [1]
    assert scalars(database, select(DirectoryEntry.customer_id)) == ["c"]
    assert event_uses(lake, database) == []


def test_import_reads_the_directory_again_if_the_lake_changed(
    lake, database, settings, write_file, import_file, monkeypatch
):
    live = write_file("customer_id,name\nd,Dora\n", "live.csv")
    read, found = customer_directory.read, []

    def read_while_others_write(*arguments):
        found.append(read(*arguments))
        if len(found) == 1:
            import_files(Lake.open(settings), None, settings, "customers", [live])
        return found[-1]

    monkeypatch.setattr(customer_directory, "read", read_while_others_write)
    report = import_file(VIEW, database=database)
    assert [len(each.entries) for each in found] == [1, 2]
    assert report.lake == customer_directory.followed_state(lake)
    assert set(scalars(database, select(DirectoryEntry.customer_id))) == {"c", "d"}
    assert len(scalars(database, select(ImportLog))) == 1


@pytest.mark.nightly
def test_directory_syncs_only_after_the_lake_changed(
    database, settings, tmp_path, import_file, monkeypatch
):
    looked, write = [], customer_directory.write
    monkeypatch.setattr(
        customer_directory, "write", lambda *arguments: looked.append(write(*arguments))
    )
    for table, text in [
        ("events", VIEW),
        ("events", VIEW),
        ("items", "item_id,title\ntea,Tea\n"),
        ("customers", "customer_id,name\nd,Dora\n"),
        ("events", VIEW),
    ]:
        import_file(text, None, table, database=database)
    assert looked == [1, 0, 1]  # items change no customer, but what sentences can name
    other = settings.model_copy(update={"lake_url": f"duckdb://{tmp_path}/other"})
    import_file(VIEW, database=database, own=other)
    assert looked == [1, 0, 1, 1]  # of another lake: Dora is not there


def test_link_from_a_finished_killed_import_does_not_leak(lake, import_file, monkeypatch):
    """Nobody knows any more which keys were new to that import, so they count from now on."""
    head = "customer_id,email,created_at\n"
    import_file(f"{head}a,x@x.org,2025-01-01\nb,,2025-01-02\n", table="customers")
    new = f"{head}b,x@x.org,2025-01-02\n"
    with _killed_before_linking(monkeypatch), pytest.raises(KeyboardInterrupt):
        import_file(new, table="customers")
    assert import_file(new, table="customers").linked["accepted"] == 1
    (link,) = links.latest_decisions(lake)
    assert link["evident_at"].replace(tzinfo=UTC) > clock.now() - timedelta(hours=1)
