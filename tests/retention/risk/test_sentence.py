"""One sentence per customer: no fact twice, the strongest actionable reason first."""

import numpy as np
import pandas as pd
import pytest

from retention.churn.explaining import facts
from retention.churn.explaining.clauses import FAMILIES, Clause, EvidenceTable, clauses_of, ordered
from retention.features.catalogue import GROUPS
from retention.risk import sentence as words
from retention.templating import LOWERS, RAISES

LATE = {"recency_days": 43.6, "gap_median": 2.0, "gap_max": 12.0, "orders_1h": 0, "orders_2h": 9}
TYPICAL = {"recency_days": 9.0, "gap_median": 7.0, "basket_mean": 20.0, "tenure_days": 200.0}
TYPICAL |= {"orders_1h": 4, "orders_2h": 8, "orders_4h": 16, "orders_all": 30, "items_4h": 90}
SILENT = "Silent for 43 days; usually orders every 2 days (longest pause before: 12 days)"
SEASON = Clause("season", {"change": -0.33, "days": 28}, ("season",), 2.0, RAISES)


def _clauses(weights, **row):
    return clauses_of(facts.Customer(LATE | row, TYPICAL, 28), weights)


def _sentence(weights, tier="high", **row):
    return words.sentence(_clauses(weights, **row), tier)


def test_silence_rhythm_and_missing_orders_are_one_clause():
    weights = {"rhythm": 0.9, "recency": 0.6, "frequency": 0.4, "trend": 0.3}
    (clause,) = _clauses(weights)
    assert set(clause.groups) == set(weights)
    assert clause.weight == pytest.approx(2.2)
    assert _sentence(weights) == SILENT


def test_actionable_reason_comes_before_a_stronger_one():
    weights = {"tenure": 2.0, "breadth": 0.5}
    assert _sentence(weights, tenure_days=30.0, items_4h=4, gap_max=60.0) == (
        "4 different items in the last 112 days (typical for the shop: 90); "
        "a customer for 30 days (typical for the shop: 200 days)"
    )


def test_silence_leads_and_the_season_ends_the_reasons():
    silent = Clause("silent", {"days": 43.0, "usual": 2, "longest": 12}, ("recency",), 0.1, RAISES)
    wide = Clause("tenure_days", {"amount": 30.0, "typical": 200.0}, ("tenure",), 0.9, RAISES)
    assert ordered((SEASON, wide, silent)) == (silent, wide, SEASON)


def test_season_alone_is_not_the_first_reason():
    on_time = Clause("on_time", {"days": 37.0, "usual": 147}, ("recency",), -0.4, LOWERS)
    assert words.sentence((SEASON, on_time)) == (
        "Last order 37 days ago; usually orders every 147 days; "
        "but repeat orders come 33% slower at this time of the year"
    )
    assert words.short_reason((SEASON, on_time)) == "within the usual rhythm"
    assert words.short_reason((SEASON,)) == "season: repeat orders 33% slower"


def test_silence_is_told_where_the_model_tells_nothing():
    rows = [
        {"customer_id": "late", **LATE},
        {"customer_id": "on time", **LATE, "recency_days": 1.0},
        {"customer_id": "once", **LATE, "gap_median": np.nan},
    ]
    weight = {"recency": np.zeros(3), "tenure": np.zeros(3)}
    frame = pd.DataFrame(rows)
    evidence = EvidenceTable(frame, weight, TYPICAL, 28).of(["late", "on time", "once"])
    texts = [words.sentence(evidence[row["customer_id"]].clauses) for row in rows]
    assert texts == [
        SILENT,
        "Last order 1 day ago; usually orders every 2 days",
        "Silent for 43 days since the only order (typical for the shop: 9 days)",
    ]


def test_silence_beyond_every_pause_leads_whatever_the_model_makes_of_it():
    """A frequent customer who stays away has a low risk, and most to lose."""
    weights = {"recency": -0.4, "rhythm": -0.2, "tenure": -0.5}
    for tier in ("high", "medium", "low"):
        assert _sentence(weights, tier, tenure_days=400.0).startswith(SILENT)
    assert _sentence(weights, gap_max=60.0).startswith("Silent for 43 days; earlier pauses lasted")


def test_item_bought_regularly_is_missed_only_where_others_have_one():
    shop = facts.Customer(
        LATE | {"regular_items": 0.0, "gap_max": 60.0}, TYPICAL | {"regular_items": 0.0}, 28
    )
    assert clauses_of(shop, {"replenishment": 0.9}) == ()


def test_evidence_against_the_risk_ends_the_sentence():
    weights = {"recency": 0.9, "spend": -0.4}
    assert _sentence(weights, basket_mean=64.0).endswith(
        "(longest pause before: 12 days); but spends 64 per order (typical for the shop: 20)"
    )
    assert _sentence(weights, "low", basket_mean=64.0).startswith("Silent for 43 days")
    lowers = {"spend": -0.4, "tenure": 0.2}
    row = {"basket_mean": 64.0, "tenure_days": 30.0, "gap_max": 60.0}
    assert _sentence(lowers, "low", **row).startswith("Spends 64 per order")


def test_longer_pause_before_is_part_of_the_clause():
    weights = {"recency": 0.9, "rhythm": -0.3}
    (clause,) = _clauses(weights, gap_max=60.0)
    assert words.short_text(clause) == "22 times the usual pause"
    assert _sentence(weights, gap_max=60.0) == SILENT.replace("12", "60")


def test_spend_that_follows_from_the_silence_is_left_out():
    weights = {"recency": 0.9, "spend": 1.5}
    (clause,) = _clauses(weights, spend_2h=0.0, spend_4h=300.0)
    assert clause.code == "silent"


def test_customer_without_a_stated_fact_has_a_sentence():
    assert _sentence({}, gap_max=60.0) == "Several small signs together, none of which stands out"
    assert words.short_reason(()) == "several small signs together"


def test_clauses_share_neither_group_nor_words_for_any_customer():
    random = np.random.default_rng(7)
    columns, count = sorted(facts.COLUMNS), len(facts.COLUMNS)
    for _ in range(300):
        row, typical = (
            dict(zip(columns, random.gamma(1, 20, count), strict=True)) for _ in range(2)
        )
        weights = dict(zip(GROUPS, random.normal(0, 1, len(GROUPS)), strict=True))
        clauses = clauses_of(facts.Customer(row, typical, 28), weights)
        groups = [group for clause in clauses for group in clause.groups]
        assert len(groups) == len(set(groups))
        codes = [clause.code for clause in clauses]
        assert len(codes) == len(set(codes))
        assert len({"silent", "on_time", "within_pauses", "recent"} & set(codes)) <= 1
        weighted = [clause for clause in clauses if clause.weight]
        assert all(weights[clause.groups[0]] * clause.weight > 0 for clause in weighted)


def test_every_feature_group_with_facts_belongs_to_one_family():
    listed = [group for family in FAMILIES for group in family]
    assert len(listed) == len(set(listed))
    assert set(listed) == facts.GROUPS


def _every_clause():
    names = [
        *("days", "usual", "longest", "typical", "now", "before", "last", "items"),
        *("overdue", "mean", "orders", "amount", "horizon", "expected"),
    ]
    numbers = dict.fromkeys(names, 1234.0)
    values = numbers | {"share": 0.8, "change": -0.2}
    codes = {*words._SHORT, *words._SHORT_AMOUNTS}
    return [Clause(code, values, ("recency",), 1.0, RAISES) for code in sorted(codes)]


@pytest.mark.parametrize("clause", _every_clause(), ids=lambda clause: clause.code)
def test_table_reason_has_at_most_eight_words(clause):
    assert 1 <= len(words.short_text(clause).split()) <= words.MAX_WORDS
    assert words.long_text(clause)


def test_every_fact_has_words():
    assert set(words._SHORT) == {*words._LONG, *words._AS_REASONS}
    assert set(words._SHORT_AMOUNTS) == set(facts.AMOUNT_OF)


def test_medium_and_low_tiers_lead_with_their_own_direction():
    on_time = Clause("on_time", {"days": 1.0, "usual": 4}, ("recency",), -0.4, LOWERS)
    few = Clause("few_orders_share", {"orders": 2.0, "share": 0.9}, ("frequency",), 0.1, RAISES)
    assert words.short_reason((few, on_time), "medium") == "2 orders; 90% have more"
    assert words.short_reason((few, on_time), "low") == "within the usual rhythm"
