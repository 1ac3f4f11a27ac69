"""What the columns of a file hold, as far as a proposed map asks: numbers, moments, addresses, words for what happened."""
# ruff: noqa: S608 - names are quoted (mapping.quoted)

from dataclasses import dataclass
from typing import Any

from retention.errors import BadInput
from retention.lake.mapping import quoted
from retention.lake.reading.columns import Look, look
from retention.lake.reading.sources import Source
from retention.lake.suggesting import synonyms
from retention.text import gettext

ROWS = 200_000  # so many are looked at
FEW = 50  # different words for what happened, at the most


@dataclass(frozen=True, slots=True)
class Profile:
    """A column as the proposal sees it; shares are of its filled values."""

    name: str
    filled: float
    distinct: int
    rows: int
    whole: float
    numbers: float
    moments: float
    emails: float
    negative: float
    zero: float
    largest: float
    words: float  # that are words for what happened
    example: str

    @property
    def is_moment(self) -> bool:
        return self.moments >= 0.9

    @property
    def is_number(self) -> bool:
        return self.numbers >= 0.9 and not self.is_moment


def profiles_of(con: Any, source: Source) -> list[Profile]:
    """A profile of each column of a source, in their order; raises `BadInput` where there are no rows."""
    con.execute(
        f"CREATE OR REPLACE TABLE suggested_rows AS SELECT COLUMNS(*)::VARCHAR FROM {source.relation} LIMIT {ROWS}"
    )
    try:
        names = [*source.columns]
        seen = look(
            con, "suggested_rows", dict.fromkeys(names, "VARCHAR"), dict.fromkeys(names, "any")
        )
        rows = con.execute("SELECT count(*) FROM suggested_rows").fetchall()[0][0]
        if not rows:
            raise BadInput(gettext("{name} has no rows.").format(name=source.name))
        return [_profile(con, name, seen[name], rows) for name in source.columns]
    finally:
        con.execute("DROP TABLE suggested_rows")


def number(column: str) -> str:
    """SQL of a quoted column as a number, whatever stands around its digits; missing where it is none."""
    return f"try_cast(regexp_replace({column}::VARCHAR, '[^0-9.-]', '', 'g') AS DOUBLE)"


def _profile(con: Any, name: str, seen: Look, rows: int) -> Profile:
    column = quoted(name)
    value = number(column)
    distinct, emails, negative, zero, largest, example = con.execute(
        f"SELECT count(DISTINCT {column}), count(*) FILTER (regexp_matches({column}::VARCHAR, '^\\S+@\\S+\\.\\w+$')), "
        f"count(*) FILTER ({value} < 0), count(*) FILTER ({value} = 0), max({value}), min({column}::VARCHAR) "
        "FROM suggested_rows"
    ).fetchall()[0]
    filled = max(1, seen.filled)
    moments = max(seen.moments + seen.ordered + seen.compact, seen.named) / filled
    numbers = max(seen.plain, seen.cleaned, seen.swapped) / filled
    whole = (seen.plain - seen.fractions) / filled if seen.plain else 0.0
    return Profile(
        name,
        seen.filled / rows,
        distinct,
        rows,
        whole,
        numbers,
        min(1.0, moments),
        emails / filled,
        negative / filled,
        zero / filled,
        largest or 0.0,
        _words(con, column, filled) if distinct <= FEW else 0.0,
        str(example or ""),
    )


def _words(con: Any, column: str, filled: int) -> float:
    counted = con.execute(f"SELECT {column}, count(*) FROM suggested_rows GROUP BY 1").fetchall()
    return sum(rows for value, rows in counted if value and synonyms.meaning(value)) / filled
