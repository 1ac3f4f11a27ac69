"""Draw charts in one style, and pages with them.

Charts use matplotlib's object API on Agg, because pyplot keeps figures.
"""

import base64
import io
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from retention import templating
from retention.settings import Settings
from retention.text import gettext, use_picture_language

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Pictures are transparent, because Slack shows them on a light or a dark theme. Texts have a
# contrast of 4 to 1 with white and with Slack's dark grey, and shapes at least 3 to 1.
INK = MUTED = "#7b7b7f"
GRID, ACCENT, SOFT = "#8080804d", "#1f7fc4", "#1f7fc480"
TIERS = {"high": "#d0453a", "medium": "#b87a1e", "low": "#3d8f6f"}
WIDTH = 7.2  # inches; Slack shows this without scaling at 150 dpi
DPI = 150
MIN_SHARE = 0.004  # of a bar by tier, so that a tier with a few customers can be seen
_MAX_CENTRED_DIGITS = 5  # characters of a number that fit over a bar


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture with its alternative text."""

    png: bytes
    alt_text: str

    @property
    def url(self) -> str:
        """The picture as a data URL. Pages load no external files."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


@dataclass(frozen=True, slots=True)
class Page(ABC):
    """Base of reports that are also pages.

    ``data`` is the JSON object for templates and ``--json``. ``template`` is the page's template.
    Picture and HTML follow from the data alone.
    """

    template: ClassVar[str]
    data: dict[str, Any]

    @property
    @abstractmethod
    def chart(self) -> Chart:
        """The report's picture."""

    def html(self, settings: Settings) -> str:
        """Return one self-contained page without scripts or external files."""
        chart = self.chart
        alt_text = chart.alt_text
        return templating.html(
            self.template, **self.data, chart=chart.url, alt_text=alt_text, zone=settings.timezone
        )


def figure(
    height: float, panels: int = 1, ratios: Sequence[float] | None = None
) -> "tuple[Figure, list[Axes]]":
    """Create a figure with panels next to each other. It has the standard width."""
    fig = _blank(WIDTH, height)
    fig.set_layout_engine("constrained", w_pad=0.12, h_pad=0.06)
    axes_list = fig.subplots(1, panels, width_ratios=ratios, squeeze=False)[0]
    for axes in axes_list:
        _style_axes(axes)
    return fig, list(axes_list)


def _blank(width: float, height: float) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fig = Figure(figsize=(width, height), dpi=DPI, facecolor="none")
    FigureCanvasAgg(fig)
    return fig


def _style_axes(axes: "Axes") -> None:
    axes.set_facecolor("none")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=MUTED, labelsize=8, length=0)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.15g}")


def use_whole_numbers(axes: "Axes") -> None:
    """Show whole numbers only on an axis of counts."""
    from matplotlib.ticker import MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))


def title(axes: "Axes", text: str, below: str = "") -> None:
    """Write a title, flush left."""
    pad = 20 if below else 8
    axes.set_title(text, loc="left", fontsize=10, fontweight="bold", color=INK, pad=pad)
    if below:
        label(axes, below, (0, 1), xytext=(0, 6), xycoords="axes fraction", fontsize=8, color=MUTED)


def label(axes: "Axes", text: str, at: tuple[float, float], **options: Any) -> None:
    """Write a number beside or above a bar that ends at a point."""
    axes.annotate(text, at, textcoords="offset points", **options)


def ranked_bars(
    axes: "Axes", values: dict[str, float], number: str, color: str | Sequence[str] = ACCENT
) -> None:
    """Draw horizontal bars from top to bottom with their names and numbers."""
    places = range(len(values))
    axes.grid(visible=False)
    axes.barh(places, list(values.values()), color=color, height=0.62)
    axes.set_yticks(places, list(values))
    axes.invert_yaxis()
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    for place, value in enumerate(values.values()):
        text = format(value, number)
        label(axes, text, (value, place), xytext=(4, 0), va="center", fontsize=8, color=INK)


def png(fig: "Figure") -> bytes:
    """Return the figure as PNG. The same figure gives the same bytes."""
    target = io.BytesIO()
    fig.savefig(target, format="png", metadata={"Software": None})
    return target.getvalue()


@use_picture_language()
def weeks(
    active: Sequence[tuple[str, int]], tiers: dict[str, int], before: dict[str, int]
) -> Chart:
    """Plot active customers by week, and risk tiers.

    Tiers are next to those of last week.

    `active`: label and number of customers with an order, oldest week first.
    `tiers`, `before`: customers by tier now and a week ago; both empty without scores.
    """
    fig, axes_list = figure(2.7, 2 if tiers else 1, (1.15, 1) if tiers else None)
    _bars(axes_list[0], active)
    if tiers:
        _tiers(axes_list[1], tiers, before)
    return Chart(png(fig), weeks_text(active, tiers, before))


def weeks_text(
    active: Sequence[tuple[str, int]], tiers: dict[str, int], before: dict[str, int]
) -> str:
    """Describe the picture of `weeks`, in the reader's language even if the picture is not."""
    counts = ", ".join(f"{label}: {number:,}" for label, number in active)
    text = gettext("Customers who bought in each of the last {weeks} weeks: {counts}.")
    words = text.format(weeks=len(active), counts=counts)
    if not tiers:
        return words
    now = _tier_counts(tiers)
    then = _tier_counts(before) or gettext("not known")
    risk = gettext("Risk of lapsing now: {now}; a week ago: {then}.").format(now=now, then=then)
    return f"{words} {risk}"


def _tier_counts(tiers: dict[str, int]) -> str:
    return ", ".join(f"{number:,} {templating.tier(code)}" for code, number in tiers.items())


def _bars(axes: "Axes", active: Sequence[tuple[str, int]]) -> None:
    numbers = [number for _, number in active]
    places = range(len(numbers))
    axes.bar(places, numbers, width=0.72, color=[SOFT] * (len(numbers) - 1) + [ACCENT])
    every = max(1, len(numbers) // 4)
    labelled = [place for place in places if (len(numbers) - 1 - place) % every == 0]
    axes.set_xticks(labelled, [active[place][0] for place in labelled])
    if numbers:
        # The number begins at its bar's edge. If centred, a long one would lie on a higher bar
        # to its left.
        bold = {"fontsize": 9, "fontweight": "bold", "color": ACCENT}
        at = len(numbers) - 1.36, numbers[-1]
        label(axes, f"{numbers[-1]:,}", at, xytext=(0, 3), ha="left", **bold)
    axes.margins(y=0.15)
    use_whole_numbers(axes)
    title(axes, gettext("Customers who bought"), gettext("week by week"))


def _digits(number: int) -> int:
    return len(f"{number:,}")


def _tiers(axes: "Axes", tiers: dict[str, int], before: dict[str, int]) -> None:
    """Draw grouped bars by tier with their numbers. The bars of `low` are by far the largest."""
    axes.grid(visible=False)
    axes.set_yticks([])
    names = list(TIERS)
    wide = {
        tier
        for tier in before
        if max(_digits(of.get(tier, 0)) for of in (tiers, before)) > _MAX_CENTRED_DIGITS
    }
    for shift, values, alpha in ((-0.2, before, 0.4), (0.2, tiers, 1.0)):
        for place, tier in enumerate(names):
            if tier not in values:
                continue
            axes.bar(place + shift, values[tier], width=0.36, color=TIERS[tier], alpha=alpha)
            # Two long numbers would touch, so each begins where its bar meets the other.
            is_wide = tier in wide
            side = math.copysign(0.03, shift) if is_wide else shift
            ha = ("left" if shift > 0 else "right") if is_wide else "center"
            at = place + side, values[tier]
            label(axes, f"{values[tier]:,}", at, xytext=(0, 3), ha=ha, fontsize=8, color=INK)
    axes.set_xticks(range(len(names)), [gettext("{tier} risk").format(tier=tier) for tier in names])
    axes.margins(y=0.15)
    title(
        axes,
        gettext("Risk of lapsing"),
        gettext("a week ago (pale) and now") if before else gettext("now"),
    )


@use_picture_language()
def tier_bar(tiers: Mapping[str, int]) -> bytes:
    """Draw the picture of an at-risk list: one bar, divided by tier, with the numbers."""
    fig = _blank(6.4, 0.86)
    axes = fig.add_axes((0.02, 0.0, 0.96, 1.0))
    total = max(sum(tiers.values()), 1)
    widths = {
        tier: max(number / total, MIN_SHARE) if number else 0.0 for tier, number in tiers.items()
    }
    left, scale = 0.0, max(sum(widths.values()), 1.0)
    names = (gettext("high risk"), gettext("medium risk"), gettext("low risk"))
    for place, ((tier, color), name) in enumerate(zip(TIERS.items(), names, strict=True)):
        width = widths[tier] / scale
        axes.barh(0.32, width, left=left, height=0.34, color=color, linewidth=0)
        left += width
        words = axes.text(place / len(TIERS), 0.78, f"{name} {templating.count(tiers[tier])}")
        words.set(color=color, fontsize=11, fontweight="bold", va="center")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_axis_off()
    return png(fig)


def tier_bar_text(tiers: Mapping[str, int]) -> str:
    """Describe the picture of `tier_bar`, in the reader's language even if the picture is not."""
    text = gettext("{customers} by risk: {high:,} high, {medium:,} medium, {low:,} low.")
    customers = templating.count(sum(tiers.values()), "active customer")
    return text.format(customers=customers, **tiers)


@use_picture_language()
def risk_trend(points: Sequence[dict[str, Any]], thresholds: tuple[float, float]) -> bytes:
    """Draw a customer's risk over time as a small line.

    `points`: ``at`` and ``risk``, oldest first; at least two.
    """
    days = [datetime.fromisoformat(point["at"]) for point in points]
    times = [day.timestamp() for day in days]
    risks = [100 * point["risk"] for point in points]
    fig = _blank(5.2, 1.25)
    fig.set_layout_engine("constrained")
    axes = fig.add_subplot(facecolor="none")
    medium, high = (100 * threshold for threshold in thresholds)
    for low, top, tier in ((0, medium, "low"), (medium, high, "medium"), (high, 100, "high")):
        axes.axhspan(low, top, color=TIERS[tier], alpha=0.22, linewidth=0)
    axes.plot(times, risks, color=INK, linewidth=1.6, marker="o", markersize=3)
    style = {"fontsize": 10, "fontweight": "bold", "color": INK, "va": "center"}
    end = times[-1], risks[-1]
    label(axes, f"{risks[-1]:.0f}", end, xytext=(6, 0), annotation_clip=False, **style)
    axes.set_ylim(0, 100)
    axes.set_yticks([0, 50, 100])
    axes.tick_params(labelsize=8, length=2, colors=INK)
    axes.set_xticks(
        [times[0], times[-1]], [f"{day:%d %b %Y}".lstrip("0") for day in (days[0], days[-1])]
    )
    first, last = axes.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    return png(fig)
