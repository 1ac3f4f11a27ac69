"""Test that SQL which people write reads one source only, and ends."""

import sqlite3
from contextlib import closing
from pathlib import Path

import duckdb
import pytest

from retention.errors import BadInput
from retention.lake import Lake
from retention.lake.importing import map_sql
from retention.lake.importing.import_files import import_files
from retention.lake.reading.database import fetch_rows

ROWS = "c,t,n\nanna,2025-01-01,1\n"
MAP = 'customer_id = "c"\noccurred_at = "t"\nevent_type = { value = "view" }\n'
SECRET = "stolen"
# What a table in SQL may not be. {folder} holds files of another customer.
TABLES = (
    *("read_csv('{folder}/secret.csv')", "read_text('{folder}/secret.csv')"),
    *("read_blob('{folder}/secret.csv')", "read_json('{folder}/secret.csv')"),
    *("read_parquet('{folder}/*.parquet')", "parquet_metadata('{folder}/x.parquet')"),
    *("sniff_csv('{folder}/secret.csv')", "glob('{folder}/*')", "'{folder}/secret.csv'"),
    *('"{folder}/secret.csv"', "read_text('https://example.com/')", "'s3://bucket/x.parquet'"),
    *("duckdb_secrets()", "duckdb_settings()", "duckdb_extensions()", "duckdb_tables()"),
    *("which_secret('s3://x', 's3')", "pg_catalog.pg_class", "information_schema.tables"),
    *("query('SELECT 1')", "query_table('events')", "pragma_version()", "events", "customers"),
    "json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
    *("enable_logging()", "checkpoint()", "read_duckdb('{folder}/x.db')", "raw_rows"),
)
STATEMENTS = (
    *("COPY source TO '{folder}/out.csv'", "COPY source FROM '{folder}/secret.csv'"),
    *("ATTACH '{folder}/x.db'", "INSTALL httpfs", "LOAD httpfs", "SET threads = 1"),
    *("PRAGMA database_list", "CREATE TABLE t AS SELECT 1", "DROP TABLE source"),
    *("EXPORT DATABASE '{folder}'", "CREATE SECRET s (TYPE s3)", "CALL duckdb_settings()"),
    *("SELECT 1; SELECT 2", "SELECT * FROM (SHOW TABLES)", "SUMMARIZE source"),
)
VALUES = (
    *("getenv('HOME')", "current_setting('home_directory')", "getvariable('x')"),
    *("sleep_ms(100000)", "pg_sleep(100)", "write_log('x')", "setseed(0.5)", "current_query()"),
    *("c) FROM '{folder}/secret.csv' --", "c /*", "1); DROP TABLE staged; SELECT (1"),
)


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "secret.csv").write_text(f"c,t,n\n{SECRET},2025-01-01,1\n")
    (tmp_path / "rows.csv").write_text(ROWS)
    return tmp_path


@pytest.fixture
def lake(settings) -> Lake:
    return Lake.open(settings)


@pytest.fixture
def run(lake, settings, folder):
    """Return a function that imports the rows with a map's further keys."""

    def do(**keys: str):
        path = folder / "map.toml"
        sections = [f"{key} = {{ sql = '''{sql}''' }}\n" for key, sql in keys.items()]
        path.write_text(f"[events]\n{MAP}{''.join(sections)}")
        return import_files(lake, None, settings, "events", [str(folder / "rows.csv")], path)

    return do


def attacks(folder: Path) -> list[dict[str, str]]:
    """Return the keys of maps that read more than their source."""
    tables = [each.format(folder=folder) for each in TABLES]
    queries = [
        *(f"SELECT *, 1 AS x FROM {table}" for table in tables),
        *(f"SELECT s.* FROM source s, {table}" for table in tables if table != "raw_rows"),
        *(each.format(folder=folder) for each in STATEMENTS),
    ]
    values = [
        *(f"(SELECT count(*) FROM {table})" for table in tables),
        *(each.format(folder=folder) for each in VALUES),
    ]
    return [{"from": sql} for sql in queries] + [{"amount": sql} for sql in values]


def test_map_that_reads_more_than_its_source_is_refused_in_one_sentence(run, folder, lake):
    files = {*folder.iterdir()} | {folder / "map.toml"}
    for keys in attacks(folder):
        with pytest.raises(BadInput) as refusal:
            run(**keys)
        assert "\n" not in str(refusal.value), keys
        assert SECRET not in str(refusal.value)
    assert {*folder.iterdir()} - files <= {folder / "home"}
    assert lake.newest_event() is None


def test_engine_finds_no_file_and_no_table_but_the_source(folder):
    # These show DuckDB itself, or read nothing before they run. `check_reads` refuses them.
    passes = ("pg_catalog", "information_schema", "duckdb_", "which_secret", "pragma_version")
    passes += ("query(", "json_execute", "enable_logging", "sniff_csv", "checkpoint")
    for table in TABLES:
        if not table.startswith(passes):
            with pytest.raises(duckdb.Error):
                map_sql.bind(
                    {"c": "VARCHAR"}, f"SELECT 1 FROM source, {table.format(folder=folder)}"
                )


def test_comment_of_one_key_does_not_reach_into_the_next(run, lake):
    """A comment once hid the end of its line, so that a quoted line break let other text run."""
    assert run(amount="n -- of each", quantity="2").rows_accepted == 1


@pytest.mark.parametrize(
    "keys",
    [
        {"from": "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL FROM r) FROM r, source"},
        {"amount": "(WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL FROM r) SELECT max(n) FROM r)"},
    ],
)
def test_endless_query_is_ended_with_the_map_named(run, keys, monkeypatch):
    monkeypatch.setattr(map_sql, "MAX_SECONDS", 0.3)
    with pytest.raises(BadInput, match=r"map\.toml"):
        run(**keys)


def test_deeply_nested_sql_is_refused(run):
    for sql in ("(" * 5000 + "1" + ")" * 5000, "1" + " + 1" * 20_000, "CASE WHEN " * 3000):
        with pytest.raises(BadInput):
            run(amount=sql)


@pytest.mark.parametrize(
    "query",
    [
        "CREATE TABLE other AS SELECT 1",
        "DELETE FROM orders RETURNING *",
        "UPDATE orders SET c = 'x' RETURNING *",
    ],
)
def test_query_of_a_database_changes_nothing_in_it(tmp_path, query):
    def dump() -> list[str]:
        with closing(sqlite3.connect(file)) as opened:
            return [*opened.iterdump()]

    file = tmp_path / "shop.db"
    with closing(sqlite3.connect(file)) as opened:
        opened.executescript("CREATE TABLE orders (c); INSERT INTO orders VALUES ('anna')")
    before = dump()
    with pytest.raises(BadInput):
        fetch_rows(f"sqlite:///{file}", query, tmp_path, lambda rows: None)
    assert dump() == before
