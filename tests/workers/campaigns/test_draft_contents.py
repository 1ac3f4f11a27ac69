"""Test what a draft offers and what its card says of cohort, overlap and past campaigns."""

import pandas as pd
import pytest

from retention import templating
from retention.lake.importing import import_files
from tests.workers.campaigns.steps import (
    ANALYST,
    POLICY,
    campaign_of,
    drafted,
    messages,
    run,
    with_policy,
)
from workers.delivery import render
from workers.requests import CampaignDraft, CampaignPreview


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
        ({"cost": 90.0, "expected_cost": 100.0}, "€90, expected €100 (10 % less)"),
        ({"cost": 120.0, "expected_cost": 100.0}, "€120, expected €100 (20 % more)"),
        ({"cost": 100.2, "expected_cost": 100.0}, "€100, expected €100"),
        ({"cost": 90.0}, "€90, expected €50 (80 % more)"),
    ],
    ids=["less", "more", "equal", "result of an earlier release"],
)
def test_result_compares_cost_with_what_was_expected(stored, says):
    words = '{% import "slack/campaign/words.j2" as words %}{{ words.cost(r, campaign) }}'
    campaign = {"currency": "EUR", "plan": {"cost": 50.0}}
    template = templating.environment(autoescape=False).from_string(words)
    assert template.render(r=stored, campaign=campaign) == says
