"""Test a small installation of real processes."""

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from sqlalchemy import select

from retention import clock
from retention.db import Database
from retention.db.migrate import upgrade
from retention.db.tables import Outbox, Process, Run
from retention.errors import BadInput
from retention.settings import Settings
from tests.workers.harness import ADMIN, STAND_INS, ask, job, over, running, set_job, wait
from tests.world import change, scalars
from workers.app import TRAINING_NICENESS
from workers.job_requests import CustomerCard, Digest, Recommend, Sweep
from workers.queue import jobs, live_processes, reconcile, supervisor
from workers.queue.child_environments import ChildEnvironments
from workers.retrain_request import Retrain

pytestmark = pytest.mark.desk


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """Settings, database and supervisor of an installation that runs for all tests of this file."""
    settings = Settings(home=tmp_path_factory.mktemp("h"), admins=ADMIN, _env_file=None)
    upgrade(settings)
    database = Database.of(settings)
    with running(settings, database, "worker", "tick") as created:
        yield settings, database, created
    database.dispose()


def begin(settings, database, request, key: str) -> str:
    queued_job = ask(database, request, key)
    assert jobs.wake(settings, queued_job)
    return queued_job.id


def running_since(database, job_id: str) -> str:
    """The worker that runs a job, once it has begun."""
    return wait(lambda: (stored := job(database, job_id)).state == "running" and stored.worker)


def results(database, job_id: str) -> list[str]:
    payloads = scalars(database, select(Outbox.payload).where(Outbox.job_id == job_id))
    texts = [payload["text"] for payload in payloads]
    return [text for text in texts if "result of" in text or "published" in text]


def child_of(worker: str) -> int:
    return int(worker.rsplit(":", 3)[1])


def test_second_batch_worker_leaves_the_files_of_a_running_pull(settings, monkeypatch):
    download = settings.home / "sources" / "orders" / "downloads" / "orders.csv"
    download.parent.mkdir(parents=True)
    download.touch()
    started = []
    monkeypatch.setattr(os, "execve", lambda *arguments: started.append(arguments))
    monkeypatch.setattr(supervisor.Supervisor, "run", lambda *_: None)
    monkeypatch.setattr(supervisor.signal, "signal", lambda *_: None)
    supervisor.run(settings, ["worker"], queue="batch")
    assert started
    assert download.exists()


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize("holds_the_lock", [False, True])
def test_cancelling_c_code_ends_it_and_publishes_nothing(house, holds_the_lock):
    settings, database, _ = house
    request = Retrain(cutoff=datetime(2020, 1, 1, tzinfo=UTC) if holds_the_lock else None)
    job_id = begin(settings, database, request, f"cancel-{holds_the_lock}")
    worker = running_since(database, job_id)
    change(database, jobs.cancel, job_id, ADMIN)
    assert over(database, job_id).state == "cancelled"
    wait(lambda: not psutil.pid_exists(child_of(worker)))
    assert results(database, job_id) == []
    # Prefork has replaced the child.
    after = begin(settings, database, Retrain(tune_fits=1), f"after-{holds_the_lock}")
    assert over(database, after).state == "done"


def test_job_of_a_killed_worker_runs_again(house):
    settings, database, _ = house
    job_id = begin(settings, database, Sweep(top=20), "killed")
    worker = running_since(database, job_id)
    os.kill(child_of(worker), signal.SIGKILL)
    ended = over(database, job_id)
    assert (ended.state, ended.attempt) == ("done", 2)
    assert len(results(database, job_id)) == 1
    assert scalars(database, select(Run.run_id).where(Run.job_id == job_id)) == [f"{job_id}-2"]


def test_killed_broker_loses_no_job(house):
    settings, database, created = house
    busy = begin(settings, database, Sweep(top=20), "busy")
    waiting = begin(settings, database, Digest(), "waiting")
    running_since(database, busy)
    broker = next(child for child in created.children if child.name == "broker")
    os.kill(broker.process.pid, signal.SIGKILL)
    assert [over(database, item).state for item in (busy, waiting)] == ["done", "done"]
    assert len(results(database, busy)) == 1


def test_child_that_exits_is_restarted(house):
    _, _, created = house
    (tick,) = (child for child in created.children if child.name == "tick")
    before = tick.process.pid
    os.kill(before, signal.SIGKILL)
    assert wait(lambda: tick.alive and tick.process.pid != before)


def test_ctrl_c_stops_everything_and_leaves_nothing_behind(tmp_path):
    settings = Settings(home=tmp_path / "h", admins=ADMIN, _env_file=None)
    upgrade(settings)
    database = Database.of(settings)
    code = "import retention.settings as s, workers.queue.supervisor as w; w.run(s.Settings())"
    shown = {**ChildEnvironments(settings).of("run"), "PYTHONPATH": str(STAND_INS)}
    process = subprocess.Popen([sys.executable, "-c", code], env=shown, start_new_session=True)
    whole = psutil.Process(process.pid)
    children = wait(lambda: len(found := whole.children(recursive=True)) >= 4 and found)
    queued_job = ask(database, Retrain(), "long")
    wait(lambda: jobs.wake(settings, queued_job))
    running_since(database, queued_job.id)
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 0

    def is_alive(child) -> bool:
        return child.is_running() and child.status() != psutil.STATUS_ZOMBIE

    wait(lambda: not any(map(is_alive, children)))
    assert scalars(database, select(Process.name)) == []
    assert job(database, queued_job.id).state in ("queued", "running")  # for the next start
    database.dispose()


def test_terminal_job_keeps_its_lease_when_workers_stop(database, settings):
    workers, terminal = (ask(database, Sweep(), key) for key in "ab")
    with database.transaction() as session:
        for queued_job, name in ((workers, "task"), (terminal, jobs.TERMINAL)):
            jobs.claim(session, queued_job.id, live_processes.worker_name(name))
    supervisor.Supervisor(settings, ("tick",))._release(database)
    ended, kept = (job(database, each.id).lease_until for each in (workers, terminal))
    assert ended <= clock.wall() < kept


def test_log_of_a_running_process_stays_short(settings):
    """It was looked at when a process began: one that ran for months filled the disk."""
    created = supervisor.Supervisor(settings, ("tick",))
    with created._log("tick") as sink:
        (settings.home / "logs" / "a.log").symlink_to("moved away")  # stops nothing
        sink.write(b"long ago\n" + 10_000_000 * b".")
        sink.flush()
        created._shorten_logs()
        sink.write(b"now\n")
    logs = settings.home / "logs"
    assert (logs / "tick.log").read_bytes() == b"now\n"
    assert (logs / "tick.log.1").read_bytes().startswith(b"long ago")


def test_an_unknown_role_or_queue_is_named(settings):
    with pytest.raises(BadInput, match="'cook'"):
        supervisor.run(settings, roles=("cook",))
    with pytest.raises(BadInput, match="'slow'"):
        supervisor.run(settings, roles=("worker",), queue="slow")


def test_summary_mentions_a_missing_slack_app(settings):
    assert "workers only" in supervisor.Supervisor(settings).summary()
    workers = ["worker:interactive", "worker:batch", "worker:training"]
    assert list(children_of(settings)) == ["broker", *workers, "tick"]


def children_of(settings) -> dict[str, supervisor.Child]:
    return {child.name: child for child in supervisor.Supervisor(settings).children}


@pytest.mark.parametrize("threads", [None, "7"])
def test_only_training_has_low_priority_and_fewer_or_the_stated_threads(
    settings, monkeypatch, threads
):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if threads:
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
    monkeypatch.setattr("os.getpriority", lambda which, who: 0)
    created = children_of(settings)
    nice = {name for name, child in created.items() if Path(child.command[0]).name == "nice"}
    of_training = created["worker:training"].environment
    assert (nice, of_training["OMP_WAIT_POLICY"]) == ({"worker:training"}, "passive")
    if threads:
        assert of_training["OMP_NUM_THREADS"] == threads
    else:
        limited = {
            name for name, child in created.items() if "OMP_NUM_THREADS" in child.environment
        }
        assert limited == {"worker:training"}


def test_card_waits_for_no_batch_job_and_no_other_quick_one(house):
    settings, database, _ = house
    others = [begin(settings, database, Sweep(top=600), f"batch-{n}") for n in range(3)]
    others.append(begin(settings, database, Recommend(customer_id="1"), "before the card"))
    wait(lambda: {job(database, others[n]).state for n in (0, 3)} == {"running"})
    card = begin(settings, database, CustomerCard(customer_id="1", view_id="V1"), "card")
    assert over(database, card).state == "done"
    states = [job(database, other).state for other in others]
    assert states == ["running", "queued", "queued", "running"]
    with database.transaction() as session:
        for other in others:
            jobs.cancel(session, other, ADMIN)
    assert {over(database, other).state for other in others} == {"cancelled"}


def test_training_does_not_block_other_queues(house):
    settings, database, _ = house
    training = begin(settings, database, Retrain(), "long-training")
    worker = running_since(database, training)
    beside = {"beside": Digest(), "beside-2": Sweep(top=1)}
    quick = [begin(settings, database, request, key) for key, request in beside.items()]
    assert [over(database, item).state for item in quick] == ["done", "done"]
    assert job(database, training).state == "running"
    process = psutil.Process(child_of(worker))
    assert process.nice() == max(TRAINING_NICENESS, psutil.Process().nice())
    group = Path(f"/proc/{process.pid}/autogroup")
    if group.exists():  # as the kernel is configured
        assert group.read_text().split()[-1] == str(process.nice())
    change(database, jobs.cancel, training, ADMIN)
    assert over(database, training).state == "cancelled"


@pytest.mark.nightly
def test_process_that_hangs_without_a_heartbeat_is_replaced(house):
    settings, database, _ = house
    job_id = begin(settings, database, Retrain(cutoff=datetime(2020, 1, 1, tzinfo=UTC)), "hangs")
    worker = running_since(database, job_id)
    child = child_of(worker)

    def killed() -> bool:
        if job(database, job_id).attempt == 1:
            set_job(database, job_id, lease_until=clock.wall() - 2 * reconcile.SILENT_AFTER)
            reconcile.kill_silent(database)
        return not psutil.pid_exists(child)

    wait(killed)
    wait(lambda: job(database, job_id).attempt > 1)
    change(database, jobs.cancel, job_id, ADMIN)
    assert over(database, job_id).state == "cancelled"


@pytest.mark.nightly
def test_training_of_an_old_database_runs_where_it_was_queued(house):
    settings, database, _ = house
    queued_job = ask(database, Retrain(), "old")
    set_job(database, queued_job.id, queue="batch")
    assert jobs.wake(settings, job(database, queued_job.id))
    worker = running_since(database, queued_job.id)
    assert psutil.Process(child_of(worker)).nice() == psutil.Process().nice()
    change(database, jobs.cancel, queued_job.id, ADMIN)
    assert over(database, queued_job.id).state == "cancelled"
