"""Test what is told about the decisions on a customer."""

import pytest
from sqlalchemy import select

from retention.data_subject.why import decisions_about
from retention.db.tables import Assignment
from retention.outreach.consent import withdraw
from retention.risk.policy import load_policy
from tests import readonly
from tests.retention.campaigns.samples import NOW
from tests.retention.outreach.live_campaigns import start_campaign
from tests.world import change, read, scalars


@pytest.fixture
def own_shop(shop, tmp_path):
    copy = readonly.copy_of(shop, tmp_path / "home")
    yield copy
    copy.database.dispose()


def _told(shop, *ids):
    policy = load_policy(shop.settings)
    return read(
        shop.database, lambda session: decisions_about(shop.lake, session, policy, ids, NOW)
    )


def test_campaign_names_group_probability_rule_approver_and_send(own_shop):
    database = own_shop.database
    campaign = start_campaign(database, own_shop.settings, 20)
    groups = {each.customer_id: each for each in scalars(database, select(Assignment))}
    by_group = {each.arm: each.customer_id for each in groups.values()}
    for group in ("treatment", "control"):
        (told,) = _told(own_shop, by_group[group])["campaigns"]
        assert (told["campaign_id"], told["group"]) == (campaign.id, group)
        assert told["probability"] == groups[by_group[group]].propensity
        assert told["rule"] == "High risk"
        assert [each["decision"] for each in told["decisions"]] == ["approve"]
        assert (told["sent"] is not None) == (group == "treatment")
    assert not _told(own_shop, "c0007")["campaigns"]


def test_consent_and_pause_are_told_by_channel(own_shop):
    before = _told(own_shop, "c0007")["consent"]
    change(own_shop.database, withdraw, "c0007", "unsubscribe", NOW, channel="sms")
    after = _told(own_shop, "c0007")["consent"]
    assert (after["sms"], after["email"]) == ("refused", before["email"])
