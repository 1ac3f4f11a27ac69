"""Test who decides on a campaign, reminders, and stops."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from retention import clock
from retention.db.tables import Approval, Campaign, CampaignEditor, Outbox, RoleGrant
from retention.risk.policy import SecondApprover
from tests import world
from tests.bot.campaign import (
    approve,
    drafted,
    edit,
    fill,
    message,
    opened,
    state,
    submit,
    whispered,
)
from tests.bot.slack.test_slash import until
from tests.bot.wire import ADMIN, ANALYST, CHANNEL, LEAD, VIEWER, words
from tests.retention.campaigns.samples import a_line
from tests.world import change, scalar, scalars
from workers import action_ids
from workers.campaigns import due_steps


@pytest.fixture
def large(workspace, database, settings) -> str:
    """Submit a campaign that needs two approvals."""
    drafted(database, settings, second_approver=SecondApprover(audience=50))
    submit(database)
    return "c7"


def test_large_campaign_needs_two_approvals_and_shows_progress(workspace, database, large, api):
    assert "Two other people have to approve it" in message(database)
    workspace.press(action_ids.APPROVE_CAMPAIGN, "c7:1", LEAD)
    until(lambda: "1 of 2 approvals" in message(database, "campaign:c7:first:1"))
    assert "1 of 2 approvals" in whispered(api)
    assert "because its audience is above what one person may approve alone" in message(database)
    assert f"<@{LEAD}> approved it; one more approval is needed" in message(database)
    assert state(database) == "submitted"
    workspace.press(action_ids.APPROVE_CAMPAIGN, "c7:1", LEAD, at="8.1")
    until(lambda: len(api.named("response_url")) == 2)
    assert "You approved version 1" in words(api.named("response_url")[1]["blocks"])
    workspace.press(action_ids.APPROVE_CAMPAIGN, "c7:1", ADMIN)
    until(lambda: state(database) == "approved")
    assert f"<@{LEAD}> and <@{ADMIN}>" in message(database)


def test_two_approvals_rule_names_every_reason(workspace, database, settings):
    drafted(database, settings, second_approver=SecondApprover(audience=50, cost=1, discount=0.01))
    submit(database)
    assert "because its audience, its expected cost and its discount are above" in message(database)


def test_two_of_three_concurrent_approvals_count(workspace, database, large, settings, api):
    _grant(database, "U0THIRD")

    def press(user: str) -> None:
        workspace.press(action_ids.APPROVE_CAMPAIGN, "c7:1", user, at=f"2.{user}")

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(press, (LEAD, ADMIN, "U0THIRD")))
    until(lambda: len(api.named("response_url")) == 3)
    reply = "".join(words(call["blocks"]) for call in api.named("response_url"))
    assert (reply.count("1 of 2"), reply.count("already approved")) == (1, 1)
    assert scalar(database, select(func.count()).select_from(Approval)) == 2


def test_anyone_can_stop_a_campaign_during_its_clearance_time(
    workspace, database, submitted, settings, api
):
    workspace.press(action_ids.STOP_CAMPAIGN, "c7:1", VIEWER)
    assert "before its approval" in whispered(api)
    approve(database)
    thread = "campaign:c7:clearance:1"
    assert action_ids.STOP_CAMPAIGN in message(database, thread)
    workspace.press(action_ids.STOP_CAMPAIGN, "c7:1", VIEWER, at="8.2")
    metadata = opened(api)["private_metadata"]
    fill(workspace, action_ids.STOP_VIEW, metadata, VIEWER, reason="the price is wrong")
    assert state(database) == "cancelled"
    assert action_ids.STOP_CAMPAIGN not in message(database, thread)
    assert f"stopped by <@{VIEWER}>" in message(database, thread)


def test_only_the_drafting_analyst_can_stop_before_clearance(
    workspace, database, submitted, settings
):
    _grant(database, "U0OTHER", role="analyst")
    refused = workspace.says("campaign stop c7 --reason mine", "U0OTHER")
    assert "you need approver" in refused
    assert "cancelled" in workspace.says("campaign stop c7 --reason no", ANALYST)


def _grant(database, *users: str, role="approver") -> None:
    grants = [RoleGrant(user_id=user, role=role, granted_by=ADMIN) for user in users]
    world.add(database, *grants)


def requests(database) -> set[str]:
    rows = scalars(database, select(Outbox).where(Outbox.key.like("campaign:c7:request:%")))
    return {row.channel for row in rows if action_ids.APPROVE_CAMPAIGN in str(row.payload)}


def test_submission_asks_each_approver_until_it_is_decided(workspace, database, draft, settings):
    _grant(database, "U0WROTE")
    world.add(database, CampaignEditor(campaign_id="c7", user_id="U0WROTE"))
    submit(database)
    assert requests(database) == {ADMIN, LEAD}
    assert f"<@{LEAD}>" not in message(database, "campaign:c7:submitted:1")
    workspace.press(action_ids.APPROVE_CAMPAIGN, "c7:1", LEAD)
    until(lambda: state(database) == "approved")
    assert requests(database) == set()


def test_submission_mentions_many_approvers_in_the_thread(workspace, database, draft, settings):
    _grant(database, *(f"U0A{number}" for number in range(5)))
    submit(database)
    assert requests(database) == set()
    assert "<@U0A4>" in message(database, "campaign:c7:submitted:1")


def test_submission_asks_the_chosen_approver_and_the_first_approval_the_others(
    workspace, database, settings
):
    drafted(database, settings, second_approver=SecondApprover(audience=50))
    edit(database, approver=LEAD)
    submit(database, 2)
    assert requests(database) == {LEAD}
    approve(database, version=2)
    assert requests(database) == {ADMIN}


def test_first_of_two_approvals_mentions_many_others_in_the_thread(workspace, database, large):
    _grant(database, *(f"U0A{number}" for number in range(6)))
    workspace.press(action_ids.APPROVE_CAMPAIGN, "c7:1", LEAD)
    until(lambda: "<@U0A5>" in message(database, "campaign:c7:first:1"))


@pytest.mark.parametrize("running", ["sending", "live"])
def test_viewer_can_stop_a_campaign_that_runs(workspace, database, submitted, running):
    world.execute(database, update(Campaign).values(state=running))
    assert "cancelled" in workspace.says("campaign stop c7 --reason mistake", VIEWER)
    assert state(database) == "cancelled"


def test_approvers_are_reminded_once_by_direct_message(workspace, database, large, settings, api):
    _grant(database, "U0THIRD")
    approve(database)  # so that one is wanted still
    soon = clock.now() + timedelta(hours=48, minutes=1)
    for at, expected in ((clock.now(), []), (soon, ["c7"]), (soon, [])):
        assert change(database, due_steps.remind, at) == expected
    rows = scalars(database, select(Outbox).where(Outbox.key.like("campaign:c7:reminder%")))
    assert {(row.key, row.channel) for row in rows} == {
        ("campaign:c7:reminder:1", CHANNEL),
        (f"campaign:c7:reminder:1:{ADMIN}", ADMIN),
        ("campaign:c7:reminder:1:U0THIRD", "U0THIRD"),
    }
    mine = f"campaign:c7:reminder:1:{ADMIN}"
    assert "a second approval" in message(database, mine)
    assert action_ids.APPROVE_CAMPAIGN in message(database, mine)
    workspace.press(action_ids.APPROVE_CAMPAIGN, "c7:1", "U0THIRD")
    until(lambda: state(database) == "approved")
    assert action_ids.APPROVE_CAMPAIGN not in message(database, mine)
    assert "needs nothing from you" in message(database, mine)


def test_edit_keeps_reminders_of_older_versions(workspace, database, large, settings):
    for version in (1, 2):
        change(database, due_steps.remind, clock.now() + timedelta(hours=48, minutes=1))
        edit(database, version, holdout=0.1 + version / 20)
        submit(database, version + 1)

    def revision(of: int) -> int:
        key = f"campaign:c7:reminder:{of}:{ADMIN}"
        return scalar(database, select(Outbox.revision).where(Outbox.key == key))

    before = {of: revision(of) for of in (1, 2)}
    assert action_ids.APPROVE_CAMPAIGN not in message(database, f"campaign:c7:reminder:1:{ADMIN}")
    edit(database, 3, holdout=0.12)
    assert revision(1) == before[1]
    assert action_ids.APPROVE_CAMPAIGN not in message(database, f"campaign:c7:reminder:2:{ADMIN}")


def test_expired_decisions_and_approvals_are_announced_in_the_thread(
    workspace, database, submitted, settings
):
    assert change(database, due_steps.expire, clock.now() + timedelta(hours=73)) == ["c7"]
    expired = message(database, "campaign:c7:expired:1")
    assert f"<@{ANALYST}>, a decision on version 1 did not come in time" in expired
    edit(database, holdout=0.2)
    submit(database, 2)
    approve(database, version=2)
    assert change(database, due_steps.schedule, clock.now() + timedelta(hours=5)) == ["c7"]
    assert "*Approved: 10% coupon" in message(database)
    change(database, due_steps.expire, clock.now() + timedelta(hours=77))
    assert "approval expired" in message(database, "campaign:c7:lapsed:2")
    assert "expired" in message(database, "campaign:c7:clearance:2")


@pytest.fixture
def with_calls(workspace, database, settings) -> str:
    """Submit a campaign whose customers get a call."""
    drafted(database, settings, offers=(a_line(action="call", discount=0.0),))
    submit(database)
    return "c7"


def approve_choosing(workspace, person: str) -> None:
    def fill_in(payload):
        payload["response_url"] = workspace.api.url + "response_url"
        payload["actions"][0] |= {"action_id": action_ids.APPROVE_CAMPAIGN, "value": "c7:1"}
        chosen = {action_ids.CALL_OWNER: {"type": "users_select", "selected_user": person}}
        payload["state"] = {"values": {"campaign.c7.calls": chosen}}

    workspace.interact("block_actions.json", LEAD, fill_in)


def owner(database) -> str | None:
    return scalar(database, select(Campaign.call_owner))


def test_approval_stores_who_was_chosen_for_the_calls(workspace, database, with_calls, api):
    assert "Who calls them?" in message(database)
    approve_choosing(workspace, VIEWER)
    assert "may not see customers' names" in whispered(api)
    assert (state(database), owner(database)) == ("submitted", None)
    approve_choosing(workspace, ANALYST)
    until(lambda: state(database) == "approved")
    assert owner(database) == ANALYST
    assert f"Calls: <@{ANALYST}>" in message(database)


def test_approver_makes_the_calls_if_nobody_was_chosen(workspace, database, with_calls):
    workspace.press(action_ids.APPROVE_CAMPAIGN, "c7:1", LEAD)
    until(lambda: state(database) == "approved")
    assert owner(database) == LEAD
