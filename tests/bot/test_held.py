"""Test held sends of a campaign: listed without names, released by an approver."""

import pytest
from sqlalchemy import select

from retention import clock
from retention.db.tables import Audit, Outbox, Send
from retention.outreach import send_summary
from tests.bot.wire import ANALYST, LEAD, VIEWER, words
from tests.retention.outreach import live_campaigns
from tests.retention.outreach.test_run import Scripted


@pytest.fixture
def settings(settings):
    return settings.model_copy(update={"public_url": "https://crm.shop.example"})


@pytest.fixture
def held(database, settings):
    """A live campaign of nine sends, two with an unknown outcome, and its sender."""
    clock.configure(fixed=live_campaigns.NOW)
    campaign = live_campaigns.start_campaign(database, settings, 10)
    with database.transaction() as session:
        for send in session.scalars(select(Send)):
            send.channel = "email"

    def run(**says: str) -> Scripted:
        adapter = Scripted(**says)
        live_campaigns.deliver_now(
            database, settings, campaign, adapter, live_campaigns.contacts_of(10)
        )
        return adapter

    run(k2="doubtful", k5="doubtful")
    return run


def test_held_sends_are_listed_without_names(workspace, held, database):
    with database.transaction() as session:
        for send in send_summary.held_sends(session, "c1"):
            send.error = "its process died"
        numbers = [send.id for send in send_summary.held_sends(session, "c1")]
    reply = words(workspace.run("campaign held c1", ANALYST)["blocks"])
    assert "2 e-mails of" in reply
    assert "its process died" in reply
    assert all(f"Copy {number} to " in reply for number in numbers)  # what --copy takes
    assert "campaign release c1 again" in reply
    assert not {"k2", "k5"} & set(reply.replace(":", " ").split())
    assert "need analyst" in words(workspace.run("campaign held c1", VIEWER)["blocks"])


def test_released_sends_go_out_once_and_are_audited(workspace, held, database):
    assert "need approver" in words(workspace.run("campaign release c1 again", ANALYST)["blocks"])
    assert held().given == []
    for _ in range(2):  # Slack delivers it twice
        workspace.run("campaign release c1 again", LEAD, trigger="t1")
    assert {message.customer_id for message in held().given} == {"k2", "k5"}
    assert live_campaigns.send_states(database)["k2"] == "sent"
    with database.reading() as session:
        (audit,) = session.scalars(select(Audit).where(Audit.action == "campaign.release"))
        lines = [
            row.payload["text"] for row in session.scalars(select(Outbox)) if "released" in row.key
        ]
        shown = [
            str(row.payload["blocks"])
            for row in session.scalars(select(Outbox))
            if "released" in row.key
        ]
    assert (audit.actor, audit.subject, audit.details["copies"], audit.details["as"]) == (
        LEAD,
        "c1",
        2,
        "queued",
    )
    assert len(lines) == 1
    assert f"<@{LEAD}> has 2 held copies sent again" in shown[0]


def _line(database) -> str:
    with database.reading() as session:
        return str(
            session.scalars(select(Outbox).where(Outbox.key == "campaign:c1:delivered:1"))
            .one()
            .payload
        )


def test_held_send_can_count_as_sent_and_as_contact(workspace, held, database, settings):
    with database.reading() as session:
        first, second = send_summary.held_sends(session, "c1")
    reply = words(workspace.run(f"campaign release c1 sent --copy {first.id}", LEAD)["blocks"])
    assert "1 held copy counts as sent" in reply
    assert "8 copies sent, 1 held" in _line(database)
    assert held().given == []
    assert (
        live_campaigns.send_states(database)["k2"],
        live_campaigns.send_states(database)["k5"],
    ) == ("sent", "held")
    again = words(workspace.run(f"campaign release c1 sent --copy {first.id}", LEAD)["blocks"])
    assert f"Copy {first.id} of campaign 'May' is not held" in again
    with database.reading() as session:
        assert {"k2", "k5"} <= send_summary.customers_with_sends(
            session, settings.team_id, live_campaigns.NOW
        )
        assert [send.id for send in send_summary.held_sends(session, "c1")] == [second.id]


def test_ended_campaign_sends_nothing_again(workspace, held, database):
    workspace.run("campaign stop c1 --reason enough", LEAD)
    reply = words(workspace.run("campaign release c1 again", LEAD)["blocks"])
    assert "is cancelled, so nothing of it is sent any more" in reply
    assert "count as sent" in words(workspace.run("campaign release c1 sent", LEAD)["blocks"])
    assert "No copy of campaign 'May' is held" in words(
        workspace.run("campaign release c1 sent", LEAD)["blocks"]
    )
