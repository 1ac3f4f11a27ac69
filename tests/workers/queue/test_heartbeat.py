"""Test progress, lease renewal and stopping of jobs."""

import ctypes
import sys
import threading
import time
from datetime import timedelta

import pytest

from retention import clock
from retention.errors import Cancelled
from tests.workers.harness import ADMIN, ask, job, row, set_job, wait
from tests.world import change
from workers.delivery.job_messages import show_progress
from workers.job_requests import Sweep
from workers.queue import heartbeat, jobs
from workers.queue.heartbeat import Heartbeat
from workers.retrain_request import Retrain
from workers.tasks.interface import Outcome
from workers.tasks.runner import run_job


@pytest.fixture(autouse=True)
def _hasty(monkeypatch):
    quick = {"CHECK_EVERY": 0.05, "SHOW_EVERY": 0.1, "RENEW_EVERY": 0.1}
    for name, seconds in {**quick, "RAISE_AFTER": 0.3, "KILL_AFTER": 0.6}.items():
        monkeypatch.setattr(heartbeat, name, seconds)


@pytest.fixture
def claimed(database):
    queued_job = ask(database, Sweep(), "k")
    return change(database, jobs.claim, queued_job.id, "t")


def raised(thread: int, error: type[BaseException]) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))


def cancel(database, job_id: str) -> None:
    change(database, jobs.cancel, job_id, ADMIN)


def test_progress_bar_follows_the_work(database, claimed):
    with Heartbeat(database, claimed, may_kill=False) as beat:
        beat.progress(3, 4, "scoring <customers>")
        wait(lambda: "75%" in row(database, f"job:{claimed.id}").payload["text"])
    assert "scoring &lt;customers&gt;" in str(row(database, f"job:{claimed.id}").payload)
    assert job(database, claimed.id).progress_done == 3


def test_progress_never_moves_backwards_within_an_attempt(database, work):
    steps = [(1, 2, "reading"), (0, 1, "scoring"), (3, 4, "sorting"), (5, 10, "writing")]
    shown = []

    def run(request, context):
        for step in steps:
            context.progress(*step)
            wait(lambda what=step[2]: job(database, context.job_id).progress_text == what)
            stored = job(database, context.job_id)
            shown.append(stored.progress_done / stored.progress_total)
        return Outcome({})

    _, ended = work(run)
    assert ended == "done"
    assert shown == [0.5, 0.5, 0.75, 0.75]


def test_further_attempt_says_that_it_starts_again(database, claimed):
    set_job(database, claimed.id, progress_done=3, progress_total=4, lease_until=clock.wall())
    again = change(database, jobs.claim, claimed.id, "t2")
    assert (again.progress_done, again.progress_total) == (0, 0)
    with Heartbeat(database, again, may_kill=False) as beat:
        beat.progress(1, 4, "scoring")
        wait(lambda: "25%" in row(database, f"job:{claimed.id}").payload["text"])
    assert "started again (attempt 2)" in str(row(database, f"job:{claimed.id}").payload)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "left"),
        (1, "about 5 seconds left"),
        (41, "about 40 seconds left"),
        (130, "about 2 minutes left"),
    ],
)
def test_progress_message_names_the_time_left_once_known(database, claimed, seconds, text):
    set_job(database, claimed.id, progress_done=1, progress_total=4, progress_text="scoring")
    with database.transaction() as session:
        stored = session.get_one(type(claimed), claimed.id, populate_existing=True)
        show_progress(session, stored, left_seconds=seconds)
    shown = str(row(database, f"job:{claimed.id}").payload["blocks"])
    assert (text in shown) is (seconds is not None)


def test_the_lease_is_renewed(database, claimed):
    set_job(database, claimed.id, lease_until=clock.wall() + timedelta(seconds=2))
    with Heartbeat(database, claimed, may_kill=False):
        wait(lambda: job(database, claimed.id).lease_until > clock.wall() + timedelta(seconds=30))


def reports_progress(context) -> None:
    for unit in range(1000):
        context.progress(unit, 1000, "x")
        time.sleep(0.02)


def reports_nothing(context) -> None:
    while True:
        time.sleep(0.01)


def swallows_exceptions(context) -> None:
    while True:
        try:
            context.progress(1, 2, "x")
            time.sleep(0.01)
        except Exception:
            continue


@pytest.mark.parametrize("code", [reports_progress, reports_nothing, swallows_exceptions])
def test_cancelled_code_is_stopped(database, work, code):
    def run(request, context):
        cancel(database, context.job_id)
        code(context)

    _, ended = work(run)
    assert ended == "cancelled"


def test_job_taken_over_is_stopped(database, work):
    def run(request, context):
        set_job(database, context.job_id, attempt=2)
        while True:
            context.progress(1, 2, "x")
            time.sleep(0.01)

    queued_job, ended = work(run)
    assert ended == "lease lost"
    assert job(database, queued_job.id).state == "running"


@pytest.mark.parametrize("reports", [True, False])
def test_training_ends_at_its_cpu_limit_with_a_sentence(database, work, monkeypatch, reports):
    def run(request, context):
        while True:
            if reports:
                context.progress(1, 2, "x")

    monkeypatch.setattr("workers.tasks.runner.training_seconds", lambda settings: (0.2, 3600))
    queued_job, result = work(run, Retrain())
    ended = job(database, queued_job.id)
    assert (result, ended.state, ended.reference) == ("limit exceeded", "failed", None)
    text = "Stopped after 0.2 seconds of CPU time, the limit of a training job. Train one"
    assert ended.error.startswith(text)


def test_training_that_waits_ends_at_the_wall_limit(database, monkeypatch, work):
    def run(request, context):
        while True:
            time.sleep(0.01)

    monkeypatch.setattr("workers.tasks.runner.training_seconds", lambda settings: (3600, 0.2))
    queued_job, ended = work(run, Retrain())
    assert ended == "limit exceeded"
    assert "the longest that a training job may run" in job(database, queued_job.id).error


def test_waiting_for_the_cpu_does_not_count_as_cpu_time():
    limits = heartbeat.Limits(3600, 4 * 3600)
    assert limits.exceeded(cpu=3599, wall=4 * 3599) is None
    assert "1 hour of CPU time" in limits.exceeded(cpu=3601, wall=3602)
    assert "4 hours" in limits.exceeded(cpu=10, wall=4 * 3601)


@pytest.mark.parametrize("queue", ["batch", "interactive"])
def test_other_queues_have_no_cpu_limit(database, task, monkeypatch, queue):
    def run(request, context):
        for _ in range(30):
            context.progress(1, 2, "x")
            time.sleep(0.01)
        return Outcome({"x": 1})

    monkeypatch.setattr("workers.tasks.runner.training_seconds", lambda settings: (0, 0))
    task("retrain", run)
    queued_job = ask(database, Retrain(), "k")
    set_job(database, queued_job.id, queue=queue)  # as an old database may have it
    assert run_job(database, queued_job.id, "t") == "done"


def test_after_the_work_no_exception_follows(database, claimed):
    with Heartbeat(database, claimed, may_kill=False) as beat:
        cancel(database, claimed.id)
        wait(lambda: beat._stopping)
        with pytest.raises(Cancelled):
            beat.progress(1, 2, "x")
    time.sleep(0.5)  # longer than the nudge: it would have come by now


def test_late_exception_does_not_end_finished_work(database, claimed):
    class Late:
        """A lock that is let go as the exception is raised."""

        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None:
            raised(threading.get_ident(), Cancelled)

    with Heartbeat(database, claimed, may_kill=False) as beat:
        beat._working = Late()
        beat._raised = True
    assert beat._left


def test_calls_can_be_traced_after_the_work(database, claimed):
    """With tracing on, CPython 3.11 hung after an exception was withdrawn."""
    recorded = []

    def work() -> None:
        with Heartbeat(database, claimed, may_kill=False):
            pass
        sys.settrace(lambda *_: None)
        (lambda: recorded.append("called"))()
        sys.settrace(None)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(20)
    assert recorded == ["called"]
