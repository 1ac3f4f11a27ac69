"""`schedule`: add, list, pause, resume, run and delete."""

import json

import pytest

from bot.terminal import run
from retention.db.tables import Job, Schedule
from tests.bot.wire import ANALYST, CHANNEL, LEAD, VIEWER, stored, words
from tests.workers.harness import wait
from tests.world import read
from workers import action_ids
from workers.schedule import schedule_changes
from workers.tasks import runner


def listed(database, settings) -> list[dict]:
    return read(database, schedule_changes.summaries)


def test_commands_are_scheduled_with_their_options(workspace, database, settings):
    plans = [
        ("sweep --tier medium", "1st 09:00"),
        ("digest", "last-working-day 17:00"),
        ("report recommend --days 28d", "daily 07:30"),
        ("retrain churn", "sun 03:00"),
    ]
    for command, every in plans:
        workspace.run(f'schedule add "{command}" --every "{every}" --zone europe/london')
    rows = listed(database, settings)
    assert [(row["command"], row["every"]) for row in rows] == plans
    assert rows[0]["timezone"] == "Europe/London"
    assert all(len(row["next"]) == 3 and row["channel"] == CHANNEL for row in rows)
    (first,) = stored(database, Schedule, Schedule.kind == "sweep")
    assert (first.args["tier"], first.created_by) == ("medium", ANALYST)


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ('"sweeep" --every "mon 09:00"', "sweep"),
        ('"role list" --every "mon 09:00"', "cannot be scheduled"),
        ('"sweep --as-of 2025-01-01" --every "mon 09:00"', "--as-of"),
        ('"sweep --audience nobody" --every "mon 09:00"', "nobody"),
        ('"sweep" --every "mno 09:00"', "mon"),
        ('"import events x.csv" --every "mon 09:00"', "terminal"),
        ('"sweep" --every "mon 09:00" --channel crm', "C0123ABCD"),
    ],
)
def test_unusable_schedule_is_refused(workspace, database, settings, typed, named):
    assert named in workspace.says(f"schedule add {typed}")
    assert listed(database, settings) == []


def test_viewer_sees_schedules_but_changes_none(workspace, database, settings):
    workspace.run('schedule add "sweep" --every "mon 09:00"')
    refusal = workspace.run('schedule add "digest" --every "mon 09:00"', VIEWER)
    assert "analyst" in words(refusal["blocks"])
    seen = workspace.run("schedule list", VIEWER)
    assert "Mondays" in words(seen["blocks"])
    assert action_ids.SCHEDULE_MENU not in json.dumps(seen)
    assert action_ids.SCHEDULE_MENU in json.dumps(workspace.run("schedule list"))
    (row,) = listed(database, settings)
    workspace.press(action_ids.SCHEDULE_MENU, f"delete|{row['number']}", VIEWER)
    workspace.api.wait("response_url")
    assert len(listed(database, settings)) == 1


def test_menu_pauses_resumes_runs_and_deletes(workspace, database, settings):
    workspace.run('schedule add "sweep" --every "mon 09:00"')
    number = listed(database, settings)[0]["number"]
    workspace.press(action_ids.SCHEDULE_MENU, f"pause|{number}", LEAD)
    wait(lambda: listed(database, settings)[0]["paused"])
    workspace.run(f"schedule resume {number}")
    assert not listed(database, settings)[0]["paused"]
    workspace.press(action_ids.SCHEDULE_MENU, f"run|{number}")
    (job,) = wait(lambda: stored(database, Job))
    assert (job.kind, job.channel, job.requested_by) == ("sweep", CHANNEL, ANALYST)
    workspace.run(f"schedule delete {number}")
    assert listed(database, settings) == []
    assert "no schedule" in workspace.says(f"schedule pause {number}")


def test_digest_schedules_show_in_the_same_list(workspace, database, settings):
    workspace.run("digest schedule --day friday --at 16:00")
    (row,) = listed(database, settings)
    assert (row["command"], row["every"]) == ("digest", "fri 16:00")
    workspace.run(f"schedule pause {row['number']}")
    assert listed(database, settings)[0]["paused"]


def test_terminal_schedules_an_import_that_reads_its_files_anew(shop_copy, monkeypatch, tmp_path):
    monkeypatch.setenv("RETENTION_HOME", str(shop_copy.settings.home))
    file = tmp_path / "more.csv"
    file.write_text("customer_id,event_type,occurred_at\nc1,view,2025-05-01\n", encoding="utf-8")
    command = f"import events '{file}'"
    assert run(["schedule", "add", command, "--every", "daily 06:00"]) == 0
    file.write_text("customer_id,event_type,occurred_at\nc2,view,2025-05-02\n", encoding="utf-8")
    with shop_copy.database.transaction() as session:
        (row,) = schedule_changes.active(session)
        job = schedule_changes.run_now(session, row.id, "operator", "once").job
    assert runner.run_job(shop_copy.database, job.id, "t") == "done"
    events = shop_copy.lake.table("events")
    assert events.filter(events.event_type == "view").customer_id.execute().tolist() == ["c2"]
