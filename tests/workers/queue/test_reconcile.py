"""Test the repair of lost wake-ups and abandoned jobs."""

import subprocess
import sys
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from retention import clock
from retention.db.tables import Delivery, File, Job, Outbox, Process, Run
from retention.pictures import extra as pictures_extra
from tests.workers.harness import ADMIN, CHANNEL, ask, failure, job, row, set_job
from tests.world import add, change, rows, scalars
from workers.job_requests import Retrain, Sweep
from workers.queue import completion, jobs, live_processes, reconcile, supervisor
from workers.tasks.data.lake_upkeep import unwanted

LONG_AGO = timedelta(minutes=5)


@pytest.fixture
def woken(monkeypatch) -> list[str]:
    """Ids of the jobs that were published."""
    ids: list[str] = []
    monkeypatch.setattr(jobs, "wake", lambda settings, woken: ids.append(woken.id) or True)
    return ids


@pytest.fixture
def dead() -> str:
    """A worker of this host that is no more."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    name = live_processes.worker_name("task", process.pid)
    process.communicate()
    return name


def start(database, job_id: str, worker: str) -> None:
    assert change(database, jobs.claim, job_id, worker)


def test_lost_wake_up_is_published_again_after_a_while(database, woken):
    queued_job = ask(database, Sweep(), "k")
    assert reconcile.republish(database) == []
    set_job(database, queued_job.id, enqueued_at=clock.wall() - LONG_AGO)
    assert reconcile.republish(database) == [queued_job.id] == woken
    assert reconcile.republish(database) == []


def test_jobs_not_yet_due_cancelled_or_running_are_left_alone(database, woken):
    ids = [ask(database, Sweep(), key).id for key in "abc"]
    for job_id in ids:
        set_job(database, job_id, enqueued_at=clock.wall() - LONG_AGO)
    set_job(database, ids[0], not_before=clock.wall() + timedelta(hours=1))
    change(database, jobs.cancel, ids[1], ADMIN)
    start(database, ids[2], live_processes.worker_name("t"))
    assert reconcile.republish(database) == []
    assert reconcile.release_dead(database) == []


def test_job_of_a_dead_process_is_released_early(database, woken, dead):
    queued_job = ask(database, Sweep(), "k")
    start(database, queued_job.id, dead)
    assert reconcile.release_dead(database) == [queued_job.id]
    assert reconcile.republish(database) == [queued_job.id]


def test_job_of_an_equal_host_name_in_another_container_keeps_its_lease(
    database, settings, woken, dead, monkeypatch
):
    """Its number of a process says nothing here, and a live job was run twice."""
    queued_job = ask(database, Sweep(), "k")
    start(database, queued_job.id, dead)
    monkeypatch.setattr(live_processes, "_namespace", lambda: "pid:[4026532999]")
    live_processes.place.cache_clear()
    try:
        assert reconcile.release_dead(database) == []
        supervisor.Supervisor(settings, ("tick",))._release(database)
        assert job(database, queued_job.id).lease_until > clock.wall()
    finally:
        monkeypatch.undo()
        live_processes.place.cache_clear()
    assert reconcile.release_dead(database) == [queued_job.id]


def test_process_with_the_number_of_a_dead_worker_is_another():
    name, pid, _, place = live_processes.worker_name("task").rsplit(":", 3)
    assert live_processes.is_gone(f"{name}:{pid}:1:{place}")
    assert not live_processes.is_gone(live_processes.worker_name("task"))
    assert not live_processes.is_gone(f"{name}:{pid}")  # as earlier versions wrote it


def test_job_that_kills_workers_fails_with_a_reference(database, woken):
    queued_job = ask(database, Sweep(), "k")
    for _ in range(reconcile.MAX_LOST_WORKERS):
        start(database, queued_job.id, "task@elsewhere:1")
        set_job(database, queued_job.id, lease_until=clock.wall() - LONG_AGO, enqueued_at=None)
    reconcile.republish(database)
    ended = job(database, queued_job.id)
    assert (ended.state, woken) == ("failed", [])
    assert ended.reference in str(failure(database, queued_job.id).payload)


def test_manual_retry_does_not_count_as_lost_worker(database, woken):
    queued_job = ask(database, Sweep(), "k")
    for _ in range(reconcile.MAX_LOST_WORKERS):
        finished = change(database, jobs.claim, queued_job.id, "task@elsewhere:1")
        completion.fail(database, finished, "No orders yet.")
        change(database, jobs.retry, queued_job.id, ADMIN)
    start(database, queued_job.id, "task@elsewhere:1")
    set_job(database, queued_job.id, lease_until=clock.wall() - LONG_AGO, enqueued_at=None)
    assert reconcile.republish(database) == [queued_job.id]


def test_queued_wake_up_is_not_published_again(database, settings, valkey):
    carried, lost = (ask(database, Sweep(), key) for key in "ab")
    assert jobs.wake(settings, carried)
    for published in ([lost.id], []):
        for item in (carried, lost):
            set_job(database, item.id, enqueued_at=clock.wall() - LONG_AGO)
        assert reconcile.republish(database) == published


def test_unfinished_terminal_job_is_not_run_by_workers(database, woken):
    queued_job = ask(database, Sweep(), "k", channel=None)
    start(database, queued_job.id, f"{jobs.TERMINAL}@elsewhere:1")
    set_job(database, queued_job.id, lease_until=clock.wall() - LONG_AGO, enqueued_at=None)
    reconcile.republish(database)
    assert (job(database, queued_job.id).state, woken) == ("failed", [])


@pytest.mark.parametrize(("silent_for", "killed"), [(0.5, False), (1.5, True)])
def test_process_without_a_heartbeat_is_killed(database, monkeypatch, silent_for, killed):
    revoked = []
    monkeypatch.setattr(reconcile, "_kill", lambda settings, killed: revoked.append(killed.id))
    queued_job = ask(database, Retrain(), "k")
    start(database, queued_job.id, "task@elsewhere:1")
    set_job(database, queued_job.id, lease_until=clock.wall() - silent_for * reconcile.SILENT_AFTER)
    assert reconcile.kill_silent(database) == revoked == [queued_job.id] * killed


def test_ignored_cancellation_is_enforced(database):
    queued_job = ask(database, Sweep(), "k")
    start(database, queued_job.id, "task@elsewhere:1")
    change(database, jobs.cancel, queued_job.id, ADMIN)
    assert reconcile.end_cancelled(database) == []  # within its grace
    set_job(database, queued_job.id, cancel_at=clock.wall() - timedelta(seconds=4))
    assert reconcile.end_cancelled(database) == [queued_job.id]
    assert job(database, queued_job.id).state == "cancelled"
    assert "cancelled" in row(database, f"job:{queued_job.id}").payload["text"]


def test_old_rows_are_dropped_after_a_day(database):
    old = clock.wall() - timedelta(days=2)
    add(database, Delivery(key="old", at=old), Delivery(key="new"))
    processes = Process(name="old", role="tick", seen_at=old), Process(name="new", role="tick")
    add(database, *processes)
    reconcile.tidy(database)
    for names in (Delivery.key, Process.name):
        assert scalars(database, select(names)) == ["new"]


def test_sensitive_unsent_files_are_dropped_after_a_week(database):
    week_ago, later = (clock.wall() - timedelta(days=days) for days in (8, 6))
    add(
        database,
        file("old", created_at=week_ago, sensitive=True),
        file("new", created_at=later, sensitive=True),
        file("chart", created_at=week_ago),
    )
    reconcile.tidy(database)
    kept = dict(rows(database, select(File.id, File.content)))
    assert kept == {"old": None, "new": b"a", "chart": b"a"}


def file(name: str, **values) -> File:
    return File(id=name, name=name, mime="text/csv", content=b"a", **values)


def test_the_lake_is_tidied_once_a_night(database, settings, woken, monkeypatch):
    for at in ("2017-10-02T02:59", "2017-10-02T03:10", "2017-10-02T04:10", "2017-10-03T03:00"):
        moment = datetime.fromisoformat(at).replace(tzinfo=settings.zone)
        monkeypatch.setattr(clock, "wall", lambda moment=moment: moment)
        reconcile.tidy(database)
    assert len(woken) == 2


@pytest.mark.parametrize(("value", "kinds"), [("", ["tidy"]), ("catalogue", ["pictures", "tidy"])])
def test_new_pictures_are_read_at_night_if_switched_on(database, woken, monkeypatch, value, kinds):
    monkeypatch.setattr(pictures_extra, "is_installed", lambda: True)
    using = database.using(database.settings.model_copy(update={"product_pictures": value}))
    at = datetime.fromisoformat("2017-10-02T03:10").replace(tzinfo=using.settings.zone)
    monkeypatch.setattr(clock, "wall", lambda: at)
    reconcile.tidy(using)
    assert sorted(scalars(using, select(Job.kind))) == kinds


def test_old_messages_are_dropped_at_night(database, monkeypatch):
    old = clock.wall() - timedelta(days=200)
    retrain = ask(database, Retrain(), "retrain", announce=False).id
    sweep = ask(database, Sweep(), "sweep", announce=False).id
    shown = {"channel": CHANNEL, "payload": {}, "state": "sent", "sent_at": old, "job_id": retrain}
    with database.transaction() as session:
        for key, changes in {
            "old": {},
            "new": {"sent_at": clock.wall()},
            "names customers": {"job_id": sweep},
            "waits": {"state": "pending"},
            "parent": {},
            "reply": {"thread_key": "parent", "sent_at": clock.wall()},
            "campaign:c1": {"job_id": None},
        }.items():
            session.add(Outbox(key=key, **shown | changes))
    tidied(database, monkeypatch)
    stored = set(scalars(database, select(Outbox.key)))
    assert stored == {"new", "names customers", "waits", "parent", "reply", "campaign:c1"}


def test_uploaded_content_is_dropped_after_a_month(database, monkeypatch):
    ago = clock.wall() - timedelta(days=31)
    uploads = {"delivered": ago, "fresh": clock.wall(), "waits": None}
    add(database, *(file(name, uploaded_at=at, created_at=ago) for name, at in uploads.items()))
    tidied(database, monkeypatch)
    assert scalars(database, select(File.id).where(File.content.is_(None))) == ["delivered"]


def tidied(database, monkeypatch) -> None:
    """After a night."""
    night = (clock.wall() + timedelta(days=1)).replace(hour=3)
    monkeypatch.setattr(clock, "wall", lambda: night)
    reconcile.tidy(database)


def test_unwanted_runs_exclude_published_and_open_ones(database):
    working = ask(database, Sweep(), "a").id
    start(database, working, "somewhere")
    add(database, Run(run_id="done-1", job_id="done", table_name="scores"))
    found = unwanted(database, {"done-1", "done-2", f"{working}-1", "failed-3"})
    assert found == {"done-2", "failed-3"}
