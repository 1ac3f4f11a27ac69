"""Test the audience, offers and exclusions of a draft."""

from datetime import timedelta

import pandas as pd
import pytest
from sqlalchemy import delete, func, select

from retention import clock
from retention.campaigns.lifecycle.spec import Body
from retention.campaigns.lifecycle.states import Step
from retention.campaigns.lifecycle.view import campaign_data
from retention.db.tables import Assignment, Campaign, Send
from retention.errors import BadFields, Conflict
from retention.lake.importing.import_files import import_files
from retention.outreach import consent, pauses
from retention.risk.strategy import REASONS
from retention.uplift.learners import UpliftLearner
from tests import world
from tests.workers.campaigns.steps import (
    ANALYST,
    LEAD,
    arms_of,
    campaign_of,
    details,
    done,
    drafted,
    live,
    messages,
    offers_of,
    run,
    with_budget,
    with_policy,
)
from tests.world import change, scalar
from workers.campaigns import decisions
from workers.campaigns.requests import CampaignCsv, CampaignDraft
from workers.tasks.campaigns import campaign_draft


def test_draft_shows_audience_offer_and_certainty(desk):
    campaign_id = drafted(desk, name="Win back <!channel> & friends")
    campaign = campaign_of(desk, campaign_id)
    body = campaign.body
    assert body["audience"] > 20
    assert body["excluded"]["no_consent"] > 0
    card = messages(desk, campaign.post_key)
    assert "*Draft: 10% coupon for " in card
    assert "Expected profit" in card
    assert "likely between" in card
    assert "This rests on the policy" in details(desk, campaign_id)
    # Plain text is no markup
    assert "<!channel>" not in card.replace("'text': 'Win back <!channel> & friends'", "")
    offers = offers_of(desk, campaign_id)
    assert len(offers) == body["audience"]
    assert all(offer["items"] and offer["items"][0]["title"] for offer in offers)
    # a tenth is drawn to learn from: a list of that may be of nothing but what was bought before
    full = [len(offer["items"]) for offer in offers if not offer["arm"].startswith("repeat|")]
    assert set(full) == {3}
    assert all(len(offer["items"]) <= 3 for offer in offers)
    assert {offer["segment"]["value"] for offer in offers} == {"high", "middle", "low"}
    assert {offer["segment"]["reason"] for offer in offers} <= {*REASONS, "none"}


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        ("", "has no rules"),
        (
            '[[rules]]\nname = "N"\ntiers = ["low"]\naction = "nothing"\n',
            "does nothing, by all of its rules",
        ),
    ],
)
def test_policy_without_actions_is_refused_before_the_sweep(desk, monkeypatch, rules, says):
    from retention.risk import sweep

    monkeypatch.setattr(sweep, "sweep", None)
    desk.settings.policy.write_text("[campaign]\nbudget = 5000\n" + rules)
    text = run(desk, CampaignDraft(tier="low"), ANALYST).error
    assert f"The policy {says}, so a campaign would be for nobody" in text
    assert "RETENTION_POLICY" in text


@pytest.mark.nightly
def test_past_campaigns_choose_the_audience(desk, monkeypatch):
    from retention.uplift import past_campaigns

    class ByFrequency(UpliftLearner):
        def predict(self, X):
            return 0.4 * (X["orders_all"] > X["orders_all"].median()).to_numpy(float)

    first = campaign_of(desk, drafted(desk))
    assert first.name.startswith("High, medium and low risk, ")
    assert first.body["targeting"]["by"] == "risk"
    assert "No campaign with a hold-out group has been measured yet" in details(desk, first.id)
    taught = past_campaigns.UpliftModel(
        "learnt", 2, 900, "s_logistic", 0.08, 0.03, 0.13, ByFrequency(), mean=0.2
    )
    monkeypatch.setattr(campaign_draft, "fit_uplift", lambda *args, **kwargs: taught)
    campaign = campaign_of(desk, drafted(desk, name="Persuadable"))
    assert campaign.body["targeting"]["by"] == "uplift"
    assert 0 < campaign.body["audience"] < first.body["audience"]
    assert campaign.body["excluded"]["no_gain"] > 0
    line = campaign.body["offers"][0]
    shown = select(Assignment.churn_probability, Assignment.expected_value)
    people = world.rows(desk.database, shown.where(Assignment.campaign_id == campaign.id))
    # only they are worth it, and who stays anyway cannot be moved as far
    assert line["uplift_sales"] == pytest.approx(
        sum(min(0.4, churns) * value for churns, value in people)
    )
    assert campaign.body["targeting"]["qini_low"] == 0.03
    more = details(desk, campaign.id)
    assert "Chosen by expected profit: 2 past campaigns with 900 customers" in more
    assert "Qini" not in more
    assert "with too little expected profit" in more


@pytest.mark.parametrize("step", ["predict", "prior_from_campaigns"])
def test_error_in_learning_does_not_stop_a_draft(desk, monkeypatch, caplog, step):
    from retention.uplift import past_campaigns

    class Broken(UpliftLearner):
        def predict(self, X):
            raise ZeroDivisionError("Weights sum to zero")

    def broken(*args, **kwargs):
        raise ZeroDivisionError("Weights sum to zero")

    taught = past_campaigns.UpliftModel("learnt", 2, 900, "s_logistic", learner=Broken())
    if step == "prior_from_campaigns":
        monkeypatch.setattr(campaign_draft, step, broken)
    else:
        monkeypatch.setattr(campaign_draft, "fit_uplift", lambda *args, **kwargs: taught)
    campaign = campaign_of(desk, drafted(desk))
    targeting = campaign.body["targeting"]
    assert (targeting["by"], targeting["why"]) == ("risk", "failed")
    assert "unlearnt" in campaign_data(campaign)["warnings"]
    assert "Weights sum to zero" in caplog.text


@pytest.mark.nightly
def test_draft_counts_items_without_a_title(desk):
    """A shop that has imported its orders alone wrote "Picked for you: i017" to its customers."""
    first = campaign_of(desk, drafted(desk))
    assert (first.body["untitled"], "no title" in messages(desk, first.post_key)) == (0, False)
    items, file = (
        desk.lake.table("items").execute()["item_id"],
        desk.settings.home / "untitled.parquet",
    )
    pd.DataFrame({"item_id": items, "title": ""}).to_parquet(file)
    import_files(desk.lake, desk.database, desk.settings, "items", [str(file)])
    second = campaign_of(desk, drafted(desk, name="Untitled"))
    assert 0 < second.body["untitled"] <= len(items)
    text = f"{second.body['untitled']} items have no name"
    assert text in details(desk, second.id)


def test_active_and_recently_contacted_customers_are_excluded(desk):
    first = live(desk)
    job = run(desk, CampaignDraft(tier="low"), ANALYST, key="second draft")
    assert "Nobody" in job.error
    with desk.database.transaction() as session:
        assert consent.unsubscribe(session, session.scalars(select(Send.id)).first(), clock.now())
    # So they were contacted, but for one
    downloaded = run(desk, CampaignCsv(campaign_id=first), LEAD, channel=LEAD)
    treated = sum(1 for arm in arms_of(desk, first) if arm == "treatment")
    assert downloaded.result["rows"] == treated - 1
    change(desk.database, decisions.stop, Step(first, LEAD), "over")
    job = run(desk, CampaignDraft(tier="low"), ANALYST, key="third draft")
    assert job.result["excluded"]["frequency_cap"] == treated - 1
    clock.configure(fixed=clock.now() + timedelta(days=15))
    job = run(desk, CampaignDraft(tier="low"), ANALYST, key="fourth draft")
    assert "frequency_cap" not in job.result["excluded"]


@pytest.mark.nightly
def test_draft_with_only_held_out_customers_is_explained(desk):
    first, second = drafted(desk), drafted(desk, name="The same people")
    with desk.database.transaction() as session:
        held_out = session.scalars(
            select(Assignment.customer_id)
            .where(Assignment.campaign_id == second)
            .order_by(Assignment.bucket)
            .limit(3)
        ).all()
        session.execute(
            delete(Assignment).where(
                Assignment.campaign_id == first, Assignment.customer_id.in_(held_out)
            )
        )
        for campaign_id in (first, second):
            decisions.submit(session, Step(campaign_id, ANALYST, 1))
        decisions.approve(session, Step(first, LEAD, 1))
    with (
        pytest.raises(Conflict, match=r"campaign \(3\) would all be held out. Lower its hold-out"),
        desk.database.transaction() as session,
    ):
        decisions.approve(session, Step(second, LEAD, 1))
    assert set(arms_of(desk, second)) == {"audience"}


@pytest.mark.nightly
def test_budget_limits_the_audience(desk, tmp_path):
    """It was for everybody, and could then neither be submitted nor made smaller."""
    everybody = Body.model_validate(campaign_of(desk, drafted(desk, name="All")).body)
    half = everybody.plan().cost / 2
    campaign = campaign_of(desk, drafted(with_budget(desk, tmp_path, half)))
    body = Body.model_validate(campaign.body)
    assert 0 < body.audience < everybody.audience
    assert body.audience + body.excluded["beyond_budget"] == everybody.audience
    assert "above the budget" in details(desk, campaign.id)
    assert (
        change(desk.database, decisions.submit, Step(campaign.id, ANALYST, 1)).state == "submitted"
    )
    none = run(with_budget(desk, tmp_path, 0.001), CampaignDraft(tier="low"), ANALYST, key="none")
    assert "beyond the budget" in none.error


def test_requested_terms_limit_audience_and_offers(desk, tmp_path):
    desk = with_budget(desk, tmp_path, 10_000)
    everybody = Body.model_validate(campaign_of(desk, drafted(desk, name="All")).body)
    half = round(everybody.plan().cost / 2, 2)
    options = {"discount": 0.05, "holdout": 0.2, "budget": half}
    campaign = campaign_of(desk, drafted(desk, name="Asked", **options))
    body = Body.model_validate(campaign.body)
    assert (body.discount, body.holdout, body.budget) == (0.05, 0.2, half)
    assert body.most_budget == 10_000
    assert body.plan().cost <= half
    change(desk.database, decisions.submit, Step(campaign.id, ANALYST, 1))


def test_terms_outside_the_policy_are_refused_with_the_limits(desk, tmp_path):
    desk = with_budget(desk, tmp_path, 10_000)
    wrong = CampaignDraft(tier="low", discount=2.0, holdout=0.9, budget=99_999)
    with pytest.raises(BadFields, match=r"1 to 99.*10 to 20.*10,000"):
        run(desk, wrong, ANALYST)


def test_an_offer_below_cost_and_an_unknown_cohort_are_refused(desk, tmp_path):
    generous = with_policy(
        desk,
        tmp_path,
        '[[rules]]\nname = "All"\ntiers = ["high", "medium", "low"]\naction = "coupon"\n'
        "discount = 0.6\n",
    )
    assert "margin" in run(generous, CampaignDraft(tier="low"), ANALYST, key="dear").error
    assert "no list" in run(desk, CampaignDraft(cohort_id="nope"), ANALYST).error
    assert scalar(desk.database, select(func.count()).select_from(Campaign)) == 0


def test_draft_leaves_out_customers_whom_a_person_excluded(desk):
    with desk.database.reading() as session:
        first = session.get(Campaign, drafted(desk, name="first"))
        members = select(Assignment.customer_id).where(Assignment.campaign_id == first.id)
        someone, other = sorted(session.scalars(members))[:2]
    with desk.database.transaction() as session:
        pauses.pause(session, someone, ANALYST, clock.now())
        pauses.pause(session, other, ANALYST, clock.now() - timedelta(days=31))
    second = campaign_of(desk, drafted(desk, name="second"))
    with desk.database.reading() as session:
        members = select(Assignment.customer_id).where(Assignment.campaign_id == second.id)
        customers = set(session.scalars(members))
    assert second.body["excluded"]["paused_by_person"] == 1
    assert someone not in customers
    assert other in customers  # the exclusion has ended


def test_draft_for_one_customer_offers_only_to_them(desk):
    full = campaign_of(desk, drafted(desk, name="full"))
    with desk.database.reading() as session:
        rows = select(Assignment).where(Assignment.campaign_id == full.id)
        expected = session.scalars(rows.order_by(Assignment.expected_value.desc())).first()
    job = done(desk, CampaignDraft(customer_id=expected.customer_id, name="one"), ANALYST)
    with desk.database.reading() as session:
        rows = select(Assignment).where(Assignment.campaign_id == job.result["campaign_id"])
        (assignment,) = session.scalars(rows)
    assert assignment.customer_id == expected.customer_id
    assert assignment.offer["rule"] == expected.offer["rule"]  # of the same value band
    change(desk.database, pauses.pause, expected.customer_id, ANALYST, clock.now())
    refused = run(
        desk, CampaignDraft(customer_id=expected.customer_id, name="no"), ANALYST, key="paused"
    )
    assert refused.error == "This customer gets no offer now (excluded by a person for now: 1)."


LISTED = """
[campaign]
budget = 5000
[[rules]]
name = "Some"
tiers = ["high"{more}]
action = "coupon"
discount = 0.1
"""


@pytest.mark.parametrize(("more", "tier"), [("", None), (', "medium"', "medium")])
def test_draft_for_a_list_says_who_is_left_out(desk, tmp_path, more, tier):
    shop = with_policy(desk, tmp_path, LISTED.format(more=more))
    where = "orders >= 1"
    job = done(shop, CampaignDraft(tier="high", where=where), ANALYST)
    rest = job.result["rest"]
    taken = job.result["audience"] + sum(job.result["excluded"].values())
    assert taken + sum(rest["lower"].values()) + rest["unscored"] == rest["listed"]
    assert rest["lower"]["medium"] > 0
    assert rest["tier"] == tier
    card = messages(shop, campaign_of(shop, job.result["campaign_id"]).post_key)
    assert ("--tier medium" in card) == (tier is not None)


def test_draft_for_a_list_without_risk_names_the_tier_that_takes_it(desk, tmp_path):
    shop = with_policy(desk, tmp_path, LISTED.format(more=', "medium"'))
    job = run(shop, CampaignDraft(tier="high", where="risk = medium"), ANALYST)
    assert "--tier medium" in job.error
