"""Test the commands of the audit log, and what it holds of refused attempts and imports."""

import hashlib
import json
import sqlite3

from sqlalchemy import select

from retention.db.tables import Audit
from tests.bot.campaign import approve
from tests.bot.slack.test_slash import until
from tests.bot.wire import ADMIN, LEAD, VIEWER, words
from tests.world import scalars
from workers import action_ids

EVENTS = "customer_id,event_type,occurred_at\n7,purchase,2017-09-01\n8,purchase,2017-09-02\n"


def logged(database, action: str) -> list[Audit]:
    return scalars(database, select(Audit).where(Audit.action == action).order_by(Audit.id))


def tampered(home, statement: str) -> None:
    """Change the log as someone with the file can."""
    with sqlite3.connect(home / "state.db") as connection:
        for (trigger,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall():
            connection.execute(f"DROP TRIGGER {trigger}")
        connection.execute(statement)
    connection.close()


def test_life_of_a_campaign_names_persons_and_deeds(workspace, database, submitted):
    approve(database)
    shown = words(workspace.run("audit C7", VIEWER)["blocks"])
    assert "approved it" in shown
    assert ":lock:" in shown
    assert words(workspace.run("audit show c7", VIEWER)["blocks"]) == shown


def test_refused_attempts_are_in_the_log(workspace, database, submitted):
    workspace.run("forget 4711", LEAD)
    workspace.press(action_ids.APPROVE_CAMPAIGN, "c7:1", VIEWER)
    until(lambda: len(logged(database, "attempt.refused")) == 2)
    found = {(row.actor, row.subject) for row in logged(database, "attempt.refused")}
    assert found == {(LEAD, "forget"), (VIEWER, action_ids.APPROVE_CAMPAIGN)}


def test_imports_are_in_the_log_by_their_rows(cli, home, tmp_path):
    (tmp_path / "events.csv").write_text(EVENTS, encoding="utf-8")
    for _ in range(2):
        cli.text(f"import events {tmp_path / 'events.csv'}")
    cli.text(f"audit export {tmp_path / 'audit.jsonl'}")
    lines = (tmp_path / "audit.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    imports = [entry for entry in entries if entry["action"] == "data.import"]
    assert [entry["details"]["accepted"] for entry in imports] == [2, 0]
    for entry in entries:  # an auditor without the key
        link = {name: entry.pop(name) for name in ("before", "hash", "key_id", "signature")}
        text = json.dumps(entry, sort_keys=True, ensure_ascii=False)
        assert hashlib.sha256(f"{link['before']}\n{text}".encode()).hexdigest() == link["hash"]
    assert (tmp_path / "audit.jsonl").stat().st_mode & 0o777 == 0o600
    assert "audit.jsonl" in cli.error(f"audit export {tmp_path / 'audit.jsonl'}")


def test_verify_fails_on_a_changed_log_and_on_a_cut_one(cli, home, tmp_path):
    for role in ("analyst", "approver"):
        cli.text(f"role grant U0NEW {role}")
    kept = cli.json("audit verify")
    assert (kept["entries"], kept["problems"]) == (2, [])
    cli.text(f"audit verify --head {kept['head'][:16]}")
    backup = cli.json(f"backup --unencrypted {tmp_path / 'b.tar.gz'}")
    assert backup["audit_head"] == kept["head"]
    cut = "DELETE FROM {} WHERE id = 2"
    tampered(home, cut.format("audit"))
    tampered(home, cut.format("audit_links"))
    assert cli.json("audit verify")["problems"] == []
    found, _ = cli.run(f"audit verify --head {kept['head']} --json", status=1)
    assert json.loads(found)["problems"] == [{"fault": "cut", "entry": 0}]
    tampered(home, "UPDATE audit SET actor = 'U0EVIL'")
    found, _ = cli.run("audit verify --json", status=1)
    assert json.loads(found)["problems"] == [{"fault": "changed", "entry": 1}]


def test_short_head_is_refused(cli, home):
    assert "--head" in cli.error("audit verify --head 0f0f")


def test_admin_commands_of_the_log_are_not_in_slack(workspace, database):
    assert "terminal" in workspace.says("audit verify", ADMIN)
