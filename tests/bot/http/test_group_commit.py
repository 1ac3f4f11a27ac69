"""Test concurrent writes that share a transaction."""

import threading

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from bot.group_commit import GroupCommit
from retention.db import Database
from retention.db.tables import Delivery
from retention.errors import BadInput
from tests.workers.harness import wait
from tests.world import scalars


def keys(database):
    return set(scalars(database, select(Delivery.key)))


def write(key):
    def add(session):
        if key.startswith("refused"):
            raise BadInput(f"{key} is refused")
        session.add(Delivery(key="same" if key.startswith("broken") else key))
        session.flush()
        return key

    return add


def store_each(commits, names) -> tuple[dict, list[threading.Thread]]:
    """Store names at the same time; return the answers so far, and the threads."""
    answers = {}

    def store(name):
        try:
            answers[name] = commits.store(write(name))
        except Exception as error:
            answers[name] = type(error).__name__

    threads = [threading.Thread(target=store, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    return answers, threads


def test_one_failure_in_a_batch_does_not_affect_the_others(database):
    commits = GroupCommit(database)
    commits.store(write("broken first"))  # its key is taken now: the others that are broken fail
    names = [f"{kind} {number}" for kind in ("fine", "refused", "broken") for number in range(15)]
    answers, threads = store_each(commits, names)
    for thread in threads:
        thread.join()
    fine = {name: name for name in names if name.startswith("fine")}
    failures = {"refused": "BadInput", "broken": "IntegrityError"}
    expected = {name: failures[name.split()[0]] for name in names if name not in fine}
    assert answers == fine | expected
    assert keys(database) == {"same", *fine}


def test_duplicate_row_fails_only_its_own_write(database):
    commits, begun, gate = GroupCommit(database), threading.Event(), threading.Event()
    commits.store(write("broken first"))
    held = threading.Thread(
        target=commits.store, args=(lambda session: (begun.set(), gate.wait(30)),)
    )
    held.start()
    assert begun.wait(30)  # it is written alone; the next two wait for it, and go into one batch
    answers, threads = store_each(commits, ("fine", "broken"))
    wait(lambda: len(commits._urgent) == 2)
    gate.set()
    for thread in (held, *threads):
        thread.join()
    assert answers == {"fine": "fine", "broken": "IntegrityError"}


def test_deferred_writes_run_last_and_log_failures(database, caplog):
    commits, order = GroupCommit(database), []
    begun, gate = threading.Event(), threading.Event()
    commits.defer(lambda session: (begun.set(), gate.wait(60), order.append("held")))
    assert begun.wait(60)
    for number in range(3):
        commits.defer(lambda session, number=number: order.append(f"later {number}"))
    commits.defer(write("refused"))
    asker = threading.Thread(target=lambda: commits.store(lambda session: order.append("urgent")))
    asker.start()
    wait(lambda: commits._urgent)
    gate.set()
    asker.join()
    commits.store(lambda session: None)
    done = threading.Event()
    commits.defer(lambda session: done.set())
    assert done.wait(60)
    assert order.index("urgent") < order.index("later 2")
    assert "refused is refused" in caplog.text


def test_unreachable_database_fails_every_write(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/state.db")
    commits = GroupCommit(database)
    with pytest.raises(OperationalError):
        commits.store(write("fine"))  # no such table


def test_a_write_that_refuses_late_leaves_nothing_behind(database):
    commits = GroupCommit(database)

    def half(session):
        write("half")(session)
        raise BadInput("refused after a write")

    with pytest.raises(BadInput):
        commits.store(half)
    commits.store(write("fine"))
    assert keys(database) == {"fine"}
