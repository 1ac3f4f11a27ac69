"""Test campaigns that are for everyone of an audience, at risk or not."""

from datetime import timedelta

import pandas as pd
import pytest

from retention import clock
from retention.campaigns.lifecycle.view import campaign_data
from retention.campaigns.message.wording import (
    shipped_languages,
    shipped_wording,
    text_of,
    validate_text,
)
from retention.campaigns.planning import everyone
from retention.campaigns.planning.targeting import campaigns_of_other_kinds, prior_from_campaigns
from retention.lake import Lake
from retention.risk.policy import load_policy
from retention.risk.strategy import KINDS, WIN_BACK
from tests.workers.campaigns.desk import ANALYST, LEAD
from workers.campaigns import decisions
from workers.campaigns.job_requests import CampaignDraft, CampaignPreview

OTHERS = [kind for kind in KINDS if kind != WIN_BACK]


def _newcomers(desk, number=30):
    """Customers without an order."""
    rows = {"customer_id": [f"n{each:03d}" for each in range(number)], "marketing_consent": True}
    desk.bring_table("customers", pd.DataFrame(rows).assign(created_at=desk.begin))


def _draft(desk, kind, **terms):
    done = desk.run(CampaignDraft(campaign_kind=kind, **terms), ANALYST)
    assert done.state == "done", done.error
    return done.result["campaign_id"]


@pytest.mark.parametrize("kind", OTHERS)
def test_kind_is_for_everyone_who_meets_its_condition(desk, kind):
    _newcomers(desk)
    body, offers = desk.body(_draft(desk, kind)), desk.offers()
    events = desk.table("events").query("event_type == 'purchase'")
    orders = events.groupby("customer_id").order_id.nunique()
    counts = pd.Series({customer: orders.get(customer, 0) for customer in offers})
    low, high = {"second_order": (1, 1), "cross_sell": (1, 999), "thank_you": (2, 999)}.get(
        kind, (0, 999)
    )
    assert body.kind == kind
    assert counts.between(low, high).all()
    assert body.audience == len(offers) > 0
    assert ("prospect" in body.tiers) == (low == 0)
    action = load_policy(desk.settings).for_kind(kind).rules[0].action
    assert {offer["action"] for offer in offers.values()} == {action}
    if low:
        assert body.excluded["not_of_kind"] >= 30


@pytest.mark.nightly
def test_thank_you_reaches_customers_who_order_and_is_measured_as_extra_orders(desk):
    campaign_id = _draft(desk, "thank_you", where="last_order <= 60d")
    plan = desk.body().plan()
    desk.wait(hours=1)
    desk.bring("purchase", clock.now() - timedelta(minutes=5), [*desk.offers()])
    desk.decide(decisions.submit, ANALYST)
    desk.decide(decisions.approve, LEAD)
    desk.send_now()
    groups = desk.arms()
    assert ("excluded" in groups, desk.campaign().state) == (False, "live")
    assert plan.cost == pytest.approx(0.02 * len(groups["treatment"]), rel=0.05)
    desk.file()
    desk.bring("purchase", clock.now() + timedelta(days=2), groups["treatment"])
    result = desk.result_after(days=29)
    assert result["effects"]["buyers"]["per_customer"] > 0.3
    assert result["redeemed"] == 0
    policy = load_policy(desk.settings)
    others = {kind: desk.read(campaigns_of_other_kinds, kind) for kind in KINDS}
    learnt = {
        kind: desk.read(prior_from_campaigns, policy.for_kind(kind), others[kind]).campaigns
        for kind in KINDS
    }
    assert learnt == {kind: int(kind == "thank_you") for kind in KINDS}
    assert campaign_data(desk.campaign(campaign_id))["kind"] == "thank_you"


@pytest.mark.nightly
def test_second_order_leaves_out_who_ordered_since_the_draft(desk):
    _draft(desk, "second_order", where="orders <= 3")
    [buyer, *_] = sorted(desk.offers())
    desk.wait(hours=1)
    desk.bring("purchase", clock.now() - timedelta(minutes=5), [buyer])
    desk.decide(decisions.submit, ANALYST)
    desk.decide(decisions.approve, LEAD)
    desk.send_now()
    assert desk.arms()["excluded"] == [buyer]


def test_chance_of_a_first_order_uses_nothing_after_its_moment(desk):
    _newcomers(desk)
    at = clock.now()

    def chance():
        with desk.database.reading() as session:
            return everyone.first_orders(Lake.open(desk.settings), session, at, 28)

    before = chance()
    desk.bring("purchase", at + timedelta(hours=1), [f"n{each:03d}" for each in range(30)])
    assert chance() == pytest.approx(before)
    desk.bring("purchase", at - timedelta(hours=1), ["n000"])
    assert chance()[0] > before[0]


def test_kind_takes_its_offer_and_prior_from_the_policy_file(desk):
    own = desk.with_policy(
        '[kinds.thank_you]\naction = "free_shipping"\nmin_order = 40\nuplift = 0.05\n'
        '[[rules]]\nname = "All"\ntiers = ["high"]\naction = "reminder"\n'
    )
    policy = load_policy(own.settings).for_kind("thank_you")
    assert [rule.action for rule in policy.rules] == ["free_shipping"]
    assert (policy.offer.uplift, policy.offer.uplift_sd) == (0.05, 0.01)
    kept = load_policy(own.settings).for_kind("second_order").rules[0]
    assert (kept.action, kept.discount) == ("coupon", 0.1)


def test_kind_that_shows_only_items_is_refused_without_them(desk):
    rule = '[[rules]]\nname = "All"\ntiers = ["high"]\naction = "coupon"\ndiscount = 0.1\n'
    own = desk.with_policy(f"[offer]\nitems = 0\n{rule}")
    refused = own.run(CampaignDraft(campaign_kind="product_news"), ANALYST)
    assert (refused.state, "offer.items is 0" in refused.error) == ("failed", True)
    assert own.run(CampaignDraft(campaign_kind="second_order"), ANALYST).state == "done"


@pytest.mark.parametrize("kind", OTHERS)
def test_texts_of_a_kind_have_its_offer_in_every_language(desk, kind):
    policy = load_policy(desk.settings).for_kind(kind)
    for name in shipped_languages():
        for channel in ("email", "sms"):
            text = text_of(shipped_wording(name), policy.rules[0].action, channel, kind=kind)
            assert validate_text(text) == text.strip()
            assert ("{code}" in text) == (kind == "second_order")
            assert ("{items}" in text) == (channel == "email")


@pytest.mark.nightly
def test_text_of_a_kind_is_in_the_preview_in_the_customers_language(desk):
    _draft(desk, "thank_you")
    assert "thank you for shopping with us again." in desk.body().copy_text
    shown = desk.run(CampaignPreview(campaign_id=desk.campaign_id), ANALYST)
    assert shown.error is None
    assert "thank you for shopping with us again." in desk.messages(f"job:{shown.id}")
