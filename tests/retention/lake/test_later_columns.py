"""Test columns that were added after a lake was written."""

from dataclasses import replace

import pandas as pd
import pytest

from retention.lake import Lake
from retention.lake.schema import CUSTOMERS
from retention.lake.storage import delta_store

EARLIER = replace(
    CUSTOMERS, columns=tuple(column for column in CUSTOMERS.columns if not column.is_later)
)
CONSENTS = ["marketing_consent", "sms_consent", "whatsapp_consent"]


@pytest.fixture
def lake(tmp_path) -> Lake:
    """A lake whose customers an earlier version of the desk wrote."""
    lake = Lake(tmp_path / "lake", tmp_path / "scratch")
    _write_earlier(lake, a=True, b=None)
    return lake


def _write_earlier(lake: Lake, **consents: bool | None) -> None:
    rows = pd.DataFrame({"customer_id": [*consents], "marketing_consent": [*consents.values()]})
    delta_store.upsert(lake.root, EARLIER, delta_store.to_arrow(rows, EARLIER))


def _consents(lake: Lake) -> dict[str, list[bool | None]]:
    people = lake.table("customers").execute()
    return {
        row.customer_id: [
            None if pd.isna(getattr(row, name)) else bool(getattr(row, name)) for name in CONSENTS
        ]
        for row in people.itertuples()
    }


def test_lake_of_an_earlier_version_reads_as_unknown(lake):
    assert _consents(lake) == {"a": [True, None, None], "b": [None, None, None]}


def test_first_write_adds_the_columns_and_keeps_the_rows(lake):
    columns = {"customer_id": ["b", "c"], "sms_consent": [True, False]}
    lake.upsert("customers", pd.DataFrame(columns))
    expected = {"a": [True, None, None], "b": [None, True, None], "c": [None, False, None]}
    assert _consents(lake) == expected


def test_process_of_the_earlier_version_can_still_write(lake):
    """During an upgrade both versions run."""
    lake.upsert("customers", pd.DataFrame({"customer_id": ["c"], "sms_consent": [True]}))
    _write_earlier(lake, d=False)
    assert _consents(lake)["c"] == [None, True, None]
    assert _consents(lake)["d"] == [False, None, None]
