"""Test reports of orders that are imported after the result."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from retention import clock, templating
from retention.campaigns.lifecycle import closing
from retention.campaigns.lifecycle.view import campaign_data
from retention.campaigns.measurement import late_orders
from retention.db.tables import Assignment
from tests.workers.campaigns.steps import (
    bring,
    campaign_of,
    go_on,
    live,
    measured,
    messages,
    prepared_campaign,
)
from tests.world import change, read, scalars
from workers.campaigns import due_steps
from workers.delivery import render


def _told(desk, campaign_id) -> str:
    """What its thread tells of late orders after the next tick."""
    change(desk.database, due_steps.report_late)
    return messages(desk, f"campaign:{campaign_id}:later:1")


def _arm(desk, campaign_id, arm) -> list[str]:
    expected = Assignment.campaign_id == campaign_id, Assignment.arm == arm
    return sorted(scalars(desk.database, select(Assignment.customer_id).where(*expected)))


@pytest.fixture
def closed(desk) -> str:
    campaign_id = live(desk)
    go_on(desk, days=29)
    assert measured(desk, campaign_id, clock.now() + timedelta(minutes=1)) == "closed"
    return campaign_id


def test_late_orders_are_reported_and_the_result_stays(desk, closed):
    before = campaign_of(desk, closed).result
    assert _told(desk, closed) == ""
    customers = _arm(desk, closed, "treatment")[:12] + _arm(desk, closed, "control")[:2]
    bring(desk, "purchase", campaign_of(desk, closed).window_ends_at - timedelta(days=9), customers)
    text = _told(desk, closed)
    then, now = before["orders_here"], campaign_of(desk, closed).result["later"]["orders_here"]
    assert now == {"treatment": then["treatment"] + 12, "control": then["control"] + 2}
    assert f"measured with {sum(then.values())} order" in text
    assert f"by now {sum(now.values())} are here ({now['treatment']} and {now['control']})" in text
    later = campaign_of(desk, closed).result["later"]
    assert later["effects"]["orders"]["treated_mean"] > before["effects"]["orders"]["treated_mean"]
    stored = campaign_of(desk, closed).result
    assert {name: stored[name] for name in before} == before


@pytest.mark.nightly
def test_late_orders_are_reported_once_until_more_arrive(desk, closed):
    ends, customers = campaign_of(desk, closed).window_ends_at, _arm(desk, closed, "treatment")
    bring(desk, "purchase", ends - timedelta(days=9), customers[:3])
    _told(desk, closed)
    bring(desk, "purchase", ends - timedelta(days=9), customers[:3])  # the same file again
    bring(desk, "purchase", ends + timedelta(hours=2), customers)  # after its window
    bring(desk, "purchase", ends - timedelta(days=8), ["passer-by"])  # of nobody in it
    assert read(desk.database, late_orders.unannounced_results) == []
    bring(desk, "purchase", ends - timedelta(days=8), customers[:1])
    assert read(desk.database, late_orders.unannounced_results) == [closed]


def test_requested_result_mentions_late_orders(desk, closed):
    ends = campaign_of(desk, closed).window_ends_at
    bring(desk, "purchase", ends - timedelta(days=9), _arm(desk, closed, "treatment"))
    campaign = campaign_data(campaign_of(desk, closed))
    shown = render.message(
        "campaign/result",
        campaign=campaign,
        measured=campaign["result"],
        with_chart=False,
        treated=10,
        control=2,
        zone="UTC",
    )
    assert "Orders of its window came in later" in str(shown.blocks)
    typed = templating.text(
        "terminal/campaign/result.txt.j2",
        campaign=campaign,
        measured=campaign["result"],
        treated=10,
        control=2,
    )
    assert "\nOrders of its window came in later: It was measured with 0 orders" in typed


@pytest.mark.nightly
@pytest.mark.campaign("live")
def test_late_orders_of_an_unmeasured_campaign_are_reported(desk):
    campaign_id = prepared_campaign(desk)
    ends = campaign_of(desk, campaign_id).window_ends_at
    assert measured(desk, campaign_id, ends + closing.MAX_WAIT) == "closed"
    customers = _arm(desk, campaign_id, "treatment")[:5]
    bring(desk, "purchase", ends - timedelta(days=9), customers)
    assert _told(desk, campaign_id) == ""  # those of its last days are awaited still
    bring(desk, "purchase", ends - timedelta(hours=2), ["passer-by"])
    text = _told(desk, campaign_id)
    assert "closed without a result; by now 5 are here (5 and 0)" in text
    campaign = campaign_data(campaign_of(desk, campaign_id))
    assert campaign["never_measured"]
    typed = templating.text("terminal/campaign/unmeasured.txt.j2", campaign=campaign, zone="UTC")
    assert "Orders of its window came in later: It was closed without a result; by now 5" in typed
