"""Test what a result says next to the forecast of its draft."""

import pytest

from retention.campaigns.measurement.verdict import conclusive_size, verdict
from tests.retention.campaigns.samples import a_body, a_line


def _effect(total: float, low: float, high: float, error: float = 1.0) -> dict[str, float]:
    return {
        "total": total,
        "total_low": low,
        "total_high": high,
        "per_customer": total / 85,
        "low": low / 85,
        "high": high / 85,
        "standard_error": error,
    }


PLAN = a_body().plan()


def _shown(result: dict | None, body=None):
    body = body or a_body()
    return verdict(result, body, body.plan())


def _result(advice: str, profit: tuple, buyers: tuple = (5.0, -2.0, 12.0)) -> dict:
    return {
        "advice": advice,
        "effects": {"profit": _effect(*profit), "buyers": _effect(*buyers)},
        "sample_ratio": {"treated": 85, "control": 15, "believable": True},
        "cost": 20.0,
        "redeemed": 3,
    }


@pytest.mark.parametrize(
    ("advice", "profit", "buyers", "outcome", "following"),
    [
        ("repeat", (90, 10, 170), (5, 1, 9), "gain", "repeat"),
        ("stop", (-90, -170, -10), (0, -4, 4), "loss", "reminder"),
        ("cheaper", (-90, -170, -10), (5, 1, 9), "loss", "cheaper"),
        ("undecided", (30, -10, 70), (5, 1, 9), "buyers", "larger"),
        ("undecided", (30, -10, 70), (5, -1, 9), "inconclusive", "larger"),
        ("too_small", (30, -10, 70), (5, -1, 9), "too_small", "larger"),
        ("unbelievable", (30, 10, 70), (5, 1, 9), "unbelievable", None),
    ],
)
def test_outcome_and_next_step_follow_the_intervals(advice, profit, buyers, outcome, following):
    shown = _shown(_result(advice, profit, buyers))
    assert (shown["outcome"], shown["next"]) == (outcome, following)


def test_figures_of_an_unreadable_result_are_not_shown():
    shown = _shown(_result("unbelievable", (30, 10, 70)))
    assert (shown["profit"], shown["buyers"], shown["needed"]) == (None, None, None)


def test_campaign_without_orders_has_no_verdict():
    assert _shown({"advice": "no_orders", "effects": {}}) is None
    assert _shown(None) is None


def test_promise_holds_if_the_measured_profit_is_in_its_range():
    for profit, held in ((PLAN.profit, True), (PLAN.profit_high + 1, False)):
        shown = _shown(_result("undecided", (profit, profit - 40, profit + 40)))
        assert (shown["held"], shown["uncertain"]) == (held, False)
    assert shown["promised"]["profit"] == PLAN.profit


@pytest.mark.parametrize("total", [0.5, 3.0])  # within the promised range, and above it
def test_wide_range_is_too_uncertain_to_judge_a_promise(total):
    profit = total * PLAN.profit
    shown = _shown(_result("undecided", (profit, profit - 500, profit + 500)))
    assert (shown["held"], shown["uncertain"]) == (False, True)
    measured = (5 * PLAN.profit, -1.0, 9 * PLAN.profit)  # fits no profit and the promise, too
    assert _shown(_result("undecided", measured))["uncertain"]
    gain = (profit + 600, 100 + PLAN.profit, profit + 1100)
    assert not _shown(_result("repeat", gain))["uncertain"]


def test_conclusive_size_grows_with_the_variance():
    small, large = (
        conclusive_size(_result("undecided", (30, -90, 150, error)), PLAN) for error in (1.0, 2.0)
    )
    assert small > 100
    assert large == pytest.approx(4 * small, rel=0.1)


def test_shop_with_too_few_customers_learns_what_to_do_instead():
    def reaching(customers: int, action: str | None = None, error: float = 0.5):
        result = _result("undecided", (30, -90, 150, error), (0, -1, 1))
        follow = {"action": action, "customers": 90, "reachable": customers}
        return _shown(result | {"follow": follow})

    needed = reaching(0)["needed"]
    shown = reaching(needed // 4)
    assert shown["next"] is None
    instead = shown["instead"]
    assert instead["times"] == pytest.approx(2, rel=0.05)
    assert (instead["campaigns"] - 1) * 100 < needed <= instead["campaigns"] * 100
    assert instead["weeks"] == pytest.approx(4 * a_body().window_days / 7, abs=1)
    assert reaching(90, error=1.5)["instead"]["campaigns"] is None
    shown = reaching(needed, "larger")
    assert (shown["next"], shown["instead"]) == ("larger", None)


def test_no_size_is_given_if_none_is_realistic():
    assert conclusive_size(_result("undecided", (30, -90, 150, 1e6)), PLAN) is None


def test_a_call_campaign_is_not_made_cheaper_by_half_a_discount():
    body = a_body(offers=(a_line(action="call", discount=0.0),))
    shown = _shown(_result("cheaper", (-90, -170, -10), (5, 1, 9)), body)
    assert shown["next"] == "reminder"
