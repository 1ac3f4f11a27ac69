"""Test the retry of campaigns that could not be sent in time."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from retention import clock
from retention.campaigns.codes import coupons
from retention.campaigns.lifecycle import due, launch
from retention.db.tables import Coupon, Job, Send
from workers.schedule import tick

BROKEN = "[campaign]\nbudget = -1\n"


def _ticked(desk) -> list[str]:
    """The tick's jobs of sending, done; what they said."""
    return [job.error or "" for job in desk.tick() if job.kind == "campaign_send"]


@pytest.mark.nightly_after(1)
@pytest.mark.campaign("approved")
@pytest.mark.parametrize(("breaks", "waits_as"), [("policy", "scheduled"), ("bug", "sending")])
def test_failed_sending_is_retried(desk, monkeypatch, breaks, waits_as):
    """An invalid policy left a campaign in sending for ever and blocked its customers."""
    policy = desk.settings.policy.read_text()
    desk.wait(hours=5)
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
        assert desk.campaign().state == waits_as
    desk.settings.policy.write_text(policy)
    minutes[0] += due.MAX_PAUSE.total_seconds() / 60 + 1
    assert _ticked(desk) == [""]
    assert desk.campaign().state == "live"
    assert _ticked(desk) == []
    assert desk.one(select(Job.id).where(Job.kind == "campaign_send"))
    treated = desk.scalars(select(Send.customer_id))
    assert len(treated) == len(set(treated)) > 0
    assert "live. *Live: " in desk.messages()


@pytest.fixture
def failed(desk, monkeypatch):
    """The first sending was killed before any code was issued, 15 minutes ago."""
    desk.wait(hours=5)
    with monkeypatch.context() as broken:
        broken.setattr(launch, "go_live", lambda *_: 1 / 0)
        assert len(_ticked(desk)) == 1
    wall = clock.wall() + due.MAX_PAUSE + timedelta(minutes=1)
    monkeypatch.setattr(clock, "wall", lambda: wall)
    return desk


@pytest.mark.campaign("approved")
def test_late_sending_moves_validity_and_window(failed):
    """The window and the codes' validity began with the failed run."""
    failed.wait(days=2)
    assert _ticked(failed) == [""]
    campaign, body, now = failed.campaign(), failed.body(), clock.now()
    assert (campaign.state, campaign.sent_at) == ("live", now)
    assert campaign.window_ends_at - now == timedelta(days=body.window_days)
    until = coupons.valid_until(now, body.expires_days, failed.settings.zone)
    assert set(failed.scalars(select(Coupon.expires_at))) == {until}
    assert set(failed.table("treatments").sent_at) == {now.replace(tzinfo=None)}


@pytest.mark.campaign("approved")
def test_campaign_unsent_within_its_approval_is_stopped(failed):
    """It went live 40 days later with expired codes and a closed window."""
    clock.configure(fixed=failed.campaign().expires_at)
    assert _ticked(failed) == []
    campaign = failed.campaign()
    assert (campaign.state, campaign.window_ends_at) == ("cancelled", None)
    assert set(failed.scalars(select(Coupon.state))) == {"void"}
    why = "stopped it: It could not be sent before its approval expired; draft it anew."
    assert why in failed.messages()


@pytest.mark.campaign("approved")
def test_running_sending_outlives_its_approval(failed):
    jobs = tick.tick(failed.database)
    clock.configure(fixed=failed.campaign().expires_at + timedelta(hours=1))
    assert _ticked(failed) == []
    assert failed.campaign().state == "sending"
    failed.run_jobs(jobs)
    campaign = failed.campaign()
    assert (campaign.state, campaign.sent_at) == ("live", clock.now())  # no worker was there before
