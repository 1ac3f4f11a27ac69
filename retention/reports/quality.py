"""Report on data quality.

It covers contents of the lake, their reliability, and possible improvements.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import select

from retention import clock
from retention.churn import drift
from retention.churn.drift import psi
from retention.churn.model_features import meaning
from retention.churn.population import population
from retention.db import Database, Transaction
from retention.db.tables import ImportLog, ModelVersion
from retention.errors import TooLittleData
from retention.lake.quality import quality
from retention.number_format import percent
from retention.progress import Progress, silent
from retention.registry import champion, definition_in_force
from retention.reports import charts
from retention.reports.charts import Page
from retention.reports.data_limits import limits
from retention.reports.verdicts import data_verdict
from retention.text import gettext, use_picture_language

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from retention.lake import Lake

MIX_DAYS = 91
DAILY = 150  # days drawn one by one; longer histories are drawn by week
COUNTED = ("rows_read", "rows_accepted", "rows_duplicate", "rows_filtered", "rows_quarantined")


@dataclass(frozen=True, slots=True)
class Quality(Page):
    """Quality of the data."""

    template = "reports/quality.html.j2"

    @property
    def chart(self) -> charts.Chart:
        """Volume by day and completeness by column."""
        return draw_chart(self.data)


def report(lake: "Lake", database: Database, *, progress: Progress = silent) -> Quality:
    """Build the report at business time.

    An empty lake has one, too.

    Returns: with the data of `retention.lake.quality.quality`, and ``as_of``, ``imports`` (rows by
    outcome, and ``mended``), ``champion`` (version, cutoff), ``drift`` (`_drift`), ``limits`` and
    ``verdict``, a sentence.
    """
    progress(0, 3, gettext("Looking at the lake"))
    contents = quality(lake, database.settings)
    definition = definition_in_force(lake, database)
    with database.reading() as session:
        row = champion(session, "churn")
        imports = _imports(session)
    progress(1, 3, gettext("Comparing with what the model learned from"))
    drift = _drift(lake, row) if row and contents["newest_event"] else None
    progress(2, 3, gettext("Drawing"))
    data = {
        "as_of": clock.now().isoformat(),
        **contents,
        "imports": imports,
        "champion": {"version": row.version, "cutoff": row.cutoff.isoformat()} if row else None,
        "drift": drift,
        "demo": database.settings.demo,
        "definition": definition.as_dict(),
    }
    data["limits"] = limits(data)
    data["verdict"] = data_verdict(data)
    progress(3, 3, gettext("done"))
    return Quality(data)


def _imports(session: Transaction) -> dict[str, Any]:
    """Count the rows of all imports by outcome."""
    query = select(ImportLog.report).where(ImportLog.team_id == session.settings.team_id)
    reports = session.scalars(query).all()
    mended: Counter[str] = Counter()
    for report in reports:
        mended.update(report.get("mended", {}))
    sums = {name: sum(report.get(name, 0) for report in reports) for name in COUNTED}
    return {"imports": len(reports), **sums, "mended": dict(mended)}


def _drift(lake: "Lake", row: ModelVersion) -> dict[str, Any]:
    """Measure drift since the champion's training window.

    It covers events and customers.

    Returns: ``as_of``; ``customers`` active; ``features``: the PSI of each feature against the
    training window, largest first (empty without a stored profile); ``meaning`` of each; ``limit``
    from which a PSI counts; ``moved``: those above it that do not grow with the history; the
    ``largest`` of these; ``event_mix``: the PSI of the shares of event types, last 91 days against
    the 91 days before the champion's cutoff, None without events there.
    """
    at = lake.as_of(None, row.horizon_days).at
    result: dict[str, Any] = {
        "as_of": at.isoformat(),
        "customers": 0,
        "features": {},
        "meaning": {},
        "limit": drift.PSI_LIMIT,
        "moved": [],
        "largest": None,
        "event_mix": _mix(lake, row.cutoff, at),
    }
    profiles = (row.metrics.get("reference") or {}).get("features", {})
    try:
        people = population(lake, at, row.window)
    except TooLittleData:
        return result
    measured = drift.population_drift(profiles, people)
    features = {name: round(psi, 4) for name, psi in measured["features"].items()}
    return result | {
        **measured,
        "features": features,
        "meaning": {name: meaning(name, row.horizon_days) for name in features},
        "limit": round(measured["limit"], 4),
        "largest": next((features[name] for name in drift.drifted_features(features)), None),
    }


def _mix(lake: "Lake", before: datetime, now: datetime) -> float | None:
    """Compute the PSI of event-type shares.

    Half an event is added to each type, so a new type counts.
    """
    counts = [_types(lake, moment) for moment in (before, now)]
    if not all(counts):
        return None
    types = sorted(set().union(*counts))
    shares = np.array([[numbers.get(name, 0) + 0.5 for name in types] for numbers in counts])
    return round(psi(*(shares / shares.sum(axis=1, keepdims=True))), 4)


def _types(lake: "Lake", before: datetime) -> dict[str, int]:
    events = lake.table("events", before=before, since=before - timedelta(days=MIX_DAYS))
    rows = events.group_by("event_type").agg(number=events.count()).to_pyarrow().to_pylist()
    return {row["event_type"]: row["number"] for row in rows}


@use_picture_language()
def draw_chart(data: dict[str, Any]) -> charts.Chart:
    """Plot volume and completeness of the data.

    Volume is events by day or week, with gaps and spikes. Completeness is that of model inputs.
    """
    fig, panels = charts.figure(2.9, 2, (1.7, 1))
    words = _volume(panels[0], data["volume"]) + " " + _completeness(panels[1], data["filled"])
    return charts.Chart(charts.png(fig), words)


def _volume(axes: "Axes", volume: dict[str, Any]) -> str:
    counts, unit = volume["counts"], "day"
    if not counts:
        charts.title(axes, gettext("Events"), gettext("there are none yet"))
        return gettext("There are no events yet.")
    first = date.fromisoformat(volume["since"])
    step = 1 if len(counts) <= DAILY else 7
    if step == 7:
        unit = "week"
        counts = [sum(counts[place : place + 7]) for place in range(0, len(counts), 7)]
    odd = {(date.fromisoformat(spike["day"]) - first).days // step for spike in volume["spikes"]}
    colours = [
        charts.TIERS["medium"] if place in odd else charts.SOFT for place in range(len(counts))
    ]
    axes.bar(range(len(counts)), counts, width=0.9, color=colours)
    charts.use_whole_numbers(axes)
    for gap in volume["gaps"]:
        ends = [(date.fromisoformat(gap[end]) - first).days / step for end in ("since", "until")]
        color = charts.TIERS["high"]
        axes.axvspan(ends[0] - 0.5, ends[1] + 0.5, color=color, alpha=0.18, linewidth=0)
    # The last label needs room.
    places = range(0, max(1, 9 * len(counts) // 10), max(1, len(counts) // 3))
    labels = [f"{first + timedelta(days=place * step):%d %b %Y}".lstrip("0") for place in places]
    axes.set_xticks(list(places), labels)
    marks = [
        f"{len(volume[kind])} {word}{'s' if len(volume[kind]) > 1 else ''} {rest}".strip()
        for kind, word, rest in (("gaps", "gap", ""), ("spikes", "day", gettext("off the usual")))
        if volume[kind]
    ]
    text = gettext("by {unit}")
    charts.title(axes, gettext("Events"), ", ".join([text.format(unit=unit), *marks]))
    text = gettext("Events by {unit} since {first:%d %b %Y}, {fewest:,} to {most:,}")
    words = text.format(unit=unit, first=first, fewest=min(counts), most=max(counts))
    text = gettext("{words}, without gaps or spikes.")
    return f"{words}; {' and '.join(marks)}." if marks else text.format(words=words)


def _completeness(axes: "Axes", filled: dict[str, dict[str, float | None]]) -> str:
    """Draw horizontal bars, the emptiest column at the top."""
    shares = sorted(
        (
            (share, f"{table[:-1]} {column}")
            for table, columns in filled.items()
            for column, share in columns.items()
            if share is not None
        ),
        reverse=True,
    )
    axes.grid(visible=False)
    axes.set_xticks([])
    charts.title(axes, gettext("Completeness"), gettext("share of rows with a value"))
    if not shares:
        return ""
    places = range(len(shares))
    colours = [charts.TIERS["high"] if share < 0.5 else charts.SOFT for share, _ in shares]
    axes.barh(list(places), [share for share, _ in shares], height=0.62, color=colours)
    axes.set_yticks(list(places), [name.replace("_", " ") for _, name in shares], fontsize=7)
    for place, (share, _) in enumerate(shares):
        text = percent(share)
        charts.label(
            axes, text, (share, place), xytext=(3, 0), va="center", fontsize=7, color=charts.MUTED
        )
    axes.set_xlim(0, 1.2)
    least = ", ".join(f"{name} {percent(share)}" for share, name in shares[::-1][:3])
    return gettext("Least complete: {least}.").format(least=least)
