"""The card of a campaign shows the counts of the database in every state."""

import re
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from retention import clock
from retention.campaigns.lifecycle import due, launch
from retention.campaigns.lifecycle.states import STATES, Step
from retention.campaigns.lifecycle.transitions import Changes
from retention.campaigns.lifecycle.view import campaign_data
from retention.campaigns.planning.assignment import holdout_threshold
from retention.db.tables import Assignment, Outbox, Send
from tests.workers.campaigns.steps import (
    ANALYST,
    LEAD,
    bring,
    campaign_of,
    drafted,
    measured,
    prepared_campaign,
)
from tests.world import change, one, scalars
from workers.campaigns import decisions
from workers.campaigns.messages import refresh_card
from workers.schedule import tick
from workers.tasks.runner import run_job


def _card(desk, campaign_id: str) -> str:
    """The card as it was last put into the outbox."""
    key = campaign_of(desk, campaign_id).post_key
    return str(one(desk.database, select(Outbox.payload).where(Outbox.key == key))["blocks"])


def _sizes(desk, campaign_id: str) -> dict[str, int]:
    """The groups, counted from the rows."""
    threshold = holdout_threshold(campaign_of(desk, campaign_id).body["holdout"])
    sizes = {"treatment": 0, "control": 0, "excluded": 0}
    with desk.database.reading() as session:
        rows = session.execute(
            select(Assignment.arm, Assignment.bucket).where(Assignment.campaign_id == campaign_id)
        )
        for arm, bucket in rows:
            drawn = "control" if bucket < threshold else "treatment"
            sizes[drawn if arm == "audience" else arm] += 1
    return sizes


def _check(desk, campaign_id: str, state: str) -> str:
    """The card is up to date, and its numbers are those of the database."""
    campaign, shown = campaign_of(desk, campaign_id), _card(desk, campaign_id)
    assert campaign.state == state
    with desk.database.transaction() as session:
        refresh_card(session, campaign_id)
        data = campaign_data(campaign, desk.settings, session)
    assert _card(desk, campaign_id) == shown
    sizes = _sizes(desk, campaign_id)
    assert data["groups"] == sizes
    assert sum(offer["recipients"] for offer in data["offers"]) == sizes["treatment"]
    if state != "closed":  # its result counts the customers that were measured
        assert {f"{size}" for size in sizes.values() if size} <= set(re.findall(r"\d+", shown))
    return shown


def _tick(desk) -> None:
    for job_id in tick.tick(desk.database):
        run_job(desk.database, job_id, "test")


def _act(desk, deed, campaign_id: str, user: str, *more) -> None:
    change(
        desk.database, deed, Step(campaign_id, user, campaign_of(desk, campaign_id).version), *more
    )


def test_card_is_true_in_every_state_to_the_result(desk, monkeypatch):
    states = []

    def check(state: str) -> str:
        states.append(state)
        return _check(desk, campaign_id, state)

    campaign_id = drafted(desk)
    check("draft")
    _act(desk, decisions.submit, campaign_id, ANALYST)
    check("submitted")
    _act(desk, decisions.reject, campaign_id, LEAD, "too dear")
    check("rejected")
    _act(desk, decisions.edit, campaign_id, ANALYST, Changes(holdout=0.2))
    check("draft")
    _act(desk, decisions.submit, campaign_id, ANALYST)
    clock.configure(fixed=campaign_of(desk, campaign_id).expires_at)
    _tick(desk)
    check("expired")
    _act(desk, decisions.edit, campaign_id, ANALYST, Changes(holdout=0.1))
    _act(desk, decisions.submit, campaign_id, ANALYST)
    _act(desk, decisions.approve, campaign_id, LEAD)
    approved = check("approved")
    customers = scalars(desk.database, select(Assignment.customer_id))
    bring(desk, "purchase", clock.now() - timedelta(hours=1), sorted(customers)[:7])
    clock.configure(fixed=campaign_of(desk, campaign_id).send_at)
    policy = desk.settings.policy.read_text()
    desk.settings.policy.write_text("[campaign]\nbudget = -1\n")
    _tick(desk)
    assert check("scheduled") != approved  # it said that it sends at a time that has passed
    desk.settings.policy.write_text(policy)
    with monkeypatch.context() as broken:
        broken.setattr(launch, "go_live", lambda *_: 1 / 0)
        wall = clock.wall() + due.MAX_PAUSE + timedelta(minutes=1)
        monkeypatch.setattr(clock, "wall", lambda: wall)
        _tick(desk)
    failed = check("sending")
    assert _sizes(desk, campaign_id)["excluded"] >= 7
    later = wall + due.MAX_PAUSE + timedelta(minutes=1)
    monkeypatch.setattr(clock, "wall", lambda: later)
    _tick(desk)
    assert check("live") != failed
    end = campaign_of(desk, campaign_id).window_ends_at
    measured(desk, campaign_id, end)
    check("measuring")
    bring(desk, "purchase", end + timedelta(hours=1), ["passer-by"])
    measured(desk, campaign_id, end + timedelta(days=1, hours=1))
    check("closed")
    assert {*states, "cancelled"} == set(STATES)


@pytest.mark.campaign("live")
def test_card_counts_sends_until_it_is_stopped(desk):
    campaign_id = prepared_campaign(desk)
    with desk.database.transaction() as session:
        ids = session.scalars(select(Send.id).order_by(Send.id)).all()
        session.execute(update(Send).values(channel="smtp", state="sent"))
        for state, these in (("bounced", ids[:3]), ("cancelled", ids[3:9]), ("queued", ids[9:20])):
            session.execute(update(Send).where(Send.id.in_(these)).values(state=state))
        decisions.messages.refresh_counts(session, campaign_of(desk, campaign_id))
    assert {"3", "6", "11", f"{len(ids) - 20}"} <= set(
        re.findall(r"\d+", _check(desk, campaign_id, "live"))
    )
    change(desk.database, decisions.stop, Step(campaign_id, LEAD), "too dear")
    stopped = _check(desk, campaign_id, "cancelled")
    with desk.database.reading() as session:
        counted = session.execute(select(Send.state, func.count()).group_by(Send.state)).tuples()
        assert {str(n) for _, n in counted} <= set(re.findall(r"\d+", stopped))


@pytest.mark.campaign("approved")
def test_card_of_a_campaign_stopped_in_time_counts_nobody_as_reached(desk):
    campaign_id = prepared_campaign(desk)
    change(desk.database, decisions.stop, Step(campaign_id, LEAD), "too dear")
    _check(desk, campaign_id, "cancelled")
    assert campaign_data(campaign_of(desk, campaign_id))["sends"] == {}
