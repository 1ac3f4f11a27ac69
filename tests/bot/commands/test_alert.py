"""`alert`: add, try, mute, snooze and delete."""

import json

import pytest

from retention.alerts import store
from tests.bot.wire import ANALYST, CHANNEL, LEAD, VIEWER, words
from tests.workers.harness import wait
from tests.world import read
from workers import action_ids


def listed(database, settings) -> list[dict]:
    return read(database, store.summaries)


def test_alert_of_slack_is_off_until_somebody_switches_it_on(workspace, database, settings):
    answer = workspace.run('alert add vip-risk --when "risk >= high and value > 200"')
    shown = json.dumps(answer["blocks"]).split('"')
    assert {action_ids.ALERT_TEST, action_ids.ALERT_ON} <= {*shown}
    (alert,) = listed(database, settings)
    assert (alert["status"], alert["channel"], alert["created_by"]) == ("muted", CHANNEL, ANALYST)
    workspace.press(action_ids.ALERT_ON, "vip-risk", VIEWER)
    workspace.api.wait("response_url")
    assert listed(database, settings)[0]["status"] == "muted"
    workspace.press(action_ids.ALERT_ON, "vip-risk", LEAD)
    wait(lambda: listed(database, settings)[0]["status"] == "on")
    workspace.press(action_ids.ALERT_MENU, "snooze|vip-risk")
    wait(lambda: listed(database, settings)[0]["status"] == "snoozed")
    workspace.run("alert unmute vip-risk")
    assert listed(database, settings)[0]["status"] == "on"
    workspace.run("alert snooze vip-risk --days 3")
    workspace.run("alert mute vip-risk")
    assert listed(database, settings)[0]["status"] == "muted"
    workspace.run("alert delete vip-risk")
    assert listed(database, settings) == []


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ('x --when "rsk"', "comparison"),
        ('x --when "lapses rose"', "lapses rise"),
        ('x --when "model decayed" --audience nobody', "nobody"),
        ('"a/b" --when "model decayed"', "such as"),
    ],
)
def test_unusable_alert_is_refused(workspace, database, settings, typed, named):
    assert named in workspace.says(f"alert add {typed}")
    assert listed(database, settings) == []


def test_viewer_sees_alerts_but_changes_none(workspace, database, settings):
    workspace.run('alert add late --when "data late > 3d"')
    assert "analyst" in workspace.says("alert delete late", VIEWER)
    seen = workspace.run("alert list", VIEWER)
    assert "3 days" in words(seen["blocks"])
    assert action_ids.ALERT_MENU not in json.dumps(seen)
    assert action_ids.ALERT_MENU in json.dumps(workspace.run("alert list"))


@pytest.mark.nightly
def test_terminal_tries_an_alert_on_the_past_90_days(shop_home, cli):
    cli.text("audience save loyal 'orders >= 5'")
    cli.text("alert add falling --when 'lapses rise' --audience loyal")
    tried = cli.json("alert test falling")
    assert tried["days"] == 90
    assert all({"at", "customers"} <= set(one) for one in tried["would_have_fired"])
    assert (tried["every_days"], tried["false_alarms"]) == (7, 0.01)
    assert "would have fired" in cli.text("alert test falling")


def test_audience_in_use_is_not_deleted(shop_home, cli):
    cli.text("audience save loyal 'orders >= 5'")
    cli.text("alert add falling --when 'lapses rise' --audience loyal")
    weekly = "--every 'mon 09:00' --channel C0CRM"
    cli.text(f"schedule add 'sweep --audience loyal' {weekly}")
    error = cli.error("audience delete loyal")
    assert "alert falling" in error
    assert "schedule 1" in error
    cli.text("alert delete falling")
    cli.text("schedule delete 1")
    cli.text("audience delete loyal")
