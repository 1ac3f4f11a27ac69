"""A campaign that could not be sent at its moment goes by itself once what kept it is mended."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from retention import clock
from retention.campaigns import due, sending
from retention.db.tables import Job, Send
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
            broken.setattr(sending, "finish", lambda *_: 1 / 0)
        assert len(_ticked(desk)) == 1
        assert _ticked(desk) == []
        minutes[0] += due.LONGEST_REST.total_seconds() / 60 + 1
        (said,) = _ticked(desk)
        assert ("budget" in said) is (breaks == "policy")
        assert campaign_of(desk, campaign_id).state == waits_as
    desk.settings.policy.write_text(policy)
    minutes[0] += due.LONGEST_REST.total_seconds() / 60 + 1
    assert _ticked(desk) == [""]
    assert campaign_of(desk, campaign_id).state == "live"
    assert _ticked(desk) == []
    with desk.database.reading() as session:
        assert session.scalars(select(Job.id).where(Job.kind == "campaign_send")).one()
        treated = session.scalars(select(Send.customer_id).where(Send.campaign_id == campaign_id)).all()
    assert len(treated) == len(set(treated)) > 0
    assert "It is live" in messages(desk)
