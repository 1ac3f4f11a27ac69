"""Draw the pictures of docs/operator/load.md and write its results."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np

from retention.reports import charts
from tests.faults.frame import ROOT
from tests.faults.promises import DATABASES, fill
from tests.load.judging import STEADY, TENFOLD, WINDOW, Run, Verdict, growth, verdicts, windows
from tests.load.traffic import SHED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAGE = ROOT / "docs" / "operator" / "load.md"
PICTURES = ROOT / "docs" / "pictures"
RESULTS = ROOT / "build" / "load"
COLOURS = ("#1f7fc4", "#d0453a", "#3d8f6f", "#b87a1e", "#8a5fb0", "#7b7b7f", "#c2498b", "#4f8f9d")


def publish(run: Run) -> None:
    """Write the results and the pictures of a run into the docs."""
    for name, draw in (("answers", _answers), ("queue", _queue), ("memory", _memory)):
        fig, axes = charts.figure(2.6)
        draw(run, axes[0])
        _mark_tenfold(run, axes[0])
        _save(fig, PICTURES / f"load_{name}.svg")
    fill(PAGE, "results", section(run))


def section(run: Run) -> str:
    """Return the results as the page shows them."""
    about, parts = run.about, {phase.name: phase for phase in run.phases}
    steady, tenfold = parts[STEADY], parts[TENFOLD]
    lines = [
        f"Commit `{about['commit']}`, {about['date']}, {DATABASES[about['database']]}, "
        f"{about['machine']}: {steady.rate:.0f} commands a second for {_time(steady.seconds)}, "
        f"then {tenfold.rate:.0f} for {_time(tenfold.seconds)}.",
        "",
        *table(verdicts(run)),
        "",
        "| | commands | half answered within | 99 of 100 within | asked to come back |",
        "| --- | --- | --- | --- | --- |",
    ]
    for phase in run.phases:
        cells = (
            phase.name,
            f"{len(run.within(phase.name)):,}",
            f"{run.percentile(phase.name, 50):,.0f} ms",
            f"{run.percentile(phase.name, 99):,.0f} ms",
            f"{run.count(phase.name, SHED):,}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "| memory in the steady load, MiB | first | last | growth of the line (95%) | spread |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, (at, values) in run.memory(STEADY).items():
        line = growth(at, values)
        interval = f"{line.growth:+.0f} ({line.low:+.0f} to {line.high:+.0f})"
        cells = (name, f"{values[0]:,.0f}", f"{values[-1]:,.0f}", interval, f"{line.spread:.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    pictures = (
        ("answers", "Time until half and 99 of 100 commands are answered, and how many are shed"),
        ("queue", "Open jobs, and posts on their way to Slack"),
        ("memory", "Memory of each process"),
    )
    lines += [
        line for name, text in pictures for line in ("", f"![{text}](../pictures/load_{name}.svg)")
    ]
    return "\n".join(lines) + "\n\n"


def table(found: list[Verdict]) -> list[str]:
    """Return the lines of the table of promises."""
    rows = [
        f"| {v.what} | {v.found} | {v.bound} | {'yes' if v.kept else '**no**'} |" for v in found
    ]
    return ["| what | found | bound | kept |", "| --- | --- | --- | --- |", *rows]


def _time(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"


def _answers(run: Run, axes: "Axes") -> None:
    for share, colour in ((50, COLOURS[2]), (99, COLOURS[0])):
        points = windows(run.typed, lambda took, share=share: float(np.percentile(took, share)))
        times = [(start / 60, 1000 * value) for start, value in points]
        _line(axes, times, f"{share} of 100 commands", colour)
    axes.set_yscale("log")
    axes.axhline(500, color=COLOURS[1], linewidth=0.8, linestyle="--")
    charts.title(axes, "Time until the answer", f"in ms, over {WINDOW:.0f} s; dashed: 500 ms")
    _finish(axes)


def _queue(run: Run, axes: "Axes") -> None:
    for place, (name, colour) in enumerate((("open jobs", COLOURS[0]), ("posts", COLOURS[3])), 1):
        points = [(row[0] / 60, float(row[place])) for row in run.samples.queue]
        _line(axes, points, name, colour)
    charts.title(axes, "What waits", "jobs that are queued or run, and posts on their way to Slack")
    _finish(axes)


def _memory(run: Run, axes: "Axes") -> None:
    for name, colour in zip(run.samples.memory[0][1], COLOURS, strict=False):
        points = [(at / 60, values.get(name, 0.0)) for at, values in run.samples.memory]
        _line(axes, points, name, colour)
    charts.title(axes, "Memory", "MiB of each process with its children, shared pages once")
    _finish(axes)


def _line(axes: "Axes", points: list[tuple[float, float]], name: str, colour: str) -> None:
    axes.plot(*zip(*points, strict=True), label=name, color=colour, linewidth=0.9)


def _mark_tenfold(run: Run, axes: "Axes") -> None:
    start, end = run.span(TENFOLD)
    axes.axvspan(start / 60, end / 60, color=charts.GRID, zorder=0)


def _finish(axes: "Axes") -> None:
    axes.set_xlabel("minutes; grey: tenfold load", fontsize=8, color=charts.MUTED)
    axes.legend(
        fontsize=7, frameon=False, labelcolor=charts.INK, loc="center left", bbox_to_anchor=(1, 0.5)
    )


def _save(fig: "Figure", path: Path) -> None:
    options: dict[str, Any] = {"svg.hashsalt": path.name, "svg.fonttype": "none"}
    with mpl.rc_context(options):
        fig.savefig(path, format="svg", metadata={"Date": None})
