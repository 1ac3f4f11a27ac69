"""The chart of a measured campaign: cumulative orders of both arms, and the effect by tier."""

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from retention.campaigns.measurement import Measurement
    from retention.campaigns.outcomes import Outcomes

TREATED, CONTROL, INK = "#4a154b", "#8d8d97", "#1d1c1d"


def picture(outcomes: "Outcomes", measured: "Measurement", *, simulated: bool) -> bytes:
    """A PNG of both; ``simulated`` is said in it, for a picture travels without its message."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _cumulative(left, outcomes)
    _by_tier(right, measured)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    if simulated:
        figure.suptitle(
            "Simulated response on top of real orders", fontsize=9, color=CONTROL, ha="right", x=0.99
        )
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def _cumulative(axes, outcomes: "Outcomes") -> None:
    arms = outcomes.customers.set_index("customer_id")["arm"]
    days = outcomes.orders.assign(arm=outcomes.orders["customer_id"].map(arms))
    last = int(days["day"].max()) if len(days) else 0
    for arm, name, color in (("control", "hold-out", CONTROL), ("treatment", "treated", TREATED)):
        size = int((arms == arm).sum())
        if size:
            daily = days.loc[days["arm"] == arm, "day"].value_counts().reindex(range(last + 1), fill_value=0)
            axes.plot(
                daily.index + 1, daily.cumsum() * 100 / size, color=color, lw=2, label=f"{name} ({size:,})"
            )
    axes.set_title("Orders per 100 customers, since sending", fontsize=10, loc="left", color=INK)
    axes.set_xlabel("days")
    axes.set_ylim(bottom=0)
    if axes.lines:
        axes.legend(frameon=False, fontsize=9)


def _by_tier(axes, measured: "Measurement") -> None:
    overall = {"all": measured.effects["buyers"]} if "buyers" in measured.effects else {}
    shown = {**measured.tiers, **overall}
    for height, (_name, effect) in enumerate(shown.items()):
        low, high = 100 * (effect.per_customer - effect.low), 100 * (effect.high - effect.per_customer)
        axes.errorbar(
            100 * effect.per_customer, height, xerr=[[low], [high]], fmt="o", color=TREATED, capsize=3, lw=2
        )
    axes.axvline(0, color=CONTROL, lw=1)
    axes.set_yticks(range(len(shown)), list(shown))
    axes.set_ylim(-0.6, max(len(shown), 1) - 0.4)
    axes.set_title("Extra buyers per 100 treated, 95 % interval", fontsize=10, loc="left", color=INK)
