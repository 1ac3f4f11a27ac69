"""Test that a live campaign which loses money raises an alert with a Stop button."""

import json
from datetime import timedelta

import pytest
from sqlalchemy import select

from retention import clock
from retention.alerts import store
from retention.alerts.condition import parse_condition
from retention.db.tables import Outbox
from tests.workers.campaigns.desk import ANALYST, CHANNEL
from workers import action_ids
from workers.job_requests import AlertCheck, AlertTest

DAYS = 14


@pytest.mark.nightly
@pytest.mark.campaign("live")
def test_losing_campaign_is_reported_once_and_can_be_stopped(desk):
    condition = parse_condition("campaign harm")
    desk.change(store.add, "harm", condition, audience=None, channel=CHANNEL, by=ANALYST)
    sent_at, groups = desk.campaign().sent_at, desk.arms()
    clock.configure(fixed=sent_at + timedelta(hours=1))
    assert desk.done(AlertCheck(), "operator").result["fired"] == 0
    for day in range(DAYS):
        buyers = groups["control"] + (groups["treatment"] if day == 0 else [])
        desk.bring("purchase", sent_at + timedelta(days=day, hours=2), buyers)
    clock.configure(fixed=sent_at + timedelta(days=DAYS))
    for expected in (1, 0):  # once
        assert desk.done(AlertCheck(), "operator").result["fired"] == expected
    post = desk.one(select(Outbox).where(Outbox.key.startswith("alerts:")))
    assert post.channel == CHANNEL
    assert f'"{desk.campaign_id}:1"' in json.dumps(post.payload)
    assert action_ids.STOP_CAMPAIGN in json.dumps(post.payload)
    tried = desk.run(AlertTest(name="harm"), ANALYST).result["would_have_fired"]
    assert len(tried) == 1
    assert tried[0]["at"] <= clock.now().isoformat()
