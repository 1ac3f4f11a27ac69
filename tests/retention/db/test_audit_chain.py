"""Test that the audit log shows tampering."""

import json

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from retention import clock, erasure
from retention.db import audit_chain
from retention.db.audit import record
from retention.db.migrate import upgrade
from retention.db.tables import Audit
from tests.world import change


@pytest.fixture
def migrated(empty, database):
    upgrade(empty)
    return database


@pytest.fixture
def log(migrated):
    """A log with four entries of four transactions."""
    for number in range(4):
        change(
            migrated, record, "U0LEAD", "campaign.approve", f"c{number}", clock.now(), {"n": 1.0}
        )
    return migrated


def _faults(database, known_head=None):
    with database.reading() as session:
        found = audit_chain.verify(session, known_head)
    return {(one.fault, one.entry) for one in found.problems}


def tamper(database, *statements):
    """Change the log as someone with the database's password can."""
    with database.engine.begin() as connection:
        names = ("audit", "audit_links")
        if database.is_sqlite:
            triggers = (f"{name}_no_{deed}" for name in names for deed in ("update", "delete"))
            for trigger in triggers:
                connection.execute(text(f"DROP TRIGGER IF EXISTS {trigger}"))
        else:
            for name in names:
                connection.execute(text(f"DROP TRIGGER IF EXISTS {name}_append_only ON {name}"))
        for statement in statements:
            connection.execute(text(statement))


@pytest.mark.parametrize(
    ("statement", "faults"),
    [
        ("UPDATE audit SET actor = 'U0EVIL' WHERE id = 2", {("changed", 2)}),
        ("DELETE FROM audit WHERE id = 2", {("missing", 2)}),
        ("DELETE FROM audit_links WHERE audit_id = 2", {("missing", 3), ("unsealed", 2)}),
        ("UPDATE audit_links SET signature = key_id WHERE audit_id = 3", {("unsigned", 3)}),
        ("UPDATE audit_links SET signature = 'é' WHERE audit_id = 3", {("unsigned", 3)}),
    ],
)
def test_changed_or_missing_entry_is_named(log, statement, faults):
    assert _faults(log) == set()
    tamper(log, statement)
    assert _faults(log) == faults


def test_moved_entries_are_named(log):
    tamper(
        log,
        "UPDATE audit_links SET id = 99 WHERE id = 2",
        "UPDATE audit_links SET id = 2 WHERE id = 3",
        "UPDATE audit_links SET id = 3 WHERE id = 99",
    )
    assert {fault for fault, _ in _faults(log)} == {"missing", "moved"}


def test_cut_end_shows_by_a_head_that_was_kept(log):
    with log.reading() as session:
        kept = audit_chain.head(session)
    tamper(log, "DELETE FROM audit WHERE id = 4", "DELETE FROM audit_links WHERE audit_id = 4")
    assert _faults(log) == set()
    assert _faults(log, kept) == {("cut", 0)}


def test_log_that_the_desk_linked_anew_shows_by_a_head_in_the_home(log):
    with log.reading() as session:
        audit_chain.keep_head(log.settings, "2026-12-01", audit_chain.head(session))
    assert _faults(log) == set()
    tamper(log, "UPDATE audit SET actor = 'U0EVIL' WHERE id = 2", "DELETE FROM audit_links")
    change(log, record, "U0LEAD", "campaign.stop", "c1", clock.now(), {})  # links all of them
    with log.reading() as session:
        audit_chain.keep_head(log.settings, "2026-12-02", audit_chain.head(session))
    assert _faults(log) == {("cut", 0)}


@pytest.mark.parametrize("table", ["audit", "audit_links"])
@pytest.mark.parametrize("deed", ["UPDATE {} SET team_id = 'T1'", "DELETE FROM {}"])
def test_database_refuses_to_change_the_log(log, table, deed):
    with pytest.raises(DBAPIError, match="append-only"), log.engine.begin() as connection:
        connection.execute(text(deed.format(table)))


def test_later_link_vouches_for_those_of_a_lost_key(log, settings):
    rotated = SecretStr("another-secret-key-of-32-characters")
    other = log.using(settings.model_copy(update={"secret_key": rotated}))
    assert {fault for fault, _ in _faults(other)} == {"unsigned"}
    change(other, record, "U0LEAD", "campaign.stop", "c1", clock.now(), {})
    assert _faults(other) == set()
    with other.reading() as session:
        assert audit_chain.verify(session).lost_keys == (log.settings.keys.current_id,)


def test_life_names_an_entry_with_an_invented_key(log):
    tamper(log, "UPDATE audit_links SET key_id = '00000000' WHERE audit_id = 2")
    with log.reading() as session:
        assert audit_chain.life(session, "c1")[1] == [audit_chain.Problem("unsigned", 2)]


def test_entry_that_is_written_meanwhile_is_no_fault(log, monkeypatch):
    read = audit_chain.entries

    def growing(session):
        yield from read(session)
        session.add(Audit(team_id="T", actor="U", action="a.b", subject="s", details={}))
        session.flush()

    monkeypatch.setattr(audit_chain, "entries", growing)
    with log.transaction() as session:
        assert audit_chain.verify(session).problems == ()


def test_erasure_keeps_the_chain(log):
    with log.transaction() as session:
        erasure.erase_from_sql(session, ["c1"])
    assert _faults(log) == set()


def test_entries_of_an_undone_step_leave_no_link(log):
    with log.transaction() as session:
        record(session, "U0LEAD", "campaign.stop", "c1", clock.now(), {})
        step = session.begin_nested()
        record(session, "U0LEAD", "campaign.close", "c1", clock.now(), {})
        step.rollback()
    with log.reading() as session:
        assert (audit_chain.verify(session).entries, _faults(log)) == (5, set())


def test_entries_of_earlier_versions_are_linked_first(migrated):
    with migrated.engine.begin() as connection:
        columns = "team_id, actor, action, subject, details, at, wall_at"
        at = "2026-01-01 00:00:00.000000"
        values = {"details": json.dumps({"why": "ä"}), "at": at}
        old = f"INSERT INTO audit ({columns}) VALUES ('T', 'U', 'a.b', 's', :details, :at, :at)"
        connection.execute(text(old), values)
    change(migrated, record, "U0LEAD", "campaign.approve", "c1", clock.now(), {})
    with migrated.reading() as session:
        assert (audit_chain.verify(session).entries, _faults(migrated)) == (2, set())
