"""The end of a job: everything in one transaction fenced by its attempt, or nothing."""

from datetime import timedelta
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from celery.exceptions import SoftTimeLimitExceeded
from sqlalchemy import func, select

from retention import clock
from retention.db.tables import Audit, File, Job, Outbox, Run
from retention.errors import Conflict
from tests.workers.harness import ADMIN, CHANNEL, ask, job, row, set_job
from workers import finish, jobs
from workers.app import make_app
from workers.requests import Digest, Score, Sweep
from workers.tasks.contract import Attachment, Outcome, Post
from workers.tasks.runner import run_job


def said(sentence: str, **more) -> Post:
    return Post("job/refused", {"sentence": sentence}, **more)


def audit(session) -> None:
    session.add(Audit(actor=ADMIN, action="sweep", subject="x"))


def counted(database, table) -> int:
    with database.reading() as session:
        return session.scalar(select(func.count()).select_from(table))


def test_result_runs_sql_and_message_come_together(database, settings, task):
    task("sweep", lambda request, context: Outcome(
        {"value": Decimal("1.5"), "at": clock.now()}, (said("the cohort"),), apply=audit, runs=("scores",)
    ))  # fmt: skip
    one = ask(database, settings, Sweep(), "k")
    assert run_job(settings, database, one.id, "t") == "done"
    assert job(database, one.id).result["value"] == 1.5
    assert row(database, f"job:{one.id}").payload["text"] == "the cohort"
    with database.reading() as session:
        assert session.scalars(select(Run.run_id)).all() == [f"{one.id}-1"]
    assert counted(database, Audit) == 1


def test_what_is_not_finite_is_null_in_a_result(database, settings, task):
    """PostgreSQL refuses NaN in JSON: such a job could not end."""
    unknown = {
        "rate": float("nan"),
        "lift": [np.float64("inf"), 1.5],
        "next_order_at": [pd.NaT, np.datetime64("NaT")],
    }
    task("sweep", lambda request, context: Outcome(unknown))
    one = ask(database, settings, Sweep(), "k")
    assert run_job(settings, database, one.id, "t") == "done"
    assert job(database, one.id).result == {
        "rate": None, "lift": [None, 1.5], "next_order_at": [None, None],
    }  # fmt: skip


def test_a_worker_whose_lease_was_taken_over_publishes_nothing(database, settings):
    one = ask(database, settings, Sweep(), "k")
    with database.transaction() as session:
        slow = jobs.claim(session, one.id, "slow")
    set_job(database, one.id, lease_until=clock.wall() - timedelta(seconds=1))
    with database.transaction() as session:
        quick = jobs.claim(session, one.id, "quick")
    finish.done(settings, database, quick, Outcome({"by": "quick"}, (said("quick"),)))
    with pytest.raises(finish.Cancelled):
        finish.done(
            settings, database, slow, Outcome({"by": "slow"}, (said("slow"),), apply=audit, runs=("s",))
        )
    finish.failed(settings, database, slow, "too late")
    assert job(database, one.id).result == {"by": "quick"}
    assert row(database, f"job:{one.id}").payload["text"] == "quick"
    assert counted(database, Audit) == counted(database, Run) == 0


def test_a_cancel_before_the_end_wins_over_the_result(database, settings, task):
    def run(request, context):
        with database.transaction() as session:
            jobs.cancel(session, settings, context.job_id, ADMIN)
        return Outcome({"x": 1}, (said("published"),), runs=("scores",))

    task("sweep", run)
    one = ask(database, settings, Sweep(), "k")
    assert run_job(settings, database, one.id, "t") == "cancelled"
    assert job(database, one.id).result is None
    assert "cancelled" in row(database, f"job:{one.id}").payload["text"]
    assert counted(database, Run) == 0


def test_a_refusal_inside_the_transaction_leaves_nothing_half_written(database, settings, task):
    def apply(session):
        audit(session)
        raise Conflict("Somebody else drafted it first.")

    task("sweep", lambda request, context: Outcome({"x": 1}, (said("no"),), apply=apply, runs=("scores",)))
    one = ask(database, settings, Sweep(), "k")
    assert run_job(settings, database, one.id, "t") == "refused"
    assert job(database, one.id).error == "Somebody else drafted it first."
    assert counted(database, Audit) == counted(database, Run) == 0


class Panic(BaseException):
    """As native code raises: no Exception."""


def test_an_unknown_fault_gives_the_person_a_reference_and_no_details(database, settings, task):
    def run(request, context):
        raise Panic("secret detail")

    task("sweep", run)
    one = ask(database, settings, Sweep(), "k")
    with pytest.raises(Panic):
        run_job(settings, database, one.id, "t")
    ended = job(database, one.id)
    assert ended.state == "failed"
    shown = str(row(database, f"job:{one.id}").payload)
    assert ended.reference in shown
    assert "secret" not in shown


def test_a_job_that_takes_too_long_is_stopped_with_a_sentence_before_its_process_is_killed(
    database, settings, task
):
    limits = make_app(settings).conf
    assert 0 < limits.task_soft_time_limit <= limits.task_time_limit - 30

    def run(request, context):
        raise SoftTimeLimitExceeded  # as Celery does at the soft limit, wherever the task is

    task("sweep", run)
    one = ask(database, settings, Sweep(), "k")
    run_job(settings, database, one.id, "t")
    assert job(database, one.id).error.startswith("It took longer than a job may take")


def test_what_goes_to_a_person_leaves_a_note_in_the_channel(database, settings, task):
    task("score", lambda request, context: Outcome({}, (said("0.81", channel=context.requested_by),)))
    one = ask(database, settings, Score(customer_id="c1"), "k")
    run_job(settings, database, one.id, "t")
    assert "by direct message" in str(row(database, f"job:{one.id}").payload)
    with database.reading() as session:
        direct = session.scalars(select(Outbox).where(Outbox.channel == ADMIN)).one()
    assert direct.payload["text"] == "0.81"


def test_asked_for_in_a_direct_message_the_result_replaces_the_bar_there(database, settings, task):
    task("score", lambda request, context: Outcome({}, (said("0.81", channel=context.requested_by),)))
    one = ask(database, settings, Score(customer_id="c1"), "k", channel=ADMIN)
    run_job(settings, database, one.id, "t")
    assert row(database, f"job:{one.id}").payload["text"] == "0.81"
    assert counted(database, Outbox) == 1


def test_posts_known_only_inside_the_transaction_and_files_are_kept(database, settings, task):
    chart = Attachment("chart.png", "image/png", b"png", alt_text="a chart")
    file = Attachment("codes.csv", "text/csv", b"codes", sensitive=True)
    task("digest", lambda request, context: Outcome(
        {}, (said("digest", images={"chart": chart}),), apply=lambda session: (said("later", file=file, channel=ADMIN),)
    ))  # fmt: skip
    one = ask(database, settings, Digest(), "k", announce=False)
    run_job(settings, database, one.id, "t")
    with database.reading() as session:
        rows = session.scalars(select(Outbox).order_by(Outbox.id)).all()
    assert [(post.kind, post.channel) for post in rows] == [("message", CHANNEL), ("file", ADMIN)]
    assert counted(database, File) == 2


def test_a_job_that_is_not_ours_is_left_alone(database, settings):
    one = ask(database, settings, Sweep(), "k")
    set_job(database, one.id, state="done")
    assert run_job(settings, database, one.id, "t") == "not ours"
    assert counted(database, Job) == 1
