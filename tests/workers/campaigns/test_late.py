"""Orders of a window that are imported after its result was told: the thread says so, the result stays."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from retention import clock, templating
from retention.campaigns import closing, late_orders
from retention.campaigns.view import campaign_data
from retention.db.tables import Assignment
from tests.workers.campaigns.steps import bring, campaign_of, go_on, live, measured, messages
from workers import campaigns
from workers.delivery import render


def _told(desk, campaign_id) -> str:
    """What its thread tells of late orders after the next tick."""
    with desk.database.transaction() as session:
        campaigns.report_late(session, desk.settings)
    return messages(desk, f"campaign:{campaign_id}:later:1")


def _arm(desk, campaign_id, arm) -> list[str]:
    wanted = Assignment.campaign_id == campaign_id, Assignment.arm == arm
    with desk.database.reading() as session:
        return sorted(session.scalars(select(Assignment.customer_id).where(*wanted)))


@pytest.fixture
def closed(desk) -> str:
    campaign_id = live(desk)
    go_on(desk, days=29)
    assert measured(desk, campaign_id, clock.now() + timedelta(minutes=1)) == "closed"
    return campaign_id


def test_orders_that_come_after_the_result_are_told_and_the_result_stays(desk, closed):
    before = campaign_of(desk, closed).result
    assert _told(desk, closed) == ""
    who = _arm(desk, closed, "treatment")[:12] + _arm(desk, closed, "control")[:2]
    bring(desk, "purchase", campaign_of(desk, closed).window_ends_at - timedelta(days=9), who)
    said = _told(desk, closed)
    then, now = before["orders_here"], campaign_of(desk, closed).result["later"]["orders_here"]
    assert now == {"treatment": then["treatment"] + 12, "control": then["control"] + 2}
    assert f"measured with {sum(then.values())} order" in said
    assert f"by now {sum(now.values())} are here ({now['treatment']} and {now['control']})" in said
    later = campaign_of(desk, closed).result["later"]
    assert later["effects"]["orders"]["treated_mean"] > before["effects"]["orders"]["treated_mean"]
    kept = campaign_of(desk, closed).result
    assert {name: kept[name] for name in before} == before


def test_what_was_told_is_told_once_and_again_only_when_more_comes(desk, closed):
    ends, who = campaign_of(desk, closed).window_ends_at, _arm(desk, closed, "treatment")
    bring(desk, "purchase", ends - timedelta(days=9), who[:3])
    _told(desk, closed)
    bring(desk, "purchase", ends - timedelta(days=9), who[:3])  # the same file again
    bring(desk, "purchase", ends + timedelta(hours=2), who)  # after its window
    bring(desk, "purchase", ends - timedelta(days=8), ["passer-by"])  # of nobody in it
    with desk.database.transaction() as session:
        assert late_orders.mark_announced(session, desk.settings) == []
    bring(desk, "purchase", ends - timedelta(days=8), who[:1])
    with desk.database.transaction() as session:
        assert late_orders.mark_announced(session, desk.settings) == [closed]


def test_the_result_that_is_asked_for_says_so_too(desk, closed):
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


def test_of_a_campaign_that_was_closed_without_orders_it_is_told_what_they_say_once_they_come(desk):
    campaign_id = live(desk)
    ends = campaign_of(desk, campaign_id).window_ends_at
    assert measured(desk, campaign_id, ends + closing.MAX_WAIT) == "closed"
    who = _arm(desk, campaign_id, "treatment")[:5]
    bring(desk, "purchase", ends - timedelta(days=9), who)
    assert _told(desk, campaign_id) == ""  # those of its last days are awaited still
    bring(desk, "purchase", ends - timedelta(hours=2), ["passer-by"])
    said = _told(desk, campaign_id)
    assert "closed without a result; by now 5 are here (5 and 0)" in said
    campaign = campaign_data(campaign_of(desk, campaign_id))
    assert campaign["never_measured"]
    typed = templating.text("terminal/campaign/unmeasured.txt.j2", campaign=campaign, zone="UTC")
    assert "Orders of its window came in later: It was closed without a result; by now 5" in typed
