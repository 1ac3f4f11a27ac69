"""Test what a draft offers and what its card says of cohort, overlap and past campaigns."""

from datetime import timedelta

import pandas as pd
import pytest
from sqlalchemy import delete, select

from retention import clock, templating
from retention.db.tables import Assignment, Cohort
from retention.errors import BadInput
from retention.outreach import consent
from retention.risk.policy import load_policy
from tests.workers.campaigns.desk import ANALYST, LOW, POLICY
from workers.campaigns.job_requests import CampaignDraft, CampaignPreview
from workers.delivery import render
from workers.job_requests import Sweep

REMINDERS = POLICY.replace('action = "coupon"\ndiscount = 0.1', 'action = "reminder"')


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize("policy", [POLICY, REMINDERS], ids=["coupons", "reminders"])
def test_no_message_mentions_alcohol_by_default(desk, policy):
    items = desk.table("items").sort_values("item_id").head(15)[["item_id"]]
    titles = [f"Pale bottle {number}" for number in range(len(items))]
    desk.bring_table("items", items.assign(title=titles, category="Beers/Ales"))
    shop = desk.with_policy(policy)
    campaign_id = shop.drafted()
    preview = shop.run(CampaignPreview(campaign_id=campaign_id), ANALYST).result
    shown = str(preview) + shop.card()
    assert "Picked for you" in shown
    assert "Pale bottle" not in shown
    words = "[recommend]\nexclude_category_words = []\n"
    allowed = desk.with_policy(policy.replace("[[", words + "[[", 1))
    result = allowed.run(LOW, ANALYST).result
    card = allowed.card(result["campaign_id"])
    assert {*titles} & {*result["example"]} or "Pale bottle" in card


def cohort_of(desk) -> str:
    return desk.run(Sweep(), ANALYST).result["cohort_id"]


@pytest.mark.nightly
def test_draft_says_how_old_the_scores_of_its_cohort_are(desk):
    request = CampaignDraft(cohort_id=cohort_of(desk))
    fresh = desk.run(request, ANALYST).result
    assert fresh["scores_age_days"] == 0
    assert "old when" not in desk.card()
    desk.go_on(days=35)
    old = desk.run(request, ANALYST).result
    assert old["scores_age_days"] == 35
    details = desk.details(old["campaign_id"])
    assert "The risk scores are 35 days old (11 Apr 2025)" in details
    assert "Make a new at-risk list (`/retention sweep`)" in details
    shown = templating.text("terminal/campaign_draft.txt.j2", **old, result=old, zone="UTC")
    assert "The scores were 35 days old" in shown


@pytest.mark.nightly
@pytest.mark.campaign("live")
def test_draft_names_the_live_campaign_whose_customers_it_leaves_out(desk):
    first, held_out = desk.campaign(), desk.arms()["control"]
    error = desk.run(LOW, ANALYST).error
    assert "in another campaign" in error
    assert repr(first.name) in error
    desk.execute(delete(Assignment).where(Assignment.customer_id.in_(held_out)))
    result = desk.done(LOW, ANALYST).result
    (overlap,) = result["overlaps"]
    assert overlap == {
        "campaign_id": first.id,
        "name": first.name,
        "state": "live",
        "customers": result["excluded"]["other_campaign"],
        "left_out": True,
    }
    more = desk.details(result["campaign_id"])
    assert f"{overlap['customers']} customers are in {first.name} and excluded here" in more
    assert "approved first" not in more


def test_draft_names_undecided_campaigns_with_the_same_customers(desk):
    first = desk.campaign(desk.drafted(name="First & <!here>"))
    assert first.body["overlaps"] == []
    second = desk.campaign(desk.drafted(name="Second"))
    audience = second.body["audience"]
    overlap = {"campaign_id": first.id, "name": first.name, "state": "draft", "left_out": False}
    assert second.body["overlaps"] == [{**overlap, "customers": audience}]
    more = desk.details(second.id)
    assert f"{audience} customers are also in First &amp;" in more
    assert "The campaign approved first gets the shared customers" in more


@pytest.mark.nightly
@pytest.mark.campaign("live")
def test_prior_and_targeting_agree_on_a_measured_campaign(desk):
    """A draft of an old cohort had one measured campaign, and none that was over."""
    cohort, people = cohort_of(desk), desk.scalars(select(Assignment.customer_id))
    desk.file()  # so its customers were contacted
    desk.go_on(days=3)
    desk.bring("purchase", clock.now() - timedelta(hours=1), people[::3])
    desk.result_after(days=26)
    assert desk.campaign().state == "closed"
    desk.go_on(days=15)
    result = desk.run(CampaignDraft(cohort_id=cohort), ANALYST).result
    assert result["prior"]["campaigns"] == result["targeting"]["campaigns"] == 1
    more = desk.details(result["campaign_id"])
    assert "the policy and 1 measured campaign" in more
    assert "cannot show yet who responds" in more


@pytest.mark.parametrize(
    ("campaigns", "says"),
    [
        (0, "no campaign with a hold-out has been measured yet"),
        (1, "measured campaigns with a window of 56 days are needed"),
    ],
)
def test_targeting_never_denies_a_measured_campaign(campaigns, says):
    """The policy's window may have grown since the campaign was measured."""
    words = '{% import "slack/campaign/words.j2" as words %}{{ words.targeting(c) }}'
    values = {
        "targeting": {"by": "risk", "why": "none"},
        "prior": {"campaigns": campaigns},
        "window_days": 56,
    }
    template = templating.environment(autoescape=False).from_string(words)
    assert says in template.render(c=values)


def forget_consent(desk, customers=None) -> None:
    """Import everybody's consent (or these customers') as refused."""
    ids = desk.table("customers")["customer_id"] if customers is None else customers
    refused = pd.DataFrame({"customer_id": ids, "marketing_consent": False})
    desk.bring_table("customers", refused)


def test_missing_consent_is_found_before_the_sweep(desk, monkeypatch):
    """It took up to 39 seconds, although the data report knew."""
    from retention.risk import sweep

    forget_consent(desk)
    monkeypatch.setattr(sweep, "sweep", None)
    error = desk.run(LOW, ANALYST).error
    for words in (
        "No customer has given marketing consent",
        "refused by 120 of 120 customers",
        "retention import customers FILE --map MAP.toml",
        "marketing_consent under [customers]",
        'consent = "unless_refused"',
    ):
        assert words in error


def test_missing_consent_of_a_cohort_is_found_before_the_models_are_read(desk, monkeypatch):
    from workers.tasks.campaigns import campaign_draft

    cohort = cohort_of(desk)
    run_id = desk.one(select(Cohort.run_id))
    forget_consent(desk, desk.lake.scores(run_id).execute()["customer_id"])
    monkeypatch.setattr(campaign_draft, "open_recommender", None)
    monkeypatch.setattr(campaign_draft, "fit_uplift", None)
    error = desk.run(CampaignDraft(cohort_id=cohort), ANALYST).error
    assert "None of the customers at risk has given marketing consent" in error


def test_policy_that_accepts_unknown_consent_needs_none_given(desk):
    lenient = POLICY.replace("[campaign]", '[campaign]\nconsent = "unless_refused"')
    policy, unknown = load_policy(desk.with_policy(lenient).settings), pd.Series(["a stranger"])
    with desk.database.reading() as session:
        consent.require_consent(desk.lake, session, policy, unknown)
        with pytest.raises(BadInput) as refused:
            consent.require_consent(desk.lake, session, load_policy(desk.settings), unknown)
    assert refused.value.field == "marketing_consent"


def test_preview_shows_a_call_script_as_one():
    """It had the subject and address line of an e-mail."""
    script = {"customer": "k", "kind": "call", "to": "…", "subject": "", "text": "Ask Ann"}
    values = {"name": "May", "copies": [script], "masked": False, "assumed_send": None}
    message = str(render.message("campaign/preview", **values, zone="UTC").blocks)
    printed = templating.text(
        "terminal/campaign_preview.txt.j2", result={**values, "by": "smtp"}, zone="UTC"
    )
    for shown in (message, printed):
        assert "Call script for" in shown
        assert "Subject" not in shown
        assert "e-mail" not in shown.lower()


@pytest.mark.parametrize(
    ("stored", "says"),
    [
        ({"cost": 90.0, "expected_cost": 100.0}, "€90, expected €100 (10% less)"),
        ({"cost": 120.0, "expected_cost": 100.0}, "€120, expected €100 (20% more)"),
        ({"cost": 100.2, "expected_cost": 100.0}, "€100, expected €100"),
        ({"cost": 90.0}, "€90, expected €50 (80% more)"),
    ],
    ids=["less", "more", "equal", "result of an earlier release"],
)
def test_result_compares_cost_with_what_was_expected(stored, says):
    words = '{% import "slack/campaign/words.j2" as words %}{{ words.cost(r, campaign) }}'
    campaign = {"currency": "EUR", "plan": {"cost": 50.0}}
    template = templating.environment(autoescape=False).from_string(words)
    assert template.render(r=stored, campaign=campaign) == says
