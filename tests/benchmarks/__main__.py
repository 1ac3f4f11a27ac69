"""``python -m tests.benchmarks [GROUP…]``: run groups of benchmarks, each in its own process.

Without names it runs all groups but the large ones, in their order.
"""

import json
import subprocess
import sys
from collections.abc import Callable

from tests.benchmarks import (
    ask,
    generated,
    lake,
    live,
    models,
    queues,
    report,
    slash,
    startup,
    tastes,
    volume,
)
from tests.benchmarks.measure import Figure

GROUPS: dict[str, Callable[[], dict[str, Figure]]] = {
    "import": lake.imports,
    "volume": volume.volume,
    "home": models.home,
    "features": lake.features,
    "churn": models.churn,
    "scoring": models.scoring,
    "recommender": models.recommender,
    "sweep": models.sweep,
    "lists": models.lists,
    "slash": slash.slash,
    "ask": ask.ask,
    "live": live.live,
    "top_10": tastes.top_10,
    "demo": startup.demo,
    "large": generated.large,
    "models": tastes.models,
    "at_risk": generated.at_risk,
    "queues": queues.queues,
}
ASKED_FOR = (
    "large",
    "models",
    "at_risk",
    "queues",
)  # many minutes: only by name (make bench-large, make bench-queue)


def main(asked: list[str]) -> int:
    """Run, print, write; 1 where a bound was not kept or a group failed."""
    if unknown := set(asked) - set(GROUPS):
        sys.exit(
            f"There is no bench {', '.join(sorted(unknown))}; choose from {', '.join(GROUPS)}."
        )
    figures: dict[str, Figure] = {}
    failed: dict[str, str] = {}
    for name in asked or [name for name in GROUPS if name not in ASKED_FOR]:
        print(f"… {name}", flush=True)
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks", "--child", name],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            failed[name] = f"it ended with status {done.returncode}"
            continue
        found = {
            key: Figure(**value) for key, value in json.loads(done.stdout.splitlines()[-1]).items()
        }
        figures |= found
        for key, figure in found.items():
            beside = f"  (peer {figure.peer:g}, ratio {figure.ratio:g})" if figure.peer else ""
            print(
                f"  {key:24} {figure.value:12,.3f} {figure.unit}{beside}"
                f"{'' if figure.met in (None, True) else '  BOUND NOT KEPT'}"
            )
    report.save(figures, failed)
    for name, why in failed.items():
        print(f"{name}: {why}", file=sys.stderr)
    return 1 if failed or any(figure.met is False for figure in figures.values()) else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(
            json.dumps({name: figure.as_dict() for name, figure in GROUPS[sys.argv[2]]().items()})
        )
    else:
        sys.exit(main(sys.argv[1:]))
