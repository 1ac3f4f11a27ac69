"""Lists respect variants, caps, exclusions and category shares."""

from datetime import timedelta

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
from retention.recommend.history import preferences
from retention.recommend.reasons import RecommendedItem
from retention.recommend.reranking import SOFT_CAPS, Assortment, ItemFacts, choose, merge_lists
from tests import shop as tiny

pytestmark = pytest.mark.nightly


@st.composite
def lists(draw):
    """Draw scores, item facts, caps and a length."""
    customers, items = draw(st.integers(1, 4)), draw(st.integers(1, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scores = rng.permutation(customers * items).reshape(customers, items).astype(float)
    scores[rng.random(scores.shape) < draw(st.sampled_from((0.0, 0.5, 0.9)))] = -np.inf
    groups = {
        name: rng.integers(-1, draw(st.integers(1, 12)), items)
        for name in ("title", "variant", "brand", "type")
    }
    facts = ItemFacts(
        rng.random(items) < draw(st.sampled_from((0.3, 1.0))),
        groups,
        rng.integers(-1, 4, items),
        np.ones(items),
    )
    caps = {
        "title": 1,
        "variant": 1,
        "brand": draw(st.integers(1, 5)),
        "type": draw(st.integers(1, 3)),
    }
    shares = facts.shares(csr_matrix(rng.random(scores.shape)))
    return (
        scores,
        facts,
        caps,
        draw(st.integers(1, 12)),
        shares,
        draw(st.sampled_from((0.0, 0.3, 0.9))),
    )


@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.sampled_from((0.0, 0.5)))
def test_greedy_list_does_not_depend_on_other_rows(seed, k, diversity):
    """Also with more tied items than the pool holds."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(1, 4, (3, 500)).astype(float)
    scores[rng.random(scores.shape) < 0.4] = -np.inf
    groups = {name: rng.integers(-1, 200, 500) for name in ("title", "variant", "brand", "type")}
    facts = ItemFacts(np.ones(500, dtype=bool), groups, rng.integers(-1, 4, 500), np.ones(500))
    shares = facts.shares(csr_matrix(rng.random(scores.shape)))
    caps = {"title": 1, "variant": 1, "type": 2}
    batch = choose(scores, facts, caps, k, shares=shares, diversity=diversity)
    alone = [
        choose(scores[[at]], facts, caps, k, shares=shares[[at]], diversity=diversity)
        for at in range(3)
    ]
    np.testing.assert_array_equal(batch, np.vstack(alone))


@given(lists())
def test_caps_hold_for_any_scores(problem):
    scores, facts, caps, k, shares, diversity = problem
    for line, chosen in zip(
        scores, choose(scores, facts, caps, k, shares=shares, diversity=diversity), strict=True
    ):
        chosen = chosen[chosen >= 0]
        assert len(set(chosen)) == len(chosen) <= k
        assert facts.allowed[chosen].all()
        assert np.isfinite(line[chosen]).all()
        for name, cap in caps.items():
            group = facts.groups[name][chosen]
            if name not in SOFT_CAPS:
                assert max(np.bincount(group[group >= 0]), default=0) <= cap


@given(lists())
def test_list_ends_only_when_no_item_may_be_added(problem):
    scores, facts, caps, k, shares, diversity = problem
    for line, chosen in zip(
        scores, choose(scores, facts, caps, k, shares=shares, diversity=diversity), strict=True
    ):
        allowed = facts.allowed & np.isfinite(line)
        if (chosen >= 0).all():
            continue
        assert (chosen >= 0).any() == allowed.any()
        chosen = chosen[chosen >= 0]
        for item in np.setdiff1d(
            np.flatnonzero(allowed), chosen
        ):  # each would break a cap that may not give way
            assert any(
                facts.groups[name][item] >= 0
                and (facts.groups[name][chosen] == facts.groups[name][item]).sum() >= cap
                for name, cap in caps.items()
                if name not in SOFT_CAPS
            )


@given(lists())
def test_order_of_scores_is_kept_without_binding_caps(problem):
    scores, facts, _, k, _, _ = problem
    loose = {"title": 99, "variant": 99, "brand": 99, "type": 99}
    allowed = np.where(facts.allowed, scores, -np.inf)
    for line, chosen in zip(allowed, choose(scores, facts, loose, k), strict=True):
        best = np.argsort(-line, kind="stable")[: min(k, int(np.isfinite(line).sum()))]
        assert chosen[chosen >= 0].tolist() == best.tolist()


@given(lists())
def test_list_does_not_depend_on_other_customers(problem):
    scores, facts, caps, k, shares, diversity = problem
    together = choose(scores, facts, caps, k, shares=shares, diversity=diversity)
    for row in range(len(scores)):
        alone = choose(scores[[row]], facts, caps, k, shares=shares[[row]], diversity=diversity)
        assert alone[0].tolist() == together[row].tolist()


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
    chosen = category[choose(scores, facts, {}, 4, shares=shares, diversity=0.7)[0]]
    assert sorted(chosen.tolist()) == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("title", "other"),
    [
        ("RED SPOTTY MUG 12cm", "BLUE SPOTTY MUG 9 cm"),
        ("Kids cereal, 14.5 OZ", "Kids cereal, 2x9 oz"),
        ("Running shirt, XL", "Running shirt, S"),
        ("PACK OF 12 LONDON TISSUES", "PACK OF 6 LONDON TISSUES"),
        ("Olive oil (750 ml)", "Olive oil 1.5 l"),
        ("Fluid milk white only, 1 GA", "Fluid milk white only"),
    ],
)
def test_sizes_and_colours_are_variants(title, other):
    assert variant_of(title) == variant_of(other)


@pytest.mark.parametrize(
    ("title", "other"),
    [
        ("Coffee no. 3", "Coffee no. 4"),
        ("White wine", "Red wine"),
        ("12cm", "9cm"),
        ("Mug, spotty", "Mug, striped"),
    ],
)
def test_different_products_are_not_variants(title, other):
    assert variant_of(title) != variant_of(other)


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
    facts = Assortment(RANGE, RecommendRules(**rules), margin=0.3).facts(
        np.array(list("abcde"), dtype=object)
    )
    assert "".join(np.array(list("abcde"))[facts.allowed]) == left


@pytest.mark.parametrize(("words", "left"), [(None, "d"), ([], "abcd"), (["soap"], "abc")])
def test_alcohol_is_excluded_unless_the_policy_allows_it(words, left):
    category = {
        "a": "Domestic Wine",
        "b": "Beverages > Beers/Ales",
        "c": "Reds SPIRITS",
        "d": "Soap",
    }
    drinks = Catalogue(
        titles=dict.fromkeys("abcd", "Item"), barred=frozenset(), named={"words": category}
    )
    rules = RecommendRules() if words is None else RecommendRules(exclude_category_words=words)
    assert {*"abcd"} - Assortment(drinks, rules).barred == {*left}


def test_profit_is_price_times_margin_or_the_default():
    facts = Assortment(RANGE, margin=0.3).facts(np.array(list("abcdx"), dtype=object))
    money = np.array([5 * 0.5, np.nan, 20 * 0.05, 1 * 0.3])
    typical = np.median([2.5, 1.0, 0.3, 3 * 0.9])
    assert facts.profit[[0, 2, 3]] == pytest.approx(money[[0, 2, 3]] / typical)
    assert list(facts.profit[[1, 4]]) == [1, 1]  # no price, or not in the catalogue


def test_lists_by_margin_have_more_profit_and_lower_scores(shop, trained, some):
    earns = Assortment(catalogue(shop.lake)).profit
    means = []
    for weight in (0.0, 0.5, 1.0):
        terms = Terms(RecommendRules(by_margin=weight, max_per_type=None, explore=0))
        lists = recommend(trained, shop.lake, some, k=5, as_of=shop.end, terms=terms).values()
        scored = [(item.score, earns[item.item_id]) for items in lists for item in items]
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


def test_repeat_and_new_policies_filter_items(shop, trained, some):
    lines = preferences(shop.lake, shop.end)
    bought = set(
        zip(
            lines.customer_id[lines.purchase_days > 0],
            lines.item_id[lines.purchase_days > 0],
            strict=True,
        )
    )
    for policy in ("repeat", "new"):
        terms = Terms(RecommendRules(policy=policy))
        chosen = recommend(trained, shop.lake, [*some, "nobody"], k=6, as_of=shop.end, terms=terms)
        assert all(chosen.values())
        pairs = [
            (who, item.item_id)
            for who, items in chosen.items()
            for item in items
            if who != "nobody"
        ]
        assert {pair in bought for pair in pairs} == {policy == "repeat"}
        assert {item.source for item in chosen["nobody"]} == {"popular"}


def test_refused_items_are_left_out_for_that_customer_only(shop, trained, some):
    plain = recommend(trained, shop.lake, some, k=5, as_of=shop.end)
    title, other = some[0], some[1]
    refused = {title: {item.item_id for item in plain[title]}}
    chosen = recommend(trained, shop.lake, some, k=5, as_of=shop.end, terms=Terms(refused=refused))
    assert not refused[title] & {item.item_id for item in chosen[title]}
    assert len(chosen[title]) == 5
    assert chosen[other] == plain[other]


def test_brand_cap_holds_on_filled_lists(shop, trained, some):
    brand = shop.lake.table("items").execute().set_index("item_id")["brand"]
    terms = Terms(RecommendRules(max_per_brand=1))
    for items in recommend(
        trained, shop.lake, [*some, "nobody"], k=9, as_of=shop.end, terms=terms
    ).values():
        assert sorted(brand[item.item_id] for item in items) == [
            f"brand {number}" for number in range(4)
        ]


def test_recalled_items_are_never_offered(tmp_path):
    shop = tiny.build(tmp_path / "home", customers=30, items=12, days=60)
    items = shop.lake.table("items").execute()
    for item_id, attributes in (
        ("i000", "true"),
        ("i001", '"2025-02-01"'),
        ("i002", "false"),
        ("i003", "null"),
    ):
        items.loc[items.item_id == item_id, "attributes"] = f'{{"recalled": {attributes}}}'
    shop.lake.upsert("items", items)
    chosen = recommend(None, shop.lake, ["nobody"], k=12, as_of=shop.end + timedelta(days=1))[
        "nobody"
    ]
    assert {f"i{number:03d}" for number in range(12)} - {item.item_id for item in chosen} == {
        "i000",
        "i001",
    }


def test_offer_items_obey_the_same_rules():
    """Offer items bypassed recalls, exclusions and refusals."""
    assortment = Assortment(RANGE, RecommendRules(exclude_items=["c"]))
    items = {name: RecommendedItem(name, RANGE.title(name), 1.0, "due", "") for name in "abcde"}
    first, rest = [items["e"], items["c"], items["a"]], [items["d"], items["a"], items["b"]]
    chosen = merge_lists(assortment, first, rest, 3)
    assert [item.item_id for item in chosen] == ["a", "b"]  # d has the same parent as a
    assert [item.item_id for item in merge_lists(assortment, first, rest, 3, refused=["a"])] == [
        "b"
    ]
    assert [item.item_id for item in merge_lists(assortment, first, rest, 1)] == ["a"]
