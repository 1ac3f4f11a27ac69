"""The card of a campaign shows the counts of the database in every state."""

import re
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from retention import clock
from retention.campaigns.lifecycle import due, launch
from retention.campaigns.lifecycle.decisions import Changes
from retention.campaigns.lifecycle.states import STATES
from retention.campaigns.lifecycle.view import campaign_data
from retention.campaigns.planning.assignment import holdout_threshold
from retention.db.tables import Assignment, Outbox, Send
from tests.workers.campaigns.desk import ANALYST, LEAD
from workers.campaigns import decisions
from workers.campaigns.messages import refresh_card


def _blocks(desk) -> str:
    """The card as it was last put into the outbox."""
    mine = Outbox.key == desk.campaign().post_key
    return str(desk.one(select(Outbox.payload).where(mine))["blocks"])


def _sizes(desk) -> dict[str, int]:
    """The groups, counted from the rows."""
    threshold = holdout_threshold(desk.body().holdout)
    sizes = {"treatment": 0, "control": 0, "excluded": 0}
    for arm, bucket in desk.rows(select(Assignment.arm, Assignment.bucket)):
        drawn = "control" if bucket < threshold else "treatment"
        sizes[drawn if arm == "audience" else arm] += 1
    return sizes


def _numbers(shown: str) -> set[str]:
    return set(re.findall(r"\d+", shown))


def _check(desk, state: str) -> str:
    """The card is up to date, and its numbers are those of the database."""
    campaign, shown = desk.campaign(), _blocks(desk)
    assert campaign.state == state
    with desk.database.transaction() as session:
        refresh_card(session, campaign.id)
        data = campaign_data(campaign, desk.settings, session)
    assert _blocks(desk) == shown
    sizes = _sizes(desk)
    assert data["groups"] == sizes
    assert sum(offer["recipients"] for offer in data["offers"]) == sizes["treatment"]
    if state != "closed":  # its result counts the customers that were measured
        assert {f"{size}" for size in sizes.values() if size} <= _numbers(shown)
    return shown


@pytest.mark.campaign("draft")
def test_card_is_true_in_every_state_to_the_result(desk, monkeypatch):
    states = []

    def check(state: str) -> str:
        states.append(state)
        return _check(desk, state)

    check("draft")
    desk.decide(decisions.submit, ANALYST)
    check("submitted")
    desk.decide(decisions.reject, LEAD, "too dear")
    check("rejected")
    desk.decide(decisions.edit, ANALYST, Changes(holdout=0.2))
    check("draft")
    desk.decide(decisions.submit, ANALYST)
    clock.configure(fixed=desk.campaign().expires_at)
    desk.tick()
    check("expired")
    desk.decide(decisions.edit, ANALYST, Changes(holdout=0.1))
    desk.decide(decisions.submit, ANALYST)
    desk.decide(decisions.approve, LEAD)
    approved = check("approved")
    customers = desk.scalars(select(Assignment.customer_id))
    desk.bring("purchase", clock.now() - timedelta(hours=1), sorted(customers)[:7])
    clock.configure(fixed=desk.campaign().send_at)
    policy = desk.settings.policy.read_text()
    desk.settings.policy.write_text("[campaign]\nbudget = -1\n")
    desk.tick()
    assert check("scheduled") != approved  # it said that it sends at a time that has passed
    desk.settings.policy.write_text(policy)
    with monkeypatch.context() as broken:
        broken.setattr(launch, "go_live", lambda *_: 1 / 0)
        wall = clock.wall() + due.MAX_PAUSE + timedelta(minutes=1)
        monkeypatch.setattr(clock, "wall", lambda: wall)
        desk.tick()
    failed = check("sending")
    assert _sizes(desk)["excluded"] >= 7
    later = wall + due.MAX_PAUSE + timedelta(minutes=1)
    monkeypatch.setattr(clock, "wall", lambda: later)
    desk.tick()
    assert check("live") != failed
    end = desk.campaign().window_ends_at
    desk.measured(end)
    check("measuring")
    desk.bring("purchase", end + timedelta(hours=1), ["passer-by"])
    desk.measured(end + timedelta(days=1, hours=1))
    check("closed")
    assert {*states, "cancelled"} == set(STATES)


@pytest.mark.campaign("live")
def test_card_counts_sends_until_it_is_stopped(desk):
    campaign = desk.campaign()
    with desk.database.transaction() as session:
        ids = session.scalars(select(Send.id).order_by(Send.id)).all()
        session.execute(update(Send).values(channel="smtp", state="sent"))
        for state, these in (("bounced", ids[:3]), ("cancelled", ids[3:9]), ("queued", ids[9:20])):
            session.execute(update(Send).where(Send.id.in_(these)).values(state=state))
        decisions.messages.refresh_counts(session, campaign)
    assert {"3", "6", "11", f"{len(ids) - 20}"} <= _numbers(_check(desk, "live"))
    desk.stop()
    counted = desk.rows(select(Send.state, func.count()).group_by(Send.state))
    assert {str(number) for _, number in counted} <= _numbers(_check(desk, "cancelled"))


@pytest.mark.campaign("approved")
def test_card_of_a_campaign_stopped_in_time_counts_nobody_as_reached(desk):
    desk.stop()
    _check(desk, "cancelled")
    assert campaign_data(desk.campaign())["sends"] == {}
