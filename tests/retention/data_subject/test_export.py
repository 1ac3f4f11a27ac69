"""Test that an export has all that is stored about a customer."""

import json

import pytest

from retention.data_subject.export import NOT_EXPORTED, export, exported_tables
from retention.db import Base
from retention.erasure import CUSTOMER_COLUMNS
from retention.lake.schema import TABLES
from tests import readonly
from tests.retention.data_subject.rows_of_a_customer import fill_tables

WHO = "c0007"


@pytest.fixture
def own_shop(shop, tmp_path):
    copy = readonly.copy_of(shop, tmp_path / "home")
    yield copy
    copy.database.dispose()


def test_every_table_with_a_customer_column_is_exported_or_says_why_not():
    """A column of another name would be missed: name it ``customer_id``, or give the reason."""
    exported = {table.name for table in exported_tables()}
    tables = Base.metadata.tables.values()
    with_customers = {
        table.name
        for table in tables
        for column in table.columns
        if "customer" in column.name and column.name != "customers"  # a count
    }
    assert with_customers - exported == set(NOT_EXPORTED)
    of_lake = {
        (table.name, column.name)
        for table in TABLES.values()
        for column in table.columns
        if column.meaning.startswith(("who", "this customer", "the id that"))
        and column.name != "decided_by"  # a colleague
    }
    named = {(table.name, name) for table, names in CUSTOMER_COLUMNS.items() for name in names}
    assert named == of_lake


def test_export_has_the_customer_of_every_table_and_nobody_else(own_shop):
    database, lake = own_shop.database, own_shop.lake
    with database.transaction() as session:
        fill_tables(session, [WHO, "c0008"])
    with database.reading() as session:
        content, rows = export(lake, session, [WHO])
    exported = json.loads(content)
    assert {table.name for table in exported_tables()} <= set(exported)
    assert {"events", "customers"} <= set(exported)
    assert rows == sum(map(len, exported.values()))
    assert "c0008" not in content.decode()
