"""Test what a draft offers and what its card says of cohort, overlap and past campaigns."""

from datetime import timedelta

import pandas as pd
import pytest
from sqlalchemy import delete, select

from retention import clock, templating
from retention.db.tables import Assignment, Cohort
from retention.errors import BadInput
from retention.lake.importing.import_files import import_files
from retention.outreach import consent
from retention.risk.policy import load_policy
from tests.workers.campaigns.steps import (
    ANALYST,
    POLICY,
    bring,
    campaign_of,
    details,
    done,
    drafted,
    go_on,
    measured,
    messages,
    prepared_campaign,
    rows_of_file,
    run,
    with_policy,
)
from tests.world import scalars
from workers.campaigns.requests import CampaignDraft, CampaignPreview
from workers.delivery import render
from workers.requests import Sweep


def sell_alcohol(desk) -> set[str]:
    """Put half of the items into a category of alcohol; return their titles."""
    items = desk.lake.table("items").execute().sort_values("item_id").head(15)
    titles = [f"Pale bottle {number}" for number in range(len(items))]
    file = desk.settings.home / "drinks.parquet"
    pd.DataFrame(
        {"item_id": items["item_id"], "title": titles, "category": "Beers/Ales"}
    ).to_parquet(file)
    import_files(desk.lake, desk.database, desk.settings, "items", [str(file)])
    return set(titles)


REMINDERS = POLICY.replace('action = "coupon"\ndiscount = 0.1', 'action = "reminder"')


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize("policy", [POLICY, REMINDERS], ids=["coupons", "reminders"])
def test_no_message_mentions_alcohol_by_default(desk, tmp_path, policy):
    titles = sell_alcohol(desk)
    shop = with_policy(desk, tmp_path, policy)
    campaign_id = drafted(shop)
    preview = run(shop, CampaignPreview(campaign_id=campaign_id), ANALYST).result
    card = messages(shop, campaign_of(shop, campaign_id).post_key)
    assert "Picked for you" in str(preview) + card
    assert "Pale bottle" not in str(preview) + card
    allowed = with_policy(
        desk, tmp_path, policy.replace("[[", "[recommend]\nexclude_category_words = []\n[[", 1)
    )
    job = run(allowed, CampaignDraft(tier="low", name="Wine shop"), ANALYST, key="allowed")
    post_key = campaign_of(allowed, job.result["campaign_id"]).post_key
    assert titles & {*job.result["example"]} or "Pale bottle" in messages(allowed, post_key)


def cohort_of(desk) -> str:
    return run(desk, Sweep(), ANALYST, key="sweep").result["cohort_id"]


@pytest.mark.nightly
def test_draft_says_how_old_the_scores_of_its_cohort_are(desk):
    cohort = cohort_of(desk)
    fresh = run(desk, CampaignDraft(cohort_id=cohort), ANALYST, key="fresh").result
    assert fresh["scores_age_days"] == 0
    card = messages(desk, campaign_of(desk, fresh["campaign_id"]).post_key)
    assert "old when" not in card
    go_on(desk, days=35)
    old = run(desk, CampaignDraft(cohort_id=cohort), ANALYST, key="old").result
    assert old["scores_age_days"] == 35
    campaign = campaign_of(desk, old["campaign_id"])
    assert "The risk scores are 35 days old (11 Apr 2025)" in details(desk, campaign.id)
    assert "Make a new at-risk list (`/retention sweep`)" in details(desk, campaign.id)
    shown = templating.text("terminal/campaign_draft.txt.j2", **old, result=old, zone="UTC")
    assert "The scores were 35 days old" in shown


@pytest.mark.campaign("live")
def test_draft_names_the_live_campaign_whose_customers_it_leaves_out(desk):
    first = campaign_of(desk, prepared_campaign(desk))
    with desk.database.transaction() as session:
        some = session.scalars(
            select(Assignment.customer_id).where(Assignment.arm == "control")
        ).all()
        session.execute(delete(Assignment).where(Assignment.customer_id.in_(some)))
    job = done(desk, CampaignDraft(tier="low"), ANALYST, key="second")
    (overlap,) = job.result["overlaps"]
    assert overlap == {
        "campaign_id": first.id,
        "name": first.name,
        "state": "live",
        "customers": job.result["excluded"]["other_campaign"],
        "left_out": True,
    }
    more = details(desk, job.result["campaign_id"])
    assert f"{overlap['customers']} customers are in {first.name} and excluded here" in more
    assert "approved first" not in more


def test_draft_names_undecided_campaigns_with_the_same_customers(desk):
    first = campaign_of(desk, drafted(desk, name="First & <!here>"))
    assert first.body["overlaps"] == []
    second = campaign_of(desk, drafted(desk, name="Second"))
    assert second.body["overlaps"] == [
        {
            "campaign_id": first.id,
            "name": first.name,
            "state": "draft",
            "customers": second.body["audience"],
            "left_out": False,
        }
    ]
    more = details(desk, second.id)
    assert f"{second.body['audience']} customers are also in First &amp;" in more
    assert "The campaign approved first gets the shared customers" in more


@pytest.mark.campaign("live")
def test_refused_draft_names_the_campaign_that_has_its_customers(desk):
    first = campaign_of(desk, prepared_campaign(desk))
    error = run(desk, CampaignDraft(tier="low"), ANALYST, key="again").error
    assert "in another campaign" in error
    assert repr(first.name) in error


@pytest.mark.nightly
@pytest.mark.campaign("live")
def test_prior_and_targeting_agree_on_a_measured_campaign(desk):
    """A draft of an old cohort had one measured campaign, and none that was over."""
    campaign_id, cohort = prepared_campaign(desk), cohort_of(desk)
    people = scalars(
        desk.database, select(Assignment.customer_id).where(Assignment.campaign_id == campaign_id)
    )
    rows_of_file(desk, campaign_id)  # so its customers were contacted
    go_on(desk, days=3)
    bring(desk, "purchase", clock.now() - timedelta(hours=1), people[::3])
    go_on(desk, days=26)
    assert measured(desk, campaign_id, clock.now()) == "closed"
    go_on(desk, days=15)
    result = run(desk, CampaignDraft(cohort_id=cohort), ANALYST, key="next").result
    assert result["prior"]["campaigns"] == result["targeting"]["campaigns"] == 1
    more = details(desk, result["campaign_id"])
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
    ids = desk.lake.table("customers").execute()["customer_id"] if customers is None else customers
    file = desk.settings.home / "consent.parquet"
    pd.DataFrame({"customer_id": ids, "marketing_consent": False}).to_parquet(file)
    import_files(desk.lake, desk.database, desk.settings, "customers", [str(file)])


def test_missing_consent_is_found_before_the_sweep(desk, monkeypatch):
    """It took up to 39 seconds, although the data report knew."""
    from retention.risk import sweep

    forget_consent(desk)
    monkeypatch.setattr(sweep, "sweep", None)
    error = run(desk, CampaignDraft(tier="low"), ANALYST).error
    assert "No customer has given marketing consent" in error
    assert "refused by 120 of 120 customers" in error
    assert "retention import customers FILE --map MAP.toml" in error
    assert "marketing_consent under [customers]" in error
    assert 'consent = "unless_refused"' in error


def test_missing_consent_of_a_cohort_is_found_before_the_models_are_read(desk, monkeypatch):
    from workers.tasks.campaigns import campaign_draft

    cohort = cohort_of(desk)
    with desk.database.reading() as session:
        run_id = session.get_one(Cohort, cohort).run_id
    forget_consent(desk, desk.lake.scores(run_id).execute()["customer_id"])
    monkeypatch.setattr(campaign_draft, "open_recommender", None)
    monkeypatch.setattr(campaign_draft, "fit_uplift", None)
    error = run(desk, CampaignDraft(cohort_id=cohort), ANALYST).error
    assert "None of the customers at risk has given marketing consent" in error


def test_policy_that_accepts_unknown_consent_needs_none_given(desk, tmp_path):
    shop = with_policy(
        desk, tmp_path, POLICY.replace("[campaign]", '[campaign]\nconsent = "unless_refused"')
    )
    with shop.database.reading() as session:
        policy = load_policy(shop.settings)
        unknown = pd.Series(["a stranger"])
        consent.require_consent(shop.lake, session, policy, unknown)
        with pytest.raises(BadInput) as refused:
            consent.require_consent(shop.lake, session, load_policy(desk.settings), unknown)
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
