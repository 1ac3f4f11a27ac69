"""What a proposed map says: a line for each column, with a comment that says why, as TOML."""

import re
from dataclasses import dataclass

from retention.lake.mapping import quoted
from retention.lake.reading.sources import Source
from retention.lake.schema import Table
from retention.lake.suggesting.profiles import ROWS, Profile

QUARANTINED = " (those rows are quarantined)"


@dataclass(frozen=True, slots=True)
class Line:
    """A canonical column (or `from`, `where` …), what it is in TOML, and why."""

    key: str
    value: str
    why: str = ""


def named(target: str, profile: Profile) -> Line:
    """A canonical column that is a column of the file."""
    missing = "" if profile.filled >= 0.9995 else f"; {1 - profile.filled:.1%} missing"
    if missing and target == "customer_id":
        missing += QUARANTINED
    return Line(
        target,
        string(profile.name),
        f"{profile.distinct:,} different, like {profile.example[:30]}{missing}",
    )


def written(table: Table, source: Source, profiles: list[Profile], lines: list[Line]) -> str:
    """The whole map; of the file's columns those that no line names stand in a last comment."""
    said = ", ".join(f"{key} {value}" for key, value in source.detected.items() if key != "header")
    names = " ".join(line.value for line in lines)
    unused = [
        profile.name
        for profile in profiles
        if string(profile.name) not in names and quoted(profile.name) not in names
    ]
    width = max(len(line.key) for line in lines)
    looked = f"the first {ROWS:,} rows" if profiles[0].rows == ROWS else "contents"
    head = [
        f"# A map for {source.name} ({said}), proposed by its columns' names and {looked}. Read it, then:",
        f"#   retention import {table.name} {source.name} --map THIS_FILE",
        f"[{table.name}]",
    ]
    body = [
        f"{line.key:{width}} = {line.value}" + (f"  # {_comment(line.why)}" if line.why else "")
        for line in lines
    ]
    tail = [f"# Not used: {_comment(', '.join(unused))}."] if unused else []
    return "\n".join([*head, *body, *tail]) + "\n"


def _comment(text: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f]+", " ", text)


def string(text: str) -> str:
    """A text as TOML writes it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
