"""Test what a draft offers and what its card says of cohort, overlap and past campaigns."""

import pandas as pd
import pytest

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
