"""Draw the chart of a measured campaign."""

import io
from typing import TYPE_CHECKING

import numpy as np

from retention.campaigns.measurement.effects import difference
from retention.campaigns.measurement.sequential import daily_matrix
from retention.text import gettext, use_picture_language

if TYPE_CHECKING:
    from retention.campaigns.measurement.effects import Effect, Measurement
    from retention.campaigns.measurement.outcomes import Outcomes

# Transparent, as all pictures of Slack: readable on a light and on a dark theme.
TREATMENT_COLOR, HOLDOUT_COLOR, TEXT_COLOR = "#9b5fb0", "#8d8d97", "#7b7b7f"
TITLE = {"fontsize": 10, "loc": "left", "color": TEXT_COLOR}


@use_picture_language()
def draw_chart(outcomes: "Outcomes", measurement: "Measurement", *, simulated: bool) -> bytes:
    """Return a PNG with the cumulative difference and the effect by segment.

    `simulated`: label the chart as simulated, because pictures are shared without their message.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    segments = _segment_effects(measurement)
    figure = Figure(figsize=(9, max(3.6, 0.3 * len(segments))), dpi=120, layout="constrained")
    figure.set_facecolor("none")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(5, 4))
    _plot_cumulative(left, outcomes)
    _plot_segments(right, segments)
    for axes in (left, right):
        axes.set_facecolor("none")
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["bottom", "left"]].set_color(HOLDOUT_COLOR)
        axes.tick_params(colors=TEXT_COLOR)
        axes.xaxis.label.set_color(TEXT_COLOR)
    if simulated:
        note = gettext("Simulated response on top of real orders")
        figure.suptitle(note, fontsize=9, color=HOLDOUT_COLOR, ha="right", x=0.99)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def _plot_cumulative(axes, outcomes: "Outcomes") -> None:
    """Plot extra orders per 100 treated to date.

    Each day's difference has its own 95% interval (after CUPED).
    """
    customers = outcomes.customers
    treated = (customers["arm"] == "treatment").to_numpy()
    axes.axhline(0, color=HOLDOUT_COLOR, lw=1)
    title = gettext("Extra orders per 100 treated to date ({treated:,} against {control:,})")
    sizes = {"treated": treated.sum(), "control": (~treated).sum()}
    axes.set_title(title.format(**sizes), **TITLE)
    axes.set_xlabel(gettext("days since sending"))
    if min(treated.sum(), (~treated).sum()) < 2 or outcomes.orders.empty:
        return
    days = int(outcomes.orders["day"].max()) + 1
    orders = outcomes.orders.assign(orders=1.0)
    totals = 100 * daily_matrix(orders, "orders", customers["customer_id"], days).cumsum(axis=1)
    before = 100 * customers["pre_orders"].to_numpy(float)
    effects = [
        difference(totals[treated, day], totals[~treated, day], before[treated], before[~treated])
        for day in range(days)
    ]
    at = np.arange(1, days + 1)
    low, high = [effect.low for effect in effects], [effect.high for effect in effects]
    axes.fill_between(at, low, high, color=TREATMENT_COLOR, alpha=0.25, lw=0)
    axes.plot(at, [effect.per_customer for effect in effects], color=TREATMENT_COLOR, lw=2)


def _plot_segments(axes, segments: "list[tuple[str, Effect]]") -> None:
    style = {"fmt": "o", "color": TREATMENT_COLOR, "capsize": 3, "lw": 2}
    for height, (_name, effect) in enumerate(segments):
        middle, low, high = 100 * np.array([effect.per_customer, effect.low, effect.high])
        axes.errorbar(middle, height, xerr=[[middle - low], [high - middle]], **style)
    axes.axvline(0, color=HOLDOUT_COLOR, lw=1)
    axes.set_yticks(range(len(segments)), [name for name, _ in segments])
    axes.set_ylim(-0.6, max(len(segments), 1) - 0.4)
    axes.set_title(gettext("Extra buyers per 100, with the likely range"), **TITLE)


def _segment_effects(measurement: "Measurement") -> "list[tuple[str, Effect]]":
    """Labels and effects from bottom to top: segments, then all."""
    parts = [
        (f"{column}: {segment.name.replace('_', ' ')}", segment.effect)
        for column, segments in reversed(measurement.segments.items())
        for segment in reversed(segments)
        if segment.effect is not None
    ]
    buyers = measurement.effects.get("buyers")
    return parts + ([] if buyers is None else [(gettext("all"), buyers)])
