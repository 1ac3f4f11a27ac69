"""Limits on one person's jobs, on SQLite and PostgreSQL."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import event, func, insert, select, update

from retention import clock
from retention.db import Database
from retention.db.tables import Job
from retention.errors import Conflict, TooManyRequests
from retention.settings import Settings
from tests.databases import create_tables
from tests.postgres import make_empty, postgres
from tests.workers.harness import (
    ADMIN,
    ANALYST,
    CHANNEL,
    OTHER,
    PRIVATE,
    VIEWER,
    grant,
    job,
    row,
    set_job,
)
from tests.world import add, change, execute, scalar
from workers import user_roles
from workers.job_requests import REQUESTS, CohortCsv, Digest, Forget, Recommend, Score, Sweep, Tidy
from workers.queue import jobs, quotas
from workers.schedule import tick
from workers.schedule.cadence import Cadence


@pytest.fixture(scope="module")
def postgres_url():
    with postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request, tmp_path) -> Settings:
    """An installation of this test's own; its database is empty."""
    if request.param == "sqlite":
        return Settings(home=tmp_path / "home", admins=ADMIN, _env_file=None)
    url = request.getfixturevalue("postgres_url")
    make_empty(url)
    own = {"database_url": url, "secret_key": "k" * 32}
    return Settings(home=tmp_path / "home", admins=ADMIN, _env_file=None, **own)


@pytest.fixture
def database(settings):
    created = Database.of(settings)
    create_tables(created)
    add(created, grant(settings, ANALYST, "analyst"), grant(settings, OTHER, "approver"))
    yield created
    created.dispose()


@pytest.fixture
def submit(database):
    """``submit(request, user, channel)`` as a command does."""
    count = iter(range(10_000))

    def submit_command(request, user=ANALYST, channel=CHANNEL, *, limited=True, **options):
        asked = {"idem_key": f"command:{next(count)}", "announce": False, **options}
        put = jobs.submit if limited else jobs.submit_due
        return change(database, put, request, requested_by=user, channel=channel, **asked)

    return submit_command


def number_of_jobs(database) -> int:
    return scalar(database, select(func.count()).select_from(Job))


# ---------------------------------------------------------------- identical requests


def test_identical_open_request_is_joined(database, submit):
    first = submit(Digest())
    second = submit(Digest(), user=VIEWER)
    assert (first.created, first.joined) == (True, False)
    assert (second.created, second.joined) == (False, True)
    assert second.job.id == first.job.id
    assert number_of_jobs(database) == 1


@pytest.mark.parametrize("over", [{"state": "done"}, {"cancel_at": clock.wall()}])
def test_running_request_is_joined_and_an_ending_one_is_not(database, submit, over):
    first = submit(Digest()).job
    set_job(database, first.id, state="running")
    assert submit(Digest()).joined
    set_job(database, first.id, **over)
    assert submit(Digest()).created


def test_other_arguments_and_other_channels_are_other_requests(database, submit):
    submit(Sweep(top=5))
    assert submit(Sweep(top=6)).created
    assert submit(Sweep(top=5), channel=PRIVATE).created
    assert submit(Sweep(top=5), user=OTHER, thread_key="campaign:1").created
    assert number_of_jobs(database) == 4


def test_private_results_of_two_people_are_two_jobs(database, submit):
    request = CohortCsv(cohort_id="c1")
    submit(request, user=ANALYST, channel=ANALYST)
    assert submit(request, user=OTHER, channel=OTHER).created
    assert submit(request, user=ANALYST, channel=ANALYST).joined


def test_same_delivery_twice_is_neither_new_nor_joined(database, submit):
    first = submit(Digest(), idem_key="command:same")
    again = submit(Digest(), idem_key="command:same")
    assert (again.created, again.joined, again.job.id) == (False, False, first.job.id)


def cancel(database, job_id: str, user: str):
    return change(database, jobs.cancel, job_id, user)


def test_joined_job_goes_on_for_the_other_person(database, submit):
    """Its owner cancelled it, and nobody got a result."""
    first = submit(Digest(), announce=True).job
    submit(Digest(), user=VIEWER)
    submit(Digest(), user=OTHER)
    assert cancel(database, first.id, ANALYST).requested_by == VIEWER
    assert f"<@{VIEWER}>" in str(row(database, f"job:{first.id}").payload)
    set_job(database, first.id, state="running")
    withdrawn = cancel(database, first.id, VIEWER)
    assert (withdrawn.requested_by, withdrawn.cancel_at) == (OTHER, None)
    assert cancel(database, first.id, OTHER).cancel_at is not None


@pytest.mark.parametrize(("other", "cancels"), [(VIEWER, ADMIN), (ANALYST, ANALYST)])
def test_admin_or_the_only_requester_cancels_a_joined_job(database, submit, other, cancels):
    first = submit(Digest()).job
    submit(Digest(), user=other)
    assert cancel(database, first.id, cancels).state == "cancelled"


def test_joining_delivery_that_is_repeated_after_the_end_starts_nothing(database, submit):
    first = submit(Digest()).job
    submit(Digest(), user=VIEWER, idem_key="command:joins")
    set_job(database, first.id, state="done")
    again = submit(Digest(), user=VIEWER, idem_key="command:joins")
    assert (again.created, again.joined, again.job.id) == (False, True, first.id)
    assert number_of_jobs(database) == 1


def test_a_scheduled_job_is_joined_by_a_person(submit):
    scheduled = submit(Digest(), limited=False)
    assert submit(Digest(), user=VIEWER).job.id == scheduled.job.id


@pytest.mark.parametrize("people", [1, 8])
def test_identical_requests_at_the_same_moment_are_one_job(database, submit, people):
    users = [f"U0{number % people}" for number in range(16)]
    with ThreadPoolExecutor(8) as pool:
        submissions = list(pool.map(lambda user: submit(Digest(), user=user), users))
    assert number_of_jobs(database) == 1
    assert [item.created for item in submissions].count(True) == 1
    assert len({submission.job.id for submission in submissions}) == 1


# ---------------------------------------------------------------- open jobs


def test_fourth_open_sweep_of_a_person_is_refused(database, submit):
    first = submit(Sweep(top=1), idem_key="command:first").job
    submit(Sweep(top=2)), submit(Sweep(top=3))
    with pytest.raises(TooManyRequests) as refusal:
        submit(Sweep(top=4))
    assert str(refusal.value) == (
        "One person can have at most 3 At-risk list jobs queued or running, "
        "so wait for one to finish or "
        f"cancel one with `/retention jobs cancel {first.id}`."
    )
    assert number_of_jobs(database) == 3
    assert submit(Sweep(top=1), idem_key="command:first").job.id == first.id  # the same delivery
    assert submit(Sweep(top=5), user=OTHER).created
    assert submit(Digest()).created
    set_job(database, first.id, state="done")
    assert submit(Sweep(top=4)).created


def test_open_limit_holds_for_requests_at_the_same_moment(database, submit):
    def is_accepted(top):
        try:
            submit(Sweep(top=top))
        except TooManyRequests:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(is_accepted, range(1, 13))) == 3
    assert number_of_jobs(database) == 3


def test_every_kind_has_a_limit():
    limits = {kind: quotas.open_limit(kind) for kind in REQUESTS}
    assert limits["score"] > limits["sweep"]
    assert min(limits.values()) >= 1


# ---------------------------------------------------------------- burst


def test_eleventh_job_within_the_window_is_refused_though_some_are_done(database, submit):
    for number in range(quotas.BURST_JOBS):
        kind = Score if number % 2 else Recommend
        submitted_job = submit(kind(customer_id=f"k{number}"), channel=ANALYST).job
        now = {"queued_at": clock.wall() + timedelta(minutes=1)}
        set_job(database, submitted_job.id, state="done" if number < 5 else "queued", **now)
    with pytest.raises(TooManyRequests, match="at most 10 jobs in 10 seconds, so wait 10 seconds"):
        submit(Digest())
    assert submit(Digest(), user=OTHER, channel=PRIVATE).created
    execute(database, update(Job).values(queued_at=clock.wall() - quotas.BURST_WINDOW))
    assert submit(Sweep()).created


# ---------------------------------------------------------------- exempt


def test_the_operator_and_the_system_are_not_limited(database, submit):
    for number in range(15):
        submit(Sweep(top=1 + number % 2), user=user_roles.OPERATOR)
        submit(Sweep(top=1 + number % 2), user=ANALYST, limited=False)
        submit(Tidy(), user=user_roles.OPERATOR, channel=None)
    assert number_of_jobs(database) == 45
    assert submit(Sweep(top=9)).created  # what was exempt does not count


def test_schedules_of_one_person_are_not_limited(database):
    monday = clock.now() - timedelta(hours=1)
    with database.transaction() as session:
        for number in range(12):
            at = Cadence(f"{clock.now():%H:%M}")
            request = Sweep(top=number + 1)
            created = tick.add(session, request, at, "UTC", channel=CHANNEL, by=ANALYST)
            created.created_at = monday
    clock.configure(offset=lambda: timedelta(minutes=2))
    assert len(tick.tick(database)) == 12


# ---------------------------------------------------------------- retry


def test_retry_respects_the_open_limit(database, submit):
    failed = submit(Sweep(top=9)).job
    set_job(database, failed.id, state="failed")
    for top in (1, 2, 3):
        submit(Sweep(top=top))
    with pytest.raises(TooManyRequests, match="at most 3 At-risk list jobs"):
        change(database, jobs.retry, failed.id, ANALYST)
    assert job(database, failed.id).state == "failed"
    assert change(database, jobs.retry, failed.id, user_roles.OPERATOR).state == "queued"


def test_retry_while_the_same_request_is_open_is_refused(database, submit):
    failed = submit(Digest()).job
    set_job(database, failed.id, state="failed")
    submit(Digest(), user=VIEWER)
    with pytest.raises(Conflict, match="already under way"), database.transaction() as session:
        jobs.retry(session, failed.id, ANALYST)


def test_retried_job_counts_for_its_owner(database, submit):
    scheduled = submit(Sweep(top=9), limited=False).job
    set_job(database, scheduled.id, state="failed")
    change(database, jobs.retry, scheduled.id, ANALYST)
    for top in (1, 2):
        submit(Sweep(top=top))
    with pytest.raises(TooManyRequests):
        submit(Sweep(top=3))


# ---------------------------------------------------------------- the statement


@pytest.mark.nightly
def test_admission_query_uses_indexes(database, settings):
    states = ["done"] * 8 + ["failed", "queued"]
    alike = {"kind": "sweep", "queue": "batch", "args": {}, "by_person": True, "channel": CHANNEL}
    rows = [
        {
            "id": f"j{number}",
            "idem_key": f"k{number}",
            "state": states[number % 10],
            "requested_by": f"U{number % 500}",
            "request_key": f"r{number % 3000}",
            **alike,
        }
        for number in range(20_000)
    ]
    with database.transaction() as session:
        session.execute(insert(Job), rows)
    if not database.is_sqlite:  # SQLite has no statistics unless somebody asks for them
        with database.engine.begin() as connection:
            connection.exec_driver_sql("ANALYZE")
    explain = "EXPLAIN QUERY PLAN " if database.is_sqlite else "EXPLAIN "
    bound = {"kind": "sweep", "user": "U7", "key": "r7", "idem_key": "k7"}
    bound |= {"team_id": settings.team_id, "since": clock.wall()}
    sent = []
    event.listen(database.engine, "before_cursor_execute", lambda *given: sent.append(given[2:4]))
    with database.engine.connect() as connection:
        connection.execute(quotas.admission_query(), bound).all()
        plan = connection.exec_driver_sql(explain + sent[-1][0], sent[-1][1]).all()
    shown = json.dumps([[str(cell) for cell in line] for line in plan])
    unique = "sqlite_autoindex_jobs" if database.is_sqlite else "uq_jobs_idem_key"
    of_person = "ix_jobs_team_id_requested_by_state_queued_at"
    for index in (unique, "ix_jobs_team_id_request_key_state", of_person):
        assert index in shown
    for slow in ("SCAN jobs", "ix_jobs_team_id_created_at", "Seq Scan on jobs"):
        assert slow not in shown


def test_erasure_drops_request_hashes(database, submit):
    from retention.privacy import mentions

    score_job = submit(Score(customer_id="k1"), channel=ANALYST).job
    erasure_job = submit(Forget(customer_id="k1"), ADMIN, ADMIN).job
    assert score_job.request_key != erasure_job.request_key
    with database.transaction() as session:
        mentions.scrub_jobs(session, [score_job.id])
        mentions.scrub_own_job(session, erasure_job.id, {})
    assert [job(database, each.id).request_key for each in (score_job, erasure_job)] == [None, None]
