"""Judge a run by the promises of docs/operator/load.md."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.load.desk import Samples
from tests.load.traffic import ANSWERED, ERROR, LATE, PROMISED, REFUSED, SHED, Phase, Typed

STEADY, TENFOLD, AFTER = "steady", "tenfold", "after"
P99_MS, RECOVERY_SECONDS, WINDOW = 500, 60, 5.0
POINTS, BLOCK, DRAWS = 90, 8, 300  # of a series, of its blocks, and of the bootstrap
LEAST_SHARE = 0.02  # of a process's memory; less growth than this is no leak in half an hour

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Growth:
    """How much a series grew in a phase, with its 95% interval and the spread around the line."""

    growth: float
    low: float
    high: float
    spread: float
    median: float

    def is_flat(self, least: float) -> bool:
        """Whether the growth is within the noise: may be none, or is less than the spread."""
        return self.low <= 0 or self.growth <= max(self.spread, least)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A promise, its measured value and its bound."""

    what: str
    found: str
    bound: str
    kept: bool


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it is stored: `about` has database, size, commit, date and machine."""

    about: dict[str, Any]
    phases: list[Phase]
    typed: list[Typed]
    samples: Samples
    lost: list[str]

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "Run":
        """Read a stored run."""
        phases = [Phase(**each) for each in stored["phases"]]
        typed = [Typed(**each) for each in stored["typed"]]
        return cls(stored["about"], phases, typed, Samples(**stored["samples"]), stored["lost"])

    def to_json(self) -> dict[str, Any]:
        """Return the run for its file."""
        return asdict(self)

    def span(self, name: str) -> tuple[float, float]:
        """Return when a phase began and ended."""
        start = 0.0
        for phase in self.phases:
            if phase.name == name:
                return start, start + phase.seconds
            start += phase.seconds
        raise KeyError(name)

    def within(self, name: str) -> list[Typed]:
        """Return the commands that were due in a phase."""
        start, end = self.span(name)
        return [each for each in self.typed if start <= each.due < end]

    def count(self, name: str, *kinds: str) -> int:
        """Count the commands of a phase that ended in one of these ways."""
        return sum(each.kind in kinds for each in self.within(name))

    def percentile(self, name: str, share: float) -> float:
        """Return the milliseconds in which this share (in percent) of a phase was answered."""
        return 1000 * float(np.percentile([each.took for each in self.within(name)], share))

    def waiting(self, name: str) -> tuple[Floats, Floats]:
        """Return the times of a phase, and how many jobs and posts waited."""
        start, end = self.span(name)
        rows = [row for row in self.samples.queue if start <= row[0] < end]
        return np.array([row[0] for row in rows]), np.array([float(sum(row[1:])) for row in rows])

    def memory(self, name: str) -> dict[str, tuple[Floats, Floats]]:
        """Return the times of a phase, and the MiB of each process."""
        start, end = self.span(name)
        rows = [row for row in self.samples.memory if start <= row[0] < end]
        at = np.array([row[0] for row in rows])
        return {one: (at, np.array([row[1].get(one, 0.0) for row in rows])) for one in rows[0][1]}


def growth(at: Floats, values: Floats) -> Growth:
    """Fit a Theil–Sen line, and draw its slope again with blocks of its residuals.

    Neighbouring samples are alike, so single residuals would make the interval too narrow.
    """
    groups = np.array_split(np.arange(len(at)), min(POINTS, len(at)))
    at, values = (np.array([np.median(each[g]) for g in groups]) for each in (at, values))
    first, second = np.triu_indices(len(at), 1)
    apart = at[second] - at[first]

    def slopes(series: Floats) -> Floats:
        return np.median((series[..., second] - series[..., first]) / apart, axis=-1)

    slope = float(slopes(values))
    rest = values - slope * at
    rest -= np.median(rest)
    block, chance = min(BLOCK, len(at)), np.random.default_rng(1)
    starts = chance.integers(0, len(at) - block + 1, size=(DRAWS, -(-len(at) // block)))
    places = (starts[:, :, None] + np.arange(block)).reshape(DRAWS, -1)[:, : len(at)]
    drawn = slope + slopes(rest[places])
    seconds = float(at[-1] - at[0])
    low, high = np.percentile(drawn, (2.5, 97.5)) * seconds
    spread = float(np.subtract(*np.percentile(rest, (95, 5))))
    return Growth(slope * seconds, float(low), float(high), spread, float(np.median(values)))


def recovery(run: Run) -> float:
    """Return the seconds after the tenfold load until the answers are as before, and stay so.

    As before: in each 5 seconds nothing is shed, and the slowest answers are not beyond the worst
    of the steady load.
    """
    slowest = max(took for _, took in _slowest(run, STEADY))
    start, end = run.span(AFTER)
    late = [at for at, took in _slowest(run, AFTER) if took > max(slowest, P99_MS / 1000)]
    late += [each.due for each in run.within(AFTER) if each.kind == SHED]
    return max((min(each + WINDOW, end) - start for each in late), default=0.0)


def drained(run: Run) -> float | None:
    """Return the seconds after the tenfold load until no more waits than in the steady load.

    None if that was not reached in the run.
    """
    start = run.span(AFTER)[0]
    at, queue = run.waiting(AFTER)
    later = at[queue > run.waiting(STEADY)[1].max()]
    if not len(later):
        return 0.0
    return float(later[-1]) - start if later[-1] < at[-1] else None


def _slowest(run: Run, name: str) -> list[tuple[float, float]]:
    return windows(run.within(name), lambda took: float(np.percentile(took, 99)))


def windows(
    typed: Sequence[Typed], measure: Callable[[list[float]], float], seconds: float = WINDOW
) -> list[tuple[float, float]]:
    """Return the start of each few seconds, and a measure of the times of its answers."""
    by_start: dict[float, list[float]] = {}
    for each in typed:
        by_start.setdefault(each.due // seconds * seconds, []).append(each.took)
    return [(start, measure(by_start[start])) for start in sorted(by_start)]


def verdicts(run: Run) -> list[Verdict]:
    """Judge a run."""
    wrong = run.count(STEADY, ERROR, LATE, REFUSED, SHED)
    p99, queue = run.percentile(STEADY, 99), growth(*run.waiting(STEADY))
    shed = run.count(TENFOLD, SHED)
    later_errors = sum(run.count(each, ERROR, LATE, REFUSED) for each in (TENFOLD, AFTER))
    answered = run.count(TENFOLD, ANSWERED, PROMISED)
    seconds, queued = recovery(run), drained(run)
    memory = {name: growth(*series) for name, series in run.memory(STEADY).items()}
    leaks = {n: g for n, g in memory.items() if not g.is_flat(LEAST_SHARE * g.median)}
    worst = max(memory, key=lambda name: memory[name].growth / max(memory[name].median, 1))
    found = memory[worst]
    return [
        Verdict("steady: errors, refusals, late answers", f"{wrong:,}", "0", wrong == 0),
        Verdict("steady: 99 of 100 answers within", f"{p99:,.0f} ms", "≤ 500 ms", p99 <= P99_MS),
        Verdict(
            "steady: memory that grows (the most, for its size: " + worst + ")",
            ", ".join(leaks) or f"none ({found.growth:+.0f} MiB of {found.median:.0f})",
            "none",
            not leaks,
        ),
        Verdict(
            "steady: jobs and posts that wait grow by",
            f"{queue.growth:+.1f} ({queue.low:+.1f} to {queue.high:+.1f})",
            "within the noise",
            queue.is_flat(1.0),
        ),
        Verdict(
            "tenfold and after it: errors, refusals, late answers",
            f"{later_errors:,}",
            "0",
            later_errors == 0,
        ),
        Verdict(
            "tenfold: commands answered with the sentence to come back; the others were answered",
            f"{shed:,}; {answered:,}",
            "some",
            shed > 0,
        ),
        Verdict(
            "promised results that did not come, or came twice",
            f"{len(run.lost):,}",
            "0",
            not run.lost,
        ),
        Verdict(
            "after the tenfold load: seconds until answers are as before",
            f"{seconds:.0f} s",
            "≤ 60 s",
            seconds <= RECOVERY_SECONDS,
        ),
        Verdict(
            "after the tenfold load: seconds until no more jobs and posts wait than before",
            "not reached" if queued is None else f"{queued:.0f} s",
            "reached",
            queued is not None,
        ),
    ]
