"""Report on performance of recommendations.

Counts and rates are by position, reason, model and time.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from retention import clock
from retention.db import Database
from retention.progress import Progress, silent
from retention.recommend.responses import WINDOW_DAYS, examination_probabilities, load_responses
from retention.reports import charts
from retention.reports.charts import Page
from retention.text import gettext, use_picture_language

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from retention.lake import Lake

Z_95 = 1.96  # standard errors of a 95% interval
WEEKS_DRAWN = 12
ANSWERS = ("clicked", "bought", "redeemed")


@dataclass(frozen=True, slots=True)
class Performance(Page):
    """Performance of recommendations."""

    template = "reports/recommendations.html.j2"

    @property
    def chart(self) -> charts.Chart:
        """Rates by position and by week."""
        return draw_chart(self.data)


def report(
    lake: "Lake",
    database: Database,
    *,
    days: int = 84,
    as_of: datetime | None = None,
    progress: Progress = silent,
) -> Performance:
    """Report on recommendations of the last ``days``.

    Results until ``as_of`` count (default: business time).

    Returns: ``shown`` (to customers, to the team), ``examined`` (position → examination propensity
    relative to the first) and ``clicks`` behind it (without any it is the prior); ``open`` (sends
    of less than four weeks ago, with more results to come); ``slots``, ``reasons``, ``models`` and
    ``weeks``, each a list of `_line`.
    """
    at = as_of or clock.now()
    progress(0, 2, gettext("Gathering what was shown and what came of it"))
    with database.reading() as session:
        lines = load_responses(lake, session, at)
    sent = lines["surface"] == "campaign"
    chances = examination_probabilities(lines[sent])
    lines = lines.assign(
        sent=sent,
        chance=lines["position"].map(chances).astype(float).fillna(1.0),
        week=lines["shown_at"]
        .dt.tz_convert(database.settings.timezone)
        .dt.tz_localize(None)
        .dt.to_period("W")
        .dt.start_time,
        open=sent & (lines["shown_at"] > at - timedelta(days=WINDOW_DAYS)),
    )[lines["shown_at"] >= at - timedelta(days=days)]
    progress(1, 2, gettext("Counting"))
    data = {
        "as_of": at.isoformat(),
        "days": days,
        "shown": {"customers": int(lines["sent"].sum()), "desk": int((~lines["sent"]).sum())},
        "clicks": int(lines.loc[lines["sent"], "clicked"].sum()),
        "open": int(lines["open"].sum()),
        "examined": {str(place): round(chance, 3) for place, chance in chances.items()},
        "slots": _lines(lines, "position"),
        "reasons": _lines(lines, "source"),
        "models": _lines(lines, "model_version"),
        "weeks": _lines(lines.assign(week=lines["week"].dt.strftime("%Y-%m-%d")), "week"),
        "demo": database.settings.demo,
    }
    progress(2, 2, gettext("The report is ready"))
    return Performance(data)


def _lines(lines: "pd.DataFrame", by: str) -> list[dict[str, Any]]:
    return [_line(name, group) for name, group in lines.groupby(by, sort=True)]


def _line(name: Any, group: "pd.DataFrame") -> dict[str, Any]:
    """Return a group's responses and feedback.

    Responses come from customers, feedback from the team.

    ``click_rate``, ``buy_rate`` and ``redeem_rate`` have 95% Wilson intervals. ``corrected`` is
    the click rate with every item in first position (inverse examination propensity). None if
    nothing was sent.
    """
    sent = group[group["sent"]]
    sent_count = len(sent)
    line: dict[str, Any] = {
        "name": name if isinstance(name, str) else int(name),
        "shown": sent_count,
        "desk": len(group) - sent_count,
        "open": int(group["open"].sum()),
        "useful": int(group["useful"].sum()),
        "wrong": int(group["wrong"].sum()),
    }
    for answer, rate in zip(ANSWERS, ("click_rate", "buy_rate", "redeem_rate"), strict=True):
        number = int(sent[answer].sum())
        line |= {
            answer: number,
            rate: number / sent_count if sent_count else None,
            f"{rate}_interval": wilson(number, sent_count),
        }
    line["corrected"] = float((sent["clicked"] / sent["chance"]).mean()) if sent_count else None
    return line


def wilson(hits: int, of: int) -> tuple[float, float] | None:
    """Return the 95% Wilson interval of a share. None for zero trials."""
    if not of:
        return None
    share = hits / of
    spread = float(np.sqrt(share * (1 - share) / of + Z_95**2 / (4 * of**2)))
    middle = (share + Z_95**2 / (2 * of)) / (1 + Z_95**2 / of)
    half = Z_95 * spread / (1 + Z_95**2 / of)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def draw_chart(data: dict[str, Any]) -> charts.Chart:
    """Plot rates by position, and purchases by week, with the alternative text.

    Rates are clicked and corrected; without clicks, bought.
    """
    slots = [line for line in data["slots"] if line["shown"]]
    of_place = gettext(
        "place {name}: {click_rate:.1%} clicked, {corrected:.1%} as if first, {buy_rate:.1%} bought"
    )
    words = "; ".join(of_place.format(**line) for line in slots)
    text = gettext("Recommendations sent to customers. {results}.")
    results = words or gettext("Nothing was sent yet")
    return charts.Chart(_draw(data, slots), text.format(results=results))


@use_picture_language()
def _draw(data: dict[str, Any], slots: list[dict[str, Any]]) -> bytes:
    fig, (by_position, by_week) = charts.figure(2.7, 2, (1, 1.15))
    weeks = [line for line in data["weeks"] if line["shown"]][-WEEKS_DRAWN:]
    _plot_positions(by_position, slots, clicks=bool(data["clicks"]))
    _plot_weeks(by_week, weeks)
    return charts.png(fig)


def _plot_positions(axes: "Axes", slots: list[dict[str, Any]], *, clicks: bool) -> None:
    at = np.arange(len(slots))
    if clicks:
        raw = [100 * line["click_rate"] for line in slots]
        axes.bar(at - 0.2, raw, width=0.36, color=charts.SOFT)
        corrected = [100 * line["corrected"] for line in slots]
        axes.bar(at + 0.2, corrected, width=0.36, color=charts.ACCENT)
        title = (
            gettext("Clicks by place, %"),
            gettext("as clicked (pale); as if all had stood first"),
        )
    else:
        axes.bar(at, [100 * line["buy_rate"] for line in slots], width=0.6, color=charts.ACCENT)
        title = (
            gettext("Bought by place, %"),
            gettext("no clicks are known") if slots else gettext("nothing was sent yet"),
        )
    axes.set_xticks(at, [str(line["name"]) for line in slots])
    charts.title(axes, *title)


def _plot_weeks(axes: "Axes", weeks: list[dict[str, Any]]) -> None:
    rates = [100 * line["buy_rate"] for line in weeks]
    spread = [
        [
            abs(100 * line["buy_rate_interval"][end] - rate)
            for line, rate in zip(weeks, rates, strict=True)
        ]
        for end in (0, 1)
    ]
    at = np.arange(len(weeks))
    axes.errorbar(
        at,
        rates,
        yerr=spread,
        color=charts.ACCENT,
        marker="o",
        markersize=4,
        linewidth=1.5,
        ecolor=charts.SOFT,
    )
    axes.set_ylim(bottom=0)
    going = [place for place, line in enumerate(weeks) if line["open"]]
    axes.plot(
        going,
        [100 * weeks[place]["buy_rate"] for place in going],
        "o",
        markersize=4,
        color=charts.ACCENT,
        markerfacecolor="none",
        zorder=3,
    )
    every = max(1, len(weeks) // 4)
    axes.set_xticks(
        at[::every],
        [f"{datetime.fromisoformat(line['name']):%d %b}".lstrip("0") for line in weeks[::every]],
    )
    text = gettext("of the items sent, by week, with 95%{note}")
    charts.title(
        axes,
        gettext("Bought within four weeks, %"),
        text.format(note=gettext("; hollow: not over yet") if going else "")
        if weeks
        else gettext("nothing was sent yet"),
    )
