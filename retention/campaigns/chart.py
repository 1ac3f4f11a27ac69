"""Draw the chart of a measured campaign."""

import io
from typing import TYPE_CHECKING

from retention.text import gettext, use_picture_language

if TYPE_CHECKING:
    from retention.campaigns.measurement import Effect, Measurement
    from retention.campaigns.outcomes import Outcomes

# Transparent, as all pictures of Slack: readable on a light and on a dark theme.
TREATMENT_COLOR, HOLDOUT_COLOR, TEXT_COLOR = "#9b5fb0", "#8d8d97", "#7b7b7f"


@use_picture_language()
def draw_chart(outcomes: "Outcomes", measurement: "Measurement", *, simulated: bool) -> bytes:
    """Return a PNG with the cumulative difference and the effect by segment.

    Parameters
    ----------
    outcomes : Outcomes
        Counts of the campaign.
    measurement : Measurement
        Result of the campaign.
    simulated : bool
        Label the chart as simulated, because pictures are shared without their message.

    Returns
    -------
    bytes
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
        figure.suptitle(
            gettext("Simulated response on top of real orders"),
            fontsize=9,
            color=HOLDOUT_COLOR,
            ha="right",
            x=0.99,
        )
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def _plot_cumulative(axes, outcomes: "Outcomes") -> None:
    """Plot extra orders per 100 treated to date.

    Each day's difference has its own 95% interval (after CUPED).
    """
    import numpy as np

    from retention.campaigns.measurement import difference
    from retention.campaigns.sequential import daily_matrix

    customers = outcomes.customers
    treated = (customers["arm"] == "treatment").to_numpy()
    axes.axhline(0, color=HOLDOUT_COLOR, lw=1)
    axes.set_title(
        gettext("Extra orders per 100 treated to date ({treated:,} against {control:,})").format(
            treated=treated.sum(), control=(~treated).sum()
        ),
        fontsize=10,
        loc="left",
        color=TEXT_COLOR,
    )
    axes.set_xlabel(gettext("days since sending"))
    if min(treated.sum(), (~treated).sum()) < 2 or outcomes.orders.empty:
        return
    days = int(outcomes.orders["day"].max()) + 1
    totals = 100 * daily_matrix(
        outcomes.orders.assign(orders=1.0), "orders", customers["customer_id"], days
    ).cumsum(axis=1)
    before = 100 * customers["pre_orders"].to_numpy(float)
    effects = [
        difference(totals[treated, day], totals[~treated, day], before[treated], before[~treated])
        for day in range(days)
    ]
    at = np.arange(1, days + 1)
    axes.fill_between(
        at,
        [effect.low for effect in effects],
        [effect.high for effect in effects],
        color=TREATMENT_COLOR,
        alpha=0.25,
        lw=0,
    )
    axes.plot(at, [effect.per_customer for effect in effects], color=TREATMENT_COLOR, lw=2)


def _plot_segments(axes, segments: "list[tuple[str, Effect]]") -> None:
    for height, (_name, effect) in enumerate(segments):
        low, high = (
            100 * (effect.per_customer - effect.low),
            100 * (effect.high - effect.per_customer),
        )
        axes.errorbar(
            100 * effect.per_customer,
            height,
            xerr=[[low], [high]],
            fmt="o",
            color=TREATMENT_COLOR,
            capsize=3,
            lw=2,
        )
    axes.axvline(0, color=HOLDOUT_COLOR, lw=1)
    axes.set_yticks(range(len(segments)), [name for name, _ in segments])
    axes.set_ylim(-0.6, max(len(segments), 1) - 0.4)
    axes.set_title(
        gettext("Extra buyers per 100, with the likely range"),
        fontsize=10,
        loc="left",
        color=TEXT_COLOR,
    )


def _segment_effects(measurement: "Measurement") -> "list[tuple[str, Effect]]":
    """Labels and effects from bottom to top: segments, then all."""
    parts = [
        (f"{column}: {segment.name.replace('_', ' ')}", segment.effect)
        for column, segments in reversed(measurement.segments.items())
        for segment in reversed(segments)
        if segment.effect is not None
    ]
    return parts + (
        [(gettext("all"), measurement.effects["buyers"])] if "buyers" in measurement.effects else []
    )
