"""A coupon that holds for one category: each customer's own, named wherever the offer is read."""

from datetime import timedelta

import pandas as pd
import pytest

from retention.campaigns.message.email_content import placeholder_values
from retention.campaigns.planning import offer_terms
from retention.errors import BadInput
from retention.risk.policy import Policy
from retention.risk.strategy import Rule


def _policy(*categories: str) -> Policy:
    rule = {
        "name": "Own",
        "tiers": ["high"],
        "action": "coupon",
        "discount": 0.2,
        "categories": categories,
    }
    plain = {"name": "All", "tiers": ["medium"], "action": "coupon", "discount": 0.1}
    return Policy.model_validate({"rules": [rule, plain]})


def test_customer_gets_the_named_category_with_most_spend(shop):
    events = shop.lake.table("events", before=shop.end).execute()
    category = shop.lake.table("items").execute().set_index("item_id")["category"]
    lately = events[events["occurred_at"] > (shop.end - timedelta(days=60)).replace(tzinfo=None)]
    spent = lately.assign(kind=lately["item_id"].map(category)).pivot_table(
        "amount", "customer_id", "kind", "sum", fill_value=0.0
    )
    two = spent[["coffee", "tea"]]
    clear = two[two.max(axis=1) > 3 * two.min(axis=1) + 20]
    assert len(clear) > 5
    people = pd.DataFrame(
        {"customer_id": [*clear.index, "other"], "rule": ["Own"] * len(clear) + ["All"]}
    )
    categories_of = offer_terms.coupon_categories(
        shop.lake, _policy("coffee", "tea"), people, shop.end
    )
    best = clear.idxmax(axis=1).to_dict()
    assert categories_of.keys() == best.keys()
    # What is older counts a little
    assert len(categories_of.items() & best.items()) > 0.9 * len(best)


def test_unknown_category_is_rejected_with_the_known_ones(shop):
    people = pd.DataFrame({"customer_id": ["c0000"], "rule": ["Own"]})
    with pytest.raises(
        BadInput, match="for the category 'cofee', which no item has; use of these: bread, cheese"
    ):
        offer_terms.coupon_categories(shop.lake, _policy("cofee"), people, shop.end)


@pytest.mark.parametrize(
    ("other", "discount", "conditions"),
    [
        ({}, "20%", " (only Tea)"),
        ({"action": "reminder", "discount": 0.0}, "", ""),
        ({"discount": 0.0, "amount": 5.0, "min_order": 40.0}, "€5.00", " (from €40.00 on)"),
        ({"action": "free_shipping", "amount": 5.0}, "free shipping", ""),
    ],
)
def test_condition_is_shown_and_removed_when_the_offer_kind_changes(
    settings, other, discount, conditions
):
    coupon = {"action": "coupon", "discount": 0.2, "category": "Tea", "currency": "EUR"}
    offer = {"offer": coupon | {"items": []} | other, "code": None, "expires_at": None}
    values = placeholder_values(settings, "Ann", offer)
    assert (values["discount"], values["conditions"]) == (discount, conditions)


def test_only_percentage_coupons_can_be_limited_to_a_category():
    for terms in ({"action": "reminder"}, {"action": "coupon", "amount": 5.0, "min_order": 50.0}):
        with pytest.raises(ValueError, match="only a coupon with a discount"):
            Rule(name="A", tiers=("high",), categories=("Tea",), **terms)


def test_shipping_cost_is_not_public():
    """Tills, platforms and files must not show it as money off."""
    free = {"action": "free_shipping", "discount": 0.0, "amount": 5.0, "min_order": 50.0}
    assert offer_terms.public_terms(free) == {**free, "amount": 0.0, "category": None}
    assert offer_terms.public_terms({**free, "action": "coupon"})["amount"] == 5.0
