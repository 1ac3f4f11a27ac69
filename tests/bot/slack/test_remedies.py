"""Test the buttons that widen a draft or make its offer cheaper."""

from sqlalchemy import select

from retention.campaigns.lifecycle.spec import Body, Prior
from retention.db.tables import Campaign
from tests.bot.campaign import drafted, message
from tests.bot.slack.test_slash import all_jobs, until
from tests.bot.wire import ANALYST
from tests.retention.campaigns.samples import a_line
from tests.world import scalar
from workers import action_ids

WIDER = {"tier": "medium", "customers": 532, "profit": 40.0, "learnable": True}
COSTLY = {"offers": (a_line(discount=0.2),), "prior": Prior(mean=0.1, sd=0.02), "redemption": 0.9}


def body_of(database) -> Body:
    return Body.model_validate(scalar(database, select(Campaign.body)))


def test_small_draft_says_so_first_and_widens_by_a_job(workspace, database, settings, api):
    small = drafted(database, settings, wider=WIDER)
    shown = message(database)
    assert "Too small to measure" in shown
    assert shown.index("Too small to measure") < shown.index("Audience")
    assert "Widen to medium risk (532 customers)" in shown
    workspace.press(action_ids.WIDEN_CAMPAIGN, f"{small}:1", ANALYST)
    (job,) = until(lambda: all_jobs(database))
    assert job.kind == "campaign_widen"
    given = {name: value for name, value in job.args.items() if value is not None}
    assert given == {"campaign_id": "c7", "version": 1, "tier": "medium", "listed": False}
    workspace.press(action_ids.WIDEN_CAMPAIGN, f"{small}:0", ANALYST, at="8.8")
    until(lambda: len(api.named("response_url")) == 2)
    assert len(all_jobs(database)) == 1


def test_losing_draft_says_so_first_and_gets_a_cheaper_offer(workspace, database, settings):
    costly = drafted(database, settings, **COSTLY)
    assert "Expected to lose" in message(database)
    assert "Choose a cheaper offer" in message(database)
    workspace.press(action_ids.CHEAPER_CAMPAIGN, f"{costly}:1", ANALYST)
    until(lambda: body_of(database).discount == 0.05)
    assert body_of(database).plan().profit > 0
    assert "Expected to lose" not in message(database)
