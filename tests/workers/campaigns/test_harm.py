"""Test that a live campaign which loses money raises an alert with a Stop button."""

import json
from datetime import timedelta

import pytest
from sqlalchemy import select

from retention import clock
from retention.alerts import store
from retention.alerts.condition import parse_condition
from retention.db.tables import Assignment, Campaign, Outbox
from tests import world
from tests.workers.campaigns.steps import ANALYST, CHANNEL, bring, prepared_campaign, run
from tests.world import scalars
from workers import ids
from workers.requests import AlertCheck, AlertTest

DAYS = 14


def groups(desk) -> dict[str, list[str]]:
    rows = world.rows(desk.database, select(Assignment.customer_id, Assignment.arm))
    return {
        arm: [customer for customer, its in rows if its == arm] for arm in ("treatment", "control")
    }


def alert_posts(desk) -> list[Outbox]:
    return list(scalars(desk.database, select(Outbox).where(Outbox.key.startswith("alerts:"))))


@pytest.mark.nightly
@pytest.mark.campaign("live")
def test_losing_campaign_is_reported_once_and_can_be_stopped(desk):
    campaign_id = prepared_campaign(desk)
    with desk.database.transaction() as session:
        store.add(
            session,
            "harm",
            parse_condition("campaign harm"),
            audience=None,
            channel=CHANNEL,
            by=ANALYST,
        )
        sent_at = session.get_one(Campaign, campaign_id).sent_at
    clock.configure(fixed=sent_at + timedelta(hours=1))
    assert run(desk, AlertCheck(), "operator").result["fired"] == 0
    members = groups(desk)
    for day in range(DAYS):
        buyers = members["control"] + (members["treatment"] if day == 0 else [])
        bring(desk, "purchase", sent_at + timedelta(days=day, hours=2), buyers)
    clock.configure(fixed=sent_at + timedelta(days=DAYS))
    for expected in (1, 0):  # once
        job = run(desk, AlertCheck(), "operator", key=f"check {expected}")
        assert (job.error, job.result["fired"]) == (None, expected)
    (post,) = alert_posts(desk)
    assert post.channel == CHANNEL
    assert f'"{campaign_id}:1"' in json.dumps(post.payload)
    assert ids.STOP_CAMPAIGN in json.dumps(post.payload)
    tried = run(desk, AlertTest(name="harm"), ANALYST).result["would_have_fired"]
    assert len(tried) == 1
    assert tried[0]["at"] <= clock.now().isoformat()
