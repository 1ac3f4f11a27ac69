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
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError

from retention import clock
from retention.db import Database
from retention.db.tables import Audit, File, Job, Outbox, Run
from retention.errors import BadInput, Cancelled, Conflict, TooLittleData
from retention.settings import Settings
from tests.workers.harness import (
    ADMIN,
    ANALYST,
    CHANNEL,
    ask,
    counted,
    failure,
    job,
    posted,
    row,
    set_job,
)
from tests.world import change, execute, scalar, scalars
from workers import action_ids, hints
from workers.app import make_app, time_limits, training_seconds
from workers.job_requests import Digest, Score, Sweep
from workers.queue import completion, jobs, quotas
from workers.retrain_request import Retrain
from workers.tasks import runner
from workers.tasks.interface import Attachment, Outcome, Post
from workers.tasks.runner import run_job


def said(sentence: str, **more) -> Post:
    return Post("job/refused", {"sentence": sentence}, **more)


def audit(session) -> None:
    session.add(Audit(actor=ADMIN, action="sweep", subject="x"))


def test_result_runs_sql_and_message_are_one_transaction(database, work):
    data, posts = {"value": Decimal("1.5"), "at": clock.now()}, (said("the cohort"),)
    outcome = Outcome(data, posts, apply=audit, runs=("scores",))
    queued_job, ended = work(lambda request, context: outcome)
    assert ended == "done"
    assert job(database, queued_job.id).result["value"] == 1.5
    assert row(database, f"job:{queued_job.id}").payload["text"] == "the cohort"
    assert scalars(database, select(Run.run_id)) == [f"{queued_job.id}-1"]
    assert counted(database, Audit) == 1
    assert run_job(database, queued_job.id, "t") == "not ours"  # it is done


def test_non_finite_numbers_become_null(database, work):
    """PostgreSQL refuses NaN in JSON: such a job could not end."""
    times = [pd.NaT, np.datetime64("NaT")]
    unknown = {"rate": float("nan"), "lift": [np.float64("inf"), 1.5], "next_order_at": times}
    queued_job, ended = work(lambda request, context: Outcome(unknown))
    assert ended == "done"
    known = {"rate": None, "lift": [None, 1.5], "next_order_at": [None, None]}
    assert job(database, queued_job.id).result == known


def test_worker_that_lost_its_lease_publishes_nothing(database):
    queued_job = ask(database, Sweep(), "k")
    slow = change(database, jobs.claim, queued_job.id, "slow")
    set_job(database, queued_job.id, lease_until=clock.wall() - timedelta(seconds=1))
    quick = change(database, jobs.claim, queued_job.id, "quick")
    completion.complete(database, quick, Outcome({"by": "quick"}, (said("quick"),)))
    late = Outcome({"by": "slow"}, (said("slow"),), apply=audit, runs=("s",))
    with pytest.raises(completion.Cancelled):
        completion.complete(database, slow, late)
    completion.fail(database, slow, "too late")
    assert job(database, queued_job.id).result == {"by": "quick"}
    assert row(database, f"job:{queued_job.id}").payload["text"] == "quick"
    assert counted(database, Audit) == counted(database, Run) == 0


def test_cancellation_before_the_end_wins(database, work):
    def run(request, context):
        change(database, jobs.cancel, context.job_id, ADMIN)
        return Outcome({"x": 1}, (said("published"),), runs=("scores",))

    queued_job, ended = work(run)
    assert ended == "cancelled"
    assert job(database, queued_job.id).result is None
    assert "cancelled" in row(database, f"job:{queued_job.id}").payload["text"]
    assert counted(database, Run) == 0


def test_refusal_in_the_transaction_writes_nothing(database, work):
    def apply(session):
        audit(session)
        raise Conflict("Somebody else drafted it first.")

    outcome = Outcome({"x": 1}, (said("no"),), apply=apply, runs=("scores",))
    queued_job, ended = work(lambda request, context: outcome)
    assert ended == "refused"
    assert job(database, queued_job.id).error == "Somebody else drafted it first."
    assert counted(database, Audit) == counted(database, Run) == 0


class Panic(BaseException):
    """As native code raises: no Exception."""


def test_internal_error_shows_a_reference_without_details(database, task):
    def run(request, context):
        raise Panic("secret detail")

    task("sweep", run)
    queued_job = ask(database, Sweep(), "k")
    with pytest.raises(Panic):
        run_job(database, queued_job.id, "t")
    ended = job(database, queued_job.id)
    assert ended.state == "failed"
    shown = str(failure(database, queued_job.id).payload)
    assert ended.reference in shown
    assert "secret" not in shown


def test_soft_time_limit_ends_a_job_with_a_message(database, settings, work):
    limits = make_app(settings).conf
    assert 0 < limits.task_soft_time_limit <= limits.task_time_limit - 30

    def run(request, context):
        raise SoftTimeLimitExceeded  # as Celery does at the soft limit, wherever the task is

    queued_job, _ = work(run)
    assert job(database, queued_job.id).error.startswith("It took longer than a job may take")


def fails(request, context):
    raise TooLittleData("There is no customer 'X'.")


def messages(database, job_id: str) -> dict[str, str]:
    rows = scalars(database, select(Outbox).where(Outbox.job_id == job_id).order_by(Outbox.id))
    return {post.key.removeprefix(f"job:{job_id}"): post.payload["text"] for post in rows}


def has_retry(post: Outbox) -> bool:
    return action_ids.RETRY_JOB in str(post.payload["blocks"])


def test_failure_is_a_new_message_and_ends_the_progress_bar(database, task):
    task("sweep", fails)
    queued_job = ask(database, Sweep(), "k", thread_key="parent")
    set_job(database, queued_job.id, progress_done=1, progress_total=2)
    posted(database, queued_job.id)
    run_job(database, queued_job.id, "t")
    assert messages(database, queued_job.id) == {
        "": "At-risk list failed",
        ":failed:1": "At-risk list failed: There is no customer 'X'.",
    }
    own, report = row(database, f"job:{queued_job.id}"), failure(database, queued_job.id)
    assert "%" not in str(own.payload)
    assert (has_retry(own), has_retry(report)) == (False, True)
    place = CHANNEL, "parent"
    assert (report.channel, report.thread_key) == (own.channel, own.thread_key) == place


@pytest.fixture
def refused(database, task):
    """``refused(error)``: a person's job in a thread, which a colleague joined, was refused."""

    def put(error: BadInput) -> Job:
        def refuses(request, context):
            raise error

        task("sweep", refuses)
        queued_job = ask(database, Sweep(), "k", thread_key="parent")
        set_job(database, queued_job.id, by_person=True)
        for delivery in ("k2", "k3"):
            change(database, quotas.remember, queued_job.id, ANALYST, delivery)
        posted(database, queued_job.id)
        run_job(database, queued_job.id, "t")
        return queued_job

    return put


def test_wrong_input_is_reported_to_its_person_without_a_retry(database, refused):
    queued_job = refused(BadInput("The customers have no attribute 'shoe'.", field="where"))
    report = failure(database, queued_job.id)
    assert (report.channel, report.thread_key) == (queued_job.requested_by, None)
    assert not has_retry(report)
    copy = row(database, f"{report.key}:{ANALYST}")
    assert (copy.channel, copy.thread_key) == (ANALYST, None)
    assert "shoe" in copy.payload["text"]
    assert "shoe" not in str(row(database, f"job:{queued_job.id}").payload)


def test_refusal_that_names_no_field_is_in_the_thread_with_the_command_that_helps(
    database, refused
):
    error = BadInput("It was made by an older version.", hint="retrain_recommend")
    report = failure(database, refused(error).id)
    assert (report.channel, report.thread_key) == (CHANNEL, "parent")
    assert hints.commands()["retrain_recommend"] in report.payload["text"]


@pytest.mark.parametrize(
    ("state", "announce"), [("pending", True), ("pending", False), ("ambiguous", True)]
)
def test_failure_edits_the_own_message_only_if_it_may_be_posted(database, task, state, announce):
    task("sweep", fails)
    queued_job = ask(database, Sweep(), "k", announce=announce)
    execute(database, update(Outbox).values(state=state, ambiguous=int(state == "ambiguous")))
    run_job(database, queued_job.id, "t")
    edited = {"": "At-risk list failed"} if state == "ambiguous" else {}
    failed = {":failed:1": "At-risk list failed: There is no customer 'X'."}
    assert messages(database, queued_job.id) == edited | failed


def test_every_failure_of_a_retried_job_is_a_message_of_its_own(database, task):
    task("sweep", fails)
    queued_job = ask(database, Sweep(), "k")
    posted(database, queued_job.id)
    for attempt in (1, 2):
        run_job(database, queued_job.id, "t")
        assert has_retry(failure(database, queued_job.id))
        change(database, jobs.retry, queued_job.id, ADMIN)
        assert not has_retry(row(database, f"job:{queued_job.id}:failed:{attempt}"))
    task("sweep", lambda request, context: Outcome({}, (said("found"),)))
    run_job(database, queued_job.id, "t")
    again = dict.fromkeys((":failed:1", ":failed:2"), "At-risk list failed and runs again")
    assert messages(database, queued_job.id) == {"": "found", **again}


def test_retry_of_an_unposted_failure_shows_progress_in_the_own_message(database, work):
    queued_job, _ = work(fails)
    change(database, jobs.retry, queued_job.id, ADMIN)
    assert messages(database, queued_job.id) == {
        ":failed:1": "At-risk list failed and runs again",
        "": "At-risk list: waiting to start",
    }


def part(context, **result) -> None:
    completion.publish_part(context, result, audit)


def model(kind: str, promoted: bool = True) -> dict:
    return {"kind": kind, "version": f"{kind}-1", "promoted": promoted}


def test_message_of_a_part_is_posted_before_the_job_ends(database, work):
    """People heard of a model in use only when the job's other models were trained, too."""

    def run(request, context):
        posts = (said("the model is ready", key="ready"),)
        completion.publish_part(context, {"models": [model("churn")]}, audit, posts)
        assert scalar(context.database, select(Outbox.key)) == "ready"
        return Outcome({}, (said("both are ready", key="ready"),))

    _, ended = work(run, Retrain(), announce=False)
    assert ended == "done"
    assert row(database, "ready").payload["text"] == "both are ready"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (BadInput("Too few orders."), "Too few orders."),
        (RuntimeError("secret"), "Something went wrong on our side before the job was complete."),
        (MemoryError(), "The machine ran out of memory; ask for less at a time."),
    ],
)
def test_failure_names_the_models_that_stay_in_use(database, error, reason, work):
    def run(request, context):
        part(context, models=[model("churn")])
        raise error

    queued_job, _ = work(run, Retrain())
    text = f"{reason} The churn model trained before that, churn-1, stays in use."
    assert job(database, queued_job.id).error == text
    assert text in failure(database, queued_job.id).payload["text"]
    assert counted(database, Audit) == 1


def test_cancelled_job_publishes_nothing_more(database, work):
    def run(request, context):
        part(context, models=[model("churn", promoted=False)])
        change(database, jobs.cancel, context.job_id, ADMIN)
        part(context, models=[model("churn"), model("recommend")])

    queued_job, ended = work(run, Retrain())
    assert ended == "cancelled"
    shown = str(row(database, f"job:{queued_job.id}").payload)
    assert "churn-1, stays stored (it was not promoted)" in shown
    assert "Nothing was published" not in shown
    assert counted(database, Audit) == 1


def test_attempt_that_lost_its_lease_publishes_no_part(database, work):
    def run(request, context):
        set_job(database, context.job_id, attempt=2)
        with pytest.raises(Cancelled):
            part(context, models=[model("churn")])
        return Outcome({})

    queued_job, ended = work(run, Retrain())
    assert ended == "lease lost"
    assert (job(database, queued_job.id).result, counted(database, Audit)) == (None, 0)


def test_part_with_a_lost_commit_is_written_once(database, monkeypatch, work):
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
    _, ended = work(run, Retrain())
    assert ended == "done"
    assert counted(database, Audit) == 1


def test_redelivered_message_of_a_leased_job_is_harmless(database, work):
    recorded = []

    def run(request, context):
        recorded.append(run_job(database, context.job_id, "redelivered"))
        return Outcome({"x": 1})

    queued_job, ended = work(run, Retrain())
    assert (ended, recorded) == ("done", ["not ours"])
    stored = job(database, queued_job.id)
    assert (stored.attempt, stored.result) == (1, {"x": 1})


def test_training_message_is_not_redelivered_within_its_limits(settings):
    conf, (hard, soft) = make_app(settings).conf, time_limits(settings, "training").values()
    visible, (cpu, wall) = (
        conf.broker_transport_options["visibility_timeout"],
        training_seconds(settings),
    )
    assert visible > hard > soft > wall > cpu
    usual = {"time_limit": conf.task_time_limit, "soft_time_limit": conf.task_soft_time_limit}
    assert time_limits(settings, "batch") == usual


def test_settings_change_the_limits_of_jobs(settings):
    larger = settings.model_copy(update={"job_minutes": 90, "training_minutes": 300})
    conf = make_app(larger).conf
    assert (conf.task_time_limit, training_seconds(larger)) == (5_400, (18_000, 72_000))
    assert conf.broker_transport_options["visibility_timeout"] > 72_060
    Retrain(tune=1_800.0).check_worker_limits(larger)
    with pytest.raises(BadInput, match="300 minutes"):
        Retrain(tune=3_060.0).check_worker_limits(larger)


def answers_directly(request, context):
    return Outcome({}, (said("0.81", channel=context.requested_by),))


@pytest.mark.parametrize("channel", [CHANNEL, ADMIN])
def test_direct_result_leaves_a_note_in_a_channel_only(database, work, channel):
    queued_job, _ = work(answers_directly, Score(customer_id="c1"), channel=channel)
    posts = scalars(database, select(Outbox).order_by(Outbox.id))
    assert [post.payload["text"] for post in posts if post.channel == ADMIN] == ["0.81"]
    own = row(database, f"job:{queued_job.id}")  # that had the bar
    assert ("by direct message" in str(own.payload)) == (channel == CHANNEL)
    assert len(posts) == 1 + (channel == CHANNEL)


def test_posts_from_the_transaction_are_stored(database, work):
    chart = Attachment("chart.png", "image/png", b"png", alt_text="a chart")
    file = Attachment("codes.csv", "text/csv", b"codes", sensitive=True)
    later = (said("later", file=file, channel=ADMIN),)
    outcome = Outcome({}, (said("digest", images={"chart": chart}),), apply=lambda session: later)
    work(lambda request, context: outcome, Digest(), announce=False)
    rows = scalars(database, select(Outbox).order_by(Outbox.id))
    assert [(post.kind, post.channel) for post in rows] == [("message", CHANNEL), ("file", ADMIN)]
    assert counted(database, File) == 2


def test_job_names_the_damaged_file(shop, tmp_path):
    home = tmp_path / "home"
    shutil.copytree(shop.settings.home, home)
    settings = Settings(home=home, admins=ADMIN, _env_file=None)
    file = sorted((home / "lake" / "events").rglob("*.parquet"))[0]
    os.truncate(file, 100)
    database = Database.of(settings)
    waiting = ask(database, Sweep(), "damaged")
    assert runner.run_job(database, waiting.id, "task") == "failed"
    ended = job(database, waiting.id)
    assert str(file) in ended.error
    assert "retention restore FILE" in ended.error
    assert ended.reference
    with pytest.raises(Exception, match="parquet"):
        runner.run_inline(database, Sweep(), user=ADMIN)
    database.dispose()
