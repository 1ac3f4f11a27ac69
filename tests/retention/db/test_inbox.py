"""Test the inbox of live events on both databases."""

import json
from datetime import timedelta

import pytest

from retention import clock
from retention.connect.live import inbox
from retention.db.tables import EventBatch, EventKey
from retention.privacy.periods import keep
from tests.databases import create_tables
from tests.world import change, read


@pytest.fixture
def database(database):
    create_tables(database)
    return database


def rows(*numbers: int) -> list[dict]:
    now = int(clock.now().timestamp() * 1e6)
    return [{"event_id": f"e{number}", "occurred_at": now} for number in numbers]


def keys(*numbers: int) -> list[str]:
    return [f"{number:032x}" for number in numbers]


def test_known_and_repeated_rows_are_stored_once(database):
    with database.transaction() as session:
        first = inbox.add(session, rows(1, 2, 1), keys(1, 2, 1))
        again = inbox.add(session, rows(2, 3), keys(2, 3))
    assert (first, again) == (inbox.Stored(2, 1), inbox.Stored(1, 1))
    assert read(database, inbox.waiting) == 3


def test_rolled_back_rows_can_be_sent_again(database):
    with database.reading() as session:
        inbox.add(session, rows(1), keys(1))
        session.rollback()
    assert change(database, inbox.add, rows(1), keys(1)).accepted == 1


def test_oldest_batches_of_a_kind_are_taken_and_removed_once(database):
    with database.transaction() as session:
        for number in range(4):
            kind = "customers" if number == 1 else "events"
            inbox.add(session, rows(number), keys(number), kind)
    with database.transaction() as session:
        batches = inbox.oldest(session, "events", 2)
        ids = [json.loads(inbox.unpack(batch.body))["event_id"] for batch in batches]
        assert ids == ["e0", "e2"]
        assert inbox.remove(session, batches)
        assert not inbox.remove(session, batches)
    with database.reading() as session:
        assert inbox.waiting(session) == 2
        assert len(inbox.oldest(session, "customers", 1)) == 1


def test_backlog_of_single_events_is_taken_in_parts(database, monkeypatch):
    """PostgreSQL takes at most 65,535 parameters of a statement."""
    many = 66_000 if database.engine.dialect.name == "postgresql" else 100
    with database.transaction() as session:
        assert not inbox.remove(session, [EventBatch(id=number) for number in range(many)])
        for number in range(4):
            inbox.add(session, rows(number), keys(number))
    monkeypatch.setattr(inbox, "MAX_BATCHES", 3)
    with database.transaction() as session:
        batches = inbox.oldest(session, "events", 100_000)
        assert len(batches) == 3
        assert inbox.remove(session, batches)


def test_old_keys_are_forgotten(database):
    with database.transaction() as session:
        inbox.add(session, rows(1, 2), keys(1, 2))
        old = session.get_one(EventKey, ("local", keys(1)[0]))
        old.day = (clock.wall() - keep("event_keys") - timedelta(days=2)).date()
    with database.transaction() as session:
        assert inbox.prune_keys(session) == 1
        assert inbox.add(session, rows(1, 2), keys(1, 2)).accepted == 1
