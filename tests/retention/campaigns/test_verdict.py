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
    body = a_body()
    shown = verdict(_result(advice, profit, buyers), body, body.plan())
    assert (shown["outcome"], shown["next"]) == (outcome, following)


def test_figures_of_an_unreadable_result_are_not_shown():
    body = a_body()
    shown = verdict(_result("unbelievable", (30, 10, 70)), body, body.plan())
    assert (shown["profit"], shown["buyers"], shown["needed"]) == (None, None, None)


def test_campaign_without_orders_has_no_verdict():
    body = a_body()
    assert verdict({"advice": "no_orders", "effects": {}}, body, body.plan()) is None
    assert verdict(None, body, body.plan()) is None


def test_promise_holds_if_the_measured_profit_is_in_its_range():
    body = a_body()
    plan = body.plan()
    for profit, held in ((plan.profit, True), (plan.profit_high + 1, False)):
        shown = verdict(_result("undecided", (profit, profit - 40, profit + 40)), body, plan)
        assert (shown["held"], shown["uncertain"]) == (held, False)
    assert shown["promised"]["profit"] == plan.profit


@pytest.mark.parametrize("total", [0.5, 3.0])  # within the promised range, and above it
def test_wide_range_is_too_uncertain_to_judge_a_promise(total):
    body = a_body()
    plan = body.plan()
    profit = total * plan.profit
    shown = verdict(_result("undecided", (profit, profit - 500, profit + 500)), body, plan)
    assert (shown["held"], shown["uncertain"]) == (False, True)
    measured = (5 * plan.profit, -1.0, 9 * plan.profit)  # fits no profit and the promise, too
    assert verdict(_result("undecided", measured), body, plan)["uncertain"]
    gain = (profit + 600, 100 + plan.profit, profit + 1100)
    assert not verdict(_result("repeat", gain), body, plan)["uncertain"]


def test_conclusive_size_grows_with_the_variance():
    plan = a_body().plan()
    sizes = [
        conclusive_size(_result("undecided", (30, -90, 150), (0, -1, 1)) | _noise(error), plan)
        for error in (1.0, 2.0)
    ]
    assert sizes[0] > 100
    assert sizes[1] == pytest.approx(4 * sizes[0], rel=0.1)


def _noise(error: float) -> dict:
    return {"effects": {"profit": _effect(30, -90, 150, error)}}


def test_shop_with_too_few_customers_learns_what_to_do_instead():
    body = a_body()
    result = _result("undecided", (30, -90, 150), (0, -1, 1))
    result["effects"]["profit"]["standard_error"] = 0.5
    needed = verdict(result, body, body.plan())["needed"]
    follow = {"action": None, "customers": 90, "reachable": needed // 4}
    shown = verdict(result | {"follow": follow}, body, body.plan())
    assert shown["next"] is None
    instead = shown["instead"]
    assert instead["times"] == pytest.approx(2, rel=0.05)
    assert (instead["campaigns"] - 1) * 100 < needed <= instead["campaigns"] * 100
    assert instead["weeks"] == pytest.approx(4 * body.window_days / 7, abs=1)
    follow = {"action": None, "customers": 90, "reachable": 90}
    result["effects"]["profit"]["standard_error"] = 1.5
    assert verdict(result | {"follow": follow}, body, body.plan())["instead"]["campaigns"] is None
    result["effects"]["profit"]["standard_error"] = 0.5
    follow = {"action": "larger", "customers": needed, "reachable": needed}
    shown = verdict(result | {"follow": follow}, body, body.plan())
    assert (shown["next"], shown["instead"]) == ("larger", None)


def test_no_size_is_given_if_none_is_realistic():
    plan = a_body().plan()
    assert conclusive_size(_result("undecided", (0, -1, 1)) | _noise(1e6), plan) is None


def test_a_call_campaign_is_not_made_cheaper_by_half_a_discount():
    body = a_body(offers=(a_line(action="call", discount=0.0),))
    shown = verdict(_result("cheaper", (-90, -170, -10), (5, 1, 9)), body, body.plan())
    assert shown["next"] == "reminder"
