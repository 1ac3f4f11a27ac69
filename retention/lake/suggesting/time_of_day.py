"""Find the column with the time of day beside a column of dates, and join the two."""
# ruff: noqa: S608 - names are quoted (mapping.quoted)

import re
from collections.abc import Collection
from typing import Any

from retention.lake.importing.mapping import quoted
from retention.lake.suggesting.map_lines import Line
from retention.lake.suggesting.profiles import Profile, plain, synonyms
from retention.text import gettext

MIN_SHARE = 0.95  # of the filled values
_TIME = r"^\s*\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?\s*([aApP]\.?[mM]\.?)?\s*$"
_HALF_DAY = r"[aApP]\.?[mM]\.?\s*$"
_HALF_DAY_FORMATS = "['%I:%M:%S %p', '%I:%M %p', '%I:%M:%S%p', '%I:%M%p']"


def find_time_of_day(
    con: Any, rows: str, date: Profile, free: Collection[Profile], *, is_typed: bool = False
) -> Profile | None:
    """Return the column with the time of day of a date.

    Its name must be one of "time", or that of the date with "time" for "date": a pickup time or
    a duration is none.

    `date`: column of the order's date.
    `is_typed`: whether the source has types. Then expressions get its texts as they are, so only
    dates that DuckDB reads can be joined.
    """
    candidates = [one for one in free if not one.is_moment and _is_named_for(one.name, date.name)]
    if not candidates or _share(con, rows, date, r"\d:\d") > 0:
        return None
    if is_typed and not _is_castable(con, rows, date):
        return None
    return next((one for one in candidates if _share(con, rows, one, _TIME) >= MIN_SHARE), None)


def joined_line(con: Any, rows: str, date: Profile, time: Profile) -> Line:
    """Return the map's line that adds the time of day to the date.

    A row without a readable time keeps its date.
    """
    clock = quoted(time.name)
    if _share(con, rows, time, _HALF_DAY) > 0:
        text = f"replace({clock}, '.', '')"
        since = f"try_strptime({text}, {_HALF_DAY_FORMATS}) - TIMESTAMP '1900-01-01'"
    else:
        since = f"try_cast({clock}::VARCHAR AS INTERVAL)"
    sql = f"{quoted(date.name)}::TIMESTAMP + coalesce({since}, INTERVAL 0 SECOND)"
    reason = gettext("the date and the time of day are two columns")
    return Line("occurred_at", f"{{ sql = '''{sql}''' }}", reason)


def _is_named_for(name: str, date: str) -> bool:
    words = synonyms()["time_of_day"]
    times = {plain(word) for word in words["time"]}
    known = plain(re.sub(r"\s*[(（\[][^()（）]*[)）\]]\s*$", "", name))
    if known in times or plain(name.rpartition(".")[2]) in times:
        return True
    day = plain(date)
    return any(
        day.replace(plain(part), time) == known
        for part in words["date"]
        if plain(part) in day
        for time in times
    )


def _is_castable(con: Any, rows: str, profile: Profile) -> bool:
    """Return whether DuckDB reads all filled values as times."""
    column = quoted(profile.name)
    sql = (
        f"SELECT count(*) FROM {rows} WHERE trim({column}::VARCHAR) <> '' "
        f"AND try_cast({column} AS TIMESTAMP) IS NULL"
    )
    return not con.execute(sql).fetchall()[0][0]


def _share(con: Any, rows: str, profile: Profile, pattern: str) -> float:
    """Return the share of filled values that match a pattern."""
    column = f"{quoted(profile.name)}::VARCHAR"
    matching, filled = con.execute(
        f"SELECT count(*) FILTER (regexp_matches({column}, ?)), count(*) FROM {rows} "
        f"WHERE trim({column}) <> ''",
        [pattern],
    ).fetchall()[0]
    return float(matching / filled) if filled else 0.0
