"""Charts of the model card."""

from collections.abc import Mapping, Sequence
from typing import Any

from retention.number_format import percent
from retention.reports.charts import (
    ACCENT,
    GRID,
    MUTED,
    SOFT,
    Chart,
    figure,
    png,
    ranked_bars,
    title,
)
from retention.text import gettext, use_picture_language

NAMES = {
    "model": "this model",
    "recency": "recency",
    "rfm_logistic": "RFM logistic",
    "bg_nbd": "BG/NBD",
}


@use_picture_language()
def calibration(points: Sequence[Mapping[str, float]]) -> Chart:
    """Plot expected against observed churn.

    Each point is a tenth of the customers.

    `points`: from `retention.churn.evaluation.classification_metrics.reliability`.
    """
    fig, (axes,) = figure(3.2)
    x, y = [point["predicted"] for point in points], [point["observed"] for point in points]
    most = max([*x, *y, 0.05]) * 1.08
    axes.plot([0, most], [0, most], color=GRID, linewidth=1.5, zorder=1)
    axes.plot(x, y, color=SOFT, linewidth=1.5, zorder=2)
    axes.scatter(x, y, color=ACCENT, s=28, zorder=3)
    axes.set_xlim(0, most)
    axes.set_ylim(0, most)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: percent(value))
    axes.set_xlabel(gettext("expected to leave"), color=MUTED, fontsize=8)
    axes.set_ylabel(gettext("left"), color=MUTED, fontsize=8)
    title(
        axes,
        gettext("Expected and observed"),
        gettext("each point a tenth of the customers; on the line is right"),
    )
    text = gettext("expected {expected}, left {left}")
    words = "; ".join(
        text.format(expected=percent(predicted), left=percent(observed))
        for predicted, observed in zip(x, y, strict=True)
    )
    text = gettext("Calibration in ten groups of customers: {words}.")
    return Chart(png(fig), text.format(words=words))


@use_picture_language()
def drivers(weights: Mapping[str, float]) -> Chart:
    """Plot the mean absolute contribution by feature group. The largest comes first."""
    names = sorted(weights, key=lambda name: -weights[name])[:10]
    fig, (axes,) = figure(0.7 + 0.27 * max(len(names), 3))
    ranked_bars(axes, {name: weights[name] for name in names}, ".2f")
    axes.margins(x=0.1)
    title(axes, gettext("Mean size of each reason's weight"), gettext("in log-odds"))
    words = ", ".join(f"{name} {weights[name]:.2f}" for name in names)
    text = gettext("Mean weight of each group of features in log-odds: {words}.")
    return Chart(png(fig), text.format(words=words))


@use_picture_language()
def baseline_comparison(
    model: Mapping[str, Any], baselines: Mapping[str, Mapping[str, Any]]
) -> Chart:
    """Plot log-loss and top-decile lift next to the baselines."""
    fig, panes = figure(2.1, 2)
    rows = {"model": model, **baselines}
    for axes, name, heading in zip(
        panes,
        ("log_loss", "top_decile_lift"),
        (gettext("Log-loss (less is better)"), gettext("Lift of the top tenth")),
        strict=True,
    ):
        values = {NAMES.get(key, key): float(metrics[name]) for key, metrics in rows.items()}
        colours = [ACCENT if key == "model" else SOFT for key in rows]
        ranked_bars(axes, values, ".3f" if name == "log_loss" else ".1f", colours)
        axes.margins(x=0.18)
        title(axes, heading)
    words = "; ".join(
        gettext("{model} log-loss {log_loss:.3f}, lift {top_decile_lift:.1f}").format(
            model=NAMES.get(key, key),
            log_loss=metrics["log_loss"],
            top_decile_lift=metrics["top_decile_lift"],
        )
        for key, metrics in rows.items()
    )
    text = gettext("The model beside simple baselines: {words}.")
    return Chart(png(fig), text.format(words=words))
