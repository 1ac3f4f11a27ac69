"""A campaign that could not be sent at its moment goes by itself once what kept it is mended."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from retention import clock
from retention.campaigns import coupons, due, sending
from retention.db.tables import Coupon, Job, Send
from tests.workers.campaigns.steps import approved, campaign_of, messages
from workers import schedule
from workers.tasks.runner import run_job

BROKEN = "[campaign]\nbudget = -1\n"


def _ticked(desk) -> list[str]:
    """The tick's jobs of sending, done; what they said."""
    ran = schedule.tick(desk.database, desk.settings)
    for job_id in ran:
        run_job(desk.settings, desk.database, job_id, "test")
    with desk.database.reading() as session:
        tried = [session.get_one(Job, job_id) for job_id in ran]
        return [job.error or "" for job in tried if job.kind == "campaign_send"]


@pytest.mark.parametrize(("breaks", "waits_as"), [("policy", "scheduled"), ("bug", "sending")])
def test_it_is_tried_again_until_it_is_mended(desk, monkeypatch, breaks, waits_as):
    """A policy with a slip in it at that moment left a campaign being sent for ever, and its customers in no other."""
    campaign_id, policy = approved(desk), desk.settings.policy.read_text()
    clock.configure(fixed=clock.now() + timedelta(hours=5))
    wall, minutes = clock.wall(), [0.0]
    monkeypatch.setattr(clock, "wall", lambda: wall + timedelta(minutes=minutes[0]))
    with monkeypatch.context() as broken:
        if breaks == "policy":
            desk.settings.policy.write_text(BROKEN)
        else:
            broken.setattr(sending, "go_live", lambda *_: 1 / 0)
        assert len(_ticked(desk)) == 1
        assert _ticked(desk) == []
        minutes[0] += due.MAX_PAUSE.total_seconds() / 60 + 1
        (said,) = _ticked(desk)
        assert ("budget" in said) is (breaks == "policy")
        assert campaign_of(desk, campaign_id).state == waits_as
    desk.settings.policy.write_text(policy)
    minutes[0] += due.MAX_PAUSE.total_seconds() / 60 + 1
    assert _ticked(desk) == [""]
    assert campaign_of(desk, campaign_id).state == "live"
    assert _ticked(desk) == []
    with desk.database.reading() as session:
        assert session.scalars(select(Job.id).where(Job.kind == "campaign_send")).one()
        treated = session.scalars(
            select(Send.customer_id).where(Send.campaign_id == campaign_id)
        ).all()
    assert len(treated) == len(set(treated)) > 0
    assert "It is live" in messages(desk)


def _failing(desk, monkeypatch) -> str:
    """A campaign whose first sending died before anything was issued; real time stands a quarter of an hour later."""
    campaign_id = approved(desk)
    clock.configure(fixed=clock.now() + timedelta(hours=5))
    with monkeypatch.context() as broken:
        broken.setattr(sending, "go_live", lambda *_: 1 / 0)
        assert len(_ticked(desk)) == 1
    wall = clock.wall() + due.MAX_PAUSE + timedelta(minutes=1)
    monkeypatch.setattr(clock, "wall", lambda: wall)
    return campaign_id


def test_what_is_sent_days_late_holds_and_is_measured_from_then_on(desk, monkeypatch):
    """The window had begun with the run that failed, and the codes had been reserved until its days were over."""
    campaign_id = _failing(desk, monkeypatch)
    clock.configure(fixed=clock.now() + timedelta(days=2))
    assert _ticked(desk) == [""]
    campaign = campaign_of(desk, campaign_id)
    assert (campaign.state, campaign.sent_at) == ("live", clock.now())
    assert campaign.window_ends_at - clock.now() == timedelta(days=campaign.body["window_days"])
    until = coupons.valid_until(clock.now(), campaign.body["expires_days"], desk.settings.zone)
    with desk.database.reading() as session:
        assert set(session.scalars(select(Coupon.expires_at))) == {until}
    assert set(desk.lake.table("treatments").sent_at.execute()) == {
        clock.now().replace(tzinfo=None)
    }


def test_what_cannot_be_sent_while_its_approval_holds_is_stopped(desk, monkeypatch):
    """Forty days later it went live by itself, with codes that had expired and a window that was over."""
    campaign_id = _failing(desk, monkeypatch)
    clock.configure(fixed=campaign_of(desk, campaign_id).expires_at)
    assert _ticked(desk) == []
    campaign = campaign_of(desk, campaign_id)
    assert (campaign.state, campaign.window_ends_at) == ("cancelled", None)
    with desk.database.reading() as session:
        assert set(session.scalars(select(Coupon.state))) == {"void"}
    assert (
        "stopped it: It could not be sent before its approval expired; draft it anew."
        in messages(desk)
    )


def test_a_sending_that_is_under_way_when_its_approval_ends_is_not_stopped(desk, monkeypatch):
    campaign_id = _failing(desk, monkeypatch)
    (job_id,) = schedule.tick(desk.database, desk.settings)
    clock.configure(fixed=campaign_of(desk, campaign_id).expires_at + timedelta(hours=1))
    assert _ticked(desk) == []
    assert campaign_of(desk, campaign_id).state == "sending"
    run_job(desk.settings, desk.database, job_id, "test")
    assert campaign_of(desk, campaign_id).state == "live"
