"""Test drafts with a wider audience, as a campaign's next version."""

import pytest
from sqlalchemy import select, update

from retention.campaigns.lifecycle.view import campaign_data
from retention.campaigns.planning.requested_terms import default_name
from retention.db.tables import Assignment, Cohort
from retention.risk.policy import TIERS
from tests.workers.campaigns.desk import ANALYST, POLICY
from workers import action_ids
from workers.campaigns import decisions
from workers.campaigns.decisions import Changes
from workers.campaigns.follow_ups import follow_up_request
from workers.campaigns.job_requests import CampaignDraft, CampaignWiden
from workers.job_requests import Sweep


def _widen(desk, tier: str, **options):
    asked = {"campaign_id": desk.campaign_id, "version": desk.campaign().version, "tier": tier}
    return desk.run(CampaignWiden(**asked | options), ANALYST)


def _draft(desk, **options):
    return desk.run(CampaignDraft(**options), ANALYST)


def _sweep(desk, **options):
    return desk.run(Sweep(**options), ANALYST).result


@pytest.mark.campaign("draft for high risk")
def test_wider_draft_is_the_next_version_with_all_its_customers(desk):
    before, old = desk.campaign(), desk.body()
    assert old.wider.customers > old.audience
    assert _widen(desk, old.wider.tier).error is None
    after, new = desk.campaign(), desk.body()
    assert (after.version, after.state) == (2, "draft")
    assert new.audience == old.wider.customers == len(desk.offers())
    assert new.overlaps == ()  # none with itself
    assert after.name != before.name
    assert ":2" in desk.card()
    thread = desk.thread("edited", version=2)
    assert "version 2" in thread
    assert after.name in thread  # the differences are listed


@pytest.mark.campaign("draft for high risk")
def test_edits_outlast_a_wider_audience_of_the_newest_version(desk):
    edit = Changes(name="Spring", expires_days=9, discount=0.05)
    desk.decide(decisions.edit, ANALYST, edit)
    assert "edited since" in _widen(desk, "low", version=1).error
    assert _widen(desk, "low").error is None
    body, offers = desk.body(), desk.offers().values()
    assert (desk.campaign().name, body.expires_days) == ("Spring", 9)
    assert {line.discount for line in body.offers if line.action == "coupon"} == {0.05}
    assert {offer["discount"] for offer in offers if offer["action"] == "coupon"} == {0.05}
    assert body.wider is None  # than everybody


def test_draft_under_a_list_is_for_this_list_and_offers_more(desk):
    _draft(desk, cohort_id=_sweep(desk, tier="high")["cohort_id"])
    body = desk.body()
    assert body.asked is None
    assert body.tiers.keys() == {"high"}
    assert body.wider.customers > body.audience
    assert action_ids.WIDEN_CAMPAIGN in desk.card()


@pytest.mark.nightly
def test_draft_under_the_default_list_is_for_its_customers_and_offers_more(desk):
    swept = _sweep(desk, top=1000)
    _draft(desk, cohort_id=swept["cohort_id"])
    body, chosen = desk.body(), desk.offers().keys()
    assert chosen <= {row["customer_id"] for row in swept["cohort"]}
    assert body.wider.customers > body.audience == len(chosen)
    assert _widen(desk, body.wider.tier).error is None
    assert desk.body().audience > len(chosen)


@pytest.mark.nightly
def test_forecast_is_of_the_campaign_window_not_of_the_churn_horizon(desk):
    cohort_id = _sweep(desk)["cohort_id"]
    within = _draft(desk, cohort_id=cohort_id).result
    desk.execute(update(Cohort).values(horizon_days=4 * within["window_days"]))
    longer = _draft(desk, cohort_id=cohort_id).result
    assert longer["audience"] == within["audience"]

    def total(draft, name):
        return sum(line[name] for line in draft["offers"])

    assert total(longer, "base_sales") == pytest.approx(total(within, "base_sales") / 4)
    assert total(within, "base") / 4 < total(longer, "base") < total(within, "base")
    assert longer["plan"]["profit"] < within["plan"]["profit"]


@pytest.mark.nightly
@pytest.mark.campaign("draft for a list")
def test_follow_up_of_a_list_campaign_is_for_a_new_list(desk):
    campaign, body = desk.campaign(), desk.body()
    data = campaign_data(campaign)
    for following in ("repeat", "cheaper", "reminder"):
        request = follow_up_request(data, following)
        assert (request.listed, request.tier) == (True, None)
    # Of an earlier version it is by its tiers
    for earlier in (None, {"tier": None, "audience": None, "where": None, "customer_id": None}):
        request = follow_up_request({**data, "drafted_for": earlier}, "repeat")
        assert (request.listed, request.tier in TIERS) == (False, True)
    larger = follow_up_request(data, "larger")
    assert (larger.listed, larger.tier) == (False, body.wider.tier)
    again_id = desk.done(follow_up_request(data, "repeat"), ANALYST).result["campaign_id"]
    again, repeated = desk.campaign(again_id), desk.body(again_id)
    assert repeated.audience == body.audience < body.wider.customers
    assert repeated.drafted_for == body.drafted_for
    when = campaign.created_at.astimezone(desk.settings.zone)
    assert again.name == campaign.name == default_name(body, when)
    desk.done(CampaignWiden(campaign_id=again_id, version=1, tier="low"), ANALYST)
    assert desk.campaign(again_id).name != campaign.name


@pytest.mark.nightly
def test_lapsed_customers_get_a_win_back_draft_if_a_rule_is_for_them(desk):
    assert 'tiers = ["lapsed"]' in _draft(desk, tier="lapsed").error
    own = POLICY.replace('"low"]', '"low", "lapsed"]') + "[list]\ncustomers = 5\n"
    desk = desk.with_policy(own)
    all_lapsed = _draft(desk, tier="lapsed").result
    assert all_lapsed["tiers"].keys() == {"lapsed"}
    swept = _sweep(desk, tier="lapsed")
    listed = _draft(desk, cohort_id=swept["cohort_id"]).result
    assert listed["audience"] <= swept["cohort_size"] == 5 < all_lapsed["audience"]
    assert listed["wider"]["tier"] == "lapsed"
    data = campaign_data(desk.campaign(listed["campaign_id"]))
    repeated = desk.run(follow_up_request(data, "repeat"), ANALYST).result
    assert repeated["tiers"] == listed["tiers"]
    assert "--tier" in _draft(desk, cohort_id=swept["cohort_id"], tier="high").error
    assert "list is empty" in _draft(desk, tier="lapsed", where="orders > 9999").error


RULE = '[campaign]\nbudget = 5000\n[[rules]]\nname = "All"\ntiers = ["{}"]\naction = "coupon"\n'
RULE += "discount = 0.1\n"


def test_list_without_a_rule_of_its_own_names_the_missing_rule(desk):
    swept = _sweep(desk.with_policy(RULE.format("high")))
    cohort = {"cohort_id": swept["cohort_id"]}
    excluded = _draft(desk.with_policy(RULE.format("high")), **cohort).result["excluded"]
    assert 0 < excluded["no_list_rule"] < swept["cohort_size"]
    assert "no_rule" not in excluded
    lapsed = desk.with_policy(RULE.format("lapsed"))
    assert 'tiers = ["listed"]' in _draft(lapsed, **cohort).error


@pytest.mark.nightly
def test_rule_for_the_list_is_for_those_whose_own_tier_has_no_offer(desk):
    rules = POLICY.replace('tiers = ["high", "medium", "low"]', 'tiers = ["high"]')
    rules += '[[rules]]\nname = "Listed"\ntiers = ["listed"]\naction = "reminder"\n'
    desk = desk.with_policy(rules)
    _draft(desk, cohort_id=_sweep(desk)["cohort_id"])
    rows = desk.rows(select(Assignment.tier, Assignment.offer))
    assert {tier for tier, _ in rows} - {"high"}
    assert all((offer["rule"] == "Listed") == (tier != "high") for tier, offer in rows)
    whole = _sweep(desk, tier="low")  # everybody, so nobody was chosen
    result = _draft(desk, cohort_id=whole["cohort_id"]).result
    assert result["tiers"].keys() == {"high"}
    assert "Listed" not in {line["rule"] for line in result["offers"]}
