"""Test a campaign's buttons, modals and commands with signed requests."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select, update

from retention import clock
from retention.campaigns.lifecycle.edits import Changes
from retention.campaigns.lifecycle.states import StaleCampaign, Step, find_campaign
from retention.campaigns.lifecycle.view import campaign_data
from retention.db.tables import Approval, Audit, Campaign, Outbox
from tests.bot.campaign import (
    KEY,
    approve,
    campaign_row,
    drafted,
    fill,
    message,
    opened,
    reply,
    state,
    submit,
    whispered,
)
from tests.bot.slack.test_slash import all_jobs, until
from tests.bot.wire import ADMIN, ANALYST, CHANNEL, LEAD, VIEWER, words
from tests.retention.campaigns.samples import a_body
from tests.world import change, execute, read, scalar, scalars
from workers import action_ids
from workers.campaigns import decisions, due_steps
from workers.delivery import render


def test_submit_and_approve_replace_buttons_by_person_and_time(workspace, database, draft, api):
    for _ in range(2):  # Slack delivers the click twice
        workspace.press(action_ids.SUBMIT_CAMPAIGN, "c7:1", ANALYST, at="7.7")
    until(lambda: state(database) == "submitted")
    assert action_ids.APPROVE_CAMPAIGN in message(database)
    workspace.press(action_ids.APPROVE_CAMPAIGN, "c7:1", LEAD)
    until(lambda: state(database) == "approved")
    shown = message(database)
    assert action_ids.APPROVE_CAMPAIGN not in shown
    assert f"<@{LEAD}>" in shown
    assert f"<@{LEAD}> approved" in message(database, "campaign:c7:approved:1")
    rows = scalars(database, select(Outbox).where(Outbox.key.like("campaign:c7:%")))
    assert {row.thread_key for row in rows if row.channel == CHANNEL} == {KEY}
    until(lambda: len(api.named("response_url")) == 2)  # one for each of the two deeds
    assert scalar(database, select(func.count()).where(Audit.action == "campaign.submit")) == 1


@pytest.mark.parametrize("user", [ANALYST, VIEWER])
def test_missing_role_is_explained_and_changes_nothing(workspace, database, submitted, api, user):
    workspace.press(action_ids.APPROVE_CAMPAIGN, "c7:1", user)
    assert "you need approver" in whispered(api)
    assert f"<@{LEAD}>" in whispered(api)
    assert state(database) == "submitted"


def test_approver_who_edited_is_refused_with_the_reason(
    workspace, database, submitted, settings, api
):
    change(database, decisions.edit, Step("c7", LEAD, 1), Changes(holdout=0.2))
    submit(database, 2)
    workspace.press(action_ids.APPROVE_CAMPAIGN, "c7:2", LEAD)
    assert "somebody else" in whispered(api)
    assert state(database) == "submitted"


def test_stale_click_updates_the_message_and_explains(
    workspace, database, submitted, settings, api
):
    change(database, decisions.reject, Step("c7", ADMIN, 1), "not <now>")
    before = scalar(database, select(Outbox.revision).where(Outbox.key == KEY))
    workspace.press(action_ids.APPROVE_CAMPAIGN, "c7:1", LEAD)
    reply = whispered(api)
    assert "already rejected" in reply
    assert f"<@{ADMIN}>" in reply
    assert "not &lt;now&gt;" in reply
    assert scalar(database, select(Outbox.revision).where(Outbox.key == KEY)) == before + 1


def test_late_command_names_the_first_person(workspace, database, submitted, settings):
    approve(database, ADMIN)
    answer = reply(workspace, "approve c7", LEAD)
    assert "already approved" in answer
    assert f"by <@{ADMIN}> on " in answer


def test_expired_campaign_names_no_person(workspace, database, submitted, settings):
    (gone,) = change(database, due_steps.expire, clock.now() + timedelta(days=30))
    stale = StaleCampaign(read(database, find_campaign, gone))
    assert str(stale).endswith("has expired.")


def test_one_of_two_concurrent_approvers_wins(workspace, database, submitted, api):
    def press(user: str) -> None:
        workspace.press(action_ids.APPROVE_CAMPAIGN, "c7:1", user, at=f"2.{user}")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(press, (LEAD, ADMIN)))
    until(lambda: len(api.named("response_url")) == 2)
    reply = [words(call["blocks"]) for call in api.named("response_url")]
    assert sum("Nothing changed" in text for text in reply) == 1
    assert sum("is approved" in text and "Nothing" not in text for text in reply) == 1
    assert scalar(database, select(func.count()).select_from(Approval)) == 1


@pytest.mark.parametrize(
    ("button", "view", "state_after", "verb"),
    [
        (action_ids.REJECT_CAMPAIGN, action_ids.REJECT_VIEW, "rejected", "rejected"),
        (action_ids.STOP_CAMPAIGN, action_ids.STOP_VIEW, "cancelled", "stopped"),
    ],
)
def test_reject_requires_a_reason(
    workspace, database, submitted, api, button, view, state_after, verb
):
    workspace.press(button, "c7:1", LEAD)
    modal = opened(api)
    assert modal["callback_id"] == view
    refused = fill(workspace, view, modal["private_metadata"], LEAD, "h1", reason=" ")
    errors = json.loads(refused.body)["errors"]
    assert ({*errors}, "Say why" in errors["reason"]) == ({"reason"}, True)
    assert state(database) == "submitted"
    fill(workspace, view, modal["private_metadata"], LEAD, "h2", reason="too dear & <!channel>")
    assert state(database) == state_after
    assert "too dear &amp; &lt;!channel&gt;" in message(database)
    assert verb in message(database, f"campaign:c7:{state_after}:1")


def test_stale_modal_updates_the_message_and_explains(
    workspace, database, submitted, settings, api
):
    approve(database, ADMIN)
    late = fill(workspace, action_ids.REJECT_VIEW, f"c7:1:{CHANNEL}", LEAD, reason="late")
    assert late.status == 200
    reply = api.wait("chat.postEphemeral")
    assert reply["user"] == LEAD
    assert "already approved" in reply["text"]
    assert state(database) == "approved"


def test_codes_go_to_the_direct_message(workspace, database, draft, api):
    workspace.press(action_ids.CAMPAIGN_CSV, "c7:1", ANALYST)
    job = until(lambda: all_jobs(database))[0]
    assert (job.kind, job.channel) == ("campaign_csv", ANALYST)
    assert job.args == {"campaign_id": "c7", "part": "codes"}
    assert "direct message" in whispered(api)


def _close(database, advice: str) -> None:
    result = {"state": "closed", "result": {"advice": advice, "effects": {}}}
    moments = dict.fromkeys(("decided_at", "sent_at", "window_ends_at"), clock.wall())
    execute(database, update(Campaign).values(approved_by=[LEAD], **result, **moments))


def test_unmeasured_campaign_says_so_without_advice(workspace, database, draft):
    _close(database, "no_orders")
    answer = reply(workspace, "result c7", VIEWER)
    assert "never imported, so nothing can be said of it" in answer
    assert "advice" not in answer
    assert "Closed, not measured" in reply(workspace, "show c7", VIEWER)


def test_only_an_unmeasurable_campaign_says_never_measured(workspace, database, draft):
    assert "never imported" not in reply(workspace, "result c7", VIEWER)
    _close(database, "undecided")
    shown = reply(workspace, "show c7", VIEWER)
    assert "Inconclusive: too few customers to compare" in shown
    assert "ot measured" not in shown


def test_terminal_draft_is_not_submitted_without_a_visible_channel(
    workspace, database, settings, api
):
    drafted(database, settings)
    execute(database, update(Campaign).values(channel=None))
    channel = {"id": "C0SALES", "is_member": False}
    api.answers["conversations.info"] = {"ok": True, "channel": channel}
    assert "`/invite` me" in reply(workspace, "submit c7", channel="C0SALES")
    assert state(database) == "draft"


def test_failed_confirmation_is_not_reported_as_a_failed_action(
    workspace, database, submitted, api, monkeypatch, caplog
):
    tried = []

    def slow(*_, **__):
        tried.append(1)
        raise TimeoutError("The read operation timed out")

    monkeypatch.setattr("slack_sdk.webhook.WebhookClient.send", slow)
    workspace.press(action_ids.APPROVE_CAMPAIGN, "c7:1", LEAD)
    until(lambda: state(database) == "approved" and tried)
    until(lambda: "could not be shown" in caplog.text)
    assert len(tried) == 1
    assert not api.named("response_url")


def test_expired_trigger_asks_to_press_again(workspace, draft, api):
    api.answers["views.open"] = {"ok": False, "error": "expired_trigger_id"}
    workspace.press(action_ids.EDIT_CAMPAIGN, "c7:1", ANALYST)
    assert "Please press once more" in whispered(api)


def test_commands_do_the_same_as_buttons(workspace, database, draft):
    assert "May" in reply(workspace, "", VIEWER)
    assert "Draft" in reply(workspace, "show c7", VIEWER)
    assert "analyst" in reply(workspace, "submit c7", VIEWER)
    assert "no result" in reply(workspace, "result c7", VIEWER)
    assert "version 2" in reply(workspace, "edit c7 --holdout 20 --name “Early May”")
    assert "waiting for approval" in reply(workspace, "submit c7")
    assert "approver" in reply(workspace, "approve c7")
    assert "approved" in reply(workspace, "approve c7 --version 2", LEAD)
    assert "already approved" in reply(workspace, "reject c7 --reason late", LEAD)
    assert "cancelled" in reply(workspace, 'stop c7 --reason "wrong price"', LEAD)
    result = reply(workspace, "show c7", VIEWER)
    assert "wrong price" in result
    assert "approved it" in result
    assert "no campaign" in reply(workspace, "show c9")
    assert "Nothing to change" in reply(workspace, "edit c7")
    assert "start" in json.dumps(workspace.run("campaign draft --tier medium"))


def test_every_history_action_has_a_label():
    root = Path(decisions.__file__).parents[2]
    folders = ("retention/campaigns", "workers/campaigns", "workers/tasks/campaigns")
    code = [file.read_text() for folder in folders for file in root.glob(f"{folder}/**/*.py")]
    deeds = {deed for text in code for deed in re.findall(r'"campaign\.([a-z]+)"', text)}
    assert {"submit", "measured", "live"} <= deeds
    campaign = campaign_row()
    for deed in (*deeds, "csv", "call"):  # what was taken as a file is named by its channel
        step = {"at": "2025-05-01T09:00:00+00:00", "actor": LEAD, "action": deed, "why": None}
        values = {"campaign": campaign_data(campaign), "zone": "UTC", "history": [step]}
        shown = render.message("campaign/show", **values)
        assert f"> {deed} Details" not in words(shown.blocks)


def test_details_show_a_long_history_completely():
    steps = ["draft", "submit", "approve", "schedule", "live", "measuring", "closed"]
    result = [
        {"at": f"2025-05-0{day}T09:00:00+00:00", "actor": LEAD, "action": step, "why": None}
        for day, step in enumerate(steps, 1)
    ]
    campaign = campaign_row(body=a_body(assumed=("margin",)))
    values = {"campaign": campaign_data(campaign), "zone": "UTC", "history": result}
    shown = words(render.view("campaign/details", **values)["blocks"])
    assert shown.index("drafted it") < shown.index("measured and closed it")
    newest = words(render.message("campaign/show", **values).blocks)
    assert "measured and closed it" in newest
    assert "drafted it" not in newest


def test_details_say_who_reads_the_text_and_result_what_to_change():
    line, update = a_body().offers[0], {"discount": 0.0, "base": 10.0}
    others = [
        line.model_copy(update={"rule": action, "action": action, **update})
        for action in ("reminder", "call")
    ]
    body = a_body(offers=(line, *others))
    campaign = campaign_row(body=body)

    def details(offers, **more):
        data = campaign_data(campaign) | more
        data["offers"] = [offer.model_dump(mode="json") | {"recipients": 9} for offer in offers]
        return words(render.view("campaign/details", campaign=data, history=[], zone="UTC"))

    default = "*Text* for a coupon. Customers who get a reminder receive the default text."
    assert default in details(body.offers)
    assert "*Text*\n" in details((line, body.offers[2]))
    assert "12.5% coupon" in details((line.model_copy(update={"discount": 0.125}),))
    assert "1 customer gets another selection of items" in details(body.offers, tried=1)

    def result(offers):
        stored = [offer.model_dump(mode="json") for offer in offers]
        measured = {"advice": "cheaper", "effects": {}, "simulated": None}
        measured["sample_ratio"] = {"believable": True, "p_value": 1.0}
        values = {"campaign": campaign_data(campaign) | {"offers": stored}, "measured": measured}
        values |= {"with_chart": False, "treated": 85, "control": 15}
        return words(render.message("campaign/result", **values).blocks)

    assert "try a smaller discount" in result(body.offers)
    assert "try a cheaper way to reach them" in result(body.offers[1:])


@given(st.text(min_size=1, max_size=80), st.text(min_size=1, max_size=300))
def test_any_typed_text_gives_a_valid_slack_message(name, reason):
    values = {"name": name, "reason": reason, "body": a_body(copy_text=reason)}
    values |= {"state": "rejected", "decided_by": LEAD, "decided_at": clock.wall()}
    result = campaign_data(campaign_row(version=3, **values))
    for template in ("campaign/card", "campaign/show"):
        shown = render.message(template, campaign=result, demo=True, zone="UTC", history=[])
        assert "<!" not in words([b for b in shown.blocks if b["type"] != "header"])
    shown = {"campaign": result, "value": "c7:3:"}
    inputs = {"written": result["offers"], "places": "{name}", "approvers": ["U0LEAD"], "named": []}
    render.view("campaign/edit", **shown, **inputs, send_at=None, deed="edit", zone="UTC")
    render.view("campaign/reason", **shown, deed="stop")


def test_find_returns_only_the_teams_campaigns(database, settings, draft):
    other = database.using(settings.model_copy(update={"team_id": "T2"}))
    with pytest.raises(Exception, match="no campaign"):
        read(other, find_campaign, draft)
