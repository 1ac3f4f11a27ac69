"""`evaluate recommend` reports metrics, baselines and readable tables."""

from datetime import timedelta

import pytest

from retention.recommend import evaluate
from tests import shop as tiny
from tests.haste import hastily
from tests.terminal_text import terminal_text

pytestmark = [pytest.mark.nightly, pytest.mark.usefixtures("hasty")]
METRICS = {"recall", "ndcg", "map", "coverage", "hit_rate", "novelty", "diversity", "calibration"}


@pytest.fixture(scope="module")
def report(shop):
    with hastily():
        return evaluate(shop.lake, cutoff=shop.end - timedelta(days=28))


def test_reports_all_and_new_items_with_every_baseline(report):
    for block in (report, report["new_items"]):
        assert set(block["baselines"]) == {"popular", "buy_it_again", "als"}
        assert METRICS == set(block["metrics"]) == set(block["baselines"]["als"])
        assert block["metrics"]["ndcg"] > block["baselines"]["popular"]["ndcg"]
        assert set(block["at_risk"]) == {"model", *block["baselines"]}
        assert block["customers"] > 50
        for name in ("recall", "ndcg", "map", "hit_rate"):
            low, high = block["intervals"][name]
            assert low < block["metrics"][name] < high
    assert report["left_out"] == {}
    assert report["new_items"]["baselines"]["buy_it_again"]["ndcg"] == 0


@pytest.mark.nightly
def test_activity_groups_split_customers_and_ndcg(report):
    groups = report["by_activity"]
    assert set(groups) <= {"0", "1-9", "10-99", "100+"}
    assert sum(group["customers"] for group in groups.values()) == report["customers"]
    for name in ("model", *report["baselines"]):
        mean = (
            sum(group["customers"] * group[name] for group in groups.values()) / report["customers"]
        )
        wanted = report["metrics"] if name == "model" else report["baselines"][name]
        assert mean == pytest.approx(wanted["ndcg"])


def test_lead_over_best_baseline_is_difference_of_means(report):
    lead = report["over_best_baseline"]
    best = max(report["baselines"], key=lambda name: report["baselines"][name]["ndcg"])
    assert lead["baseline"] == best
    assert lead["ndcg"] == pytest.approx(
        report["metrics"]["ndcg"] - report["baselines"][best]["ndcg"]
    )
    assert lead["interval"][0] < lead["ndcg"] < lead["interval"][1]


@pytest.mark.nightly
def test_new_items_only_gives_the_same_figures(shop, report):
    alone = evaluate(shop.lake, cutoff=shop.end - timedelta(days=28), new_items_only=True)
    assert alone["metrics"] == report["new_items"]["metrics"]
    assert alone["new_items"] is None


def test_terminal_shows_tables_and_tuning_cutoff(shop, report):
    words = terminal_text("bot/evaluate_recommend", report, shop.settings)
    tuned = shop.end - timedelta(days=56)
    assert f"from {tuned:%d %b %Y}".replace(" 0", " ") in words
    for row in ("model", "popular", "buy_it_again", "als"):
        assert sum(line.strip().startswith(row) for line in words.splitlines()) == 2
    assert "silent longest" in words
    assert max(map(len, words.splitlines()[:20])) <= 120


def test_report_explains_a_baseline_left_out(tmp_path):
    shop = tiny.build(tmp_path / "home", customers=12, items=12, days=120)
    report_ = evaluate(shop.lake, cutoff=shop.end - timedelta(days=60), min_buyers=1)
    assert set(report_["baselines"]) == {"popular", "buy_it_again"}
    assert "ALS takes 20 customers" in report_["left_out"]["als"]
    assert report_["left_out"]["als"] in terminal_text(
        "bot/evaluate_recommend", report_, shop.settings
    )
