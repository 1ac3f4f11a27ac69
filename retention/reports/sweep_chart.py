"""The picture of an at-risk list: one bar with the number of customers per tier."""

import io
from collections.abc import Mapping

from retention.reports.charts import TIERS
from retention.templating import count
from retention.text import gettext, use_picture_language

MIN_SHARE = 0.004  # of the bar, so that a tier with a few customers can be seen


@use_picture_language()
def chart(tiers: Mapping[str, int]) -> bytes:
    """Draw one bar, divided by tier."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 0.86), dpi=150, facecolor="none")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.02, 0.0, 0.96, 1.0))
    total = max(sum(tiers.values()), 1)
    widths = {
        tier: max(number / total, MIN_SHARE) if number else 0.0 for tier, number in tiers.items()
    }
    left, scale = 0.0, max(sum(widths.values()), 1.0)
    for tier, colour in TIERS.items():
        axes.barh(0.32, widths[tier] / scale, left=left, height=0.34, color=colour, linewidth=0)
        left += widths[tier] / scale
    for place, (tier, colour) in enumerate(TIERS.items()):
        axes.text(
            place / len(TIERS),
            0.78,
            f"{labels()[tier]} {count(tiers[tier])}",
            color=colour,
            fontsize=11,
            fontweight="bold",
            va="center",
        )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_axis_off()
    image = io.BytesIO()
    figure.savefig(image, format="png")
    return image.getvalue()


def labels() -> dict[str, str]:
    """Return the names of the tiers."""
    return {
        "high": gettext("high risk"),
        "medium": gettext("medium risk"),
        "low": gettext("low risk"),
    }


def alt_text(tiers: Mapping[str, int]) -> str:
    """Describe the picture in words."""
    text = gettext("{customers} by risk: {high:,} high, {medium:,} medium, {low:,} low.")
    return text.format(customers=count(sum(tiers.values()), "active customer"), **tiers)
