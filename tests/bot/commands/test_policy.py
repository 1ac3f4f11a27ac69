"""Test `policy`: the terminal's changes, and the window of admins."""

import json

from retention.db.tables import CampaignEditor, PolicyProposal
from retention.risk.policy import load_policy
from tests import world
from tests.bot import message_samples
from tests.bot.campaign import fill, opened
from tests.bot.wire import ADMIN, ANALYST, LEAD
from tests.workers.harness import wait
from workers import action_ids

BUDGET = "campaign.budget"


def values_of(answer: dict) -> dict:
    return {one["place"]: one["value"] for one in answer["settings"]}


def test_history_of_an_unchanged_policy_is_empty(home, cli):
    assert cli.json("policy history")["versions"] == []


def test_terminal_changes_settings_and_takes_them_back(home, cli):
    before = values_of(cli.json("policy"))
    changed = cli.json('policy set campaign.budget=5000 "rules.High risk.discount=12%"')
    assert values_of(changed) == {**before, BUDGET: 5_000, "rules.High risk.discount": 0.12}
    assert changed["version"] == 1
    assert "campaign.budgets" in cli.error("policy set campaign.budgets=5")
    assert "'many'" in cli.error("policy set campaign.max_audience=many")
    cli.error("policy set campaign.budget=6000 --version 0")
    assert values_of(cli.json("policy set campaign.budget="))[BUDGET] == before[BUDGET]
    assert [one["version"] for one in cli.json("policy history")["versions"]] == [2, 1]
    assert values_of(cli.json("policy rollback 0")) == before


def test_admins_change_the_policy_in_a_window(workspace, settings, api):
    assert action_ids.CHANGE_POLICY not in json.dumps(workspace.run("policy", ANALYST))
    assert action_ids.CHANGE_POLICY in json.dumps(workspace.run("policy", ADMIN))
    workspace.press(action_ids.CHANGE_POLICY, "", ADMIN)
    view = opened(api)
    assert view["private_metadata"] == "0"
    shown = {
        block["block_id"]: block["element"].get("initial_value")
        for block in view["blocks"]
        if block["type"] == "input"
    }
    assert (shown["campaign.holdout"], shown["campaign.max_audience"]) == ("15", "20000")
    wrong = shown | {"campaign.holdout": "50", "offer.items": "3.5"}
    answer = json.loads(fill(workspace, action_ids.POLICY_VIEW, "0", ADMIN, **wrong).body)
    assert set(answer["errors"]) == {"offer.items"}  # what cannot be read comes first
    wrong["offer.items"] = "3"
    answer = json.loads(fill(workspace, action_ids.POLICY_VIEW, "0", ADMIN, "h2", **wrong).body)
    assert set(answer["errors"]) == {"campaign.holdout"}
    right = shown | {"campaign.holdout": "12.5", BUDGET: "$1,200"}
    fill(workspace, action_ids.POLICY_VIEW, "0", ADMIN, "h3", **right)
    policy = load_policy(settings)
    assert (policy.campaign.holdout, policy.campaign.budget) == (0.125, 1_200)


def test_window_that_another_admin_overtook_changes_nothing(workspace, settings):
    fill(workspace, action_ids.POLICY_VIEW, "0", ADMIN, **{BUDGET: "900"})
    answer = fill(workspace, action_ids.POLICY_VIEW, "0", ADMIN, "h2", **{BUDGET: "800"})
    assert "errors" in json.loads(answer.body)
    assert load_policy(settings).campaign.budget == 900
    fill(workspace, action_ids.POLICY_VIEW, "1", ANALYST, "h3", **{BUDGET: "700"})
    assert load_policy(settings).campaign.budget == 900


def test_approver_who_did_not_write_the_campaign_approves_a_proposal(workspace, settings, database):
    evidence = message_samples.OFFERS
    place = "rules.High risk.discount"
    with database.transaction() as session:
        session.add(world.campaign("k7m2x9", body={"currency": "USD"}))
        session.flush()
        session.add(CampaignEditor(campaign_id="k7m2x9", user_id=ADMIN))
        values = {"before": {place: 0.15}, "after": {place: 0.1}, "evidence": evidence}
        session.add(PolicyProposal(campaign_id="k7m2x9", channel="C0CRM", **values))

    def in_force():
        return load_policy(settings).rule("High risk").discount

    assert "policy approve 1" in json.dumps(workspace.run("policy proposals", LEAD))
    assert "policy approve 1" not in json.dumps(workspace.run("policy proposals", ANALYST))
    for user in (ANALYST, ADMIN):  # without the role, and an author
        workspace.run("policy approve 1", user)
        assert in_force() == 0.15
    workspace.press(action_ids.RUN_COMMAND, "policy approve 1", LEAD)
    wait(lambda: in_force() == 0.1)
    assert in_force() == 0.1
    workspace.run("policy rollback 0", ADMIN)
    assert in_force() == 0.15


def test_terminal_approves_no_proposal(home, cli):
    cli.error("policy approve 1")
    assert cli.json("policy proposals")["proposals"] == []
