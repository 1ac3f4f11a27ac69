"""Test that SQL in a map reads its one source only."""

import pytest

from retention.errors import BadInput
from retention.lake.importing.mapping import read_map
from retention.lake.schema import EVENTS

SECRET = "read_text('/etc/passwd')"


def load(tmp_path, section):
    path = tmp_path / "map.toml"
    path.write_text(f'[events]\ncustomer_id = "c"\noccurred_at = "t"\n{section}\n')
    return read_map(path, EVENTS, "UTC")


@pytest.mark.parametrize(
    "sql",
    [
        f"(SELECT content FROM {SECRET})",
        "(SELECT a FROM '/etc/passwd.csv')",
        f"c) FROM {SECRET} WHERE (true",
        "(SELECT email FROM customers)",
        "list_transform(c, x -> (SELECT max(file) FROM glob('*')))",
        "getenv('RETENTION_SECRET_KEY')",
        "c /* open",
        '(WITH "/p/s.json" AS (SELECT * FROM "/p/s.json") SELECT max(a) FROM "/p/s.json")',
        "(WITH secret AS (SELECT * FROM secret) SELECT max(a) FROM secret)",
    ],
)
def test_expression_that_reads_more_than_its_columns_is_refused(tmp_path, sql):
    with pytest.raises(BadInput):
        load(tmp_path, f'amount = {{ sql = """{sql}""" }}')


@pytest.mark.parametrize(
    "sql",
    [
        f"SELECT * FROM {SECRET}",
        f"SELECT 1) AS a, (SELECT * FROM {SECRET}",
        "SELECT * FROM source, read_csv('/etc/passwd')",
        "SELECT * FROM source JOIN '/etc/passwd' ON true",
        "SELECT * FROM main.source",
        "SELECT * FROM other.source",
        'SELECT * FROM (WITH "x.csv" AS (SELECT 1) SELECT 1), "x.csv"',
        "SELECT * FROM (DESCRIBE source)",
        "SELECT * FROM query('SELECT 1')",
        "COPY source TO 'x.csv'",
        "SELECT 1); ATTACH 'x.db'; SELECT (1",
        "FROM duckdb_settings()",
        'WITH "/p/s.json" AS (SELECT * FROM "/p/s.json") SELECT * FROM "/p/s.json"',
        'WITH "/p/s.json" AS (SELECT 1) SELECT * FROM source',
        "WITH secret AS (SELECT * FROM secret) SELECT * FROM secret",
        "WITH RECURSIVE secret AS (SELECT * FROM secret) SELECT * FROM secret",
        "WITH RECURSIVE s AS (SELECT * FROM s UNION ALL SELECT * FROM s) SELECT * FROM s",
        'WITH RECURSIVE "s.csv" AS (SELECT 1 UNION ALL FROM "s.csv") FROM "s.csv"',
        "WITH a AS (SELECT * FROM secret), secret AS (SELECT 1) SELECT * FROM a",
        "WITH a AS (WITH secret AS (SELECT 1) SELECT 1) SELECT * FROM secret",
        "WITH source AS (SELECT 1) SELECT * FROM source",
        'WITH s AS (SELECT 1) SELECT * FROM "ſ"',
    ],
)
def test_from_that_reads_more_than_the_source_is_refused(tmp_path, sql):
    with pytest.raises(BadInput):
        load(tmp_path, f'from = {{ sql = """{sql}""" }}')


def test_usual_sql_is_kept(tmp_path):
    expressions = ('"Qty" * 2', "list_sum(list_transform(c, x -> x + 1))", "(SELECT max(c))")
    for sql in expressions:
        assert load(tmp_path, f"amount = {{ sql = '''{sql}''' }}")
    for sql in (
        "WITH a AS (SELECT * FROM source), b AS (FROM A) SELECT *, 1 AS n FROM b JOIN a USING (c)",
        "SELECT unnest(lines) AS line, t.* FROM source, unnest([1, 2]) AS t(n), range(3)",
        "SELECT * FROM source, json_each('[1]'), json_tree('[1]'), repeat(1, 2)",
        "SELECT * FROM source UNPIVOT (v FOR k IN (a, b))",
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT * FROM r, source",
    ):
        assert load(tmp_path, f"from = {{ sql = '''{sql}''' }}")
