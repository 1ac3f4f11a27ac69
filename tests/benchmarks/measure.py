"""Times, peaks and figures.

A peak is a process's own, so each group of benches runs in a process of its own.
"""

import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from retention.settings import Settings

BUILD = Path(__file__).resolve().parents[2] / "build"
FOLDER = (
    BUILD / "bench"
)  # homes and models, kept from one run to the next where that is no cheating


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of bench.json: a value, its peer in the same run, and the ratio of both.

    ``target`` is the bound the project holds itself to, in words; ``met`` whether it is kept (None
    without one). ``spread`` is the smallest and the largest ratio of paired runs.
    """

    value: float
    unit: str
    peer: float | None = None
    ratio: float | None = None
    target: str = ""
    met: bool | None = None
    spread: tuple[float, float] | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def against(
    value: float, unit: str, peer: float, *, most: float | None = None, least: float | None = None
) -> Figure:
    """A figure beside a peer's; ``most``/``least`` bound the ratio."""
    ratio = value / peer
    bound = f"≤ {most} × its peer" if most else f"≥ {least} × its peer" if least else ""
    met = ratio <= most if most else ratio >= least if least else None
    return Figure(round(value, 4), unit, round(peer, 4), round(ratio, 3), bound, met)


def paired(
    pairs: Sequence[tuple[float, float]],
    unit: str,
    *,
    scale: float = 1.0,
    most: float | None = None,
    least: float | None = None,
) -> Figure:
    """A figure beside a peer's from runs in turns; ``most``/``least`` bound the median ratio.

    Each ratio is that of one pair: what else the machine does falls on both. Value and peer are
    medians, times ``scale``.
    """
    ratios = sorted(value / peer for value, peer in pairs)
    value, peer = (scale * median(pair[place] for pair in pairs) for place in (0, 1))
    figure = against(value, unit, peer, most=most, least=least)
    ratio = median(ratios)
    met = ratio <= most if most else ratio >= least if least else None
    return replace(
        figure, ratio=round(ratio, 3), met=met, spread=(round(ratios[0], 3), round(ratios[-1], 3))
    )


def alone(value: float, unit: str, *, most: float | None = None) -> Figure:
    """A figure that has no peer; ``most`` bounds it."""
    return Figure(
        round(value, 4),
        unit,
        None,
        None,
        f"≤ {most:g} {unit}" if most else "",
        value <= most if most else None,
    )


def seconds(work: Callable[[], Any], *, times: int = 1) -> float:
    """The median wall time."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return median(found)


def in_turns(
    first: Callable[[], Any], second: Callable[[], Any], *, times: int
) -> list[tuple[float, float]]:
    """The wall times of both, taken in turns, for `paired`."""
    return [(seconds(first), seconds(second)) for _ in range(times)]


def peak_mb() -> float:
    """The largest memory this process has had."""
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest / (2**20 if sys.platform == "darwin" else 2**10)


def settings(name: str = "home") -> Settings:
    """An installation below build/bench that sees no environment of ours."""
    return Settings(home=FOLDER / name, _env_file=None)
