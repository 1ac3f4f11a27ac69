"""Test limits of commands, buttons, the Home tab and a real server."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import event

from bot.http import rate_limit
from bot.http.rate_limit import RequestLimit, TokenBuckets
from retention import clock
from tests.bot.slack.test_interactions import cohort, whispered  # noqa: F401 - a fixture
from tests.bot.slack.test_slash import all_jobs, until
from tests.bot.wire import ANALYST, LEAD, VIEWER, words
from tests.workers.harness import set_job
from workers import action_ids


@pytest.fixture
def full_bucket(monkeypatch, request):
    """The workspace with buckets that never refill."""
    monkeypatch.setattr(rate_limit, "TokenBuckets", partial(TokenBuckets, now=lambda: 0.0))
    return request.getfixturevalue("workspace")


def start_as_many_as_allowed(workspace, database, user: str) -> None:
    """Finish ten jobs within the window of the burst limit."""
    for top in range(10):
        workspace.run(f"sweep --top {top + 1}", user)
        for job in all_jobs(database):
            set_job(database, job.id, state="done", queued_at=clock.wall() + timedelta(minutes=1))


# ---------------------------------------------------------------- identical requests


@pytest.mark.parametrize("first", [VIEWER, ANALYST])
def test_open_request_is_named_to_its_own_requester(workspace, database, first):
    workspace.run("digest", first)
    reply = workspace.run("digest", VIEWER)
    (job,) = all_jobs(database)
    named = f" as job `{job.id}`" if first == VIEWER else ""
    assert words(reply["blocks"]) == (
        f":hourglass_flowing_sand: *Digest* is already under way{named}, "
        "and its result comes to this channel."
    )
    hidden = {"action_id", ANALYST} | ({job.id} if first == ANALYST else set())
    assert not [part for part in hidden if part in json.dumps(reply)]


def test_private_requests_of_two_people_are_not_joined(workspace, database):
    for user in (ANALYST, LEAD):
        assert "starts" in workspace.run("score 42", user)["text"]
    assert {job.channel for job in all_jobs(database)} == {ANALYST, LEAD}


def test_viewer_is_refused_before_an_open_request_is_mentioned(workspace):
    workspace.run("sweep", ANALYST)
    assert "you need analyst" in workspace.run("sweep", VIEWER)["text"]


def test_second_press_of_download_joins_the_first(workspace, database, cohort, api):  # noqa: F811
    workspace.press(action_ids.COHORT_CSV, cohort, LEAD)
    until(lambda: len(api.named("response_url")) == 1)
    workspace.press(action_ids.COHORT_CSV, cohort, LEAD)
    until(lambda: len(api.named("response_url")) == 2)
    (job,) = all_jobs(database)
    reply = api.named("response_url")[-1]
    assert "already under way" in reply["text"]
    assert job.id in json.dumps(reply["blocks"])


def test_second_press_on_home_opens_a_modal(workspace, database, api):
    for _ in range(2):
        workspace.press_at_home(action_ids.HOME_RUN, "digest", VIEWER)
        until(lambda: all_jobs(database))
    (job,) = all_jobs(database)
    assert f"already under way as job `{job.id}`" in words(api.wait("views.open")["view"]["blocks"])


# ---------------------------------------------------------------- limits


def test_limit_of_open_jobs_is_explained(workspace, database):
    for top in (1, 2, 3):
        workspace.run(f"sweep --top {top}")
    first = min(all_jobs(database), key=lambda job: job.created_at)
    reply = workspace.run("sweep --top 4")["text"]
    assert reply == (
        "One person can have at most 3 At-risk list jobs queued or running, "
        "so wait for one to finish or cancel one with "
        f"`/retention jobs cancel {first.id}`."
    )
    assert len(all_jobs(database)) == 3


def test_burst_limit_holds_for_buttons(workspace, database, cohort, api):  # noqa: F811
    start_as_many_as_allowed(workspace, database, LEAD)
    workspace.press_at_home(action_ids.HOME_RUN, "digest", LEAD)
    assert "at most 10 jobs in 10 seconds" in words(api.wait("views.open")["view"]["blocks"])
    workspace.press(action_ids.COHORT_CSV, cohort, LEAD)
    assert "at most 10 jobs in 10 seconds" in whispered(api)
    assert len(all_jobs(database)) == 10


def test_retry_button_respects_the_open_limit(workspace, database, api):
    for top in (1, 2, 3, 4):
        workspace.run(f"sweep --top {top}")
        if top == 1:
            (failed,) = all_jobs(database)
            set_job(database, failed.id, state="failed")
    workspace.press(action_ids.RETRY_JOB, failed.id)
    assert "at most 3 At-risk list jobs" in whispered(api)
    assert "at most 3 At-risk list jobs" in workspace.run(f"jobs retry {failed.id}")["text"]


def test_refusals_in_a_batch_leave_the_other_requests_alone(workspace, database):
    """Fifty concurrent requests of five people give three jobs each, in any batch."""

    def sweep(number):
        user, trigger = ANALYST if number % 2 else LEAD, f"batch.{number}"
        return workspace.run(f"sweep --top {number + 1}", user, trigger=trigger)["text"]

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(sweep, range(50)))
    assert len(all_jobs(database)) == 6
    assert sum("starts" in answer for answer in answers) == 6
    assert sum("at most 3 At-risk list jobs" in answer for answer in answers) == 44


# ---------------------------------------------------------------- every command and click


def test_commands_above_the_limit_are_refused_without_the_database(full_bucket, database):
    statements = []
    reply = [full_bucket.run("jobs list", VIEWER)["text"] for _ in range(rate_limit.REQUESTS)]
    note = lambda *given: statements.append(given[2])  # noqa: E731
    event.listen(database.engine, "before_cursor_execute", note)
    refused = full_bucket.run("jobs list", VIEWER)["text"]
    assert refused == (
        "One person can send at most 30 commands and clicks in 10 seconds, "
        "so wait 10 seconds and try again."
    )
    assert refused not in reply
    assert statements == []
    assert full_bucket.run("jobs list", ANALYST)["text"] != refused


def test_clicks_and_modals_above_the_limit_are_refused_but_home_opens(full_bucket, api):
    for _ in range(rate_limit.REQUESTS):
        full_bucket.run("help", LEAD)
    assert full_bucket.press(action_ids.RETRY_JOB, "x", LEAD).status == 200
    assert "at most 30 commands and clicks" in whispered(api)
    answer = full_bucket.interact("view_submission.json", LEAD)  # it keeps what was typed
    assert answer.status == 200
    assert "at most 30 commands and clicks" in answer.body
    assert full_bucket.open_home(LEAD)["type"] == "home"


def test_unsigned_request_does_not_count_towards_limits(full_bucket):
    form = "application/x-www-form-urlencoded"
    for _ in range(2 * rate_limit.REQUESTS):
        assert full_bucket.send(full_bucket.form("help", LEAD), form, secret="wrong").status == 401
    assert "commands and clicks" not in full_bucket.run("help", LEAD)["text"]


# ---------------------------------------------------------------- buckets


def test_bucket_refills_with_time():
    now = [0.0]
    buckets = TokenBuckets(3, 30, now=lambda: now[0])
    assert [buckets.take("u") for _ in range(4)] == [True, True, True, False]
    assert buckets.wait_seconds("u") == 10
    now[0] = 10.0
    assert [buckets.take("u"), buckets.take("u")] == [True, False]
    assert buckets.take("v")


def test_debt_extends_the_wait():
    now = [0.0]
    buckets = TokenBuckets(2, 20, now=lambda: now[0])
    for _ in range(4):
        buckets.spend("")
    assert buckets.wait_seconds("") == 30
    now[0] = 30.0
    assert buckets.wait_seconds("") == 0


def test_buckets_are_bounded_in_number():
    buckets = TokenBuckets(2, 10, max_keys=100, now=lambda: 0.0)
    for number in range(5_000):
        buckets.take("busy")
        buckets.take(f"U{number}")
    assert buckets.size == 100


def test_buckets_are_safe_for_threads():
    buckets = TokenBuckets(100, 10, now=lambda: 0.0)
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda _: buckets.take("u"), range(400))) == 100


def test_a_user_without_an_id_passes():
    limit = RequestLimit(TokenBuckets(1, 10, now=lambda: 0.0))
    context = type("Context", (), {"user_id": None})()
    assert [limit({"command": "/x"}, context, lambda: "passed") for _ in range(3)] == ["passed"] * 3
