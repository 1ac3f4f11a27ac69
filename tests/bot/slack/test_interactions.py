"""Test buttons and the Home tab."""

from datetime import UTC, datetime

import pytest
from sqlalchemy.exc import OperationalError

from retention import clock
from retention.db.tables import Audit, BusinessClock, CampaignEditor
from tests import world
from tests.bot.slack.test_slash import all_jobs, until
from tests.bot.wire import ADMIN, ANALYST, LEAD, VIEWER, stored, words
from workers import action_ids
from workers.delivery import job_messages
from workers.queue import jobs


@pytest.fixture
def cohort(database, settings) -> str:
    world.add(database, world.cohort(settings, "C7", clock.now(), created_by=ANALYST))
    return "C7"


def whispered(api) -> str:
    return api.wait("response_url")["text"]


def test_cancel_asks_the_job_to_stop_once(workspace, database, api):
    workspace.run("sweep")
    (job,) = all_jobs(database)
    assert workspace.press(action_ids.CANCEL_JOB, job.id, at="9.9").status == 200
    until(lambda: all_jobs(database)[0].state == "cancelled")
    assert "cancelled" in whispered(api)
    workspace.press(action_ids.CANCEL_JOB, job.id, at="9.9")  # the same click, delivered again
    workspace.press(action_ids.CANCEL_JOB, job.id, at="9.8")  # another click
    until(lambda: len(api.named("response_url")) == 2)
    assert "nothing left to cancel" in api.named("response_url")[-1]["text"]
    assert all(reply["response_type"] == "ephemeral" for reply in api.named("response_url"))


def test_people_see_the_business_time_of_a_job(workspace, database, settings):
    """In the demo of 2017, jobs were shown at the time of the machine."""
    start = datetime(2017, 10, 2, 13, tzinfo=UTC)
    offset = (start - clock.wall()).total_seconds()
    world.add(database, BusinessClock(team_id=settings.team_id, offset_seconds=offset))
    workspace.run("sweep")
    (job,) = all_jobs(database)
    listed = workspace.run("jobs")["blocks"]
    cancelled = world.change(database, jobs.cancel, job.id, ADMIN)
    ended = job_messages.template_values(cancelled)["finished_at"]
    assert "2 Oct 2017" in words(listed).replace(" 02 ", " 2 ")
    assert f"{ended:%Y-%m-%d}" == "2017-10-02"
    assert f"{job.created_at:%Y}" != "2017"  # leases and rates use real time


def test_only_the_requester_or_an_admin_can_cancel(workspace, database, api):
    workspace.run("sweep")
    (job,) = all_jobs(database)
    workspace.press(action_ids.CANCEL_JOB, job.id, LEAD)
    assert "you need admin" in whispered(api)
    workspace.press(action_ids.CANCEL_JOB, job.id, ADMIN)
    until(lambda: all_jobs(database)[0].state == "cancelled")
    assert all_jobs(database)[0].cancelled_by == ADMIN


def test_cancelled_job_goes_on_for_who_joined_it(workspace, database, api):
    workspace.run("sweep")
    workspace.run("sweep", LEAD)
    (job,) = all_jobs(database)
    workspace.press(action_ids.CANCEL_JOB, job.id)
    assert f"<@{LEAD}>" in whispered(api)
    (job,) = all_jobs(database)
    assert (job.state, job.requested_by) == ("queued", LEAD)
    assert "is cancelled" in workspace.says(f"jobs cancel {job.id}", LEAD)


def test_command_button_runs_in_its_channel_once(workspace, database, api):
    workspace.press(action_ids.RUN_COMMAND, "sweep --tier medium", at="7.1")
    assert whispered(api) == "At-risk list starts when the queue is back"
    workspace.press(action_ids.RUN_COMMAND, "sweep --tier medium", at="7.1")
    until(lambda: len(api.named("response_url")) == 2)
    (job,) = all_jobs(database)
    assert (job.kind, job.channel, job.args["tier"]) == ("sweep", "C0CRM", "medium")


def test_try_again_queues_a_cancelled_job(workspace, database):
    workspace.run("sweep")
    (job,) = all_jobs(database)
    workspace.press(action_ids.CANCEL_JOB, job.id)
    until(lambda: all_jobs(database)[0].state == "cancelled")
    workspace.press(action_ids.RETRY_JOB, job.id)
    until(lambda: all_jobs(database)[0].state == "queued")


def test_cohort_csv_goes_to_the_direct_message_and_is_audited(workspace, database, cohort, api):
    for _ in range(2):
        workspace.press(action_ids.COHORT_CSV, cohort, LEAD, at="5.5")
    assert "starts when" in whispered(api)
    (job,) = all_jobs(database)
    assert (job.kind, job.channel, job.requested_by) == ("cohort_csv", LEAD, LEAD)
    (note,) = stored(database, Audit)
    assert (note.actor, note.action, note.subject) == (LEAD, "cohort.download", cohort)


def test_campaign_is_drafted_in_the_cohorts_channel(workspace, database, cohort):
    workspace.press(action_ids.DRAFT_CAMPAIGN, cohort)
    (job,) = until(lambda: all_jobs(database))
    assert (job.kind, job.channel, job.args["cohort_id"]) == ("campaign_draft", "C0CRM", cohort)


def test_deleted_cohort_is_explained(workspace, api):
    workspace.press(action_ids.COHORT_CSV, "C0")
    assert "new one" in whispered(api)


def test_home_shows_role_jobs_and_pending_approvals(workspace, database):
    workspace.run("sweep")
    submitted = {"state": "submitted", "submitted_at": clock.now(), "channel": "C0CRM"}
    for name, editor in (("Spring", ANALYST), ("Mine", LEAD)):
        by = {"drafted_by": editor, "submitted_by": editor}
        world.add(database, world.campaign(name, **submitted, **by))
        world.add(database, CampaignEditor(campaign_id=name, user_id=editor))
    lead = words(workspace.open_home(LEAD))
    parts = ("approver", "Spring", "At-risk list", "Mine", "/retention")
    assert [part for part in parts if part in lead] == ["approver", "Spring", "At-risk list"]
    assert "Spring" not in words(workspace.open_home(ANALYST))
    viewer = workspace.open_home(VIEWER)
    (quick,) = [block for block in viewer["blocks"] if block.get("block_id") == "quick"]
    assert [one["value"] for one in quick["elements"] if "value" in one] == ["digest", "calendar"]


def test_calendar_button_at_home_shows_it_in_the_direct_message(workspace, api):
    workspace.press_at_home(action_ids.RUN_COMMAND, "calendar", VIEWER)
    shown = api.wait("chat.postMessage")
    assert shown["channel"] == VIEWER
    assert shown["blocks"]


def test_a_quick_action_runs_in_the_direct_message(workspace, database, api):
    workspace.interact("home_action.json", VIEWER)
    (job,) = until(lambda: all_jobs(database))
    assert (job.kind, job.channel) == ("digest", VIEWER)
    assert "Digest" in words(api.wait("views.publish")["view"])


def test_refused_quick_action_opens_a_modal_with_the_reason(workspace, api):
    workspace.press_at_home(action_ids.HOME_RUN, "sweep", VIEWER)
    assert "you need analyst" in words(api.wait("views.open")["view"]["blocks"])


def test_click_without_database_gets_a_message(workspace, database, api, monkeypatch):
    def away(*_, **__):
        raise OperationalError("x", {}, Exception("gone"))

    monkeypatch.setattr("workers.queue.jobs.cancel", away)
    assert workspace.press(action_ids.CANCEL_JOB, "1").status == 200
    assert "database does not answer" in whispered(api)


def test_refused_click_is_acknowledged(workspace, monkeypatch):
    """Bolt resets the answer of a listener that fails after its acknowledgement."""
    # Nothing gives it time to look.
    monkeypatch.setattr("bot.slack.failures.Failures._show", lambda *_: None)
    assert {workspace.press(action_ids.CANCEL_JOB, "nope").status for _ in range(5)} == {200}
