"""Test the retry of campaigns that could not be sent in time."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from retention import clock
from retention.campaigns.codes import coupons
from retention.campaigns.lifecycle import due, launch
from retention.db.tables import Coupon, Job, Send
from tests.workers.campaigns.steps import approved, campaign_of, messages, prepared_campaign
from tests.world import scalars
from workers.schedule import tick
from workers.tasks.runner import run_job

BROKEN = "[campaign]\nbudget = -1\n"


def _ticked(desk) -> list[str]:
    """The tick's jobs of sending, done; what they said."""
    ran = tick.tick(desk.database)
    for job_id in ran:
        run_job(desk.database, job_id, "test")
    with desk.database.reading() as session:
        tried = [session.get_one(Job, job_id) for job_id in ran]
        return [job.error or "" for job in tried if job.kind == "campaign_send"]


@pytest.mark.campaign("approved")
@pytest.mark.parametrize(("breaks", "waits_as"), [("policy", "scheduled"), ("bug", "sending")])
def test_failed_sending_is_retried(desk, monkeypatch, breaks, waits_as):
    """An invalid policy left a campaign in sending for ever and blocked its customers."""
    campaign_id, policy = prepared_campaign(desk), desk.settings.policy.read_text()
    clock.configure(fixed=clock.now() + timedelta(hours=5))
    wall, minutes = clock.wall(), [0.0]
    monkeypatch.setattr(clock, "wall", lambda: wall + timedelta(minutes=minutes[0]))
    with monkeypatch.context() as broken:
        if breaks == "policy":
            desk.settings.policy.write_text(BROKEN)
        else:
            broken.setattr(launch, "go_live", lambda *_: 1 / 0)
        assert len(_ticked(desk)) == 1
        assert _ticked(desk) == []
        minutes[0] += due.MAX_PAUSE.total_seconds() / 60 + 1
        (text,) = _ticked(desk)
        assert ("budget" in text) is (breaks == "policy")
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
    assert "live. *Live: " in messages(desk)


def _failing(desk, monkeypatch) -> str:
    """Kill the first sending before any code is issued; then 15 minutes pass."""
    campaign_id = approved(desk)
    clock.configure(fixed=clock.now() + timedelta(hours=5))
    with monkeypatch.context() as broken:
        broken.setattr(launch, "go_live", lambda *_: 1 / 0)
        assert len(_ticked(desk)) == 1
    wall = clock.wall() + due.MAX_PAUSE + timedelta(minutes=1)
    monkeypatch.setattr(clock, "wall", lambda: wall)
    return campaign_id


def test_late_sending_moves_validity_and_window(desk, monkeypatch):
    """The window and the codes' validity began with the failed run."""
    campaign_id = _failing(desk, monkeypatch)
    clock.configure(fixed=clock.now() + timedelta(days=2))
    assert _ticked(desk) == [""]
    campaign = campaign_of(desk, campaign_id)
    assert (campaign.state, campaign.sent_at) == ("live", clock.now())
    assert campaign.window_ends_at - clock.now() == timedelta(days=campaign.body["window_days"])
    until = coupons.valid_until(clock.now(), campaign.body["expires_days"], desk.settings.zone)
    assert set(scalars(desk.database, select(Coupon.expires_at))) == {until}
    assert set(desk.lake.table("treatments").sent_at.execute()) == {
        clock.now().replace(tzinfo=None)
    }


def test_campaign_unsent_within_its_approval_is_stopped(desk, monkeypatch):
    """It went live 40 days later with expired codes and a closed window."""
    campaign_id = _failing(desk, monkeypatch)
    clock.configure(fixed=campaign_of(desk, campaign_id).expires_at)
    assert _ticked(desk) == []
    campaign = campaign_of(desk, campaign_id)
    assert (campaign.state, campaign.window_ends_at) == ("cancelled", None)
    assert set(scalars(desk.database, select(Coupon.state))) == {"void"}
    assert (
        "stopped it: It could not be sent before its approval expired; draft it anew."
        in messages(desk)
    )


def test_running_sending_outlives_its_approval(desk, monkeypatch):
    campaign_id = _failing(desk, monkeypatch)
    (job_id,) = tick.tick(desk.database)
    clock.configure(fixed=campaign_of(desk, campaign_id).expires_at + timedelta(hours=1))
    assert _ticked(desk) == []
    assert campaign_of(desk, campaign_id).state == "sending"
    run_job(desk.database, job_id, "test")
    assert campaign_of(desk, campaign_id).state == "live"
