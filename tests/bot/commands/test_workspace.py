"""Test that only the installation's own workspace is served."""

import json
from urllib.parse import urlencode

import pytest
from slack_bolt import BoltRequest

from bot.slack.workspace import FOREIGN_WORKSPACE as FOREIGN
from bot.slack.workspace import UNKNOWN_WORKSPACE, OwnWorkspace, Workspace, refusal
from tests.bot.real_server import FORM, slash_command
from tests.bot.wire import PAYLOADS
from tests.standins.slack_api import TEAM
from tests.workers.harness import wait

OURS = Workspace(TEAM)


def click(**changes) -> BoltRequest:
    payload = json.loads((PAYLOADS / "block_actions.json").read_text()) | changes
    body = urlencode({"payload": json.dumps(payload)})
    return BoltRequest(body=body, headers={"content-type": [FORM]})


def event(**changes) -> BoltRequest:
    payload = json.loads((PAYLOADS / "app_home_opened.json").read_text())
    payload["event"] |= changes.pop("event", {})
    body = json.dumps(payload | changes)
    return BoltRequest(body=body, headers={"content-type": ["application/json"]})


def command(**fields: str) -> BoltRequest:
    return BoltRequest(body=slash_command("sweep", **fields), headers={"content-type": [FORM]})


@pytest.mark.parametrize(
    "request_", [click(), event(), command()], ids=["click", "event", "command"]
)
def test_requests_of_the_own_workspace_are_accepted(request_):
    assert refusal(request_, OURS) is None
    assert refusal(request_, Workspace("T0ELSE")) == FOREIGN
    assert refusal(request_, None) == UNKNOWN_WORKSPACE


@pytest.mark.parametrize(
    "request_",
    [
        click(user={"id": "U0ANALYST", "team_id": "T0GUEST"}),
        click(team={"id": "T0ELSE"}),
        click(team=None, user={"id": "U0ANALYST"}),
        event(event={"user_team": "T0GUEST"}),
        event(event={"source_team": "T0GUEST"}),
        event(authorizations=[{"team_id": "T0ELSE"}]),
        command(team_id="T0ELSE"),
        command(team_id="T0ELSE", user_id="U0ADMIN"),
    ],
)
def test_guests_and_other_workspaces_are_refused(request_):
    assert refusal(request_, OURS) == FOREIGN


def test_another_enterprise_is_refused():
    grid = Workspace(TEAM, "E0OURS")
    assert refusal(command(enterprise_id="E0OURS"), grid) is None
    assert refusal(command(enterprise_id="E0ELSE"), grid) == FOREIGN
    assert refusal(event(event={"user_team": "E0OURS"}), grid) is None


def test_auth_test_names_the_workspace_by_default(settings, database, api):
    api.answers["auth.test"] = {"ok": True, "team_id": "T0TOLD", "enterprise_id": "E0TOLD"}
    assert OwnWorkspace(database).current() == Workspace("T0TOLD", "E0TOLD")
    named = settings.model_copy(update={"slack_team_id": TEAM})
    assert OwnWorkspace(database.using(named)).current() == Workspace(TEAM)


def test_no_request_is_served_before_slack_answers(workspace, api, monkeypatch):
    monkeypatch.setattr("bot.slack.workspace.WAIT_SECONDS", 0.05)
    api.answers["auth.test"] = {"ok": False, "error": "internal_error"}
    reply = workspace.run("sweep")
    assert "does not know its workspace" in reply["text"]
    api.answers["auth.test"] = {"ok": True, "team_id": TEAM}
    assert wait(lambda: "start" in workspace.run("sweep")["text"])
