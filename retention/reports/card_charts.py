"""Charts of the model card."""

from collections.abc import Mapping, Sequence
from typing import Any

from retention.number_format import percent
from retention.reports.charts import ACCENT, GRID, INK, MUTED, SOFT, Chart, figure, png, title
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

    Parameters
    ----------
    points
        From `retention.churn.classification_metrics.reliability`.
    """
    fig, (axes,) = figure(3.2)
    most = (
        max(
            [
                *(point["predicted"] for point in points),
                *(point["observed"] for point in points),
                0.05,
            ]
        )
        * 1.08
    )
    axes.plot([0, most], [0, most], color=GRID, linewidth=1.5, zorder=1)
    x, y = [point["predicted"] for point in points], [point["observed"] for point in points]
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
    words = "; ".join(
        gettext("expected {expected}, left {left}").format(
            expected=percent(predicted), left=percent(observed)
        )
        for predicted, observed in zip(x, y, strict=True)
    )
    return Chart(
        png(fig), gettext("Calibration in ten groups of customers: {words}.").format(words=words)
    )


@use_picture_language()
def drivers(weights: Mapping[str, float]) -> Chart:
    """Plot the mean absolute contribution by feature group.

    The largest comes first.
    """
    names = sorted(weights, key=lambda name: -weights[name])[:10]
    fig, (axes,) = figure(0.7 + 0.27 * max(len(names), 3))
    axes.grid(visible=False)
    axes.barh(range(len(names)), [weights[name] for name in names], color=ACCENT, height=0.62)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", labelcolor=INK)
    axes.invert_yaxis()
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    for place, name in enumerate(names):
        axes.annotate(
            f"{weights[name]:.2f}",
            (weights[name], place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=MUTED,
        )
    axes.margins(x=0.1)
    title(axes, gettext("Mean size of each reason's weight"), gettext("in log-odds"))
    words = ", ".join(f"{name} {weights[name]:.2f}" for name in names)
    return Chart(
        png(fig),
        gettext("Mean weight of each group of features in log-odds: {words}.").format(words=words),
    )


@use_picture_language()
def baseline_comparison(
    model: Mapping[str, Any], baselines: Mapping[str, Mapping[str, Any]]
) -> Chart:
    """Plot log-loss and top-decile lift next to the baselines.

    Parameters
    ----------
    model : mapping
        Metrics of the model, with ``log_loss`` and ``top_decile_lift``.
    baselines : mapping of str to mapping
        The same metrics by name of the baseline.

    Returns
    -------
    Chart
    """
    fig, panes = figure(2.1, 2)
    rows = {"model": model, **baselines}
    for axes, name, heading in zip(
        panes,
        ("log_loss", "top_decile_lift"),
        (gettext("Log-loss (less is better)"), gettext("Lift of the top tenth")),
        strict=True,
    ):
        values = [float(metrics[name]) for metrics in rows.values()]
        axes.grid(visible=False)
        axes.barh(
            range(len(rows)),
            values,
            color=[ACCENT if key == "model" else SOFT for key in rows],
            height=0.62,
        )
        axes.set_yticks(range(len(rows)), [NAMES.get(key, key) for key in rows])
        axes.invert_yaxis()
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
        for place, value in enumerate(values):
            axes.annotate(
                f"{value:.3f}" if name == "log_loss" else f"{value:.1f}",
                (value, place),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color=INK,
            )
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
    return Chart(
        png(fig), gettext("The model beside simple baselines: {words}.").format(words=words)
    )
