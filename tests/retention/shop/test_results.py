"""Reports, uplift results and plots: tables, frames and Axes."""

from inspect import signature

import matplotlib
import numpy as np
import polars as pl
import pytest
from matplotlib.figure import Figure

import retention
from retention.errors import BadInput, TooLittleData
from retention.shop.churn import METRICS
from retention.window import Window

matplotlib.use("Agg")


@pytest.fixture(scope="module")
def report(shop):
    return shop.evaluate_churn(model="logistic")  # quick to train


@pytest.fixture(scope="module")
def campaign():
    return retention.sample_campaign(1500)


@pytest.fixture(scope="module")
def uplift(campaign):
    return retention.evaluate_uplift(campaign, treatment="sent", outcome="visit")


def new_axes():
    return Figure().subplots()


def test_churn_report_shows_the_model_next_to_its_baselines(report, shop):
    text = str(report)
    for name in ("model", "recency", "rfm_logistic", "bg_nbd", *METRICS.values()):
        assert name in text
    table = report.to_frame()
    assert table.loc["model"].to_dict() == report.metrics
    assert table.loc["bg_nbd", "auc"] == report.baselines["bg_nbd"]["auc"]
    assert report._repr_html_().count("<tr>") == 5


@pytest.mark.nightly
def test_churn_report_is_that_of_the_command(report, shop):
    from retention.churn.evaluation.evaluate import Plan, evaluate
    from retention.lake.coverage import latest_cutoff

    lake = shop._data.lake
    window = Window(56, shop.active_within_days)
    plan = Plan(cutoff=latest_cutoff(lake, 56), window=window, model="logistic")
    by_command, _ = evaluate(lake, plan)
    assert report.metrics == by_command["metrics"]
    assert report.as_dict().keys() == by_command.keys()
    calls = retention.Shop.evaluate_churn, retention.Shop.train_churn, retention.ChurnClassifier
    assert {signature(call).parameters["model"].default for call in (*calls, Plan)} == {"auto"}


def test_every_plot_draws_on_the_given_axes(report, shop, uplift):
    for draw in (
        report.plot,
        lambda ax: report.plot("lift", ax),
        uplift.plot,
        shop.plot_cohorts,
        shop.plot_rfm,
    ):
        axes = new_axes()
        assert draw(ax=axes) is axes
        assert axes.get_title(loc="left")
        assert axes.lines or axes.images
    with pytest.raises(BadInput, match="kind is 'pie'"):
        report.plot("pie")


def test_lift_of_a_perfect_ranking_is_one_over_the_churn_rate():
    churned = np.r_[np.ones(10), np.zeros(90)]
    axes = retention.plot_lift(churned, churned, ax=new_axes())
    assert axes.lines[1].get_ydata()[0] == pytest.approx(10)
    assert axes.lines[1].get_ydata()[-1] == pytest.approx(1)


def test_qini_curve_ends_at_the_incremental_outcomes(campaign, uplift):
    treated, control = (campaign[campaign.sent == arm].visit for arm in (1, 0))
    gained = treated.sum() - control.sum() * len(treated) / len(control)
    line = uplift.plot(ax=new_axes()).lines[0]
    assert (line.get_xdata()[-1], line.get_ydata()[-1]) == pytest.approx((1, gained))


def test_rfm_counts_every_customer_once(shop):
    rfm = shop.rfm()
    axes = retention.plot_rfm(rfm, ax=new_axes())
    assert sum(int(text.get_text()) for text in axes.texts) == len(rfm) == 130
    assert rfm.loc[rfm.recency_days.idxmin(), "r"] == 5
    assert rfm.loc[rfm.orders.idxmax(), "f"] == 5


def test_plots_refuse_unusable_values():
    for draw, message in (
        (lambda: retention.plot_lift([0, 0], [0.1, 0.2]), "nobody churned"),
        (lambda: retention.plot_reliability([0, 2], [0.1, 0.2]), "churned: give a 0 or a 1"),
        (lambda: retention.plot_reliability([0, 1], [0.1]), "probability has 1 values for 2"),
        (lambda: retention.plot_reliability([0, 1], [0.1, 7]), "give 0 to 1"),
        (lambda: retention.plot_qini([0, 1], [1], [0.1, 0.2]), "treated has 1 values"),
    ):
        with pytest.raises(BadInput, match=message):
            draw()


def test_uplift_result_finds_the_customers_that_the_offer_changed(campaign, uplift):
    assert uplift.to_frame().loc["model"].to_dict() == uplift.metrics
    assert uplift.metrics["qini"] > uplift.baselines["risk"]["qini"]
    changed = campaign.silent_days.between(30, 89).to_numpy()
    assert uplift.uplift[changed].mean() > uplift.uplift[~changed].mean() + 0.05
    assert "treated" in str(uplift)
    assert "<table>" in uplift._repr_html_()


@pytest.mark.nightly
def test_uplift_takes_polars_and_files_and_names_wrong_columns(campaign, uplift, tmp_path):
    campaign.to_csv(tmp_path / "campaign.csv", index=False)
    names = {"treatment": "sent", "outcome": "visit", "features": ["silent_days", "orders"]}
    by_frame = retention.evaluate_uplift(pl.from_pandas(campaign), **names)
    by_file = retention.evaluate_uplift(tmp_path / "campaign.csv", **names)
    assert by_frame.metrics == by_file.metrics
    with pytest.raises(BadInput, match="did you mean 'sent'"):
        retention.evaluate_uplift(campaign, treatment="send", outcome="visit")
    with pytest.raises(TooLittleData):
        retention.evaluate_uplift(campaign.head(12), treatment="sent", outcome="visit")
