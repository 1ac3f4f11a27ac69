"""Write the counts of a run into docs/promises.md."""

import re
from collections.abc import Mapping
from datetime import date

from tests.faults.frame import ROOT, Counts, Row
from tests.faults.table import FAULTS

PAGE = ROOT / "docs" / "promises.md"
_PLACE = re.compile(r"(?<=<!-- counts -->\n).*?(?=<!-- end of counts -->)", re.DOTALL)
_HEAD = (
    "| fault | invariant | injections | struck a running step | checked | in doubt | lost | "
    "doubled |\n| --- | --- | --- | --- | --- | --- | --- | --- |"
)


def publish(
    results: Mapping[tuple[Row, str], tuple[Counts, float]], commit: str, day: date
) -> None:
    """Replace the table of counts on the page."""
    seconds = sum(seconds for _, seconds in results.values())
    databases = " and ".join(sorted({database for _, database in results}))
    lines = [
        f"Commit `{commit}`, {day:%-d %B %Y}, on {databases}; {seconds / 60:.0f} minutes of work.",
        "",
        _HEAD,
    ]
    whole = Counts()
    for kind, (fault, invariant) in FAULTS.items():
        total = Counts()
        for (row, _), (counts, _) in results.items():
            if row.fault == kind:
                total.add(counts)
        whole.add(total)
        lines.append(f"| {fault} | {invariant} | {_numbers(total)} |")
    lines.append(f"| all | | {_numbers(whole)} |")
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(_PLACE.sub(lambda _: "\n".join(lines) + "\n", text), encoding="utf-8")


def _numbers(total: Counts) -> str:
    share = f"{total.hit / total.injections:.0%}" if total.injections else "–"
    numbers = (total.injections, share, total.checked, total.doubt)
    shown = [f"{number:,}" if isinstance(number, int) else number for number in numbers]
    return " | ".join([*shown, str(len(total.lost)), str(len(total.doubled))])
