"""The frame of the fault harness: rows, what each counts, and a process for each.

A row is a module with ``count_row(injections, seed)``. It runs in a process of its own, on SQLite
or on a real PostgreSQL, so that it may kill, fork and change its environment.
"""

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from tests.postgres import postgres

ROOT = Path(__file__).parents[2]
SQLITE, POSTGRESQL = "sqlite", "postgresql"
SHOWN = 10  # violations of a row that are printed
_PATIENCE = 1800.0  # seconds of a row, beside those of its injections
_SECONDS_EACH = 20.0


@dataclass
class Counts:
    """What a row injected, and which promises it saw broken.

    `hit`: injections that struck a step that was under way.
    `doubt`: messages held for a person, or doubled where the channel cannot say.
    `checked`: things that were compared in the end.
    `lost`, `doubled`: a line for each violation. Whatever breaks an invariant and is not doubled is
    lost.
    """

    injections: int = 0
    hit: int = 0
    doubt: int = 0
    checked: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)

    def inject(self, *, hit: bool = True) -> None:
        """Count an injection."""
        self.injections += 1
        self.hit += hit

    def expect(self, is_kept: bool, line: str) -> None:
        """Count something that was compared; a broken invariant is lost."""
        self.checked += 1
        if not is_kept:
            self.lost.append(line)

    def expect_once(self, times: int, line: str) -> None:
        """Count something that must have happened once."""
        self.checked += 1
        if times < 1:
            self.lost.append(line)
        self.doubled += [line] * (times - 1)

    def add(self, other: "Counts") -> None:
        """Add the counts of a part."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    @classmethod
    def of_kills(cls, kills: Any, checked: str, attempts: int) -> "Counts":
        """Convert the counts of a run of kills; `attempts` includes those that came too late."""
        broken = kills.lost + getattr(kills, "unapproved", 0)
        return cls(
            injections=max(attempts, kills.kills),
            hit=kills.kills,
            doubt=getattr(kills, "doubt", 0),
            checked=getattr(kills, checked),
            lost=[kills.line] * broken,
            doubled=[kills.line] * kills.doubled,
        )


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the harness.

    `fault`: the kind of fault it belongs to, a key of `tests.faults.table.FAULTS`.
    `ci`, `part`, `long`: injections in each size of a run; 0 leaves it out.
    """

    fault: str
    name: str
    module: str
    ci: int
    part: int
    long: int
    databases: tuple[str, ...] = (SQLITE, POSTGRESQL)

    def run(self, size: str, database: str, seed: int) -> tuple[Counts, float]:
        """Count in a process of its own; return the counts and the seconds.

        A process that ends with an error counts as a violation: nobody knows what it would have
        found.
        """
        injections, began = getattr(self, size), time.monotonic()
        command = [sys.executable, "-m", "tests.faults.frame", self.module, database]
        command += [str(injections), str(seed)]
        # A group of its own, and files in place of pipes: children may outlive it.
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            out, err = process.communicate(timeout=_PATIENCE + _SECONDS_EACH * injections)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
        seconds = time.monotonic() - began
        lines = [line for line in out.splitlines() if line.startswith("{")]
        if process.returncode or not lines:
            return Counts(
                lost=[f"{self.name} ended with {process.returncode}: {err[-3000:]}"]
            ), seconds
        return Counts(**json.loads(lines[-1])), seconds


@contextmanager
def on_database(name: str) -> Iterator[None]:
    """Let settings that this process and its children make name a database of this kind."""
    if name == SQLITE:
        yield
        return
    with postgres() as url:
        secrets = {
            "RETENTION_DATABASE_URL": url,
            "RETENTION_SECRET_KEY": "of the fault harness" * 2,
        }
        os.environ.update(secrets)
        yield


def table(results: dict[tuple[Row, str], tuple[Counts, float]]) -> list[str]:
    """Return the lines of the table of a run; the last one is the verdict."""
    lines = [f"{'row':34} {'database':10} injections   hit checked doubt  lost doubled seconds"]
    total = Counts()
    for (row, database), (counts, seconds) in results.items():
        total.add(counts)
        numbers = f"{counts.injections:10} {counts.hit:5} {counts.checked:7} {counts.doubt:5}"
        broken = f"{len(counts.lost):5} {len(counts.doubled):7}"
        lines.append(f"{row.name:34} {database:10} {numbers} {broken} {seconds:7.0f}")
        lines += [f"  {line}" for line in chain(counts.lost[:SHOWN], counts.doubled[:SHOWN])]
    return [*lines, verdict(total)]


def verdict(total: Counts) -> str:
    """Return the last line of a run."""
    return (
        f"injections={total.injections} lost={len(total.lost)} "
        f"doubled={len(total.doubled)} hit={total.hit}"
    )


def main(module: str, database: str, injections: str, seed: str) -> int:
    """Count one row, and print its counts as JSON."""
    # Or each process would run the file of the command again before its job.
    del sys.modules["__main__"].__file__
    sys.modules["__main__"].__spec__ = None
    with on_database(database):
        counts: Counts = importlib.import_module(module).count_row(int(injections), int(seed))
        print(json.dumps(asdict(counts)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
