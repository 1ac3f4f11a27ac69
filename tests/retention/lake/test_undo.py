"""The newest import of events can be taken back, with what it kept aside; nothing else goes with it."""

from pathlib import Path

import pytest
from sqlalchemy import select

from retention.db.tables import Audit, DirectoryEntry, ImportLog
from retention.errors import BadInput
from retention.lake import Lake, store
from retention.lake.importing import import_files
from retention.lake.schema import TABLES
from retention.lake.undo import take_back

MAP = """[events]
customer_id = "who"
occurred_at = "when"
amount = "{amount}"
event_type = {{ value = "purchase" }}
"""
FIRST = "who,when,paid,cost\na,2025-01-01,5,3\nb,2025-01-02,6,4\nc,,7,5\n"
SECOND = "who,when,paid,cost\nd,2025-01-03,8,6\n"


@pytest.fixture
def lake(settings):
    return Lake.open(settings)


@pytest.fixture
def bring(lake, database, settings, tmp_path):
    def do(name, content, amount="paid"):
        (tmp_path / name).write_text(content)
        (tmp_path / "map.toml").write_text(MAP.format(amount=amount))
        file = str(tmp_path / name)
        return import_files(lake, database, settings, "events", [file], tmp_path / "map.toml")

    return do


def _amounts(lake):
    return sorted(lake.table("events").amount.execute())


def test_a_wrong_map_is_taken_back_and_the_right_one_counts_once(lake, database, settings, bring):
    wrong = bring("one.csv", FIRST, amount="cost")
    bring("two.csv", SECOND)
    again = bring("one.csv", FIRST)
    assert again.before
    assert _amounts(lake) == [3, 4, 5, 6, 8]
    for source in ("one.csv", "two.csv", "one.csv"):
        assert take_back(lake, database, settings, "U0ADMIN")["source"] == source
    assert _amounts(lake) == []
    assert not Path(wrong.quarantine_path).exists()
    with database.reading() as session:
        assert session.scalars(select(ImportLog)).all() == []
        assert session.scalars(select(DirectoryEntry)).all() == []
        assert [one.actor for one in session.scalars(select(Audit))] == ["U0ADMIN"] * 3
    with pytest.raises(BadInput, match="no import of events"):
        take_back(lake, database, settings, "U0ADMIN")
    report = bring("one.csv", FIRST)
    assert (report.rows_accepted, report.rows_quarantined, report.before) == (2, 1, "")
    assert _amounts(lake) == [5, 6]


def test_what_brought_nothing_is_passed_over(lake, database, settings, bring):
    bring("one.csv", FIRST)
    bring("two.csv", SECOND)
    assert bring("one.csv", FIRST).rows_accepted == 0
    assert take_back(lake, database, settings, "U0ADMIN")["source"] == "two.csv"
    assert _amounts(lake) == [5, 6]
    with database.reading() as session:
        assert {one.customer_id for one in session.scalars(select(DirectoryEntry))} == {"a", "b"}


def test_nothing_goes_with_it_that_was_written_since(lake, database, settings, bring):
    bring("one.csv", FIRST)
    bring("two.csv", SECOND)
    store.delete(lake.root, TABLES["events"], "customer_id = 'a'")  # as an erasure does
    with pytest.raises(BadInput, match=r"two\.csv cannot be taken back: the events have been written to"):
        take_back(lake, database, settings, "U0ADMIN")
    assert _amounts(lake) == [6, 8]
