"""Test reports of orders that are imported after the result."""

from datetime import timedelta

import pytest

from retention import templating
from retention.campaigns.lifecycle import closing
from retention.campaigns.lifecycle.view import campaign_data
from retention.campaigns.measurement import late_orders
from workers.campaigns import due_steps
from workers.delivery import render


def _told(desk) -> str:
    """What its thread tells of late orders after the next tick."""
    desk.change(due_steps.report_late)
    return desk.thread("later")


@pytest.mark.campaign("closed")
def test_late_orders_are_reported_and_the_result_stays(desk):
    campaign, groups = desk.campaign(), desk.arms()
    before, then = campaign.result, campaign.result["orders_here"]
    assert _told(desk) == ""
    customers = groups["treatment"][:12] + groups["control"][:2]
    desk.bring("purchase", campaign.window_ends_at - timedelta(days=9), customers)
    text, stored = _told(desk), desk.campaign().result
    now = stored["later"]["orders_here"]
    assert now == {"treatment": then["treatment"] + 12, "control": then["control"] + 2}
    assert f"measured with {sum(then.values())} order" in text
    assert f"by now {sum(now.values())} are here ({now['treatment']} and {now['control']})" in text
    orders = stored["later"]["effects"]["orders"]
    assert orders["treated_mean"] > before["effects"]["orders"]["treated_mean"]
    assert {name: stored[name] for name in before} == before
    data = campaign_data(desk.campaign())
    values = {"campaign": data, "measured": data["result"], "treated": 10, "control": 2}
    shown = render.message("campaign/result", **values, with_chart=False, zone="UTC")
    assert "Orders of its window came in later" in str(shown.blocks)
    typed = templating.text("terminal/campaign/result.txt.j2", **values)
    measured_with = f"It was measured with {sum(then.values())} order"
    assert f"\nOrders of its window came in later: {measured_with}" in typed


@pytest.mark.nightly
@pytest.mark.campaign("closed")
def test_late_orders_are_reported_once_until_more_arrive(desk):
    ends, customers = desk.campaign().window_ends_at, desk.arms()["treatment"]
    desk.bring("purchase", ends - timedelta(days=9), customers[:3])
    _told(desk)
    desk.bring("purchase", ends - timedelta(days=9), customers[:3])  # the same file again
    desk.bring("purchase", ends + timedelta(hours=2), customers)  # after its window
    desk.bring("purchase", ends - timedelta(days=8), ["passer-by"])  # of nobody in it
    assert desk.read(late_orders.unannounced_results) == []
    desk.bring("purchase", ends - timedelta(days=8), customers[:1])
    assert desk.read(late_orders.unannounced_results) == [desk.campaign_id]


@pytest.mark.nightly
@pytest.mark.campaign("live")
def test_late_orders_of_an_unmeasured_campaign_are_reported(desk):
    ends = desk.campaign().window_ends_at
    assert desk.measured(ends + closing.MAX_WAIT) == "closed"
    desk.bring("purchase", ends - timedelta(days=9), desk.arms()["treatment"][:5])
    assert _told(desk) == ""  # those of its last days are awaited still
    desk.bring("purchase", ends - timedelta(hours=2), ["passer-by"])
    assert "closed without a result; by now 5 are here (5 and 0)" in _told(desk)
    campaign = campaign_data(desk.campaign())
    assert campaign["never_measured"]
    typed = templating.text("terminal/campaign/unmeasured.txt.j2", campaign=campaign, zone="UTC")
    assert "Orders of its window came in later: It was closed without a result; by now 5" in typed
