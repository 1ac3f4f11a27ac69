"""Test the one fenced transaction that ends a job."""

import os
import shutil
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from celery.exceptions import SoftTimeLimitExceeded
from sqlalchemy import func, select, update
from sqlalchemy.exc import OperationalError

from retention import clock
from retention.db import Database
from retention.db.tables import Audit, File, Job, Outbox, Run
from retention.errors import BadInput, Cancelled, Conflict, TooLittleData
from retention.settings import Settings
from tests.workers.harness import ADMIN, ANALYST, CHANNEL, ask, failure, job, posted, row, set_job
from workers import completion, ids, jobs, joins
from workers.app import TRAINING_CPU_LIMIT, TRAINING_WALL_LIMIT, make_app, time_limits
from workers.requests import Digest, Retrain, Score, Sweep
from workers.tasks import runner
from workers.tasks.interface import Attachment, Outcome, Post
from workers.tasks.runner import run_job


def said(sentence: str, **more) -> Post:
    return Post("job/refused", {"sentence": sentence}, **more)


def audit(session) -> None:
    session.add(Audit(actor=ADMIN, action="sweep", subject="x"))


def counted(database, table) -> int:
    with database.reading() as session:
        return session.scalar(select(func.count()).select_from(table))


def test_result_runs_sql_and_message_are_one_transaction(database, settings, task):
    task(
        "sweep",
        lambda request, context: Outcome(
            {"value": Decimal("1.5"), "at": clock.now()},
            (said("the cohort"),),
            apply=audit,
            runs=("scores",),
        ),
    )
    queued_job = ask(database, settings, Sweep(), "k")
    assert run_job(settings, database, queued_job.id, "t") == "done"
    assert job(database, queued_job.id).result["value"] == 1.5
    assert row(database, f"job:{queued_job.id}").payload["text"] == "the cohort"
    with database.reading() as session:
        assert session.scalars(select(Run.run_id)).all() == [f"{queued_job.id}-1"]
    assert counted(database, Audit) == 1


def test_non_finite_numbers_become_null(database, settings, task):
    """PostgreSQL refuses NaN in JSON: such a job could not end."""
    unknown = {
        "rate": float("nan"),
        "lift": [np.float64("inf"), 1.5],
        "next_order_at": [pd.NaT, np.datetime64("NaT")],
    }
    task("sweep", lambda request, context: Outcome(unknown))
    queued_job = ask(database, settings, Sweep(), "k")
    assert run_job(settings, database, queued_job.id, "t") == "done"
    assert job(database, queued_job.id).result == {
        "rate": None,
        "lift": [None, 1.5],
        "next_order_at": [None, None],
    }


def test_worker_that_lost_its_lease_publishes_nothing(database, settings):
    queued_job = ask(database, settings, Sweep(), "k")
    with database.transaction() as session:
        slow = jobs.claim(session, queued_job.id, "slow")
    set_job(database, queued_job.id, lease_until=clock.wall() - timedelta(seconds=1))
    with database.transaction() as session:
        quick = jobs.claim(session, queued_job.id, "quick")
    completion.complete(settings, database, quick, Outcome({"by": "quick"}, (said("quick"),)))
    with pytest.raises(completion.Cancelled):
        completion.complete(
            settings,
            database,
            slow,
            Outcome({"by": "slow"}, (said("slow"),), apply=audit, runs=("s",)),
        )
    completion.fail(settings, database, slow, "too late")
    assert job(database, queued_job.id).result == {"by": "quick"}
    assert row(database, f"job:{queued_job.id}").payload["text"] == "quick"
    assert counted(database, Audit) == counted(database, Run) == 0


def test_cancellation_before_the_end_wins(database, settings, task):
    def run(request, context):
        with database.transaction() as session:
            jobs.cancel(session, settings, context.job_id, ADMIN)
        return Outcome({"x": 1}, (said("published"),), runs=("scores",))

    task("sweep", run)
    queued_job = ask(database, settings, Sweep(), "k")
    assert run_job(settings, database, queued_job.id, "t") == "cancelled"
    assert job(database, queued_job.id).result is None
    assert "cancelled" in row(database, f"job:{queued_job.id}").payload["text"]
    assert counted(database, Run) == 0


def test_refusal_in_the_transaction_writes_nothing(database, settings, task):
    def apply(session):
        audit(session)
        raise Conflict("Somebody else drafted it first.")

    task(
        "sweep",
        lambda request, context: Outcome({"x": 1}, (said("no"),), apply=apply, runs=("scores",)),
    )
    queued_job = ask(database, settings, Sweep(), "k")
    assert run_job(settings, database, queued_job.id, "t") == "refused"
    assert job(database, queued_job.id).error == "Somebody else drafted it first."
    assert counted(database, Audit) == counted(database, Run) == 0


class Panic(BaseException):
    """As native code raises: no Exception."""


def test_internal_error_shows_a_reference_without_details(database, settings, task):
    def run(request, context):
        raise Panic("secret detail")

    task("sweep", run)
    queued_job = ask(database, settings, Sweep(), "k")
    with pytest.raises(Panic):
        run_job(settings, database, queued_job.id, "t")
    ended = job(database, queued_job.id)
    assert ended.state == "failed"
    shown = str(failure(database, queued_job.id).payload)
    assert ended.reference in shown
    assert "secret" not in shown


def test_soft_time_limit_ends_a_job_with_a_message(database, settings, task):
    limits = make_app(settings).conf
    assert 0 < limits.task_soft_time_limit <= limits.task_time_limit - 30

    def run(request, context):
        raise SoftTimeLimitExceeded  # as Celery does at the soft limit, wherever the task is

    task("sweep", run)
    queued_job = ask(database, settings, Sweep(), "k")
    run_job(settings, database, queued_job.id, "t")
    assert job(database, queued_job.id).error.startswith("It took longer than a job may take")


def fails(request, context):
    raise TooLittleData("There is no customer 'X'.")


def messages(database, job_id: str) -> dict[str, str]:
    with database.reading() as session:
        rows = session.scalars(
            select(Outbox).where(Outbox.job_id == job_id).order_by(Outbox.id)
        ).all()
    return {post.key.removeprefix(f"job:{job_id}"): post.payload["text"] for post in rows}


def has_retry(post: Outbox) -> bool:
    return ids.RETRY_JOB in str(post.payload["blocks"])


def test_failure_is_a_new_message_and_ends_the_progress_bar(database, settings, task):
    task("sweep", fails)
    queued_job = ask(database, settings, Sweep(), "k", thread_key="parent")
    set_job(database, queued_job.id, progress_done=1, progress_total=2)
    posted(database, queued_job.id)
    run_job(settings, database, queued_job.id, "t")
    assert messages(database, queued_job.id) == {
        "": "At-risk list failed",
        ":failed:1": "At-risk list failed: There is no customer 'X'.",
    }
    own, report = row(database, f"job:{queued_job.id}"), failure(database, queued_job.id)
    assert "%" not in str(own.payload)
    assert (has_retry(own), has_retry(report)) == (False, True)
    assert (
        (report.channel, report.thread_key) == (own.channel, own.thread_key) == (CHANNEL, "parent")
    )


def test_wrong_input_is_reported_to_its_person_without_a_retry(database, settings, task):
    def refuses(request, context):
        raise BadInput("The customers have no attribute 'shoe'.", field="where")

    task("sweep", refuses)
    queued_job = ask(database, settings, Sweep(), "k", thread_key="parent")
    set_job(database, queued_job.id, by_person=True)
    with database.transaction() as session:
        for delivery in ("k2", "k3"):
            joins.remember(session, settings, queued_job.id, ANALYST, delivery)
    posted(database, queued_job.id)
    run_job(settings, database, queued_job.id, "t")
    report = failure(database, queued_job.id)
    assert (report.channel, report.thread_key) == (queued_job.requested_by, None)
    assert not has_retry(report)
    copy = row(database, f"{report.key}:{ANALYST}")
    assert (copy.channel, copy.thread_key) == (ANALYST, None)
    assert "shoe" in copy.payload["text"]
    assert "shoe" not in str(row(database, f"job:{queued_job.id}").payload)


def test_refusal_that_names_no_field_is_shown_in_the_thread(database, settings, task):
    def refuses(request, context):
        raise BadInput("Nobody of the list is at high risk.")

    task("sweep", refuses)
    queued_job = ask(database, settings, Sweep(), "k", thread_key="parent")
    set_job(database, queued_job.id, by_person=True)
    posted(database, queued_job.id)
    run_job(settings, database, queued_job.id, "t")
    report = failure(database, queued_job.id)
    assert (report.channel, report.thread_key) == (CHANNEL, "parent")
    assert "high risk" in report.payload["text"]


@pytest.mark.parametrize("announce", [True, False])
def test_job_that_fails_before_its_first_post_posts_one_message(database, settings, task, announce):
    task("sweep", fails)
    queued_job = ask(database, settings, Sweep(), "k", announce=announce)
    run_job(settings, database, queued_job.id, "t")
    assert messages(database, queued_job.id) == {
        ":failed:1": "At-risk list failed: There is no customer 'X'."
    }


def test_ambiguous_progress_message_is_edited(database, settings, task):
    task("sweep", fails)
    queued_job = ask(database, settings, Sweep(), "k")
    with database.transaction() as session:
        session.execute(update(Outbox).values(state="ambiguous", ambiguous=1))
    run_job(settings, database, queued_job.id, "t")
    assert list(messages(database, queued_job.id)) == ["", ":failed:1"]


def test_every_failure_of_a_retried_job_is_a_message_of_its_own(database, settings, task):
    task("sweep", fails)
    queued_job = ask(database, settings, Sweep(), "k")
    posted(database, queued_job.id)
    for attempt in (1, 2):
        run_job(settings, database, queued_job.id, "t")
        assert has_retry(failure(database, queued_job.id))
        with database.transaction() as session:
            jobs.retry(session, settings, queued_job.id, ADMIN)
        assert not has_retry(row(database, f"job:{queued_job.id}:failed:{attempt}"))
    task("sweep", lambda request, context: Outcome({}, (said("found"),)))
    run_job(settings, database, queued_job.id, "t")
    again = "At-risk list failed and runs again"
    assert messages(database, queued_job.id) == {
        "": "found",
        ":failed:1": again,
        ":failed:2": again,
    }


def test_retry_of_an_unposted_failure_shows_progress_in_the_own_message(database, settings, task):
    task("sweep", fails)
    queued_job = ask(database, settings, Sweep(), "k")
    run_job(settings, database, queued_job.id, "t")
    with database.transaction() as session:
        jobs.retry(session, settings, queued_job.id, ADMIN)
    assert messages(database, queued_job.id) == {
        ":failed:1": "At-risk list failed and runs again",
        "": "At-risk list: waiting to start",
    }


def part(context, **result) -> None:
    completion.publish_part(context, result, audit)


def model(kind: str, promoted: bool = True) -> dict:
    return {"kind": kind, "version": f"{kind}-1", "promoted": promoted}


def test_message_of_a_part_is_posted_before_the_job_ends(database, settings, task):
    """People heard of a model in use only when the job's other models were trained, too."""

    def run(request, context):
        posts = (said("the model is ready", key="ready"),)
        completion.publish_part(context, {"models": [model("churn")]}, audit, posts)
        with context.database.reading() as session:
            assert session.scalar(select(Outbox.key)) == "ready"
        return Outcome({}, (said("both are ready", key="ready"),))

    task("retrain", run)
    queued_job = ask(database, settings, Retrain(), "k", announce=False)
    assert run_job(settings, database, queued_job.id, "t") == "done"
    assert row(database, "ready").payload["text"] == "both are ready"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (BadInput("Too few orders."), "Too few orders."),
        (RuntimeError("secret"), "Something went wrong on our side before the job was complete."),
        (MemoryError(), "The machine ran out of memory; ask for less at a time."),
    ],
)
def test_failure_names_the_models_that_stay_in_use(database, settings, task, error, reason):
    def run(request, context):
        part(context, models=[model("churn")])
        raise error

    task("retrain", run)
    queued_job = ask(database, settings, Retrain(), "k")
    run_job(settings, database, queued_job.id, "t")
    text = f"{reason} The churn model trained before that, churn-1, stays in use."
    assert job(database, queued_job.id).error == text
    assert text in failure(database, queued_job.id).payload["text"]
    assert counted(database, Audit) == 1


def test_cancelled_job_publishes_nothing_more(database, settings, task):
    def run(request, context):
        part(context, models=[model("churn", promoted=False)])
        with database.transaction() as session:
            jobs.cancel(session, settings, context.job_id, ADMIN)
        part(context, models=[model("churn"), model("recommend")])

    task("retrain", run)
    queued_job = ask(database, settings, Retrain(), "k")
    assert run_job(settings, database, queued_job.id, "t") == "cancelled"
    shown = str(row(database, f"job:{queued_job.id}").payload)
    assert "churn-1, stays stored (it was not promoted)" in shown
    assert "Nothing was published" not in shown
    assert counted(database, Audit) == 1


def test_attempt_that_lost_its_lease_publishes_no_part(database, settings, task):
    def run(request, context):
        set_job(database, context.job_id, attempt=2)
        with pytest.raises(Cancelled):
            part(context, models=[model("churn")])
        return Outcome({})

    task("retrain", run)
    queued_job = ask(database, settings, Retrain(), "k")
    assert run_job(settings, database, queued_job.id, "t") == "lease lost"
    assert (job(database, queued_job.id).result, counted(database, Audit)) == (None, 0)


def test_part_with_a_lost_commit_is_written_once(database, settings, task, monkeypatch):
    class Unanswered:
        """A database whose first commit succeeds, while its answer is lost."""

        lost = False

        @contextmanager
        def transaction(self):
            with database.transaction() as session:
                yield session
            if not self.lost:
                self.lost = True
                raise OperationalError("COMMIT", {}, Exception("server closed the connection"))

    def run(request, context):
        part(replace(context, database=Unanswered()), models=[model("churn")])
        return Outcome({})

    monkeypatch.setattr("time.sleep", lambda seconds: None)
    task("retrain", run)
    queued_job = ask(database, settings, Retrain(), "k")
    assert run_job(settings, database, queued_job.id, "t") == "done"
    assert counted(database, Audit) == 1


def test_redelivered_message_of_a_leased_job_is_harmless(database, settings, task):
    recorded = []

    def run(request, context):
        recorded.append(run_job(settings, database, context.job_id, "redelivered"))
        return Outcome({"x": 1})

    task("retrain", run)
    queued_job = ask(database, settings, Retrain(), "k")
    assert run_job(settings, database, queued_job.id, "t") == "done"
    assert recorded == ["not ours"]
    assert (job(database, queued_job.id).attempt, job(database, queued_job.id).result) == (
        1,
        {"x": 1},
    )


def test_training_message_is_not_redelivered_within_its_limits(settings):
    conf = make_app(settings).conf
    limits = time_limits("training")
    assert (
        conf.broker_transport_options["visibility_timeout"]
        > limits["time_limit"]
        > TRAINING_WALL_LIMIT
    )
    assert (
        limits["time_limit"] > limits["soft_time_limit"] > TRAINING_WALL_LIMIT > TRAINING_CPU_LIMIT
    )
    assert time_limits("batch") == {
        "time_limit": conf.task_time_limit,
        "soft_time_limit": conf.task_soft_time_limit,
    }


def test_direct_result_leaves_a_note_in_the_channel(database, settings, task):
    task(
        "score", lambda request, context: Outcome({}, (said("0.81", channel=context.requested_by),))
    )
    queued_job = ask(database, settings, Score(customer_id="c1"), "k")
    run_job(settings, database, queued_job.id, "t")
    assert "by direct message" in str(row(database, f"job:{queued_job.id}").payload)
    with database.reading() as session:
        direct = session.scalars(select(Outbox).where(Outbox.channel == ADMIN)).one()
    assert direct.payload["text"] == "0.81"


def test_result_replaces_the_bar_in_a_direct_message(database, settings, task):
    task(
        "score", lambda request, context: Outcome({}, (said("0.81", channel=context.requested_by),))
    )
    queued_job = ask(database, settings, Score(customer_id="c1"), "k", channel=ADMIN)
    run_job(settings, database, queued_job.id, "t")
    assert row(database, f"job:{queued_job.id}").payload["text"] == "0.81"
    assert counted(database, Outbox) == 1


def test_posts_from_the_transaction_are_stored(database, settings, task):
    chart = Attachment("chart.png", "image/png", b"png", alt_text="a chart")
    file = Attachment("codes.csv", "text/csv", b"codes", sensitive=True)
    task(
        "digest",
        lambda request, context: Outcome(
            {},
            (said("digest", images={"chart": chart}),),
            apply=lambda session: (said("later", file=file, channel=ADMIN),),
        ),
    )
    queued_job = ask(database, settings, Digest(), "k", announce=False)
    run_job(settings, database, queued_job.id, "t")
    with database.reading() as session:
        rows = session.scalars(select(Outbox).order_by(Outbox.id)).all()
    assert [(post.kind, post.channel) for post in rows] == [("message", CHANNEL), ("file", ADMIN)]
    assert counted(database, File) == 2


def test_job_of_another_attempt_is_left_alone(database, settings):
    queued_job = ask(database, settings, Sweep(), "k")
    set_job(database, queued_job.id, state="done")
    assert run_job(settings, database, queued_job.id, "t") == "not ours"
    assert counted(database, Job) == 1


def test_job_names_the_damaged_file(shop, tmp_path):
    home = tmp_path / "home"
    shutil.copytree(shop.settings.home, home)
    settings = Settings(home=home, admins=ADMIN, _env_file=None)
    file = sorted((home / "lake" / "events").rglob("*.parquet"))[0]
    os.truncate(file, 100)
    database = Database.of(settings)
    waiting = ask(database, settings, Sweep(), "damaged")
    assert runner.run_job(settings, database, waiting.id, "task") == "failed"
    ended = job(database, waiting.id)
    assert str(file) in ended.error
    assert "retention restore FILE" in ended.error
    assert ended.reference
    with pytest.raises(Exception, match="parquet"):
        runner.run_inline(settings, database, Sweep(), user=ADMIN)
    database.dispose()
