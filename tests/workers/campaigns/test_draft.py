"""Test the audience, offers and exclusions of a draft."""

from datetime import timedelta

import pandas as pd
import pytest
from sqlalchemy import func, select

from retention import clock
from retention.campaigns.lifecycle.view import campaign_data
from retention.db.tables import Assignment, Campaign, Send
from retention.errors import BadFields, Conflict
from retention.outreach import consent, pauses
from retention.risk import sweep
from retention.risk.strategy import KINDS, REASONS, WIN_BACK
from retention.uplift import past_campaigns
from retention.uplift.learners import UpliftLearner
from tests.workers.campaigns.desk import ANALYST, LEAD, LOW
from workers.campaigns import decisions
from workers.campaigns.job_requests import CampaignDraft
from workers.job_requests import AudienceSave
from workers.tasks.campaigns import campaign_draft


def test_draft_shows_audience_offer_and_certainty(desk):
    desk.drafted(name="Win back <!channel> & friends")
    body, card, offers = desk.body(), desk.card(), desk.offers().values()
    assert len(offers) == body.audience > 20
    assert body.excluded["no_consent"] > 0
    for words in ("*Draft: 10% coupon for ", "Expected profit", "likely between"):
        assert words in card
    assert "This rests on the policy" in desk.details()
    # Plain text is no markup
    assert "<!channel>" not in card.replace("'text': 'Win back <!channel> & friends'", "")
    assert all(offer["items"] and offer["items"][0]["title"] for offer in offers)
    # a tenth is drawn to learn from: a list of that may be of nothing but what was bought before
    full = [len(offer["items"]) for offer in offers if not offer["arm"].startswith("repeat|")]
    assert set(full) == {3}
    assert all(len(offer["items"]) <= 3 for offer in offers)
    assert {offer["segment"]["value"] for offer in offers} == {"high", "middle", "low"}
    assert {offer["segment"]["reason"] for offer in offers} <= {*REASONS, "none"}


def test_policy_without_actions_is_refused_before_the_sweep(desk, monkeypatch):
    monkeypatch.setattr(sweep, "sweep", None)
    nothing = '[[rules]]\nname = "N"\ntiers = ["low"]\naction = "nothing"\n'
    for rules, says in (("", "has no rules"), (nothing, "does nothing, by all of its rules")):
        desk.settings.policy.write_text("[campaign]\nbudget = 5000\n" + rules)
        text = desk.run(LOW, ANALYST).error
        assert f"The policy {says}, so a campaign would be for nobody" in text
        assert "RETENTION_POLICY" in text


@pytest.mark.nightly
@pytest.mark.campaign("draft")
def test_past_campaigns_choose_the_audience(desk, monkeypatch):
    class ByFrequency(UpliftLearner):
        def predict(self, X):
            type(self).median = X["orders_all"].median()
            return 0.4 * (X["orders_all"] > self.median).to_numpy(float)

    first = desk.body()
    assert desk.campaign().name.startswith("High, medium and low risk, ")
    assert first.targeting.by == "risk"
    assert "No campaign with a hold-out group has been measured yet" in desk.details()
    taught = past_campaigns.UpliftModel(
        "learnt", 2, 900, "s_logistic", 0.08, 0.03, 0.13, ByFrequency(), mean=0.2
    )
    monkeypatch.setattr(campaign_draft, "fit_uplift", lambda *args, **kwargs: taught)
    second = desk.drafted(name="Persuadable")
    body, more = desk.body(second), desk.details(second)
    assert (body.targeting.by, body.targeting.qini_low) == ("uplift", 0.03)
    assert 0 < body.audience < first.audience
    assert body.excluded["no_gain"] > 0
    orders = desk.table("events").query("event_type == 'purchase'").groupby("customer_id").order_id
    assert orders.nunique()[[*desk.offers(second)]].min() > ByFrequency.median
    shown = select(Assignment.churn_probability, Assignment.expected_value)
    people = desk.rows(shown.where(Assignment.campaign_id == second))
    # only they are worth it, and who stays anyway cannot be moved as far
    gained = sum(min(0.4, churns) * value for churns, value in people)
    assert body.offers[0].uplift_sales == pytest.approx(gained)
    assert "Chosen by expected profit: 2 past campaigns with 900 customers" in more
    assert "Qini" not in more
    assert "with too little expected profit" in more


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize("step", ["predict", "prior_from_campaigns"])
def test_error_in_learning_does_not_stop_a_draft(desk, monkeypatch, caplog, step):
    def broken(*args, **kwargs):
        raise ZeroDivisionError("Weights sum to zero")

    class Broken(UpliftLearner):
        predict = broken

    taught = past_campaigns.UpliftModel("learnt", 2, 900, "s_logistic", learner=Broken())
    if step == "prior_from_campaigns":
        monkeypatch.setattr(campaign_draft, step, broken)
    else:
        monkeypatch.setattr(campaign_draft, "fit_uplift", lambda *args, **kwargs: taught)
    desk.drafted()
    targeting = desk.body().targeting
    assert (targeting.by, targeting.why) == ("risk", "failed")
    assert "unlearnt" in campaign_data(desk.campaign())["warnings"]
    assert "Weights sum to zero" in caplog.text


@pytest.mark.nightly
@pytest.mark.campaign("draft")
def test_draft_counts_items_without_a_title(desk):
    """A shop that has imported its orders alone wrote "Picked for you: i017" to its customers."""
    assert (desk.body().untitled, "no title" in desk.card()) == (0, False)
    items = desk.table("items")["item_id"]
    desk.bring_table("items", pd.DataFrame({"item_id": items, "title": ""}))
    second = desk.drafted(name="Untitled")
    untitled = desk.body(second).untitled
    assert 0 < untitled <= len(items)
    assert f"{untitled} items have no name" in desk.details(second)


@pytest.mark.nightly
@pytest.mark.campaign("live")
def test_recently_contacted_customers_are_excluded(desk):
    sent = desk.scalars(select(Send.id))
    assert desk.change(consent.unsubscribe, sent[0], clock.now())
    # So they were contacted, but for one
    assert desk.download().result["rows"] == len(sent) - 1
    desk.stop()
    assert desk.run(LOW, ANALYST).result["excluded"]["frequency_cap"] == len(sent) - 1
    desk.wait(days=15)
    assert "frequency_cap" not in desk.run(LOW, ANALYST).result["excluded"]


@pytest.mark.nightly
@pytest.mark.campaign("draft")
def test_draft_with_only_held_out_customers_is_explained(desk):
    first, second = desk.campaign_id, desk.drafted(name="The same people")
    with desk.database.transaction() as session:
        by_bucket = select(Assignment).order_by(Assignment.bucket)
        held_out = [
            row.customer_id
            for row in session.scalars(by_bucket.where(Assignment.campaign_id == second))
        ][:3]
        for customer in held_out:
            session.delete(session.get_one(Assignment, (first, customer)))
    for campaign_id in (first, second):
        desk.decide(decisions.submit, ANALYST, campaign_id=campaign_id)
    desk.decide(decisions.approve, LEAD, campaign_id=first)
    with pytest.raises(Conflict, match=r"campaign \(3\) would all be held out. Lower its hold-out"):
        desk.decide(decisions.approve, LEAD, campaign_id=second)
    assert desk.arms(second).keys() == {"audience"}


@pytest.mark.nightly
@pytest.mark.campaign("draft")
def test_budget_limits_the_audience(desk):
    """It was for everybody, and could then neither be submitted nor made smaller."""
    everybody = desk.body()
    limited = desk.with_budget(everybody.plan().cost / 2).drafted()
    body = desk.body(limited)
    assert 0 < body.audience < everybody.audience
    assert body.audience + body.excluded["beyond_budget"] == everybody.audience
    assert "above the budget" in desk.details(limited)
    submitted = desk.decide(decisions.submit, ANALYST, campaign_id=limited)
    assert submitted.state == "submitted"
    assert "beyond the budget" in desk.with_budget(0.001).run(LOW, ANALYST).error


@pytest.mark.campaign("draft")
def test_requested_terms_limit_audience_and_offers(desk):
    half = round(desk.body().plan().cost / 2, 2)
    asked = {"discount": 0.05, "holdout": 0.2, "budget": half}
    limited = desk.with_budget(10_000)
    with pytest.raises(BadFields, match=r"1 to 99.*10 to 20.*10,000"):
        limited.run(CampaignDraft(tier="low", discount=2.0, holdout=0.9, budget=99_999), ANALYST)
    campaign_id = limited.drafted(name="Asked", **asked)
    body = desk.body(campaign_id)
    assert (body.discount, body.holdout, body.budget) == (0.05, 0.2, half)
    assert body.most_budget == 10_000
    assert body.plan().cost <= half
    desk.decide(decisions.submit, ANALYST, campaign_id=campaign_id)


def test_an_offer_below_cost_and_an_unknown_cohort_are_refused(desk):
    generous = desk.with_policy(LISTED.format(more=', "low"').replace("0.1", "0.6"))
    assert "margin" in generous.run(LOW, ANALYST).error
    assert "no list" in desk.run(CampaignDraft(cohort_id="nope"), ANALYST).error
    assert desk.scalar(select(func.count()).select_from(Campaign)) == 0


@pytest.mark.nightly
@pytest.mark.campaign("draft")
def test_draft_for_one_customer_offers_only_to_them_unless_a_person_excluded_them(desk):
    richest = select(Assignment).order_by(Assignment.expected_value.desc())
    expected, other = desk.scalars(richest)[:2]
    request = CampaignDraft(customer_id=expected.customer_id, name="one")
    offers = desk.offers(desk.done(request, ANALYST).result["campaign_id"])
    assert offers.keys() == {expected.customer_id}
    # of the same value band
    assert offers[expected.customer_id]["rule"] == expected.offer["rule"]
    desk.change(pauses.pause, expected.customer_id, ANALYST, clock.now())
    desk.change(pauses.pause, other.customer_id, ANALYST, clock.now() - timedelta(days=31))
    refused = desk.run(request, ANALYST)
    assert refused.error == "This customer gets no offer now (excluded by a person for now: 1)."
    second = desk.drafted(name="second")
    customers = desk.arms(second)["audience"]
    assert desk.body(second).excluded["paused_by_person"] == 1
    assert expected.customer_id not in customers
    assert other.customer_id in customers  # the exclusion has ended


LISTED = """
[campaign]
budget = 5000
[[rules]]
name = "Some"
tiers = ["high"{more}]
action = "coupon"
discount = 0.1
"""


@pytest.mark.nightly
def test_draft_for_a_list_says_who_is_left_out_and_which_tier_takes_them(desk):
    for more, tier in (("", None), (', "medium"', "medium")):
        shop = desk.with_policy(LISTED.format(more=more))
        done = shop.done(CampaignDraft(tier="high", where="orders >= 1"), ANALYST)
        rest, result = done.result["rest"], done.result
        taken = result["audience"] + sum(result["excluded"].values())
        assert taken + sum(rest["lower"].values()) + rest["unscored"] == rest["listed"]
        assert rest["lower"]["medium"] > 0
        assert rest["tier"] == tier
        assert ("--tier medium" in shop.card(result["campaign_id"])) == (tier is not None)
    nobody = shop.run(CampaignDraft(tier="high", where="risk = medium"), ANALYST)
    assert "--tier medium" in nobody.error


def test_card_offers_to_write_to_everyone_of_an_audience(desk):
    desk.done(AudienceSave(name="buyers", expression="orders >= 1"), ANALYST)
    drafted = desk.done(CampaignDraft(tier="high", audience="buyers"), ANALYST).result
    card = desk.card(drafted["campaign_id"])
    for kind in KINDS:
        assert (f"'{kind}|buyers'" in card) == (kind != WIN_BACK)
