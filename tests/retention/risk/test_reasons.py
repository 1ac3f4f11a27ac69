"""Tests of the reasons of a tier and of those that a policy decides by."""

import pytest

from retention.churn.explaining.clauses import FALLS, Clause
from retention.risk.policy import DEFAULT, read_policy
from retention.risk.reasons import (
    LISTED,
    listed_reasons,
    policy_features,
    reasons_for_tier,
    with_fall,
)
from retention.risk.sentence import MAX_WORDS, sentence, short_reason
from retention.templating import why


def _reason(feature, weight, direction):
    return {"feature": feature, "text": feature, "weight": weight, "direction": direction}


LATE, FEW = _reason("recency", 0.9, "raises"), _reason("frequency", 0.1, "raises")
OFTEN, LARGE = _reason("rhythm", -0.5, "lowers"), _reason("spend", -0.3, "lowers")
ALL = [LATE, FEW, OFTEN, LARGE]


@pytest.mark.parametrize(
    ("tier", "shown"),
    [("high", [LATE, FEW]), ("medium", [LATE, OFTEN, LARGE]), ("low", [OFTEN, LARGE])],
)
def test_reasons_agree_with_the_tier(tier, shown):
    assert reasons_for_tier(ALL, tier) == shown


ON_TIME = Clause("on_time", {"days": 6.0, "usual": 50.0}, ("rhythm",), -0.4, "lowers")
RARE = Clause("usual_gap", {"usual": 50.0, "typical": 40.0}, ("rhythm",), 0.1, "raises")
LONG = Clause("silent", {"days": 60.0, "usual": 9.0, "longest": 20.0}, (), 0.0, "raises")


@pytest.mark.parametrize(
    ("clauses", "expected", "priced", "first"),
    [
        ((ON_TIME,), 10.0, True, "less_spend"),
        ((RARE, ON_TIME), 10.0, True, "less_spend"),
        ((ON_TIME,), 10.0, False, "fewer_orders"),
        ((LONG, ON_TIME), 10.0, True, "silent"),
        ((ON_TIME,), 30.2, True, "on_time"),
    ],
)
def test_listed_customer_without_a_change_is_told_the_fall(clauses, expected, priced, first):
    told = with_fall(clauses, 30.0, expected, 28, priced=priced)
    assert told[0].code == first
    is_fall = first in FALLS
    found = [reason["feature"] for reason in listed_reasons(ALL, told)]
    assert found == [*(["trend"] if is_fall else []), "recency", "frequency"]
    assert sentence(told, LISTED)
    assert len(short_reason(told, LISTED).split()) <= MAX_WORDS


def test_medium_tier_leaves_out_reasons_without_weight():
    vague = _reason("other", 0.0, "lowers")
    assert reasons_for_tier([LATE, vague], "medium") == [LATE]
    assert reasons_for_tier([vague], "medium") == [vague]
    assert reasons_for_tier([], "medium") == []


def test_reasons_stored_without_direction_are_read_by_their_weight():
    stored = [{"feature": "recency", "text": "late", "weight": 0.4}]
    assert reasons_for_tier(stored, "high") == [{**stored[0], "direction": "raises"}]
    assert policy_features(stored) == ["recency"]
    assert why(stored) == "raises the risk: late"


def test_directions_are_said_in_the_text():
    assert why(ALL) == "raises the risk: recency; frequency; lowers the risk: rhythm; spend"
    assert why([]) == ""


def test_policy_decides_by_causes_that_raise_the_risk():
    """A recent order is no reason for the reminder of late customers."""
    policy = read_policy(DEFAULT)
    early = [FEW, _reason("recency", -0.9, "lowers")]
    assert policy_features(early) == ["frequency"]
    assert policy.rule_for("medium", policy_features(early)).name == "Medium risk"
    assert policy.rule_for("medium", policy_features(ALL)).name == "Medium risk, only late"
