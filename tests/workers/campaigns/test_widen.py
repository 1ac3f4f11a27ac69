"""Test drafts with a wider audience, as a campaign's next version."""

import pytest
from sqlalchemy import func, select

from retention.campaigns.lifecycle.spec import Body
from retention.campaigns.lifecycle.states import Step
from retention.campaigns.lifecycle.view import campaign_data
from retention.campaigns.planning.terms import default_name
from retention.db.tables import Assignment, Cohort
from retention.risk.policy import TIERS
from tests import world
from tests.workers.campaigns.steps import (
    ANALYST,
    POLICY,
    campaign_of,
    done,
    drafted,
    messages,
    offers_of,
    run,
    with_settings,
)
from tests.world import change, scalars
from workers import ids
from workers.campaigns import decisions
from workers.campaigns.decisions import Changes
from workers.campaigns.follow_ups import follow_up_request
from workers.campaigns.requests import CampaignDraft, CampaignWiden
from workers.requests import Sweep


def high_draft(desk) -> str:
    job = done(desk, CampaignDraft(tier="high"), ANALYST)
    return job.result["campaign_id"]


def test_wider_draft_is_the_next_version_with_all_its_customers(desk):
    campaign_id = high_draft(desk)
    before = campaign_of(desk, campaign_id)
    wider = before.body["wider"]
    assert wider["customers"] > before.body["audience"]
    request = CampaignWiden(campaign_id=campaign_id, version=1, tier=wider["tier"])
    assert run(desk, request, ANALYST).error is None
    after = campaign_of(desk, campaign_id)
    assert (after.version, after.state) == (2, "draft")
    assert after.body["audience"] == wider["customers"]
    assert after.body["overlaps"] == []  # none with itself
    with desk.database.reading() as session:
        in_campaign = Assignment.campaign_id == campaign_id
        assert session.scalar(select(func.count()).where(in_campaign)) == wider["customers"]
    assert after.name != before.name
    assert ":2" in messages(desk, after.post_key)
    thread = messages(desk, f"campaign:{campaign_id}:edited:2")
    assert "version 2" in thread
    assert after.name in thread  # the differences are listed


def test_edits_outlast_a_wider_audience(desk):
    campaign_id = high_draft(desk)
    changes = Changes(name="Spring", expires_days=9, discount=0.05)
    change(desk.database, decisions.edit, Step(campaign_id, ANALYST, 1), changes)
    request = CampaignWiden(campaign_id=campaign_id, version=2, tier="low")
    assert run(desk, request, ANALYST).error is None
    after = campaign_of(desk, campaign_id)
    assert (after.name, after.body["expires_days"]) == ("Spring", 9)
    assert {line["discount"] for line in after.body["offers"] if line["action"] == "coupon"} == {
        0.05
    }
    offers = offers_of(desk, campaign_id)
    assert {offer["discount"] for offer in offers if offer["action"] == "coupon"} == {0.05}


def test_widening_an_older_version_is_refused(desk):
    campaign_id = high_draft(desk)
    change(desk.database, decisions.edit, Step(campaign_id, ANALYST, 1), Changes(expires_days=9))
    job = run(desk, CampaignWiden(campaign_id=campaign_id, version=1, tier="low"), ANALYST)
    assert "edited since" in job.error
    assert campaign_of(desk, campaign_id).version == 2


def test_draft_for_everybody_has_nothing_wider(desk):
    assert campaign_of(desk, drafted(desk)).body["wider"] is None


def test_draft_under_a_list_is_for_this_list_and_offers_more(desk):
    cohort_id = run(desk, Sweep(tier="high"), ANALYST).result["cohort_id"]
    campaign_id = run(desk, CampaignDraft(cohort_id=cohort_id), ANALYST).result["campaign_id"]
    campaign = campaign_of(desk, campaign_id)
    assert campaign.body["asked"] is None
    assert set(campaign.body["tiers"]) == {"high"}
    assert campaign.body["wider"]["customers"] > campaign.body["audience"]
    assert ids.WIDEN_CAMPAIGN in messages(desk, campaign.post_key)


def test_draft_under_the_default_list_is_for_its_customers_and_offers_more(desk):
    swept = run(desk, Sweep(top=1000), ANALYST).result
    job = run(desk, CampaignDraft(cohort_id=swept["cohort_id"]), ANALYST)
    campaign = campaign_of(desk, job.result["campaign_id"])
    chosen = scalars(
        desk.database, select(Assignment.customer_id).where(Assignment.campaign_id == campaign.id)
    )
    assert set(chosen) <= {row["customer_id"] for row in swept["cohort"]}
    assert campaign.body["wider"]["customers"] > campaign.body["audience"] == len(chosen)
    tier = campaign.body["wider"]["tier"]
    request = CampaignWiden(campaign_id=campaign.id, version=1, tier=tier)
    assert run(desk, request, ANALYST).error is None
    assert campaign_of(desk, campaign.id).body["audience"] > len(chosen)


@pytest.mark.nightly
def test_forecast_is_of_the_campaign_window_not_of_the_churn_horizon(desk):
    cohort_id = run(desk, Sweep(), ANALYST).result["cohort_id"]
    within = run(desk, CampaignDraft(cohort_id=cohort_id), ANALYST).result
    with desk.database.transaction() as session:
        session.get_one(Cohort, cohort_id).horizon_days = 4 * within["window_days"]
    longer = run(desk, CampaignDraft(cohort_id=cohort_id), ANALYST, key="longer").result
    assert longer["audience"] == within["audience"]

    def total(draft, name):
        return sum(line[name] for line in draft["offers"])

    assert total(longer, "base_sales") == pytest.approx(total(within, "base_sales") / 4)
    assert total(within, "base") / 4 < total(longer, "base") < total(within, "base")
    assert longer["plan"]["profit"] < within["plan"]["profit"]


def test_follow_up_of_a_list_campaign_is_for_a_new_list(desk):
    cohort_id = run(desk, Sweep(), ANALYST).result["cohort_id"]
    job = run(desk, CampaignDraft(cohort_id=cohort_id), ANALYST)
    campaign = campaign_of(desk, job.result["campaign_id"])
    data = campaign_data(campaign)
    for following in ("repeat", "cheaper", "reminder"):
        request = follow_up_request(data, following)
        assert (request.listed, request.tier) == (True, None)
    larger = follow_up_request(data, "larger")
    assert (larger.listed, larger.tier) == (False, campaign.body["wider"]["tier"])
    job = run(desk, follow_up_request(data, "repeat"), ANALYST, key="again")
    again = campaign_of(desk, job.result["campaign_id"])
    assert again.body["audience"] == campaign.body["audience"] < campaign.body["wider"]["customers"]
    assert again.body["drafted_for"] == campaign.body["drafted_for"]
    when = campaign.created_at.astimezone(desk.settings.zone)
    assert again.name == campaign.name == default_name(Body.model_validate(campaign.body), when)
    run(desk, CampaignWiden(campaign_id=again.id, version=1, tier="low"), ANALYST, key="wide")
    assert campaign_of(desk, again.id).name != campaign.name


def test_list_campaign_of_an_earlier_version_has_follow_ups_by_its_tiers(desk):
    cohort_id = run(desk, Sweep(), ANALYST).result["cohort_id"]
    job = run(desk, CampaignDraft(cohort_id=cohort_id), ANALYST)
    data = campaign_data(campaign_of(desk, job.result["campaign_id"]))
    for earlier in (None, {"tier": None, "audience": None, "where": None, "customer_id": None}):
        request = follow_up_request({**data, "drafted_for": earlier}, "repeat")
        assert (request.listed, request.tier in TIERS) == (False, True)


def test_lapsed_customers_without_a_rule_are_refused_by_name(desk):
    job = run(desk, CampaignDraft(tier="lapsed"), ANALYST)
    assert 'tiers = ["lapsed"]' in job.error


def test_lapsed_customers_get_a_win_back_draft(desk, tmp_path):
    policy = tmp_path / "policy.toml"
    own = POLICY.replace('"low"]', '"low", "lapsed"]') + "[list]\ncustomers = 5\n"
    policy.write_text(own, encoding="utf-8")
    desk = with_settings(desk, policy=policy)
    job = run(desk, CampaignDraft(tier="lapsed"), ANALYST)
    campaign = campaign_of(desk, job.result["campaign_id"])
    assert set(campaign.body["tiers"]) == {"lapsed"}
    swept = run(desk, Sweep(tier="lapsed"), ANALYST).result
    listed = run(desk, CampaignDraft(cohort_id=swept["cohort_id"]), ANALYST, key="listed")
    body = campaign_of(desk, listed.result["campaign_id"]).body
    assert body["audience"] <= swept["cohort_size"] == 5 < campaign.body["audience"]
    assert body["wider"]["tier"] == "lapsed"
    again = follow_up_request(
        campaign_data(campaign_of(desk, listed.result["campaign_id"])), "repeat"
    )
    repeated = run(desk, again, ANALYST, key="again").result
    assert repeated["tiers"] == body["tiers"]
    active = CampaignDraft(cohort_id=swept["cohort_id"], tier="high")
    assert "--tier" in run(desk, active, ANALYST, key="active").error
    nobody = CampaignDraft(tier="lapsed", where="orders > 9999")
    assert "list is empty" in run(desk, nobody, ANALYST, key="nobody").error


def test_list_without_a_rule_of_its_own_names_the_missing_rule(desk, tmp_path):
    policy = tmp_path / "policy.toml"
    one = POLICY.partition("[[rules]]")[0] + '[[rules]]\nname = "All"\ntiers = ["{tier}"]\n'
    one += 'action = "coupon"\ndiscount = 0.1\n'
    policy.write_text(one.format(tier="high"), encoding="utf-8")
    desk = with_settings(desk, policy=policy)
    swept = run(desk, Sweep(), ANALYST).result
    job = run(desk, CampaignDraft(cohort_id=swept["cohort_id"]), ANALYST)
    excluded = job.result["excluded"]
    assert 0 < excluded["no_list_rule"] < swept["cohort_size"]
    assert "no_rule" not in excluded
    policy.write_text(one.format(tier="lapsed"), encoding="utf-8")
    job = run(desk, CampaignDraft(cohort_id=swept["cohort_id"]), ANALYST, key="nobody")
    assert 'tiers = ["listed"]' in job.error


def test_rule_for_the_list_is_for_those_whose_own_tier_has_no_offer(desk, tmp_path):
    policy = tmp_path / "policy.toml"
    rules = POLICY.replace('tiers = ["high", "medium", "low"]', 'tiers = ["high"]')
    rules += '[[rules]]\nname = "Listed"\ntiers = ["listed"]\naction = "reminder"\n'
    policy.write_text(rules, encoding="utf-8")
    desk = with_settings(desk, policy=policy)
    cohort_id = run(desk, Sweep(), ANALYST).result["cohort_id"]
    job = run(desk, CampaignDraft(cohort_id=cohort_id), ANALYST)
    rows = world.rows(
        desk.database,
        select(Assignment.tier, Assignment.offer).where(
            Assignment.campaign_id == job.result["campaign_id"]
        ),
    )
    assert {tier for tier, _ in rows} - {"high"}
    assert all((offer["rule"] == "Listed") == (tier != "high") for tier, offer in rows)
    whole = run(desk, Sweep(tier="low"), ANALYST).result  # everybody, so nobody was chosen
    job = run(desk, CampaignDraft(cohort_id=whole["cohort_id"]), ANALYST, key="whole")
    assert set(job.result["tiers"]) == {"high"}
    assert "Listed" not in {line["rule"] for line in job.result["offers"]}
