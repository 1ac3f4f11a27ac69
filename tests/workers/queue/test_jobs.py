"""Test submitting, claiming, cancelling and retrying jobs."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy import delete, inspect, select

from retention import clock
from retention.db.tables import Job, Outbox, RoleGrant
from retention.errors import BadInput, Conflict, NotAllowed, Refused
from tests.workers.harness import (
    ADMIN,
    ANALYST,
    CHANNEL,
    OTHER,
    VIEWER,
    ask,
    counted,
    failure,
    grant,
    job,
    row,
    set_job,
)
from tests.world import add, change, execute, read, scalars
from workers import user_roles
from workers.campaigns.job_requests import CampaignDeliver
from workers.job_requests import REQUESTS, Digest, Sweep
from workers.queue import completion, jobs
from workers.retrain_request import Retrain
from workers.tasks import runner
from workers.tasks.interface import Outcome, Post

pytestmark = pytest.mark.usefixtures("people")


def together(number: int, act) -> list:
    """Run ``act(i)`` in concurrent threads; return results or exceptions."""
    barrier, answers = threading.Barrier(number), [None] * number

    def run(i: int) -> None:
        barrier.wait()
        try:
            answers[i] = act(i)
        except Exception as error:
            answers[i] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_concurrent_deliveries_make_one_job_and_message(database):
    answers = together(8, lambda _: ask(database, Sweep(), "trigger-1", user=ANALYST).id)
    assert len(set(answers)) == 1
    assert counted(database, Job) == counted(database, Outbox) == 1


def test_announcement_has_progress_bar_and_cancel_button(database):
    queued_job = ask(database, Sweep(), "k", user=ANALYST)
    post = row(database, f"job:{queued_job.id}")
    assert post.channel == CHANNEL
    assert post.payload["blocks"][-1]["elements"][0]["value"] == queued_job.id


def test_unannounced_job_has_no_message(database):
    ask(database, Digest(), "k", announce=False)
    assert counted(database, Outbox) == 0


def test_insufficient_role_stores_no_unlimited_job(database):
    with pytest.raises(NotAllowed, match="you need analyst"):
        ask(database, Retrain(), "k", user=VIEWER)
    assert counted(database, Job) == 0


def test_role_is_checked_again_before_each_task(database, settings, task):
    """A cohort file with names went to a person without the role."""
    needed = dict.fromkeys(("customer_id", "cohort_id", "campaign_id", "view_id", "proposal"), "c")
    needed |= dict.fromkeys(("version", "deletion_id", "connection_id", "snapshot_id"), 1)
    needed |= {"tier": "medium", "name": "vips", "expression": "value > 200", "table": "events"}
    needed |= {"files": ("orders.csv",), "file_id": "F0123", "until": clock.now()}
    needed |= dict.fromkeys(("first", "last"), clock.now().date())
    restricted = {kind: of for kind, of in REQUESTS.items() if of.role != "viewer"}
    add(database, grant(settings, VIEWER, "admin"))
    queued, worked = {}, []
    for kind, request in restricted.items():
        fields = request.model_fields.items()
        required = {name: needed[name] for name, field in fields if field.is_required()}
        queued[kind] = ask(database, request.model_validate(required), kind, user=VIEWER).id
        task(kind, lambda request, context: worked.append(request.kind) or Outcome({}))
    execute(database, delete(RoleGrant).where(RoleGrant.user_id == VIEWER))
    ended = {kind: runner.run_job(database, job_id, "t") for kind, job_id in queued.items()}
    assert (ended, worked) == (dict.fromkeys(restricted, "refused"), [])
    for kind, request in restricted.items():
        assert f"you need {request.role}" in job(database, queued[kind]).error


def test_job_is_stored_while_broker_is_down(database, settings):
    assert jobs.wake(settings, ask(database, Sweep(), "k")) is False


def test_concurrent_workers_claim_a_job_once(database):
    queued_job = ask(database, Sweep(), "k")

    def claim(i: int):
        return change(database, jobs.claim, queued_job.id, f"worker-{i}")

    winners = [answer for answer in together(8, claim) if answer is not None]
    assert len(winners) == 1
    assert winners[0].attempt == 1


def test_only_expired_leases_are_claimed_again(database):
    queued_job = ask(database, Sweep(), "k")
    assert change(database, jobs.claim, queued_job.id, "a")
    assert change(database, jobs.claim, queued_job.id, "b") is None
    set_job(database, queued_job.id, lease_until=clock.wall() - timedelta(seconds=1))
    assert change(database, jobs.claim, queued_job.id, "b").attempt == 2


def test_lease_of_a_wrong_clock_is_expired(database):
    queued_job = ask(database, Sweep(), "k")
    change(database, jobs.claim, queued_job.id, "w1@elsewhere:1")
    set_job(database, queued_job.id, lease_until=clock.wall() + timedelta(days=365))
    assert change(database, jobs.claim, queued_job.id, "w2@elsewhere:2").attempt == 2


def test_a_job_not_yet_due_is_not_claimed(database):
    queued_job = ask(database, Sweep(), "k")
    set_job(database, queued_job.id, not_before=clock.wall() + timedelta(hours=1))
    assert change(database, jobs.claim, queued_job.id, "a") is None


def test_requester_cancels_a_queued_job_and_is_named(database):
    queued_job = ask(database, Sweep(), "k", user=ANALYST)
    with database.transaction() as session, pytest.raises(NotAllowed, match="you need admin"):
        jobs.cancel(session, queued_job.id, OTHER)
    with database.transaction() as session, pytest.raises(BadInput, match="'nope'"):
        jobs.cancel(session, "nope", ADMIN)
    assert change(database, jobs.cancel, queued_job.id, ANALYST).state == "cancelled"
    assert f"<@{ANALYST}>" in str(row(database, f"job:{queued_job.id}").payload)
    assert change(database, jobs.claim, queued_job.id, "a") is None


def test_cancelling_a_running_job_asks_it_to_stop_once(database):
    queued_job = ask(database, Sweep(), "k", user=ANALYST)
    with database.transaction() as session:
        jobs.claim(session, queued_job.id, "a")
        assert jobs.cancel(session, queued_job.id, ANALYST).cancel_at is not None
    with pytest.raises(Conflict, match="being cancelled already"):
        change(database, jobs.cancel, queued_job.id, ANALYST)


def test_concurrent_cancellations_have_one_winner(database):
    queued_job = ask(database, Sweep(), "k", user=ANALYST)

    def cancel(_: int):
        return change(database, jobs.cancel, queued_job.id, ADMIN).id

    answers = together(8, cancel)
    assert answers.count(queued_job.id) == 1
    assert job(database, queued_job.id).cancelled_by == ADMIN  # of somebody else's job
    assert all(isinstance(answer, Conflict) for answer in answers if answer != queued_job.id)


def test_retry_runs_a_failed_job_again_in_the_same_message(database, task):
    def fails(request, context):
        raise BadInput("There is no customer 'X'.")

    queued_job = ask(database, Sweep(), "k", user=ANALYST)
    task("sweep", fails)
    assert runner.run_job(database, queued_job.id, "t") == "refused"
    assert "no customer" in failure(database, queued_job.id).payload["text"]
    later = queued_job.business_at + timedelta(days=4)
    clock.configure(fixed=later)
    assert change(database, jobs.retry, queued_job.id, ANALYST).business_at == later
    found = Outcome({}, (Post("job/refused", {"sentence": "found"}),))
    task("sweep", lambda request, context: found)
    assert runner.run_job(database, queued_job.id, "t") == "done"
    assert row(database, f"job:{queued_job.id}").payload["text"] == "found"
    with pytest.raises(Conflict, match="only a failed or cancelled"):
        change(database, jobs.retry, queued_job.id, ANALYST)


def test_inline_run_posts_nothing(database, task):
    recorded = []

    def run(request, context):
        context.progress(1, 2, "half")
        post = Post("job/refused", {"sentence": "x"}, channel=context.requested_by)
        return Outcome({"rows": 3}, (post,))

    task("sweep", run)
    progress = lambda *units: recorded.append(units)  # noqa: E731
    data = runner.run_inline(database, Sweep(), user="operator", progress=progress)
    assert (data, recorded) == ({"rows": 3}, [(1, 2, "half")])
    assert scalars(database, select(Job.state)) == ["done"]
    assert counted(database, Outbox) == 0


@pytest.mark.parametrize(
    ("error", "state"), [(Refused("too few"), "failed"), (KeyboardInterrupt("Ctrl-C"), "cancelled")]
)
def test_refusal_or_ctrl_c_in_the_terminal_ends_the_job(database, task, error, state):
    def run(request, context):
        raise error

    task("sweep", run)
    with pytest.raises(type(error), match=str(error)):
        runner.run_inline(database, Sweep(), user="operator")
    assert scalars(database, select(Job.state)) == [state]


def test_refusal_in_the_terminal_names_the_model_that_stays(database, task):
    def run(request, context):
        model = {"kind": "churn", "version": "churn-1", "promoted": True}
        completion.publish_part(context, {"models": [model]}, lambda session: None)
        raise Refused("Too few orders.")

    task("retrain", run)
    stays = "Too few orders. The churn model trained before that, churn-1, stays in use."
    with pytest.raises(Refused, match=stays):
        runner.run_inline(database, Retrain(), user="operator")


def test_recent_and_open_jobs_are_listed(database):
    first, second = (ask(database, Sweep(), key) for key in "ab")
    set_job(database, first.id, state="done", created_at=clock.wall() - timedelta(hours=1))
    assert [item.id for item in read(database, jobs.recent, 5)] == [second.id, first.id]
    assert [open_job.id for open_job in read(database, jobs.open_jobs)] == [second.id]


def test_a_list_of_jobs_does_not_read_their_results(database):
    """Five large sweeps hold 75 MB; the list took 3.6 s, and Slack waits 3 s."""
    done = ask(database, Sweep(), "k")
    set_job(database, done.id, state="done", result={"cohort": []})
    with database.reading() as session:
        (listed,) = jobs.recent(session, 5)
        assert inspect(listed).unloaded == {"result"}


@pytest.mark.parametrize(
    ("demo", "request_", "queue"),
    [
        (True, CampaignDeliver(campaign_id="c1"), "interactive"),
        (False, CampaignDeliver(campaign_id="c1"), "batch"),
        (False, Retrain(), "training"),
    ],
    ids=["e-mails beside a demo's imports", "e-mails", "training"],
)
def test_job_and_its_retry_are_in_the_queue_of_its_kind(database, settings, demo, request_, queue):
    database = database.using(settings.model_copy(update={"demo": demo}))
    stored = ask(database, request_, "k", channel=None)
    assert stored.queue == queue
    set_job(database, stored.id, state="failed", queue="an old database's")
    assert change(database, jobs.retry, stored.id, user_roles.OPERATOR).queue == queue
