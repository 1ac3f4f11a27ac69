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
from retention.campaigns import approval
from retention.campaigns.states import StaleCampaign, find_campaign
from retention.campaigns.view import campaign_data
from retention.db.tables import Approval, Audit, Campaign, Outbox
from tests.bot.campaign import KEY, drafted, fill, message, opened, state, whispered
from tests.bot.test_slash import all_jobs, until
from tests.bot.wire import ADMIN, ANALYST, CHANNEL, LEAD, VIEWER, words
from tests.retention.campaigns.samples import a_body
from workers import campaign_clock, campaigns, ids
from workers.delivery import render


def test_submit_and_approve_replace_buttons_by_person_and_time(workspace, database, draft, api):
    workspace.press(ids.SUBMIT_CAMPAIGN, "c7:1", ANALYST)
    until(lambda: state(database) == "submitted")
    assert ids.APPROVE_CAMPAIGN in message(database)
    workspace.press(ids.APPROVE_CAMPAIGN, "c7:1", LEAD)
    until(lambda: state(database) == "approved")
    shown = message(database)
    assert ids.APPROVE_CAMPAIGN not in shown
    assert f"<@{LEAD}>" in shown
    assert f"<@{LEAD}> approved" in message(database, "campaign:c7:approved:1")
    with database.reading() as session:
        rows = session.scalars(select(Outbox).where(Outbox.key.like("campaign:c7:%"))).all()
    assert {row.thread_key for row in rows if row.channel == CHANNEL} == {KEY}


@pytest.mark.parametrize("user", [ANALYST, VIEWER])
def test_missing_role_is_explained_and_changes_nothing(workspace, database, submitted, api, user):
    workspace.press(ids.APPROVE_CAMPAIGN, "c7:1", user)
    assert "you need approver" in whispered(api)
    assert f"<@{LEAD}>" in whispered(api)
    assert state(database) == "submitted"


def test_approver_who_edited_is_refused_with_the_reason(
    workspace, database, submitted, settings, api
):
    with database.transaction() as session:
        campaigns.edit(session, settings, "c7", 1, LEAD, approval.Changes(holdout=0.2))
        campaigns.submit(session, settings, "c7", 2, ANALYST)
    workspace.press(ids.APPROVE_CAMPAIGN, "c7:2", LEAD)
    assert "somebody else" in whispered(api)
    assert state(database) == "submitted"


def test_stale_click_updates_the_message_and_explains(
    workspace, database, submitted, settings, api
):
    with database.transaction() as session:
        campaigns.reject(session, settings, "c7", 1, ADMIN, "not <now>")
        before = session.scalar(select(Outbox.revision).where(Outbox.key == KEY))
    workspace.press(ids.APPROVE_CAMPAIGN, "c7:1", LEAD)
    reply = whispered(api)
    assert "already rejected" in reply
    assert f"<@{ADMIN}>" in reply
    assert "not &lt;now&gt;" in reply
    with database.reading() as session:
        assert session.scalar(select(Outbox.revision).where(Outbox.key == KEY)) == before + 1


def test_late_command_names_the_first_person(workspace, database, submitted, settings):
    with database.transaction() as session:
        campaigns.approve(session, settings, "c7", 1, ADMIN)
    reply = words(workspace.run("campaign approve c7", LEAD)["blocks"])
    assert "already approved" in reply
    assert f"by <@{ADMIN}> on " in reply


def test_expired_campaign_names_no_person(workspace, database, submitted, settings):
    with database.transaction() as session:
        (gone,) = campaign_clock.expire(session, settings, clock.now() + timedelta(days=30))
    with database.reading() as session:
        stale = StaleCampaign(find_campaign(session, settings, gone))
    assert str(stale).endswith("has expired.")


def test_one_of_two_concurrent_approvers_wins(workspace, database, submitted, api):
    with ThreadPoolExecutor(2) as pool:
        list(
            pool.map(
                lambda user: workspace.press(ids.APPROVE_CAMPAIGN, "c7:1", user, at=f"2.{user}"),
                (LEAD, ADMIN),
            )
        )
    until(lambda: len(api.named("response_url")) == 2)
    reply = [words(call["blocks"]) for call in api.named("response_url")]
    assert sum("Nothing changed" in text for text in reply) == 1
    assert sum("is approved" in text and "Nothing" not in text for text in reply) == 1
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Approval)) == 1


def test_a_click_delivered_twice_acts_and_answers_once(workspace, database, draft, api):
    for _ in range(2):
        workspace.press(ids.SUBMIT_CAMPAIGN, "c7:1", ANALYST, at="7.7")
    until(lambda: state(database) == "submitted")
    workspace.press(ids.APPROVE_CAMPAIGN, "c7:1", LEAD)
    until(lambda: state(database) == "approved")
    until(lambda: len(api.named("response_url")) == 2)  # one for each of the two deeds
    with database.reading() as session:
        assert session.scalar(select(func.count()).where(Audit.action == "campaign.submit")) == 1


@pytest.mark.parametrize(
    ("button", "view", "state_after", "verb"),
    [
        (ids.REJECT_CAMPAIGN, ids.REJECT_VIEW, "rejected", "rejected"),
        (ids.STOP_CAMPAIGN, ids.STOP_VIEW, "cancelled", "stopped"),
    ],
)
def test_reject_requires_a_reason(
    workspace, database, submitted, api, button, view, state_after, verb
):
    workspace.press(button, "c7:1", LEAD)
    modal = opened(api)
    assert modal["callback_id"] == view
    assert "why" in fill(workspace, view, modal["private_metadata"], LEAD, "h1", reason=" ").body
    assert state(database) == "submitted"
    fill(workspace, view, modal["private_metadata"], LEAD, "h2", reason="too dear & <!channel>")
    assert state(database) == state_after
    assert "too dear &amp; &lt;!channel&gt;" in message(database)
    assert verb in message(database, f"campaign:c7:{state_after}:1")


def test_stale_modal_updates_the_message_and_explains(
    workspace, database, submitted, settings, api
):
    with database.transaction() as session:
        campaigns.approve(session, settings, "c7", 1, ADMIN)
    assert fill(workspace, ids.REJECT_VIEW, f"c7:1:{CHANNEL}", LEAD, reason="late").status == 200
    reply = api.wait("chat.postEphemeral")
    assert reply["user"] == LEAD
    assert "already approved" in reply["text"]
    assert state(database) == "approved"


def test_codes_go_to_the_direct_message(workspace, database, draft, api):
    workspace.press(ids.CAMPAIGN_CSV, "c7:1", ANALYST)
    job = until(lambda: all_jobs(database))[0]
    assert (job.kind, job.channel, job.args) == (
        "campaign_csv",
        ANALYST,
        {"campaign_id": "c7", "part": "codes"},
    )
    assert "direct message" in whispered(api)


def _close(database, advice: str) -> None:
    with database.transaction() as session:
        campaign = session.get_one(Campaign, "c7")
        campaign.state, campaign.result = "closed", {"advice": advice, "effects": {}}
        campaign.approved_by, campaign.decided_at = [LEAD], clock.wall()
        campaign.sent_at = campaign.window_ends_at = clock.wall()


def test_unmeasured_campaign_says_so_without_advice(workspace, database, draft):
    _close(database, "no_orders")
    reply = words(workspace.run("campaign result c7", VIEWER)["blocks"])
    assert "never imported, so nothing can be said of it" in reply
    assert "advice" not in reply
    assert "Closed, not measured" in words(workspace.run("campaign show c7", VIEWER)["blocks"])


def test_only_an_unmeasurable_campaign_says_never_measured(workspace, database, draft):
    assert "never imported" not in words(workspace.run("campaign result c7", VIEWER)["blocks"])
    _close(database, "undecided")
    shown = words(workspace.run("campaign show c7", VIEWER)["blocks"])
    assert "Inconclusive: too few customers to compare" in shown
    assert "ot measured" not in shown


def test_terminal_draft_is_not_submitted_without_a_visible_channel(
    workspace, database, settings, api
):
    drafted(database, settings)
    with database.transaction() as session:
        session.execute(update(Campaign).values(channel=None))
    api.answers["conversations.info"] = {
        "ok": True,
        "channel": {"id": "C0SALES", "is_member": False},
    }
    reply = words(workspace.run("campaign submit c7", channel="C0SALES")["blocks"])
    assert "`/invite` me" in reply
    assert state(database) == "draft"


def test_failed_confirmation_is_not_reported_as_a_failed_action(
    workspace, database, submitted, api, monkeypatch, caplog
):
    tried = []

    def slow(*_, **__):
        tried.append(1)
        raise TimeoutError("The read operation timed out")

    monkeypatch.setattr("slack_sdk.webhook.WebhookClient.send", slow)
    workspace.press(ids.APPROVE_CAMPAIGN, "c7:1", LEAD)
    until(lambda: state(database) == "approved" and tried)
    until(lambda: "could not be shown" in caplog.text)
    assert len(tried) == 1
    assert not api.named("response_url")


def test_expired_trigger_asks_to_press_again(workspace, draft, api):
    api.answers["views.open"] = {"ok": False, "error": "expired_trigger_id"}
    workspace.press(ids.EDIT_CAMPAIGN, "c7:1", ANALYST)
    assert "Please press once more" in whispered(api)


def test_commands_do_the_same_as_buttons(workspace, database, draft):
    assert "May" in words(workspace.run("campaign", VIEWER)["blocks"])
    assert "Draft" in words(workspace.run("campaign show c7", VIEWER)["blocks"])
    assert "analyst" in words(workspace.run("campaign submit c7", VIEWER)["blocks"])
    assert "no result" in words(workspace.run("campaign result c7", VIEWER)["blocks"])
    assert "version 2" in words(
        workspace.run("campaign edit c7 --holdout 20 --name “Early May”")["blocks"]
    )
    assert "waiting for approval" in words(workspace.run("campaign submit c7")["blocks"])
    assert "approver" in words(workspace.run("campaign approve c7")["blocks"])
    assert "approved" in words(workspace.run("campaign approve c7 --version 2", LEAD)["blocks"])
    assert "already approved" in words(
        workspace.run("campaign reject c7 --reason late", LEAD)["blocks"]
    )
    assert "cancelled" in words(
        workspace.run('campaign stop c7 --reason "wrong price"', LEAD)["blocks"]
    )
    result = words(workspace.run("campaign show c7", VIEWER)["blocks"])
    assert "wrong price" in result
    assert "approved it" in result
    assert "no campaign" in words(workspace.run("campaign show c9")["blocks"])
    assert "Nothing to change" in words(workspace.run("campaign edit c7")["blocks"])
    assert "start" in json.dumps(workspace.run("campaign draft --tier medium"))


def test_every_history_action_has_a_label():
    root = Path(campaigns.__file__).parents[1]
    code = [
        *root.glob("retention/campaigns/*.py"),
        *root.glob("workers/campaign*.py"),
        *root.glob("workers/tasks/*.py"),
    ]
    deeds = {
        deed for file in code for deed in re.findall(r'"campaign\.([a-z]+)"', file.read_text())
    }
    assert {"submit", "measured", "live"} <= deeds
    campaign = Campaign(
        id="c7",
        name="May",
        state="draft",
        version=1,
        post_key=KEY,
        salt="s",
        drafted_by=ANALYST,
        created_at=clock.wall(),
        body=a_body().model_dump(mode="json"),
    )
    for deed in (*deeds, "csv", "call"):  # what was taken as a file is named by its channel
        step = {"at": "2025-05-01T09:00:00+00:00", "actor": LEAD, "action": deed, "why": None}
        shown = render.message(
            "campaign/show", campaign=campaign_data(campaign), zone="UTC", history=[step]
        )
        assert f"> {deed} Details" not in words(shown.blocks)


def test_details_show_a_long_history_completely():
    steps = [
        "draft",
        "submit",
        "approve",
        "schedule",
        "sending",
        "live",
        "csv",
        "measuring",
        "closed",
    ]
    result = [
        {"at": f"2025-05-0{day}T09:00:00+00:00", "actor": LEAD, "action": step, "why": None}
        for day, step in enumerate(steps, 1)
    ]
    campaign = Campaign(
        id="c7",
        name="May",
        state="draft",
        version=1,
        post_key=KEY,
        salt="s",
        drafted_by=ANALYST,
        created_at=clock.wall(),
        body=a_body(assumed=("margin",)).model_dump(mode="json"),
    )
    values = {"campaign": campaign_data(campaign), "zone": "UTC", "history": result}
    shown = words(render.view("campaign/details", **values)["blocks"])
    assert shown.index("drafted it") < shown.index("measured and closed it")
    newest = words(render.message("campaign/show", **values).blocks)
    assert "measured and closed it" in newest
    assert "drafted it" not in newest


def test_details_say_who_reads_the_text_and_result_what_to_change():
    line = a_body().offers[0]
    body = a_body(
        offers=(
            line,
            *(
                line.model_copy(
                    update={"rule": action, "action": action, "discount": 0.0, "base": 10.0}
                )
                for action in ("reminder", "call")
            ),
        )
    )
    campaign = Campaign(
        id="c7",
        name="May",
        state="draft",
        version=1,
        post_key=KEY,
        salt="s",
        drafted_by=ANALYST,
        created_at=clock.wall(),
        body=body.model_dump(mode="json"),
    )

    def details(offers, **more):
        data = campaign_data(campaign) | more
        data["offers"] = [offer.model_dump(mode="json") | {"recipients": 9} for offer in offers]
        return words(render.view("campaign/details", campaign=data, history=[], zone="UTC"))

    assert "*Text* for a coupon. Customers who get a reminder receive the default text." in details(
        body.offers
    )
    assert "*Text*\n" in details((line, body.offers[2]))
    assert "12.5% coupon" in details((line.model_copy(update={"discount": 0.125}),))
    assert "1 customer gets another selection of items" in details(body.offers, tried=1)

    def result(offers):
        details = campaign_data(campaign) | {
            "offers": [offer.model_dump(mode="json") for offer in offers]
        }
        measured = {
            "advice": "cheaper",
            "effects": {},
            "simulated": None,
            "sample_ratio": {"believable": True, "p_value": 1.0},
        }
        shown = render.message(
            "campaign/result",
            campaign=details,
            measured=measured,
            with_chart=False,
            treated=85,
            control=15,
        )
        return words(shown.blocks)

    assert "try a smaller discount" in result(body.offers)
    assert "try a cheaper way to reach them" in result(body.offers[1:])


@given(st.text(min_size=1, max_size=80), st.text(min_size=1, max_size=300))
def test_any_typed_text_gives_a_valid_slack_message(name, reason):
    now = clock.wall()
    campaign = Campaign(
        id="c7",
        name=name,
        state="rejected",
        version=3,
        post_key=KEY,
        salt="s",
        drafted_by=ANALYST,
        decided_by=LEAD,
        decided_at=now,
        reason=reason,
        created_at=now,
        body=a_body(copy_text=reason).model_dump(mode="json"),
    )
    result = campaign_data(campaign)
    for template in ("campaign/card", "campaign/show"):
        shown = render.message(template, campaign=result, demo=True, zone="UTC", history=[])
        assert "<!" not in words([b for b in shown.blocks if b["type"] != "header"])
    render.view(
        "campaign/edit",
        campaign=result,
        value="c7:3:",
        written=result["offers"],
        places="{name}",
        approvers=["U0LEAD"],
        send_at=None,
        deed="edit",
        zone="UTC",
    )
    render.view("campaign/reason", campaign=result, value="c7:3:", deed="stop")


def test_find_returns_only_the_teams_campaigns(database, settings, draft):
    other = settings.model_copy(update={"team_id": "T2"})
    with database.reading() as session, pytest.raises(Exception, match="no campaign"):
        find_campaign(session, other, draft)
