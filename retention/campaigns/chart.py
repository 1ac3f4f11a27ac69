"""Draw the chart of a measured campaign."""

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from retention.campaigns.measurement import Effect, Measurement
    from retention.campaigns.outcomes import Outcomes

TREATMENT_COLOR, HOLDOUT_COLOR, TEXT_COLOR = "#4a154b", "#8d8d97", "#1d1c1d"


def draw_chart(outcomes: "Outcomes", measured: "Measurement", *, simulated: bool) -> bytes:
    """Return a PNG with the cumulative difference and the effect by segment.

    Parameters
    ----------
    outcomes : Outcomes
        Counts of the campaign.
    measured : Measurement
        Result of the campaign.
    simulated : bool
        Label the chart as simulated, because pictures are shared without their message.

    Returns
    -------
    bytes
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = _segment_effects(measured)
    figure = Figure(figsize=(9, max(3.6, 0.3 * len(shown))), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(5, 4))
    _plot_cumulative(left, outcomes)
    _plot_segments(right, shown)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    if simulated:
        figure.suptitle(
            "Simulated response on top of real orders",
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

    Each day's difference has its own 95 % interval (after CUPED).
    """
    import numpy as np

    from retention.campaigns.measurement import difference
    from retention.campaigns.sequential import daily_matrix

    people = outcomes.customers
    treated = (people["arm"] == "treatment").to_numpy()
    axes.axhline(0, color=HOLDOUT_COLOR, lw=1)
    axes.set_title(
        f"Extra orders per 100 treated to date ({treated.sum():,} against {(~treated).sum():,})",
        fontsize=10,
        loc="left",
        color=TEXT_COLOR,
    )
    axes.set_xlabel("days since sending")
    if min(treated.sum(), (~treated).sum()) < 2 or outcomes.orders.empty:
        return
    days = int(outcomes.orders["day"].max()) + 1
    totals = 100 * daily_matrix(
        outcomes.orders.assign(orders=1.0), "orders", people["customer_id"], days
    ).cumsum(axis=1)
    before = 100 * people["pre_orders"].to_numpy(float)
    effects = [
        difference(totals[treated, day], totals[~treated, day], before[treated], before[~treated])
        for day in range(days)
    ]
    at = np.arange(1, days + 1)
    axes.fill_between(
        at,
        [one.low for one in effects],
        [one.high for one in effects],
        color=TREATMENT_COLOR,
        alpha=0.15,
        lw=0,
    )
    axes.plot(at, [one.per_customer for one in effects], color=TREATMENT_COLOR, lw=2)


def _plot_segments(axes, shown: "list[tuple[str, Effect]]") -> None:
    for height, (_name, effect) in enumerate(shown):
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
    axes.set_yticks(range(len(shown)), [name for name, _ in shown])
    axes.set_ylim(-0.6, max(len(shown), 1) - 0.4)
    axes.set_title("Extra buyers per 100, 95 % interval", fontsize=10, loc="left", color=TEXT_COLOR)


def _segment_effects(measured: "Measurement") -> "list[tuple[str, Effect]]":
    """Labels and effects from bottom to top: segments, then all."""
    parts = [
        (f"{by}: {one.name.replace('_', ' ')}", one.effect)
        for by, found in reversed(measured.segments.items())
        for one in reversed(found)
        if one.effect is not None
    ]
    return parts + ([("all", measured.effects["buyers"])] if "buyers" in measured.effects else [])
