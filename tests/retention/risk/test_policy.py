"""Test the policy: a default, one sentence for each fault, one rule for each customer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retention.errors import BadInput
from retention.features.catalogue import FEATURES, GROUPS
from retention.risk.policy import DEFAULT, load_policy, read_policy
from retention.risk.strategy import REASONS, reason_of
from retention.settings import Settings

POLICY = read_policy(DEFAULT)
LENIENT = "[campaign]\nconsent = 'unless_refused'\n"


def _written(tmp_path, text: str):
    path = tmp_path / "policy.toml"
    path.write_text(text, encoding="utf-8")
    return path


def _rule(
    name="A", tiers='["high"]', reasons='["any"]', action="coupon", discount=0.1, **more
) -> str:
    rule = (
        f'[[rules]]\nname = "{name}"\ntiers = {tiers}\nreasons = {reasons}\n'
        f'action = "{action}"\ndiscount = {discount}\n'
    )
    return rule + "".join(f"{name} = {value}\n" for name, value in more.items())


def test_default_policy_is_valid_and_acts(tmp_path):
    policy = load_policy(Settings(home=tmp_path))
    assert 0.1 <= policy.campaign.holdout <= 0.2
    assert policy.tiers is None  # they follow the shop
    for tier in ("high", "medium", "low", "lapsed"):
        assert policy.rule_for(tier, []) is not None
    dearest = max(rule.discount for rule in policy.rules)
    assert policy.offer.margin - dearest >= policy.campaign.min_margin


def test_shop_policy_replaces_the_default(tmp_path):
    path = _written(tmp_path, "[tiers]\nhigh = 0.7\nmedium = 0.4\n" + _rule())
    policy = load_policy(Settings(home=tmp_path, policy=path))
    assert policy.tiers.high == 0.7
    assert policy.rule_for("low", ["recency_days"]) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (_rule(reasons='["moon"]'), "no reason 'moon'"),
        (_rule("A") + _rule("B"), "overlap"),
        (
            _rule("A", reasons='["recency", "trend"]') + _rule("B", reasons='["trend"]'),
            "tier high, reason trend",
        ),
        (_rule("A") + _rule("A", tiers='["low"]'), "two rules"),
        (_rule(reasons='["any", "trend"]'), "already holds"),
        (_rule(action="coupon", discount=0), "only coupons"),
        (_rule(action="nothing", discount=0.2), "only coupons"),
        (_rule(action="bribe"), "action"),
        (
            "[offer]\nitems = 0\n" + _rule(action="reminder", discount=0),
            "'A' writes of nothing but items; use 1 to 10",
        ),
        ("[campaign]\nholdout = 0.5\n", "holdout"),
        ("[tiers]\nhigh = 0.2\nmedium = 0.4\n", "below high"),
        ("[recommend]\nmin_price = 9\nmax_price = 5\n", "min_price (9.0) is above max_price (5.0)"),
        ('[recommend]\npolicy = "again"\n', "'repeat', 'new' or 'both' (it says 'again')"),
        ("[recommend]\nmax_per_brand = 0\n", "recommend.max_per_brand"),
        ("[recommend]\nmin_margin = 30\n", "write less than 1.0 (it says 30)"),
        ("[tiers\n", "not valid TOML"),
        ("[campaign]\nbudget = inf\n", "a number that ends, like 25000 (it says inf)"),
        ("[tiers]\n[campaign]\n[tiers]\n", "line 3, column 7): [tiers]; this table is there twice"),
        ("[campaign]\nbudget = 1\nbudget = 2\n", "budget = 2; this is said twice; keep one"),
        ("[campaign]\nbudget = 25,000\n", "one setting a line, and a number without separators"),
        (
            "# a\u2028b\n[campaign]\nconsent = “required”\n",
            "“required”; write text in straight quotes",
        ),
        ("[campaign]\nbudget\n", "write a setting as name = value"),
        (_rule(""), "rules.1.name: write 1 or more characters"),
        (_rule("A\\u0000"), "rules.1.name: 'A\\x00' holds a character that nobody can read"),
        ("[campaign]\nbudget = -5\n", "campaign.budget: write 0.0 or more (it says -5)"),
        ("[campaigns]\nbudget = 5\n", "campaigns: there is no such setting"),
        ("[campaign]\nquiet_hours = 'at night'\n", "write them like"),
        ("[campaign]\nremind_hours = 80\n", "nobody is reminded in time"),
        ("[second_approver]\ndiscount = 2\n", "second_approver.discount"),
        ("[values]\nhigh = 0.7\nmiddle = 0.4\n", "lower one"),
        (_rule(amount=5, min_order=30), "exactly one of the two"),
        (_rule(discount=0, amount=5), "without a min_order"),
        (_rule(discount=0, action="free_shipping"), "without a min_order"),
        (_rule(min_order=20), "only an amount, free shipping, gifts"),
        (_rule(discount=0, action="call", amount=5, min_order=9), "only coupons"),
        (_rule(values='["any", "high"]'), "name it alone"),
        (_rule(consent="[]"), "for nobody"),
        (
            "[campaign]\nmax_calls = true\n",
            "max_calls: write a whole number like 40, without quotes (it says true)",
        ),
        ("[campaign]\nmax_calls = 2.5\n", "whole number like 40, without quotes (it says 2.5)"),
        ('[campaign]\nbudget = "1000"\n', "number like 0.5, without quotes (it says '1000')"),
        ("[recommend]\nbandit = 1\n", "write true or false, without quotes (it says 1)"),
        (_rule(tiers='"high"'), """rules.1.tiers: write a list like ["a", "b"] (it says 'high')"""),
        ("campaign = 3\n", "campaign: write a table"),
        ("rules = 3\n", "below a line [[rules]]"),
        ("rules = []\n", "rules: there is none, so nobody would get anything"),
        ("[campaign]\nquiet_hours = 3\n", "write text in quotes"),
        ("[[rules]]\nname = 'A'\ntiers = ['high']\n", "rules.1.action: this is missing"),
        (_rule(consent='["refused"]'), "given"),
        (_rule("A", values='["high"]') + _rule("B", values='["high", "low"]'), "value high"),
        (
            _rule("A", consent='["unknown"]') + _rule("B", consent='["unknown", "given"]'),
            "consent unknown",
        ),
        (LENIENT + _rule("A") + _rule("B", consent='["unknown"]'), "overlap"),
    ],
)
def test_invalid_policy_gives_one_sentence_with_the_error(tmp_path, text, says):
    with pytest.raises(BadInput) as refusal:
        read_policy(_written(tmp_path, text))
    sentence = str(refusal.value)
    assert says in sentence
    assert "policy.toml" in sentence
    assert sentence.count("\n") == 0
    assert sentence.endswith(".")


def test_byte_order_mark_and_whole_numbers_are_accepted(tmp_path):
    for mark in ("", "\ufeff"):
        path = _written(tmp_path, f"{mark}[campaign]\nbudget = 1000\n")
        assert read_policy(path).campaign.budget == 1000


def test_unreadable_policy_file_is_an_error(tmp_path):
    with pytest.raises(BadInput, match="cannot be read"):
        read_policy(tmp_path / "nowhere.toml")
    path = tmp_path / "latin.toml"
    path.write_bytes("[tiers] # é".encode("latin-1"))
    with pytest.raises(BadInput, match="UTF-8"):
        read_policy(path)


def test_rule_for_a_reason_precedes_rule_for_any():
    assert POLICY.rule_for("high", ["discount_share", "recency_days"]).discount == 0.20
    assert POLICY.rule_for("high", ["recency_days"]).name == "High risk"
    assert POLICY.rule_for("medium", ["recency_days"]).action == "reminder"


@given(
    st.sampled_from(("high", "medium", "low")),
    st.lists(st.sampled_from([f.name for f in FEATURES] + ["x"])),
)
def test_every_customer_has_exactly_one_rule_of_their_tier(tier, features):
    assert tier in POLICY.rule_for(tier, features).tiers


def test_value_rule_precedes_reason_rule_and_unavailable_actions_are_skipped():
    rule = POLICY.rule_for("high", ["discount_share"], "high")
    assert rule.action == "call"
    assert POLICY.rule_for("high", ["discount_share"], "high", without=("call",)).discount == 0.20
    assert POLICY.rule_for("high", ["discount_share"], "low").discount == 0.20
    assert POLICY.rule_for("high", ["discount_share"], "high", "unknown") is None


def test_list_gets_its_offer_only_where_no_rule_decides_for_a_part_of_the_tier(tmp_path):
    nothing = {"action": "nothing", "discount": 0}
    text = (
        _rule("Listed", tiers='["listed"]')
        + _rule("Rests", tiers='["low"]', **nothing)
        + _rule("Saved anyway", tiers='["medium"]', reasons='["discounts"]', **nothing)
        + _rule("Acts", tiers='["high"]')
    )
    policy = load_policy(Settings(home=tmp_path, policy=_written(tmp_path, text)))

    def name(tier, *features):
        rule = policy.rule_for(tier, features, "middle", is_listed=True)
        return rule and rule.name

    assert (name("low", "trend"), name("medium", "trend")) == ("Listed", "Listed")
    assert (name("medium", "discounts"), name("high")) == ("Saved anyway", "Acts")
    assert policy.rule_for("low", ()).name == "Rests"
    assert name("lapsed") is None


def test_rules_decide_by_consent(tmp_path):
    unsure = _rule("B", action="reminder", discount=0, consent='["unknown"]')
    policy = read_policy(_written(tmp_path, _rule("A") + unsure))
    assert policy.rule_for("high", [], consent="given").name == "A"
    assert policy.rule_for("high", [], consent="unknown").name == "B"
    lenient = read_policy(_written(tmp_path, LENIENT + _rule("A")))
    assert lenient.rule_for("high", [], consent="unknown").name == "A"


def test_every_feature_has_a_reason():
    assert {reason_of(feature.name) for feature in FEATURES} == set(GROUPS)
    assert all(reason_of(reason) == reason for reason in REASONS)
    assert reason_of("never heard of") == "other"
