"""`source` in Slack: list, show, run, pause and resume."""

import json
from datetime import UTC, datetime

import pytest
from sqlalchemy import select

from retention.connect.sources import source_records
from retention.db.tables import Connection, Job, Source, Webhook
from tests.bot.wire import ADMIN, ANALYST, CHANNEL, stored, words
from tests.workers.harness import wait
from tests.world import add, change, one, scalars
from workers import action_ids

NOON = datetime(2025, 7, 21, 12, 0, tzinfo=UTC)


@pytest.fixture
def orders(database, settings):
    place = {"table_name": "events", "channel": CHANNEL}
    new = source_records.NewSource("orders", "files", "/srv/*.csv", "hour", "UTC", NOON, **place)
    change(database, source_records.add, new, by=ADMIN)


def state(database) -> str:
    return one(database, select(Source.state))


def test_admin_sees_pauses_and_resumes_sources(workspace, database, orders):
    listed = workspace.run("source", ADMIN)
    assert "orders" in words(listed["blocks"])
    assert "every hour" in words(listed["blocks"])
    assert action_ids.SOURCE_MENU in json.dumps(listed)
    assert "orders" in workspace.says("source show orders", ADMIN)
    workspace.run("source pause orders", ADMIN)
    assert state(database) == "paused"
    workspace.press(action_ids.SOURCE_MENU, "resume|orders", ADMIN)
    wait(lambda: state(database) == "active")


def test_refused_person_learns_no_name_of_a_source(workspace, api, orders):
    refusal = workspace.run("source run X", ANALYST)["text"]
    workspace.press(action_ids.SOURCE_ACCEPT, "X", ANALYST)
    for shown in (refusal, api.wait("response_url")["text"]):
        assert "you need admin" in shown
        assert "orders" not in shown


def test_pull_and_import_anyway_queue_one_job_each(workspace, database, orders):
    workspace.run("source run orders", ADMIN)
    (pull,) = stored(database, Job)
    workspace.press(action_ids.SOURCE_ACCEPT, "orders", ADMIN)
    (accepted,) = wait(lambda: stored(database, Job, Job.id != pull.id))
    assert [job.args["accept_shrunk"] for job in (pull, accepted)] == [False, True]


@pytest.mark.parametrize("typed", ["source list", "source run orders", "source pause orders"])
def test_only_admins_use_sources(workspace, database, orders, typed):
    assert "admin" in workspace.says(typed, ANALYST)
    workspace.press(action_ids.SOURCE_MENU, "pause|orders", ANALYST)
    workspace.press(action_ids.SOURCE_ACCEPT, "orders", ANALYST)
    workspace.api.wait("response_url")
    assert state(database) == "active"
    assert scalars(database, select(Job)) == []


def test_admin_lists_retries_and_deletes_quarantined_webhooks(workspace, database, settings):
    add(database, Connection(name="shop", kind="shopify", secrets=b"", created_by=ADMIN))
    shop = one(database, select(Connection.id))
    call = {"topic": "orders/create", "body": b"{}", "reason": "unreadable: RecursionError"}
    for number in range(2):
        row = {"connection_id": shop, "delivery_id": str(number), "state": "set_aside", **call}
        add(database, Webhook(**row))

    def waiting() -> list[str]:
        return scalars(database, select(Webhook.state).order_by(Webhook.id))

    assert "orders/create" in workspace.says("source quarantine", ADMIN)
    workspace.run("source quarantine --retry 1", ADMIN)
    assert waiting() == ["waiting", "set_aside"]
    assert "soon" in workspace.says("source quarantine --delete soon", ADMIN)
    workspace.run("source quarantine --delete all", ADMIN)
    assert waiting() == ["waiting"]
    assert "admin" in workspace.says("source quarantine --delete all", ANALYST)


def test_adding_a_source_works_in_the_terminal_only(workspace):
    assert "terminal" in workspace.says("source add orders /srv/*.csv", ADMIN)
