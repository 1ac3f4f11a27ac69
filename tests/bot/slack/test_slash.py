"""Test `/retention …` with signed requests through `app.dispatch`."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr
from sqlalchemy import event, update

from bot.slack.app import build_app
from retention import clock
from retention.db.tables import Audit, Job, Outbox, RoleGrant, Schedule
from tests.bot.wire import ADMIN, ANALYST, LEAD, VIEWER, Workspace, stored, words
from tests.workers.harness import wait as until
from workers import action_ids
from workers.job_requests import Sweep
from workers.retrain_request import Retrain


def all_jobs(database):
    return stored(database, Job)


def posts(database):
    return stored(database, Outbox)


# ---------------------------------------------------------------- what is accepted


def test_sweep_is_stored_and_confirmed_in_one_line(workspace, database):
    reply = workspace.run("sweep —tier medium --top 5")
    (job,) = all_jobs(database)
    assert (job.kind, job.state, job.requested_by) == ("sweep", "queued", ANALYST)
    assert (job.channel, job.args["tier"], job.args["top"]) == ("C0CRM", "medium", 5)
    assert words(reply["blocks"]) == (
        "*At-risk list* starts when the queue is back. The result comes into this channel."
    )
    assert "action_id" not in json.dumps(reply)


def test_channel_shows_the_job_with_progress_and_cancel(workspace, database):
    workspace.run("sweep")
    (post,) = until(lambda: posts(database))
    (job,) = all_jobs(database)
    assert (post.key, post.channel) == (f"job:{job.id}", "C0CRM")
    assert action_ids.CANCEL_JOB in json.dumps(post.payload)


def test_the_same_delivery_twice_is_one_job(workspace, database):
    first = workspace.run("sweep", trigger="T1")
    second = workspace.run("sweep", trigger="T1")
    assert first == second
    assert len(all_jobs(database)) == 1
    workspace.run("sweep --top 7", trigger="T2")
    assert len(all_jobs(database)) == 2
    until(lambda: len(posts(database)) == 2)


def test_fifty_at_once_are_fifty_jobs(workspace, database):
    def run_digest(number):
        typed = "digest" if number % 5 else "digst"
        workspace.run(typed, user=f"U0{number}", channel=f"C0{number}", trigger=f"many.{number}")

    with ThreadPoolExecutor(50) as pool:
        list(pool.map(run_digest, range(50)))
    jobs = all_jobs(database)
    assert len(jobs) == 40
    assert len({job.idem_key for job in jobs}) == 40


@pytest.mark.parametrize("command", ["score 42", "recommend 42 --k 3"])
def test_results_with_names_go_to_the_direct_message(workspace, database, command):
    reply = workspace.run(command)
    (job,) = all_jobs(database)
    assert job.channel == ANALYST
    assert job.args["customer_id"] == "42"
    assert "direct message" in words(reply["blocks"])


def test_a_customer_is_found_by_pseudonym(workspace, database, settings):
    from retention.privacy import pseudonym

    workspace.run(f"score {pseudonym(settings.key, '42').lower()}")
    assert all_jobs(database)[0].args["customer_id"] == "42"


def test_channel_without_the_bot_explains_the_invitation(workspace, database, api):
    api.answers["conversations.info"] = {"ok": False, "error": "channel_not_found"}
    reply = workspace.run("sweep", channel="C0PRIVATE")
    assert "/invite @retention" in words(reply["blocks"])
    assert all_jobs(database)[0].channel == ANALYST
    workspace.run("sweep", channel="C0PRIVATE")
    assert len(api.named("conversations.info")) == 1  # remembered


def test_bot_counts_as_member_without_slacks_answer(workspace, database, api):
    api.answers["conversations.info"] = {"ok": False, "error": "missing_scope"}
    assert "this channel" in workspace.says("sweep")
    assert all_jobs(database)[0].channel == "C0CRM"


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ("swep", ["did you mean `/retention sweep`"]),
        ("frobnicate", ["There is no command `/retention frobnicate`; there are"]),
        ("jobs lst", ["did you mean `/retention jobs list`"]),
        ("sweep --teir high", ["no option --teir; did you mean --tier?"]),
        ("sweep --tier hihg", ["'hihg' is none of high, medium, low, lapsed. Did you mean high?"]),
        ("sweep high", ["unexpected extra argument"]),
        ("sweep --top 0", ["--top: '0' is not a whole number from 1 to 100,000."]),
        ("sweep --top 1.5", ["--top: '1.5' is not a whole number from 1 to 100,000."]),
        ("sweep --as-of yesterday", ["'yesterday' is not a date from 1970 to 2199; write it like"]),
        ("sweep --as-of 2190-01-01", ["--as-of", "2190", "in the future"]),
        ("sweep --as-of 0001-01-01", ["is not a date from 1970 to 2199"]),
        ("sweep --as-of 9999-12-31", ["is not a date from 1970 to 2199"]),
        ("sweep --csv /etc/passwd", ["no option --csv"]),
        ("cohort --months 99", ["--months"]),
        ("cohort --as-of 2190-01-01", ["in the future"]),
        ("campaign draft --discount 150", ["--discount", "150%", "1 to 99"]),
        ("campaign draft --holdout 90", ["--holdout", "90%", "10 to 20"]),
        ("campaign draft --budget 999999999", ["--budget", "999,999,999"]),
        ("campaign draft --tier extreme", ["--tier", "extreme"]),
        ("campaign draft --audience nobody", ["nobody"]),
        ("campaign draft --where colour", ["position 7"]),
        ("campaign edit c1 --discount much", ["'much' is not a percentage; write it like 15 or"]),
        ("campaign edit c1 --budget 1.200", ["'1.200' is not an amount; write it like 5, 12.50"]),
        ("retrain --horizon long", ["'long' is not a number of days from 1 to 3,650"]),
        ("retrain --horizon 9999d", ["--horizon: '9999d' is not"]),
        ("retrain --cutoff 2190-01-01", ["--cutoff", "in the future"]),
        ("retrain churn --tune 1h", ["--tune is 60 minutes", "at most 10m"]),
        ("retrain churn --tune soon", ["a duration; write it like 90s, 5m or 1h"]),
        ("score", ["`/retention score` needs CUSTOMER; write `/retention score CUSTOMER"]),
        ("score 43", ["There is no customer '43'"]),
        ('score "42', ["never closed"]),
        ("score 42 --as-of 2190-01-01", ["in the future"]),
        ("recommend 42 --k 9999", ["--k"]),
        ("report recommend --as-of 2190-01-01", ["in the future"]),
        ("report programme", ["/retention campaign holdout 5"]),
        ('schedule add "report programme" --every "monday 09:00"', ["campaign holdout 5"]),
        ("models card nothing-like-it", ["nothing-like-it"]),
        ("audience show nobody", ["nobody"]),
        ("alert test nobody", ["nobody"]),
        ("import events x.csv", ["works in the terminal only"]),
        ("digest now --audience nobody", ["nobody"]),
        ("digest schedule --at 25:00", ["'25:00' is no time of day; write it like 09:00"]),
        ("digest schedule --timezone Europe/Londn", ["did you mean Europe/London"]),
        ("digest off", ["There is no scheduled digest for this channel"]),
        ("jobs cancel 77", ["There is no job '77'"]),
        ("role", ["to use `role list` you need admin"]),
    ],
)
def test_bad_command_gets_one_sentence_at_once(workspace, database, typed, named):
    reply = workspace.run(typed)
    said = reply["text"].replace("&lt;", "<")
    assert [part for part in named if part not in said] == []
    assert "Traceback" not in json.dumps(reply)
    assert all_jobs(database) == posts(database) == []


@pytest.mark.parametrize(
    "command",
    ["sweep", "sweep --audience x", "sweep --tier hihg", "retrain", "score nobody", "recommend 42"],
)
def test_refusal_names_the_required_role(workspace, database, command):
    reply = workspace.run(command, VIEWER)
    assert "Your role is viewer; to " in reply["text"]
    assert "you need analyst" in reply["text"]
    assert all_jobs(database) == []


def test_text_that_looks_like_slack_markup_is_shown_as_text(workspace):
    reply = workspace.run("&lt;!channel&gt;")
    assert "<!channel>" not in json.dumps(reply)
    assert "&lt;!channel&gt;" in reply["text"]


def test_broken_database_gives_a_message(workspace, database):
    @event.listens_for(database.engine, "begin")
    def fail(connection):
        from sqlalchemy.exc import OperationalError

        raise OperationalError("BEGIN", {}, Exception("unable to open database file"))

    for command in ("sweep", "status", "jobs"):
        assert "database does not answer, so nothing was accepted" in workspace.run(command)["text"]
    event.remove(database.engine, "begin", fail)
    assert all_jobs(database) == []


def test_an_unknown_error_is_a_reference_for_the_operators_log(workspace, monkeypatch, caplog):
    def broken(*_, **__):
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr("workers.queue.jobs.submit", broken)
    reply = workspace.run("sweep")
    reference = re.search(r"reference ([0-9a-f]{32})", reply["text"])[1]
    assert "secret detail" not in json.dumps(reply)
    assert reference in caplog.text
    assert "secret detail" in caplog.text


def test_busy_database_refuses_instead_of_answering_late(workspace, database, monkeypatch):
    monkeypatch.setattr("bot.slack.slash.BUDGET_SECONDS", -1.0)
    assert "nothing was accepted; please try again" in workspace.run("sweep")["text"]
    assert all_jobs(database) == []


# ---------------------------------------------------------------- what is answered at once


def test_help_shows_the_tasks_of_the_role(workspace):
    def offered(user):
        blocks = workspace.run("help", user)["blocks"]
        return [block["accessory"]["value"] for block in blocks if "accessory" in block]

    assert offered(VIEWER) == ["win", "follow"]
    assert offered(ANALYST) == ["find", "win", "follow"]
    assert "terminal" not in workspace.says("help", ADMIN)


def test_help_shows_no_flags_and_model_names_are_only_in_the_models_help(workspace):
    for user in (VIEWER, ANALYST, LEAD, ADMIN):
        reply = json.dumps(workspace.run("help", user))
        assert not re.search(r"--|logistic|bg_nbd|user_knn|boosting", reply)
    assert "calendar_boosting" in workspace.says("help models")
    assert "calendar_boosting" not in json.dumps(workspace.run("help retrain"))


@pytest.mark.parametrize(
    "typed", ["frobnicate", "help campaign", "campaign frob", "campaign aprove"]
)
def test_answers_offer_only_what_the_role_may_do(workspace, typed):
    offered = workspace.says(typed, VIEWER)
    assert "sweep" not in offered
    assert not re.search(r"campaign (approve|draft)|\bapprove\b", offered)
    assert "approve" in workspace.says("help campaign", LEAD)


@pytest.mark.parametrize("typed", ["help sweep", "sweep --help", "help SWEEP"])
def test_help_of_one_command(workspace, typed):
    reply = workspace.says(typed)
    assert "--tier" in reply
    assert "analyst" in reply
    assert "--csv" not in reply


def test_status_shows_queue_data_and_models(workspace):
    workspace.run("sweep")
    reply = workspace.says("status", VIEWER)
    assert "0 running, 1 waiting" in reply
    assert "1 customer" in reply
    assert "ranked by rules" in reply
    assert "Your role is viewer" in reply


def test_status_names_a_key_that_is_too_short(settings, database, api):
    key = SecretStr("Q7" * 10)
    short = settings.model_copy(update={"redemption_key": key})
    reply = Workspace(build_app(short, database), api).says("status")
    assert "RETENTION_REDEMPTION_KEY" in reply
    assert "openssl rand -hex 32" in reply
    assert key.get_secret_value() not in reply


def test_jobs_lists_states_and_can_cancel_and_retry(workspace, database):
    workspace.run("sweep")
    (job,) = all_jobs(database)
    assert job.id in workspace.says("jobs", VIEWER)
    assert "somebody else" in workspace.run(f"jobs cancel {job.id}", LEAD)["text"]
    assert "nothing is published" in workspace.says(f"jobs cancel {job.id}")
    assert all_jobs(database)[0].state == "cancelled"
    assert "queued again" in workspace.says(f"jobs retry {job.id}")
    assert all_jobs(database)[0].state == "queued"


def test_error_of_a_private_job_is_for_requester_and_admins(workspace, database):
    workspace.run("score 42")
    workspace.run("sweep")
    for job in all_jobs(database):
        with database.transaction() as session:
            changed = update(Job).where(Job.id == job.id)
            session.execute(changed.values(state="failed", error=f"No {job.kind} of customer 42."))
    people = (VIEWER, LEAD, ANALYST, ADMIN)
    visible = {user: workspace.says("jobs", user) for user in people}
    assert [user for user in people if "No score of" in visible[user]] == [ANALYST, ADMIN]
    assert all("No sweep of" in reply for reply in visible.values())
    # A direct message with the app has a channel of its own.
    with database.transaction() as session:
        session.execute(update(Job).where(Job.kind == "score").values(channel="D0456"))
    assert "No score of" not in workspace.says("jobs", VIEWER)
    assert "No score of" in workspace.says("jobs", ANALYST)


def test_an_admin_grants_roles_and_it_is_audited_once(workspace, database):
    for _ in range(2):
        reply = workspace.run("role grant &lt;@U0NEW|new&gt; analyst", ADMIN, trigger="G")
    assert "analyst" in words(reply["blocks"])
    (grant,) = stored(database, RoleGrant, RoleGrant.user_id == "U0NEW")
    assert grant.role == "analyst"
    assert [entry.subject for entry in stored(database, Audit)] == ["U0NEW"]
    assert "U0NEW" in workspace.says("role", ADMIN)
    assert "RETENTION_ADMINS" in workspace.run(f"role grant {ADMIN} viewer", ADMIN)["text"]
    assert "you need admin" in workspace.run("role grant U0NEW admin", LEAD)["text"]
    assert "is no person" in workspace.run("role grant bob analyst", ADMIN)["text"]


def test_a_digest_is_scheduled_once_listed_and_switched_off(workspace, database):
    for _ in range(2):
        reply = workspace.run(
            "digest schedule —day friday —at 9.30 —timezone europe/london", trigger="D"
        )
    assert "every Friday at 09:30* (Europe/London)" in words(reply["blocks"])
    (plan,) = stored(database, Schedule)
    assert (plan.kind, plan.channel, plan.created_by) == ("digest", "C0CRM", ANALYST)
    assert (plan.weekday, plan.at, plan.timezone) == (4, "09:30", "Europe/London")
    assert "Friday" in workspace.says("digest list", VIEWER)
    assert "switched off" in workspace.says("digest off")
    assert "No digest is scheduled" in workspace.says("digest list")


def test_a_new_time_replaces_a_channels_digest_and_says_so(workspace, database):
    for _ in range(2):  # an unchanged one replaces nothing
        assert "every Monday at 09:00* (UTC)." in workspace.says("digest schedule")
    reply = workspace.says("digest schedule --day daily --at 10:00")
    assert "every day at 10:00* (UTC), instead of every Monday at 09:00 (UTC)." in reply
    assert [plan.at for plan in stored(database, Schedule, Schedule.active)] == ["10:00"]


def test_repeated_delivery_gets_the_same_answer(workspace, database):
    workspace.run("sweep")
    (job,) = all_jobs(database)
    workspace.run("digest schedule")
    for number, typed in enumerate((f"jobs cancel {job.id}", f"jobs retry {job.id}", "digest off")):
        first, second = (workspace.run(typed, trigger=f"T{number}") for _ in range(2))
        assert second == first
    assert all_jobs(database)[0].state == "queued"


def test_retrain_reads_weeks_ever_and_the_search_time(workspace, database):
    options = "--horizon 4w --active-within ever --model logistic --cutoff 2017-10-02"
    workspace.run(f"retrain churn {options} --tune 5m --tune-fits 40")
    args = all_jobs(database)[0].args
    assert (args["models"], args["horizon"], args["active_within"]) == (["churn"], 28, None)
    assert args["cutoff"].startswith("2017-10-02T00:00")
    assert (args["tune"], args["tune_fits"]) == (300, 40)


def test_all_roles_are_listed(workspace, database):
    people = [f"U0{number:09d}" for number in range(150)]
    with database.transaction() as session:
        session.add_all(RoleGrant(user_id=user, role="viewer", granted_by=ADMIN) for user in people)
    reply = json.dumps(workspace.run("role list", user=ADMIN)["blocks"])
    assert all(user in reply for user in people)
    assert "does not fit" not in reply


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("sweep --as-of 2026-03-01", datetime(2026, 3, 1, 22, 59, 59, 999_999, tzinfo=UTC)),
        # Summer begins.
        ("sweep --as-of 2026-03-29", datetime(2026, 3, 29, 21, 59, 59, 999_999, tzinfo=UTC)),
        ("sweep --as-of 2026-07-01T12:00", datetime(2026, 7, 1, 10, tzinfo=UTC)),
        ("sweep --as-of 2026-03-01T00:00Z", datetime(2026, 3, 1, tzinfo=UTC)),
        ("retrain churn --cutoff 2026-03-01", datetime(2026, 2, 28, 23, tzinfo=UTC)),
    ],
)
def test_as_of_is_the_end_and_a_cutoff_the_beginning_of_the_shops_day(
    settings, database, api, typed, meant
):
    berlin = settings.model_copy(update={"timezone": "Europe/Berlin"})
    Workspace(build_app(berlin, database), api).run(typed, user=ADMIN)
    (job,) = all_jobs(database)
    request = Sweep.model_validate(job.args) if job.kind == "sweep" else None
    assert (request.as_of if request else Retrain.model_validate(job.args).cutoff) == meant


def test_as_of_today_means_now(workspace, database, monkeypatch):
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    monkeypatch.setattr(clock, "now", lambda: now)
    workspace.run("sweep --as-of 2026-03-01", user=ADMIN)
    (job,) = all_jobs(database)
    assert Sweep.model_validate(job.args).as_of == now
