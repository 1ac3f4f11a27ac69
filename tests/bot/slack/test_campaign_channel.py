"""Test the choice of a campaign's channel: by modal and by command."""

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from retention.campaigns.lifecycle.spec import DraftedFor
from retention.campaigns.lifecycle.states import find_campaign
from retention.db.tables import Campaign
from retention.settings import Settings
from tests.bot.campaign import drafted, fill, opened
from tests.bot.slack.test_slash import all_jobs
from tests.bot.wire import ANALYST
from tests.world import read, scalar
from workers import action_ids

ASKED = DraftedFor(tier="medium", audience=None, where='city = "Oslo"')


@pytest.fixture
def settings(settings) -> Settings:
    """Settings with a platform that sends text messages."""
    hook = {"sms_webhook_url": SecretStr("https://platform.example/hook")}
    return settings.model_copy(update={**hook, "webhook_key": SecretStr("shared")})


def _save(workspace, api, channel: str) -> None:
    workspace.press(action_ids.EDIT_CAMPAIGN, "c7:1", ANALYST)
    view = opened(api)
    (block,) = (one for one in view["blocks"] if one["block_id"] == "message_channel")
    assert block["element"]["initial_option"]["value"] == "email"
    values = {one["value"] for one in block["element"]["options"]}
    assert values == {"email", "sms", "whatsapp"}
    typed = {"name": "June", "copy": "Hello {name}: {code}"}
    typed["message_channel"] = {"selected_option": {"value": channel}}
    answer = fill(workspace, action_ids.EDIT_VIEW, view["private_metadata"], ANALYST, **typed)
    assert (answer.status, answer.body) == (200, "")


def test_another_channel_in_the_window_drafts_the_audience_anew(workspace, database, settings, api):
    drafted(database, settings, drafted_for=ASKED)
    _save(workspace, api, "sms")
    campaign = read(database, find_campaign, "c7")
    assert (campaign.name, campaign.version) == ("June", 2)
    (job,) = all_jobs(database)
    assert job.kind == "campaign_widen"
    assert job.args["version"] == 2
    assert job.args["message_channel"] == "sms"
    assert (job.args["tier"], job.args["where"]) == ("medium", 'city = "Oslo"')


def test_same_channel_in_the_window_drafts_nothing(workspace, database, settings, api):
    drafted(database, settings, drafted_for=ASKED)
    _save(workspace, api, "email")
    assert not all_jobs(database)


def test_commands_draft_for_a_channel_and_change_that_of_a_draft(workspace, database, settings):
    drafted(database, settings, drafted_for=ASKED)
    refusal = workspace.run("campaign edit c7 --channel sms --discount 12", trigger="T1")
    assert "second edit" in str(refusal)
    assert not all_jobs(database)
    workspace.run("campaign edit c7 --channel sms", trigger="T2")
    (job,) = all_jobs(database)
    assert (job.kind, job.args["message_channel"]) == ("campaign_widen", "sms")
    workspace.run("campaign draft --channel whatsapp", trigger="T3")
    channels = {job.kind: job.args["message_channel"] for job in all_jobs(database)}
    assert channels == {"campaign_widen": "sms", "campaign_draft": "whatsapp"}
    assert scalar(database, select(Campaign.version)) == 1
