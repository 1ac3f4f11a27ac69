"""Test the terminal: JSON on standard output, one sentence on standard error, status."""

import csv
import io
import json
import os
import pwd
import re
import socket
from datetime import UTC, datetime
from threading import Event

import duckdb
import pyrage
import pytest
from sqlalchemy import select

from bot.terminal import run, terminal_runner
from bot.terminal.terminal_runner import printed
from retention import clock
from retention.db import Database
from retention.db.migrate import upgrade
from retention.db.tables import Audit, Campaign, Job, Outbox, RoleGrant, Schedule
from retention.settings import Settings
from retention.text import LANGUAGE
from tests.world import scalars


def stored(table):
    database = Database.of(Settings())
    return scalars(database, select(table))


def test_init_makes_a_home_and_may_be_repeated(home, cli):
    for _ in range(2):
        reply = cli.json("init")
        assert reply["home"] == str(home)
        assert reply["demo"] is False
    assert (home / "secret.key").stat().st_mode & 0o777 == 0o600
    assert (home / "state.db").exists()


def test_terminal_uses_the_language_of_the_environment_else_the_workspaces(home, cli, monkeypatch):
    monkeypatch.delenv(LANGUAGE, raising=False)
    cli.text("language zh --for workspace")
    assert cli.text("jobs") == "尚无任务。\n"
    monkeypatch.setenv(LANGUAGE, "en")
    assert cli.text("jobs") == "No jobs yet.\n"


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize(
    "command", ["status", "jobs", "posts", "role", "models", "digest list", "data"]
)
def test_a_report_is_one_json_object_or_text(home, cli, command):
    result, error = cli.run(f"{command} --json")
    assert isinstance(json.loads(result), dict)
    assert error == ""
    text = cli.text(command)
    assert text.strip()
    assert "{" not in text


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        (["swep"], "did you mean `retention sweep`?"),
        (
            ["campaign", "edit", "c1", "--name", "May \udcff"],
            "'May \ufffd' holds bytes that are no text",
        ),
        (["campaign", "edit", "c1", "--name=May \udcff"], "write it in UTF-8"),
        (["sweep", "--teir", "high"], "did you mean --tier?"),
        (["sweep", "--tier", "hihg"], "Did you mean high?"),
        (["score"], "needs CUSTOMER"),
        (["score", "43"], "no data has been imported"),
        (["evaluate", "churn"], "There are no events yet"),
        (["evaluate", "chrun"], "did you mean `retention evaluate churn`?"),
        (["import", "events", "nowhere.csv"], "there is no such file"),
        (["import", "evnts", "x.csv"], "Did you mean events?"),
        (["digest", "schedule"], "--channel is missing"),
        (
            ["digest", "schedule", "--channel", "#crm"],
            "'#crm', which is no channel's id; give one like C0",
        ),
        (
            ["retrain", "churn", "--tune", "1h", "--queue"],
            "`retention retrain` in a terminal without --queue",
        ),
        (["retrain", "--as", "U0SOMEBODY"], "Your role is viewer"),
        (["role", "grant", "U0A", "emperor"], "none of viewer, analyst, approver, admin"),
        (["sweep", "--csv", "nowhere/x.csv"], "--csv: 'nowhere/x.csv' cannot be written"),
        (["models", "card", "--html", "."], "--html: '.' is a folder"),
        *(
            (
                [*typed, option, value],
                f"{option}: '{value}' is not a number of days from 1 to 3,650",
            )
            for typed in (["retrain"], ["evaluate", "churn", "--cutoff", "2017-10-02"])
            for option in ("--horizon", "--active-within")
            for value in ("0d", "9999d")
        ),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(home, capsys, typed, sentence):
    assert run(typed) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert sentence in captured.err
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err


def test_a_bad_setting_is_one_sentence(home, cli, monkeypatch):
    monkeypatch.setenv("RETENTION_TIMEZONE", "Middle/Earth")
    assert "no IANA time zone" in cli.error("status")


@pytest.mark.parametrize("variable", ["RETENTION_PORT", "RETENTION_HEALTH_PORT"])
def test_run_names_a_taken_port_and_starts_nothing(home, monkeypatch, caplog, variable):
    """The bot started again and again, and every command failed."""
    monkeypatch.setattr("workers.queue.supervisor.run", lambda *_, **__: pytest.fail("started"))
    monkeypatch.setattr("retention.db.migrate.upgrade", lambda _: None)
    monkeypatch.setattr("retention.logs.configure", lambda *_, **__: None)
    for name in ("SLACK_BOT_TOKEN", "SLACK_SIGNING_SECRET"):
        monkeypatch.setenv(name, "a-secret-of-slack")
    with socket.create_server(("0.0.0.0", 0)) as taken, socket.create_server(("", 0)) as free:
        ports = {"RETENTION_PORT": free, "RETENTION_HEALTH_PORT": free, variable: taken}
        for name, listener in ports.items():
            monkeypatch.setenv(name, str(listener.getsockname()[1]))
        free.close()
        with (
            caplog.at_level("INFO"),  # restores the level, which the command sets
            pytest.raises(SystemExit, match=f"set {variable} to a free port"),
        ):
            run(["run"])


def test_unexpected_error_is_status_1_with_a_reference(home, cli, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("workers.queue.jobs.recent", broken)
    error = cli.error("jobs", 1)
    assert error.startswith("Failed: ZeroDivisionError: by zero (the trace is in")
    assert "ZeroDivisionError" in (home / "errors.log").read_text()


def test_full_disk_is_named(home, cli, monkeypatch):
    def full(*_, **__):
        raise duckdb.IOException('IO Error: Could not write file "x": No space left on device')

    monkeypatch.setattr("workers.queue.jobs.recent", full)
    says = f"is full, so nothing was saved. The operator must free space in {home}; then try again."
    assert cli.error("jobs", 1).strip() == f"The disk of the server {says}"


@pytest.mark.nightly
def test_new_database_gets_the_lakes_customers_on_upgrade(home, cli, monkeypatch, tmp_path):
    rows = (
        "customer_id,event_type,occurred_at,order_id\n"
        "c1,purchase,2025-01-01,1\nc1,purchase,2025-01-09,2\n"
    )
    (tmp_path / "sales.csv").write_text(rows)
    cli.text(f"import events {tmp_path / 'sales.csv'}")
    monkeypatch.setenv("RETENTION_DATABASE_URL", f"sqlite:///{tmp_path}/new.db")
    assert "retention db upgrade" in cli.error("score c1")
    assert "1 customer" in cli.text("db upgrade")
    cli.text("score c1")


def test_old_schema_is_named_on_write_too(home, cli):
    home.mkdir()
    upgrade(Settings(), "0009_erasures")  # jobs had no queued_at
    assert "retention db upgrade" in cli.error("sweep --queue", 1)


def test_an_old_database_is_named_with_the_remedy(home, cli):
    home.mkdir()
    (home / "state.db").touch()
    assert "retention db upgrade" in cli.error("jobs", 1)
    cli.text("db upgrade")
    cli.text("jobs")


def test_roles_and_digests_from_the_terminal(home, cli):
    cli.text("role grant U0ANA analyst")
    assert [(grant.user_id, grant.role) for grant in stored(RoleGrant)] == [("U0ANA", "analyst")]
    cli.text("digest schedule --channel C0CRM --day monday --as U0ANA")
    (schedule,) = stored(Schedule)
    assert (schedule.channel, schedule.created_by) == ("C0CRM", "U0ANA")


def test_queue_option_queues_a_job_and_names_the_system_user(home, cli, monkeypatch):
    monkeypatch.setenv("USER", "somebody")  # anybody can set it
    cli.text("role grant U0ANA analyst")
    reply = cli.json("sweep --queue --as U0ANA")
    (job,) = stored(Job)
    assert reply == {"job": job.id, "kind": "sweep", "state": "queued", "queue_away": True}
    assert (job.channel, job.requested_by) == (None, "U0ANA")
    (entry,) = [row for row in stored(Audit) if row.action == "job.queue"]
    assert entry.details["system_user"] == pwd.getpwuid(os.getuid()).pw_name
    cli.text("retrain --queue")
    assert {job.kind: job.requested_by for job in stored(Job)} == {
        "sweep": "U0ANA",
        "retrain": "operator",
    }


def test_help_needs_no_installation(home, cli):
    cli.text("--help")
    cli.text("")
    assert "--csv FILE" in cli.text("sweep --help")
    assert not home.exists()


# ---------------------------------------------------------------- on the tiny shop


def test_sweep_prints_the_result_and_writes_the_cohort(shop_home, cli, tmp_path):
    file = tmp_path / "cohort.csv"
    reply = cli.json(f"sweep --tier low --top 5 --csv {file}")
    documented = {"as_of", "customers", "tiers", "revenue_at_risk", "cohort", "model_version"}
    assert documented | {"seconds"} <= set(reply)
    with file.open(encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened))
    written, listed = ([row["customer_id"] for row in part] for part in (rows, reply["cohort"]))
    assert written == listed
    assert "customer" in printed("sweep", reply, shop_home.settings)
    assert cli.json("data")
    cli.text("data")


@pytest.mark.nightly
def test_terminal_prints_as_many_customers_as_asked(shop_home, cli):
    for options, rows in (("", 20), ("--top 40", 40)):
        lines = cli.text(f"sweep --tier low {options}").splitlines()
        customers = [line for line in lines if line.startswith("  c0")]
        assert len(customers) == rows
        assert all(re.search(r" (high|medium|low) +\S+ +[A-Z0-9]", line) for line in customers)
        assert "more (--top N prints N customers" in lines[-1]


@pytest.mark.nightly
def test_score_of_one_customer(shop_home, cli):
    customer = cli.json("sweep --tier low --top 1")["cohort"][0]["customer_id"]
    for command in ("score", "recommend"):
        reply = cli.json(f"{command} {customer}")
        assert reply["customer_id"] == customer
        assert customer in cli.text(f"{command} {customer}")


def test_terminal_prints_a_draft_and_approves_it_in_a_demo_home_only(shop_home, cli):
    """One person approved their own campaign under another name."""
    cli.text("role grant U0LEAD approver")
    reply = cli.text("campaign draft --tier low --name Spring")
    (drafted,) = stored(Campaign)
    assert [part for part in ("Spring", drafted.id) if part not in reply] == []
    assert f"Spring ({drafted.id}, version 1): draft" in cli.text(f"campaign show {drafted.id}")
    cli.text(f"campaign submit {drafted.id} --as U0LEAD")
    approve = f"campaign approve {drafted.id} --as U0LEAD"
    assert "Approvals happen in Slack only" in cli.error(approve)
    assert [campaign.state for campaign in stored(Campaign)] == ["submitted"]
    (Settings().home / "playground.db").touch()
    cli.text(approve)
    assert [campaign.state for campaign in stored(Campaign)] == ["approved"]
    system_user = pwd.getpwuid(os.getuid()).pw_name
    users = {(row.action, row.actor): row.details.get("system_user") for row in stored(Audit)}
    assert users["role.grant", "operator"] is None
    assert users["campaign.submit", "U0LEAD"] == system_user
    assert users["campaign.approve", "U0LEAD"] == system_user
    assert f"typed by {system_user} in the terminal" in cli.text(f"campaign show {drafted.id}")


def test_control_characters_of_data_are_not_printed(settings):
    """Customers write their own names; one cleared the screen of the quarantine."""
    row = {"name": "\x1b]0;owned\x07\x1b[2J\x9b31m\rAnn\x00", "note": "a\tb"}
    reason = {"rows": 1, "reason": "no date", "tables": [], "files": [], "remedy": "mend it"}
    shown = printed("bot/quarantine", {"reasons": [{**reason, "examples": [row]}]}, settings)
    assert "name=]0;owned[2J31mAnn  note=a\tb" in shown


@pytest.mark.nightly
def test_evaluate_without_a_cutoff_takes_the_latest_and_names_it(shop_home, cli):
    report = cli.json("evaluate churn --model rfm_logistic --horizon 21d")
    assert report["cutoff"].startswith("2025-06-29")  # the data ends on 19 July
    assert "Cutoff 2025-06-29" in report["note"]
    assert "Cutoff 2025-06-29" in printed("bot/evaluate_churn", report, shop_home.settings)


@pytest.mark.parametrize(
    ("words", "offered"),
    [("camp", {"campaign"}), ("campaign a", {"approve"}), ("digest ", {"now", "schedule"})],
)
def test_shells_complete_the_commands_of_a_group(home, monkeypatch, capsys, words, offered):
    monkeypatch.setenv("_RETENTION_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", f"retention {words}")
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" "))))
    with pytest.raises(SystemExit):
        run([])
    printed_words = capsys.readouterr().out.split()
    assert {f"plain,{word}" for word in offered} <= {*printed_words}


class _Pipe(io.StringIO):
    """Standard error in a pipe, which tells when two lines were written."""

    def __init__(self) -> None:
        super().__init__()
        self.has_two_lines = Event()

    def write(self, text: str) -> int:
        written = super().write(text)
        if self.getvalue().count("\n") >= 2:
            self.has_two_lines.set()
        return written


def test_pipe_gets_lines_of_progress_while_a_step_reports_nothing(monkeypatch):
    pipe = _Pipe()
    monkeypatch.setattr("sys.stderr", pipe)
    monkeypatch.setattr(terminal_runner, "LINE_EVERY", 0.01)
    with terminal_runner.ProgressBar() as progress:
        progress(1, 4, "Importing")
        assert pipe.has_two_lines.wait(60)
    assert set(pipe.getvalue().splitlines()) == {"25%: Importing"}


def test_stuck_posts_show_the_desks_clock(home, cli):
    cli.json("init")
    with Database.of(Settings()).transaction() as session:
        post = {"team_id": session.settings.team_id, "channel": "C0CRM", "payload": {"text": "Hi"}}
        session.add(Outbox(key="k", state="failed", **post))
    with clock.frozen(datetime(2017, 10, 2, 13, tzinfo=UTC)):
        (shown,) = cli.json("posts")["posts"]
    assert shown["created_at"].startswith("2017-10-02")


def test_version_is_that_of_the_installed_package(cli):
    name, version = cli.text("--version").split()
    assert name == "retention-desk"
    assert version[0].isdigit()


def test_backup_is_in_clear_only_on_request(home, cli, tmp_path):
    cli.json("init")
    file, key = tmp_path / "desk.age", pyrage.x25519.Identity.generate()
    _, error = cli.run(f"backup {file}", status=2)
    assert "RETENTION_BACKUP_PASSPHRASE" in error
    assert not file.exists()
    assert cli.json(f"backup {file} --unencrypted")["protection"] == ""
    file.unlink()
    reply = cli.json(f"backup {file} --recipient {key.to_public()}")
    assert reply["protection"] == "recipient"


@pytest.mark.nightly  # age makes each guess of a passphrase take a second or two
def test_backup_takes_its_passphrase_from_a_file_and_not_from_an_argument(
    home, cli, tmp_path, monkeypatch
):
    (tmp_path / "passphrase").write_text("correct horse battery\n")
    monkeypatch.setenv("RETENTION_BACKUP_PASSPHRASE_FILE", str(tmp_path / "passphrase"))
    cli.json("init")
    assert cli.json(f"backup {tmp_path}/desk.age")["protection"] == "passphrase"
    monkeypatch.setenv("RETENTION_HOME", str(tmp_path / "there"))
    restored = cli.json(f"restore {tmp_path}/desk.age")
    assert (restored["protection"], restored["key"]) == ("passphrase", "in backup")
