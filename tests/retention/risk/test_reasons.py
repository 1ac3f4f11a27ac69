"""Tests of the reasons of a tier and of those that a policy decides by."""

import pytest

from retention.risk.policy import DEFAULT, read_policy
from retention.risk.reasons import policy_features, reasons_for_tier
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
