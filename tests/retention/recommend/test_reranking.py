"""Lists respect variants, caps, exclusions and category shares."""

from datetime import timedelta
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from retention.lake import Lake
from retention.list_rules import RecommendRules
from retention.recommend import Terms, recommend
from retention.recommend.catalogue import Catalogue, catalogue, variant_of
from retention.recommend.reasons import RecommendedItem
from retention.recommend.reranking import (
    GROUPS,
    SOFT_CAPS,
    Assortment,
    Calibration,
    ItemFacts,
    choose,
    merge_lists,
)
from tests import shop as tiny
from tests.retention.recommend.small_shop import preferences

pytestmark = pytest.mark.nightly


class Problem(NamedTuple):
    """The arguments of `choose`."""

    scores: np.ndarray
    facts: ItemFacts
    caps: dict[str, int]
    k: int
    calibration: Calibration | None

    def alone(self, row: int) -> np.ndarray:
        """Choose for one customer."""
        calibration = self.calibration and self.calibration.of([row])
        return choose(self.scores[[row]], self.facts, self.caps, self.k, calibration)[0]


@st.composite
def problems(draw, most_items=30, most_groups=12, ties=(False, True)):
    customers, items = draw(st.integers(1, 4)), draw(st.integers(1, most_items))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scores = rng.permutation(customers * items).reshape(customers, items).astype(float)
    if draw(st.sampled_from(ties)):
        scores = scores % 3 + 1
    scores[rng.random(scores.shape) < draw(st.sampled_from((0.0, 0.5, 0.9)))] = -np.inf
    groups = {name: rng.integers(-1, draw(st.integers(1, most_groups)), items) for name in GROUPS}
    allowed = rng.random(items) < draw(st.sampled_from((0.3, 1.0)))
    facts = ItemFacts(allowed, groups, rng.integers(-1, 4, items), np.ones(items))
    brand, type_ = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    caps = {"title": 1, "variant": 1, "brand": brand, "type": type_}
    diversity, shares = (
        draw(st.sampled_from((0.0, 0.3, 0.9))),
        facts.shares(csr_matrix(rng.random(scores.shape))),
    )
    calibration = Calibration(shares, diversity) if diversity else None
    return Problem(scores, facts, caps, draw(st.integers(1, 12)), calibration)


# The second strategy has more tied items than the pool holds.
@given(st.one_of(problems(), problems(500, 200, (True,))))
def test_list_does_not_depend_on_other_customers(problem):
    together = choose(*problem)
    alone = [problem.alone(row) for row in range(len(problem.scores))]
    np.testing.assert_array_equal(together, np.vstack(alone))


@given(problems())
def test_caps_hold_and_lists_end_only_when_no_item_may_be_added(problem):
    facts = problem.facts
    for line, places in zip(problem.scores, choose(*problem), strict=True):
        chosen, allowed = places[places >= 0], facts.allowed & np.isfinite(line)
        assert len(set(chosen)) == len(chosen) <= problem.k
        assert allowed[chosen].all()
        room = allowed.copy()
        room[chosen] = False
        for name, cap in problem.caps.items():
            group = facts.groups[name]
            counts = np.bincount(group[chosen][group[chosen] >= 0], minlength=group.max() + 2)
            if name not in SOFT_CAPS:
                assert counts.max() <= cap
                room &= (group < 0) | (counts[group] < cap)
        assert len(chosen) == problem.k or not room.any()


@given(problems(ties=(False,)))
def test_order_of_scores_is_kept_without_binding_caps(problem):
    loose = problem._replace(caps=dict.fromkeys(GROUPS, 99), calibration=None)
    allowed = np.where(problem.facts.allowed, problem.scores, -np.inf)
    for line, chosen in zip(allowed, choose(*loose), strict=True):
        best = np.argsort(-line, kind="stable")[: min(problem.k, int(np.isfinite(line).sum()))]
        assert chosen[chosen >= 0].tolist() == best.tolist()


def test_type_cap_gives_way_only_for_short_lists():
    none = np.full(4, -1)
    facts = ItemFacts(
        np.ones(4, dtype=bool), {"type": np.array([0, 0, 0, 1]), "brand": none}, none, np.ones(4)
    )
    scores = np.array([[4.0, 3.0, 2.0, 1.0]])
    assert choose(scores, facts, {"type": 2}, 3).tolist() == [[0, 1, 3]]
    assert choose(scores, facts, {"type": 2}, 4).tolist() == [[0, 1, 3, 2]]


def test_calibration_follows_the_customers_shares():
    """Purchases of 75% coffee and 25% tea give three and one of four items."""
    category = np.array([0] * 6 + [1] * 6)
    facts = ItemFacts(np.ones(12, dtype=bool), {}, category, np.ones(12))
    scores = np.linspace(1, 0.5, 12)[None]
    shares = np.array([[0.75, 0.25]])
    assert category[choose(scores, facts, {}, 4)[0]].tolist() == [0, 0, 0, 0]
    chosen = category[choose(scores, facts, {}, 4, Calibration(shares, 0.7))[0]]
    assert sorted(chosen.tolist()) == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("title", "other", "is_variant"),
    [
        ("RED SPOTTY MUG 12cm", "BLUE SPOTTY MUG 9 cm", True),
        ("Kids cereal, 14.5 OZ", "Kids cereal, 2x9 oz", True),
        ("Running shirt, XL", "Running shirt, S", True),
        ("PACK OF 12 LONDON TISSUES", "PACK OF 6 LONDON TISSUES", True),
        ("Olive oil (750 ml)", "Olive oil 1.5 l", True),
        ("Fluid milk white only, 1 GA", "Fluid milk white only", True),
        ("Coffee no. 3", "Coffee no. 4", False),
        ("White wine", "Red wine", False),
        ("12cm", "9cm", False),
        ("Mug, spotty", "Mug, striped", False),
    ],
)
def test_sizes_and_colours_but_not_products_are_variants(title, other, is_variant):
    assert (variant_of(title) == variant_of(other)) is is_variant


RANGE = Catalogue(
    titles={"a": "Mug red", "b": "Mug blue", "c": "Plate", "d": "Spoon", "e": "Fork"},
    barred=frozenset({"e"}),
    prices={"a": 5.0, "b": float("nan"), "c": 20.0, "d": 1.0, "e": 3.0},
    named={"category": {"a": "Cups", "c": "Plates"}, "label": {"a": "Acme", "d": "Best"}},
    margins={"a": 0.5, "b": float("nan"), "c": 0.05, "d": 0.3, "e": 0.9},
    parents={"a": "p", "d": "p"},
)


@pytest.mark.parametrize(
    ("rules", "left"),
    [
        ({}, "abcd"),
        ({"exclude_categories": ["cups"]}, "bcd"),
        ({"exclude_brands": ["BEST"]}, "abc"),
        ({"exclude_items": ["c"]}, "abd"),
        ({"min_price": 2, "max_price": 10}, "ab"),  # b has no price and is not held to the band
        ({"min_margin": 0.2}, "abd"),  # b has no margin; the shop's usual one is above the floor
        ({"min_margin": 0.4}, "a"),  # and here below it
    ],
)
def test_rules_bar_items(rules, left):
    barred = Assortment(RANGE, RecommendRules(**rules), margin=0.3).barred
    assert {*"abcde"} - barred == {*left}


@pytest.mark.parametrize(("words", "left"), [(None, "d"), ([], "abcd"), (["soap"], "abc")])
def test_alcohol_is_excluded_unless_the_policy_allows_it(words, left):
    words_of = ("Domestic Wine", "Beverages > Beers/Ales", "Reds SPIRITS", "Soap")
    named = {"words": dict(zip("abcd", words_of, strict=True))}
    drinks = Catalogue(titles=dict.fromkeys("abcd", "Item"), barred=frozenset(), named=named)
    rules = RecommendRules() if words is None else RecommendRules(exclude_category_words=words)
    assert {*"abcd"} - Assortment(drinks, rules).barred == {*left}


def test_profit_is_price_times_margin_or_the_default():
    facts = Assortment(RANGE, margin=0.3).facts(np.array(list("abcdx"), dtype=object))
    money = np.array([5 * 0.5, np.nan, 20 * 0.05, 1 * 0.3])
    typical = np.median([2.5, 1.0, 0.3, 3 * 0.9])
    assert facts.profit[[0, 2, 3]] == pytest.approx(money[[0, 2, 3]] / typical)
    assert list(facts.profit[[1, 4]]) == [1, 1]  # no price, or not in the catalogue


def test_lists_by_margin_have_more_profit_and_lower_scores(shop, lists, some):
    earns = Assortment(catalogue(shop.lake)).profit
    means = []
    for weight in (0.0, 0.5, 1.0):
        terms = Terms(RecommendRules(by_margin=weight, max_per_type=None, explore=0))
        chosen = lists(some, k=5, terms=terms).values()
        scored = [(item.score, earns[item.item_id]) for items in chosen for item in items]
        means.append((np.mean([score for score, _ in scored]), np.mean([a * b for a, b in scored])))
    likely, expected = zip(*means, strict=True)
    assert likely[0] > likely[1] > likely[2] > 0
    assert expected[0] < expected[1] < expected[2]


def test_items_with_the_same_parent_are_variants():
    variant = Assortment(RANGE).facts(np.array(list("abcd"), dtype=object)).groups["variant"]
    assert variant[0] == variant[3] != variant[1]


@pytest.mark.parametrize("none", ["0", '"0"', '""', "null"])
def test_parent_zero_means_no_parent(tmp_path, none):
    """All items without a parent counted as variants of each other."""
    lake = Lake(tmp_path / "lake", tmp_path / "scratch")
    attributes = [f'{{"parent_id": {none}}}', f'{{"parent_id": {none}}}', '{"parent_id": 7}']
    lake.upsert("items", pd.DataFrame({"item_id": ["a", "b", "c"], "attributes": attributes}))
    assert catalogue(lake).parents == {"c": "7"}


@pytest.fixture(scope="module")
def some(shop) -> list[str]:
    return sorted(set(preferences(shop.lake, shop.end)["customer_id"]))[:25]


@pytest.mark.parametrize("policy", ["repeat", "new"])
def test_repeat_and_new_policies_filter_items(shop, lists, some, policy):
    lines = preferences(shop.lake, shop.end).query("purchase_days > 0")
    bought = set(zip(lines.customer_id, lines.item_id, strict=True))
    chosen = lists([*some, "nobody"], k=6, terms=Terms(RecommendRules(policy=policy)))
    assert all(chosen.values())
    assert {item.source for item in chosen.pop("nobody")} == {"popular"}
    pairs = {(who, item.item_id) for who, items in chosen.items() for item in items}
    assert {pair in bought for pair in pairs} == {policy == "repeat"}


def test_refused_items_are_left_out_for_that_customer_only(lists, some):
    plain, who = lists(some, k=5), some[0]
    refused = {who: {item.item_id for item in plain[who]}}
    chosen = lists(some, k=5, terms=Terms(refused=refused))
    assert not refused[who] & {item.item_id for item in chosen[who]}
    assert len(chosen.pop(who)) == 5
    assert chosen == {other: items for other, items in plain.items() if other != who}


def test_brand_cap_holds_on_filled_lists(shop, lists, some):
    brand = shop.lake.table("items").execute().set_index("item_id")["brand"]
    chosen = lists([*some, "nobody"], k=9, terms=Terms(RecommendRules(max_per_brand=1)))
    brands = [f"brand {number}" for number in range(4)]
    assert all(sorted(brand[item.item_id] for item in items) == brands for items in chosen.values())


def test_recalled_items_are_never_offered(tmp_path):
    shop = tiny.build(tmp_path / "home", customers=30, items=12, days=60)
    items = shop.lake.table("items").execute()
    for number, recalled in enumerate(("true", '"2025-02-01"', "false", "null")):
        items.loc[items.item_id == f"i00{number}", "attributes"] = f'{{"recalled": {recalled}}}'
    shop.lake.upsert("items", items)
    later = shop.end + timedelta(days=1)
    chosen = recommend(None, shop.lake, ["nobody"], k=12, as_of=later)["nobody"]
    offered = {item.item_id for item in chosen}
    assert {f"i{number:03d}" for number in range(12)} - offered == {"i000", "i001"}


def test_offer_items_obey_the_same_rules():
    """Offer items bypassed recalls, exclusions and refusals."""
    assortment = Assortment(RANGE, RecommendRules(exclude_items=["c"]))
    items = {name: RecommendedItem(name, RANGE.title(name), 1.0, "due", "") for name in "abcde"}
    first, rest = [items["e"], items["c"], items["a"]], [items["d"], items["a"], items["b"]]

    def merged(k: int, refused: list[str]) -> list[str]:
        return [item.item_id for item in merge_lists(assortment, first, rest, k, refused)]

    assert merged(3, []) == ["a", "b"]  # d has the same parent as a
    assert merged(3, ["a"]) == ["b"]
    assert merged(1, []) == ["a"]
