"""What columns of text really hold: numbers by either decimal mark, dates by either order, ids that became floats.

A column is read one way as a whole, by the values that leave no doubt. What leaves doubt is told, and the map decides.
"""
# ruff: noqa: S608 - SQL is put together from quoted names and escaped literals (mapping.quoted, .literal)

from dataclasses import dataclass, field
from typing import Any

from retention.lake.currency import CODES, SHORT
from retention.lake.mapping import Mapping, literal, quoted

NEARLY_ALL = 0.9
_MONEY = rf"[\s\x{{a0}}\x{{202f}}''’]|\p{{Sc}}|(?i:US|CA|C|AU|A|NZ|R)\p{{Sc}}|{CODES}|(?i:{SHORT})"
_GROUPED = r"^\(?[+-]?(\d{1,3}(,\d{3})+|\d{1,2}(,\d{2})+,\d{3}|\d+)?(\.\d+)?\)?-?$"
ZONED = r"\d\d?:\d\d.*(Z|z|[+-]\d\d(:?\d\d)?)\s*$"
_ORDERED = r"^\s*(\d{1,2})[./-](\d{1,2})[./-](\d{4}|\d\d)\b"
_TIMES = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
_NAMED = ("%d %b %Y", "%d %B %Y", "%b %d %Y", "%B %d %Y", "%d-%b-%Y", "%d-%b-%y", "%d %b %y")
_COMPACT = ("%Y%m%d", "%Y%m%d%H%M", "%Y%m%d%H%M%S", "%Y%m%d %H:%M", "%Y%m%d %H:%M:%S")
IDS = ("event_id", "customer_id", "item_id", "order_id", "campaign_id")


@dataclass(frozen=True, slots=True)
class Reading:
    """How a column is read.

    Attributes
    ----------
    type : str
        The DuckDB type it then has.
    sql : str
        The expression that reads it; NULL where a value cannot be read.
    noun : str
        What is wrong with such a value.
    """

    type: str
    sql: str
    noun: str = ""


@dataclass(slots=True)
class Readings:
    """The columns of a source that are read as something else, and what people should know of it."""

    columns: dict[str, Reading] = field(default_factory=dict)
    decimal: str | None = None
    dates: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    naive: list[str] = field(default_factory=list)  # columns of moments of which some name no zone


def readings(
    con: Any, relation: str, columns: dict[str, str], mapping: Mapping, typed: bool = False
) -> Readings:
    """See how the columns that the map computes with, or takes as numbers, moments or ids, must be read.

    Parameters
    ----------
    relation : str
        SQL of the rows, for a FROM clause; read once or a few times, column by column.
    columns : dict of str to str
        The source's columns and their DuckDB types.
    typed : bool
        Whether the source has types of its own: then what is text there is text to the map's expressions too.
    """
    found = Readings(decimal=mapping.decimal)
    wanted = _wanted(columns, mapping, typed)
    stats = look(con, relation, columns, wanted, mapping.date_format)
    numbers = {
        name: seen
        for name, seen in stats.items()
        if wanted[name] in ("number", "any") and seen.numeric
    }
    comma = _comma(numbers, mapping, found)
    for name, seen in stats.items():
        if wanted[name] == "id":
            if seen.floats and seen.floats == seen.dotted:
                bare = f"regexp_replace({quoted(name)}, '^(-?\\d+)\\.0+$', '\\1')"
                found.columns[name] = Reading("VARCHAR", bare)
                found.notes.append(f"{name}: values like 12345.0 are read as the id 12345.")
        elif name in numbers:
            _number(name, seen, wanted[name], comma, mapping, found)
        elif wanted[name] == "moment" or (wanted[name] == "any" and seen.timely):
            _moment(name, seen, wanted[name], mapping, found)
            if seen.naive:
                found.naive.append(name)
    return found


# ---------------------------------------------------------------- which, and what is in them


def _wanted(columns: dict[str, str], mapping: Mapping, typed: bool) -> dict[str, str]:
    """The columns to look at: ``number``, ``moment`` or ``id`` as the map takes them; ``any`` if it computes with them."""
    computed = (
        set()
        if typed
        else {name.casefold() for expression in mapping.expressions for name in expression.columns}
    )
    as_text = {name.casefold() for name in mapping.needing("text", "json")}
    kinds: dict[str, str] = {}
    for target, expression in mapping.columns.items():
        if expression.column is None:
            continue
        kind: str | None = "id" if target in IDS else mapping.table[target].kind
        if kind in ("id", "number", "moment"):
            kinds.setdefault(expression.column.casefold(), kind)
    wanted: dict[str, str] = {}
    for name, type_ in columns.items():
        key = name.casefold()
        if type_ == "VARCHAR":
            kind = kinds.get(key) or ("any" if key in computed and key not in as_text else None)
            if kind:
                wanted[name] = "any" if kind in ("number", "moment") and key in computed else kind
        elif kinds.get(key) == "moment" and (
            type_.endswith("INT") or type_ in ("INTEGER", "DOUBLE")
        ):
            wanted[name] = "moment"
    return wanted


@dataclass(frozen=True, slots=True)
class Look:
    """Counts of a column's values by their look."""

    text: bool
    filled: int
    plain: int  # numbers as they are
    cleaned: int  # numbers after signs of money and thousands are gone, by a decimal point
    swapped: int  # the same by a decimal comma
    fractions: int
    zeros: int  # leading ones
    commas: int  # values that only a decimal comma explains
    points: int  # values that only a decimal point explains
    threes: int  # values like 1,234 that both explain
    dotted: int
    floats: int  # 12345.0
    moments: int
    zoned: int
    ordered: int  # 31/12/2010 and 12/31/2010 alike
    first_beyond: int
    second_beyond: int
    short_years: int
    german: int  # with points
    named: int  # with a month's name
    compact: int
    seconds: int
    millis: int
    fitting: int  # moments by the format that the map names

    @property
    def timely(self) -> bool:
        """Whether it is a column of times, by nearly all of its values."""
        times = self.moments + max(
            self.ordered, self.named, self.compact, self.seconds, self.millis
        )
        return bool(self.filled and max(times, self.fitting) >= NEARLY_ALL * self.filled)

    @property
    def naive(self) -> bool:
        """Whether some of the moments name no zone; seconds since 1970 need none."""
        return self.moments + max(self.ordered, self.named, self.compact) > self.zoned

    @property
    def numeric(self) -> bool:
        return self.text and bool(
            self.filled
            and not self.zeros
            and max(self.plain, self.cleaned, self.swapped) >= NEARLY_ALL * self.filled
        )


def look(
    con: Any,
    relation: str,
    columns: dict[str, str],
    wanted: dict[str, str],
    date_format: str | None = None,
) -> dict[str, Look]:
    """One pass over the rows for all columns; the look of a value is only examined where a plain cast fails."""
    if not wanted:
        return {}
    groups = []
    for name in wanted:
        text = columns[name] == "VARCHAR"
        groups.append(
            _counts(
                quoted(name) if text else f"{quoted(name)}::BIGINT::VARCHAR",
                wanted[name],
                text,
                date_format,
            )
        )
    width = len(groups[0])
    row = con.execute(
        f"SELECT {', '.join(one for group in groups for one in group)} FROM {relation}"
    ).fetchall()[0]
    return {
        name: Look(columns[name] == "VARCHAR", *row[place * width : (place + 1) * width])
        for place, name in enumerate(wanted)
    }


def _counts(raw: str, kind: str, text: bool, date_format: str | None) -> list[str]:
    column = f"nullif(trim({raw}), '')"
    number, moment = kind in ("number", "any") and text, kind in ("moment", "any")
    odd = f"try_cast({column} AS DOUBLE) IS NULL"
    odder = f"{_plain(column)} IS NULL"

    def count(condition: str, where: bool = True) -> str:
        return f"count(*) FILTER ({condition})" if where else "0"

    first, second = (
        f"try_cast(regexp_extract({column}, '{_ORDERED}', {place}) AS INTEGER)" for place in (1, 2)
    )
    return [
        f"count({column})",
        f"count(try_cast({column} AS DOUBLE))" if number else "0",
        f"count(coalesce(try_cast({column} AS DOUBLE), {_cleaned(column, False)}))"
        if number
        else "0",
        count(
            f"CASE WHEN contains({raw}, ',') THEN {_cleaned(column, True)} IS NOT NULL "
            f"ELSE try_cast({column} AS DOUBLE) IS NOT NULL OR {_cleaned(column, True)} IS NOT NULL END",
            number,
        ),
        count(f"try_cast({column} AS BIGINT) <> try_cast({column} AS DOUBLE)", number),
        count(f"{raw} LIKE '0_%' AND {raw} NOT LIKE '0.%' AND {raw} NOT LIKE '0,%'", number),
        count(
            f"contains({raw}, ',') AND regexp_matches({raw}, '\\.\\d{{3}},|^\\D*\\d*,(\\d{{1,2}}|\\d{{4,}})\\D*$')",
            number,
        ),
        count(
            f"contains({raw}, '.') AND regexp_matches({raw}, ',\\d{{3}}\\.|^\\D*\\d*\\.(\\d{{1,2}}|\\d{{4,}})\\D*$')",
            number,
        ),
        count(
            f"contains({raw}, ',') AND {odd} AND regexp_matches({raw}, '^\\D*\\d{{1,3}}(,\\d{{3}})+\\D*$')",
            number,
        ),
        count(f"contains({raw}, '.') AND try_cast({raw} AS DOUBLE) IS NOT NULL", kind == "id"),
        count(f"contains({raw}, '.0') AND regexp_matches({raw}, '^-?\\d+\\.0+$')", kind == "id"),
        f"count({_plain(column)})" if moment else "0",
        count(f"regexp_matches({raw}, '{ZONED}')", moment),
        count(f"{odder} AND regexp_matches({raw}, '{_ORDERED}')", moment),
        count(f"{odder} AND {first} BETWEEN 13 AND 31 AND {second} BETWEEN 1 AND 12", moment),
        count(f"{odder} AND {second} BETWEEN 13 AND 31 AND {first} BETWEEN 1 AND 12", moment),
        count(f"{odder} AND length(regexp_extract({column}, '{_ORDERED}', 3)) = 2", moment),
        count(f"{odder} AND regexp_matches({raw}, '^\\s*\\d{{1,2}}\\.\\d')", moment),
        count(
            f"{odder} AND regexp_matches({raw}, '(?i)jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec')",
            moment,
        ),
        count(
            f"{odder} AND regexp_matches({column}, '^(19|20)\\d\\d(0[1-9]|1[0-2])([0-2]\\d|3[01])(\\d{{4}}|\\d{{6}}| .*)?$')",
            moment,
        ),
        count(f"{odder} AND regexp_matches({column}, '^\\d{{9,10}}(\\.\\d+)?$')", moment),
        count(f"{odder} AND regexp_matches({column}, '^\\d{{12,13}}$')", moment),
        f"count({_fitting(column, date_format)})" if moment and date_format else "0",
    ]


# ---------------------------------------------------------------- numbers


def _cleaned(column: str, comma: bool) -> str:
    """A number without signs of money and thousands; brackets or a minus behind it make it negative."""
    bare = f"regexp_replace({column}, '{_MONEY}', '', 'g')"
    point = f"translate({bare}, '.,', ',.')" if comma else bare
    digits = f"try_cast(regexp_replace({point}, '[(),+-]', '', 'g') AS DOUBLE)"
    sign = f"CASE WHEN regexp_matches({bare}, '[(-]') THEN -1 ELSE 1 END"
    return f"CASE WHEN regexp_matches({point}, '{_GROUPED}') THEN {digits} * {sign} END"


def _comma(numbers: dict[str, Look], mapping: Mapping, found: Readings) -> bool:
    """Whether the file's decimal mark is the comma: by the map, else by the values that leave no doubt."""
    if mapping.decimal:
        return mapping.decimal == ","
    commas = sum(seen.commas for seen in numbers.values())
    points = sum(seen.points for seen in numbers.values())
    threes = [name for name, seen in numbers.items() if seen.threes]
    if commas and points:
        found.notes.append(
            f"Numbers are written both like 1.234,56 ({commas:,}) and like 1,234.56 ({points:,}): each column is read "
            'by its majority; write decimal = "," or "." into the map to decide.'
        )
    elif threes and not commas and not points:
        found.notes.append(
            f'{", ".join(threes)}: a value like 1,234 is read as thousands; write decimal = "," into the map if it '
            "is a decimal comma."
        )
    if commas or points:
        found.decimal = "," if commas > points else "."
    return commas > points


def _number(
    name: str, seen: Look, kind: str, comma: bool, mapping: Mapping, found: Readings
) -> None:
    column = f"nullif(trim({quoted(name)}), '')"
    if not mapping.decimal:  # a column that is decided by itself is not overruled by its neighbours
        comma = seen.commas > seen.points if seen.commas or seen.points else comma
    if comma and (
        seen.commas or seen.threes or seen.points or seen.plain < seen.filled or seen.fractions
    ):
        found.columns[name] = Reading("DOUBLE", _cleaned(column, True), "is no number")
    elif seen.cleaned > seen.plain:
        sql = f"coalesce(try_cast({column} AS DOUBLE), {_cleaned(column, False)})"
        found.columns[name] = Reading("DOUBLE", sql, "is no number")
    elif kind == "any":
        type_ = "DOUBLE" if seen.fractions else "BIGINT"
        found.columns[name] = Reading(type_, f"try_cast({column} AS {type_})", "is no number")


# ---------------------------------------------------------------- dates and times


def _moment(name: str, seen: Look, kind: str, mapping: Mapping, found: Readings) -> None:
    column = f"nullif(trim({quoted(name)}{'' if seen.text else '::BIGINT::VARCHAR'}), '')"
    if mapping.date_format and seen.fitting < seen.filled:
        _misfit(name, seen, mapping.date_format, found)
    if mapping.date_format and seen.fitting:
        zoned = "%z" in mapping.date_format
        type_ = "TIMESTAMP WITH TIME ZONE" if zoned else "TIMESTAMP"
        plain = _with_offset(column) if zoned else _plain(column)
        read = f"coalesce({_fitting(column, mapping.date_format)}, {plain})"
        found.columns[name] = Reading(type_, read, "is no date or time")
        found.dates[name] = mapping.date_format
        return
    if seen.compact and seen.compact >= max(seen.ordered, seen.seconds, seen.millis):
        sql, said = _as(column, _COMPACT), "like 20101231"
    elif seen.millis or seen.seconds:
        if not seen.text or max(seen.millis, seen.seconds) >= NEARLY_ALL * seen.filled:
            by = 1000 if seen.millis > seen.seconds else 1
            sql = f"make_timestamp((try_cast({column} AS DOUBLE) * {1_000_000 // by})::BIGINT)"
            said = f"{'milliseconds' if by > 1 else 'seconds'} since 1970"
        else:
            return
    elif seen.ordered:
        day_first = _day_first(name, seen, mapping, found)
        sql, said = _in_order(column, seen, day_first)
    elif seen.named:
        sql, said = _as(column, _NAMED, "[ ,.]+"), "by the month's name"
    elif kind == "any" and seen.moments >= NEARLY_ALL * max(1, seen.filled):
        zoned = seen.zoned >= NEARLY_ALL * seen.filled
        sql = zoned_text(column) if zoned else f"try_cast({column} AS TIMESTAMP)"
        type_ = "TIMESTAMP WITH TIME ZONE" if zoned else "TIMESTAMP"
        found.columns[name] = Reading(type_, sql, "is no date or time")
        return
    else:
        return
    found.columns[name] = Reading(
        "TIMESTAMP", f"coalesce({_plain(column)}, {sql})", "is no date or time"
    )
    found.dates[name] = said


def _misfit(name: str, seen: Look, date_format: str, found: Readings) -> None:
    like = "2010-12-31 08:26:00" + ("+01:00" if "%z" in date_format else "")
    others = f"of the others only times like {like} are" if seen.fitting else "they are"
    found.notes.append(
        f"{name}: {seen.fitting:,} of {seen.filled:,} values are written as date_format = {date_format!r} says; {others} "
        "read without it."
    )


def _fitting(column: str, date_format: str) -> str:
    """A time as the map says that times are written; it comes first, for 2010-02-01 may be the second of January."""
    return f"try_strptime({column}, {literal(date_format)})"


def _plain(column: str) -> str:
    """A time as DuckDB reads it, but not 31/12/24 as a day of the year 31."""
    return f"CASE WHEN try_cast({column} AS TIMESTAMP) >= TIMESTAMP '1000-01-01' THEN try_cast({column} AS TIMESTAMP) END"


def _with_offset(column: str) -> str:
    """A time that names its offset; of one that names none nobody could tell the zone beside those that do."""
    return f"CASE WHEN regexp_matches({column}, '{ZONED}') THEN {zoned_text(column)} END"


def zoned_text(column: str) -> str:
    """A text that names its offset, however it is written, as a zoned time."""
    colon = f"regexp_replace({column}, '\\s*([+-]\\d\\d):?(\\d\\d)\\s*$', '\\1:\\2')"
    return f"try_cast({colon} AS TIMESTAMPTZ)"


def _as(column: str, formats: tuple[str, ...], blanks: str = "") -> str:
    text = f"regexp_replace({column}, '{blanks}', ' ', 'g')" if blanks else column
    every = [day + time for day in formats for time in (_TIMES if blanks else ("",))]
    return f"try_strptime({text}, [{', '.join(map(literal, every))}])"


def _in_order(column: str, seen: Look, day_first: bool) -> tuple[str, str]:
    year = "%y" if 2 * seen.short_years > seen.ordered else "%Y"
    day = f"%d/%m/{year}" if day_first else f"%m/%d/{year}"
    slashed = f"regexp_replace({column}, '^(\\d+)[./-](\\d+)[./-](\\d+)[T, ]*', '\\1/\\2/\\3 ')"
    formats = ", ".join(literal(day + time) for time in _TIMES)
    return (
        f"try_strptime(trim({slashed}), [{formats}])",
        "day first" if day_first else "month first",
    )


def _day_first(name: str, seen: Look, mapping: Mapping, found: Readings) -> bool:
    """By the map, else by values beyond 12, else by what is usual where the shop is; doubt is told."""
    if mapping.dayfirst is not None:
        return mapping.dayfirst
    if seen.first_beyond and seen.second_beyond:
        found.notes.append(
            f"{name}: {seen.first_beyond:,} dates are day first and {seen.second_beyond:,} month first; all are read by "
            "the majority, the others are quarantined. Write dayfirst = true or false into the map to decide."
        )
    if seen.first_beyond or seen.second_beyond:
        return seen.first_beyond > seen.second_beyond
    day_first = bool(seen.german) or not mapping.timezone.startswith("America/")
    found.notes.append(
        f"{name}: no date tells day from month; they are read {'day' if day_first else 'month'} first. Write "
        f"dayfirst = {'false' if day_first else 'true'} into the map if that is wrong."
    )
    return day_first
