"""Write the counts of a run into docs/promises.md."""

import json
import re
import subprocess
from dataclasses import asdict
from datetime import date
from pathlib import Path

from tests.faults.frame import POSTGRESQL, ROOT, SQLITE, Counts, Row
from tests.faults.table import FAULTS

PAGE = ROOT / "docs" / "promises.md"
RESULTS = ROOT / "build" / "faults.jsonl"
DATABASES = {SQLITE: "SQLite", POSTGRESQL: "PostgreSQL"}
_HEAD = (
    "| fault | invariant | injections | struck a running step | checked | in doubt | lost | "
    "doubled |\n| --- | --- | --- | --- | --- | --- | --- | --- |"
)


def commit() -> str:
    """Return the commit that is checked out."""
    command = ["git", "rev-parse", "--short=8", "HEAD"]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout[:8]


def remember(
    place: tuple[Row, str], found: tuple[Counts, float], size: str, commit_name: str
) -> None:
    """Store the result of a row, so that a run may have several parts."""
    (row, database), (counts, seconds) = place, found
    RESULTS.parent.mkdir(exist_ok=True)
    line = {"commit": commit_name, "size": size, "fault": row.fault, "database": database}
    line |= {"name": row.name, "seconds": seconds, "counts": asdict(counts)}
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def publish(size: str) -> None:
    """Replace the table of counts on the page by the last result of each row."""
    stored = map(json.loads, RESULTS.read_text(encoding="utf-8").splitlines())
    ours = [line for line in stored if line["size"] == size]
    results = {(line["name"], line["database"]): line for line in ours}.values()
    commits = ", ".join(f"`{name}`" for name in dict.fromkeys(line["commit"] for line in results))
    databases = " and ".join(sorted({DATABASES[line["database"]] for line in results}))
    minutes = sum(line["seconds"] for line in results) / 60
    lines = [
        f"Commits {commits}, {date.today():%-d %B %Y}, on {databases}. The rows took {minutes:.0f} "
        "minutes together.",
        "",
        _HEAD,
    ]
    whole = Counts()
    for kind, (fault, invariant) in FAULTS.items():
        total = Counts()
        for line in results:
            if line["fault"] == kind:
                total.add(Counts(**line["counts"]))
        whole.add(total)
        lines.append(f"| {fault} | {invariant} | {_numbers(total)} |")
    lines.append(f"| all | | {_numbers(whole)} |")
    fill(PAGE, "counts", "\n".join(lines) + "\n")


def fill(page: Path, name: str, content: str) -> None:
    """Replace the part of a page between the comments ``name`` and ``end of name``."""
    place = re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- end of {name} -->)", re.DOTALL)
    text = page.read_text(encoding="utf-8")
    page.write_text(place.sub(lambda _: content, text), encoding="utf-8")


def _numbers(total: Counts) -> str:
    share = f"{total.hit / total.injections:.0%}" if total.injections else "–"
    numbers = (total.injections, share, total.checked, total.doubt)
    shown = [f"{number:,}" if isinstance(number, int) else number for number in numbers]
    return " | ".join([*shown, str(len(total.lost)), str(len(total.doubled))])
