"""Test reading from SQL databases."""

import pytest
import sqlalchemy as sa

from retention.errors import BadInput
from retention.lake import Lake
from retention.lake.importing.import_files import import_files
from retention.lake.reading import database
from tests.postgres import postgres

MAP = """[events]
timezone    = "Europe/London"
customer_id = "customer"
occurred_at = "at"
order_id    = "id"
quantity    = "pieces"
amount      = "paid"
query       = "extra"
event_type  = { value = "purchase" }
"""


def _import(settings, tmp_path, url, query):
    (tmp_path / "map.toml").write_text(MAP)
    lake, progress_texts = Lake.open(settings), []
    how = {"query": query, "progress": lambda done, total, text: progress_texts.append(text)}
    report = import_files(lake, None, settings, "events", [url], tmp_path / "map.toml", **how)
    events = lake.table("events").order_by("order_id").execute().to_dict("records")
    return (report, events, progress_texts)


def test_sqlite_is_streamed_and_types_may_widen(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(database, "BATCH_ROWS", 2)
    url = f"sqlite:///{tmp_path}/shop.db"
    rows = [
        ("1", None, "2025-07-01 10:00:00", 1, None),
        ("2", None, "2025-07-01 10:00:00", 2, None),
        ("3", 7, "2025-07-02 10:00:00", 2.5, None),
        ("4", 8, "2025-07-02 10:00:00", 3, None),
        ("5", "A9", "2025-07-02 10:00:00", None, "late"),
    ]
    with sa.create_engine(url).begin() as connection:
        connection.execute(sa.text("CREATE TABLE orders (id, customer, at, paid, extra)"))
        statement = sa.text("INSERT INTO orders VALUES (:id, :customer, :at, :paid, :extra)")
        names = ("id", "customer", "at", "paid", "extra")
        connection.execute(statement, [dict(zip(names, row, strict=True)) for row in rows])
    report, events, progress_texts = _import(
        settings, tmp_path, url, "SELECT *, 1 AS pieces FROM orders ORDER BY id"
    )
    assert report.quarantine_text == {"customer_id is missing": 2}
    assert [event["customer_id"] for event in events] == ["7", "8", "A9"]
    assert [event["amount"] for event in events][:2] == [2.5, 3]
    assert events[2]["query"] == "late"
    assert events[0]["occurred_at"].isoformat() == "2025-07-02T09:00:00"
    assert any("5 rows" in text for text in progress_texts)
    again, _, _ = _import(settings, tmp_path, url, "SELECT *, 1 AS pieces FROM orders ORDER BY id")
    assert again.rows_accepted == 0
    with pytest.raises(BadInput, match="--query"):
        _import(settings, tmp_path, url, None)
    with pytest.raises(BadInput, match="no such table"):
        _import(settings, tmp_path, url, "SELECT * FROM nowhere")
    with pytest.raises(BadInput, match="has no rows"):
        _import(settings, tmp_path, url, "SELECT * FROM orders WHERE id = '9'")
    with pytest.raises(BadInput, match=r"There is no file .*shoop\.db"):
        _import(settings, tmp_path, url.replace("shop.db", "shoop.db"), "SELECT * FROM orders")
    assert not (tmp_path / "shoop.db").exists()


@pytest.mark.nightly
def test_reads_types_of_postgresql(settings, tmp_path):
    with postgres() as url:
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            sql = sa.text(
                "CREATE TABLE orders AS SELECT gen_random_uuid() AS id, n % 7 AS customer, "
                "timestamptz '2025-01-01 00:00+01' + n * interval '1 minute' AS at, "
                "(n / 4.0)::numeric(12,2) AS paid, "
                "n AS pieces, CASE WHEN n > 60000 THEN '{\"a\": 1}'::jsonb END AS extra "
                "FROM generate_series(1, 60001) AS n"
            )
            connection.execute(sql)
        engine.dispose()
        report, events, _ = _import(settings, tmp_path, url, "SELECT * FROM orders")
        assert report.rows_accepted == 60_001
        last = next(event for event in events if event["quantity"] == 60_001)
        assert (last["customer_id"], last["amount"], last["query"]) == ("4", 15000.25, '{"a": 1}')
        assert min(event["occurred_at"] for event in events).isoformat() == "2024-12-31T23:01:00"
        assert "password" not in str(report.files)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (
            "mysql://me:secret@host/db",
            r"mysql:// needs the Python driver MySQLdb.*pip install mysqlclient.*mysql\+DRIVER",
        ),
        ("mysql+asyncmy://host/db", "needs the Python driver asyncmy.*pip install asyncmy"),
        (
            "mysqll://host/db",
            "no database mysqll:// that SQLAlchemy knows; write the URL like postgresql://",
        ),
    ],
)
def test_names_the_missing_driver_and_the_remedy(settings, tmp_path, url, says):
    with pytest.raises(BadInput, match=says) as refused:
        _import(settings, tmp_path, url, "SELECT 1")
    assert "secret" not in str(refused.value)
