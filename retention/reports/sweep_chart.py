"""The sweep's chart: distribution of risk by tier."""

import io
from typing import TYPE_CHECKING

from retention.text import gettext

if TYPE_CHECKING:
    from retention.risk.policy import Policy
    from retention.risk.sweep import Sweep

COLOURS = {"high": "#c0392b", "medium": "#e0a030", "low": "#3d8f6f"}


def chart(sweep: "Sweep", policy: "Policy") -> bytes:
    """Plot a histogram of churn probabilities by tier.

    Parameters
    ----------
    sweep : Sweep
        Scores and tiers.
    policy : Policy
        Gives the thresholds of the tiers.

    Returns
    -------
    bytes
        A PNG image.
    """
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 2.9), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    bins = np.linspace(0, 1, 41).tolist()
    stacked = [
        sweep.scores.churn_probability[sweep.scores.tier == tier].to_numpy()
        for tier in reversed(COLOURS)
    ]
    labels = [f"{tier} ({sweep.tiers[tier]:,})" for tier in reversed(COLOURS)]
    axes.hist(
        stacked, bins=bins, stacked=True, color=list(reversed(COLOURS.values())), label=labels
    )
    for threshold in (policy.tiers.medium, policy.tiers.high):
        axes.axvline(threshold, color="#555555", linewidth=0.8, linestyle=":")
    axes.set_yscale("symlog", linthresh=10)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.set_xlabel(
        gettext("risk score (rules)")
        if sweep.model_version == "rules"
        else gettext("churn probability")
    )
    axes.set_ylabel(gettext("customers (log)"))
    axes.legend(frameon=False, loc="upper right", reverse=True)
    axes.spines[["top", "right"]].set_visible(False)
    image = io.BytesIO()
    figure.savefig(image, format="png")
    return image.getvalue()


def alt_text(sweep: "Sweep") -> str:
    """Describe the chart in words."""
    return gettext(
        "Histogram of the risk of {customers:,} customers: {high:,} high, "
        "{medium:,} medium, {low:,} low."
    ).format(
        customers=len(sweep.scores),
        high=sweep.tiers["high"],
        medium=sweep.tiers["medium"],
        low=sweep.tiers["low"],
    )
