"""Test held sends of a campaign: listed without names, released by an approver."""

import pytest
from sqlalchemy import update

from retention import clock
from retention.db.tables import Audit, Outbox, Send
from retention.outreach import send_summary
from tests.bot.wire import ANALYST, LEAD, VIEWER, stored, words
from tests.retention.outreach import live_campaigns
from tests.retention.outreach.test_run import Scripted
from tests.world import execute, read


@pytest.fixture
def settings(settings):
    return settings.model_copy(update={"public_url": "https://crm.shop.example"})


@pytest.fixture
def held(database, settings):
    """A live campaign of nine sends, two with an unknown outcome, and its sender."""
    clock.configure(fixed=live_campaigns.NOW)
    campaign = live_campaigns.start_campaign(database, settings, 10)
    execute(database, update(Send).values(channel="email"))

    def run(**says: str) -> Scripted:
        adapter = Scripted(**says)
        live_campaigns.deliver_now(database, settings, campaign, adapter)
        return adapter

    run(k2="doubtful", k5="doubtful")
    return run


def test_held_sends_are_listed_without_names(workspace, held, database):
    with database.transaction() as session:
        for send in send_summary.held_sends(session, "c1"):
            send.error = "its process died"
        numbers = [send.id for send in send_summary.held_sends(session, "c1")]
    reply = workspace.says("campaign held c1", ANALYST)
    assert "2 e-mails of" in reply
    assert "its process died" in reply
    assert all(f"Copy {number} to " in reply for number in numbers)  # what --copy takes
    assert "campaign release c1 again" in reply
    assert not {"k2", "k5"} & set(reply.replace(":", " ").split())
    assert "need analyst" in workspace.says("campaign held c1", VIEWER)


def test_released_sends_go_out_once_and_are_audited(workspace, held, database):
    assert "need approver" in workspace.says("campaign release c1 again", ANALYST)
    assert held().given == []
    for _ in range(2):  # Slack delivers it twice
        workspace.run("campaign release c1 again", LEAD, trigger="t1")
    assert {message.customer_id for message in held().given} == {"k2", "k5"}
    assert live_campaigns.send_states(database)["k2"] == "sent"
    (audit,) = stored(database, Audit, Audit.action == "campaign.release")
    assert (audit.actor, audit.subject) == (LEAD, "c1")
    assert (audit.details["copies"], audit.details["as"]) == (2, "queued")
    (line,) = stored(database, Outbox, Outbox.key.contains("released"))
    assert f"<@{LEAD}> has 2 held copies sent again" in str(line.payload["blocks"])


def _line(database) -> str:
    (line,) = stored(database, Outbox, Outbox.key == "campaign:c1:delivered:1")
    return str(line.payload)


def test_held_send_can_count_as_sent_and_as_contact(workspace, held, database, settings):
    first, second = read(database, send_summary.held_sends, "c1")
    reply = workspace.says(f"campaign release c1 sent --copy {first.id}", LEAD)
    assert "1 held copy counts as sent" in reply
    assert "8 copies sent, 1 held" in _line(database)
    assert held().given == []
    states = live_campaigns.send_states(database)
    assert (states["k2"], states["k5"]) == ("sent", "held")
    again = workspace.says(f"campaign release c1 sent --copy {first.id}", LEAD)
    assert f"Copy {first.id} of campaign 'May' is not held" in again
    at = (settings.team_id, live_campaigns.NOW)
    assert {"k2", "k5"} <= read(database, send_summary.customers_with_sends, *at)
    assert [send.id for send in read(database, send_summary.held_sends, "c1")] == [second.id]


def test_ended_campaign_sends_nothing_again(workspace, held, database):
    workspace.run("campaign stop c1 --reason enough", LEAD)
    reply = workspace.says("campaign release c1 again", LEAD)
    assert "is cancelled, so nothing of it is sent any more" in reply
    assert "count as sent" in workspace.says("campaign release c1 sent", LEAD)
    again = workspace.run("campaign release c1 sent", LEAD)
    assert "No copy of campaign 'May' is held" in words(again["blocks"])
