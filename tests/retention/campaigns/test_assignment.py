"""Buckets: the same whatever the order, every tier's share exact to one customer."""

import math

from hypothesis import given
from hypothesis import strategies as st

from retention.campaigns.planning.assignment import (
    BUCKETS,
    buckets,
    control_size,
    holdout_threshold,
)

audiences = st.dictionaries(
    st.text(min_size=1, max_size=8), st.sampled_from(("high", "medium", "low")), max_size=120
)
shares = st.integers(100, 200).map(lambda thousandths: thousandths / 1000)


@given(audiences, st.randoms())
def test_buckets_do_not_depend_on_the_order(audience, random):
    customers = list(audience.items())
    first = buckets("salt", "c1", customers)
    random.shuffle(customers)
    assert buckets("salt", "c1", customers) == first
    assert all(0 <= bucket < BUCKETS for bucket in first.values())


@given(audiences, shares)
def test_hold_out_share_of_each_tier_is_exact_to_one_customer(audience, share):
    drawn = buckets("salt", "c1", audience.items())
    for tier in set(audience.values()):
        inside = [drawn[customer_id] for customer_id, theirs in audience.items() if theirs == tier]
        held = sum(bucket < holdout_threshold(share) for bucket in inside)
        assert held == control_size(len(inside), share)
        assert abs(held - share * len(inside)) <= 0.5 + 1e-9


def test_hold_outs_differ_between_campaigns():
    people = [(f"c{n}", "high") for n in range(2000)]

    def held_out(salt):
        drawn = buckets(salt, "c1", people)
        return {each for each, bucket in drawn.items() if bucket < holdout_threshold(0.15)}

    one, two = held_out("salt"), held_out("other")
    assert len(one) == len(two) == 300
    spread = math.sqrt(300 * 0.15 * 0.85)
    assert abs(len(one & two) - 45) < 5 * spread
