"""Detect numbers, dates and ids in text columns.

Unambiguous values decide how a whole column is read. Notes report ambiguous columns, and the map
can override the choice.
"""
# ruff: noqa: S608 - names are quoted and literals escaped (mapping.quoted, mapping.literal)

from dataclasses import dataclass, field, fields
from typing import Any

from retention.lake.importing.mapping import Mapping, literal, quoted
from retention.lake.importing.single_currency import CODES, SHORT
from retention.text import gettext

MIN_SHARE = 0.9
_CURRENCY = (
    rf"[\s\x{{a0}}\x{{202f}}''’]|\p{{Sc}}|(?i:US|CA|C|AU|A|NZ|R)\p{{Sc}}|{CODES}|(?i:{SHORT})"
)
_GROUPED = r"^\(?[+-]?(\d{1,3}(,\d{3})+|\d{1,2}(,\d{2})+,\d{3}|\d+)?(\.\d+)?\)?-?$"
ZONED = r"\d\d?:\d\d.*(Z|z|[+-]\d\d(:?\d\d)?)\s*$"
_NUMERIC_DATE = r"^\s*(\d{1,2})[./-](\d{1,2})[./-](\d{4}|\d\d)\b"
_TIME_FORMATS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
# Short years go first: "%Y" reads 14 as the year 14, and "%y" does not fit 2014.
_MONTH_NAME_FORMATS = (
    "%d-%b-%y",
    "%d-%b-%Y",
    "%d %b %y",
    "%d %b %Y",
    "%d %B %Y",
    "%b %d %Y",
    "%B %d %Y",
    "%Y年%m月%d日",
    "%b %d %H:%M:%S %Y",
)
_WEEKDAY = "^\\s*(?i)(mon|tues?|wed(nes)?|thu(rs)?|fri|satur|sat|sun)(day)?[ ,.]+"
_COMPACT_FORMATS = (
    *("%Y%m%d", "%Y%m%d%H", "%Y%m%d%H%M", "%Y%m%d%H%M%S"),
    *("%Y%m%d %H:%M", "%Y%m%d %H:%M:%S"),
)
_SERIAL_DAYS = (25_569, 73_050)  # Excel's days since 1899-12-30: 1970 to 2099
SCIENTIFIC = r"^\s*\d([.,]\d+)?[eE]\+\d\d+\s*$|^\s*\d[.,]\d+[eE]\d\d+\s*$"
IDS = ("event_id", "customer_id", "item_id", "order_id", "campaign_id")
# Ids that merge customers, orders or lines where digits were lost.
IDENTITIES = ("event_id", "customer_id", "order_id")


@dataclass(frozen=True, slots=True)
class ColumnReading:
    """SQL that converts a column of text.

    `noun`: fault of such values, such as "is no number". The quarantine stores the name ``noun``.
    """

    type: str
    sql: str
    noun: str = ""


@dataclass(slots=True)
class ColumnReadings:
    """Conversions of a source's columns, with notes."""

    columns: dict[str, ColumnReading] = field(default_factory=dict)
    decimal: str | None = None
    dates: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    naive: list[str] = field(default_factory=list)  # time columns with values that lack a zone
    scientific: dict[str, int] = field(default_factory=dict)  # values like 9.94E+14 of id columns


def detect_readings(
    con: Any, relation: str, columns: dict[str, str], mapping: Mapping, typed: bool = False
) -> ColumnReadings:
    """Detect how to convert a map's columns.

    These are columns in expressions, and columns for numbers, times and ids.
    """
    result = ColumnReadings(decimal=mapping.decimal)
    computed = _computed_columns(mapping, typed)
    column_kinds = _column_kinds(columns, mapping, computed)
    all_stats = count_formats(con, relation, columns, column_kinds, mapping.date_format)
    numbers = {
        name: stats
        for name, stats in all_stats.items()
        if column_kinds[name] in ("number", "any") and stats.is_number
    }
    decimal_comma = _has_decimal_comma(numbers, mapping, result)
    for name, stats in all_stats.items():
        if column_kinds[name] == "id":
            if stats.scientific:
                result.scientific[name] = stats.scientific
            if stats.integral_floats and stats.integral_floats == stats.dotted:
                bare = f"regexp_replace({quoted(name)}, '^(-?\\d+)\\.0+$', '\\1')"
                result.columns[name] = ColumnReading("VARCHAR", bare)
                text = gettext("{column}: values like 12345.0 are read as the id 12345.")
                result.notes.append(text.format(column=name))
        elif name in numbers:
            _read_number(name, stats, column_kinds[name], decimal_comma, mapping, result)
        elif column_kinds[name] == "moment" or (column_kinds[name] == "any" and stats.is_time):
            _read_time(name, stats, name.casefold() in computed, mapping, result)
            if stats.lacks_zone:
                result.naive.append(name)
    return result


# ---------------------------------------------------------------- statistics


def _order_numbers(mapping: Mapping) -> frozenset[str]:
    """Return the columns that an order id's expression only puts together, as texts."""
    order = mapping.columns.get("order_id")
    if order is None:
        return frozenset()
    others = (
        expression.columns
        for target, expression in mapping.columns.items()
        if mapping.table[target].kind in ("number", "moment")
    )
    filtered = mapping.where.columns if mapping.where else ()
    return order.concatenated_columns.difference(*others, filtered)


def _computed_columns(mapping: Mapping, typed: bool) -> set[str]:
    """Return the columns of expressions, in lower case; none if the source has types."""
    expressions = [] if typed else mapping.expressions
    return {name.casefold() for expression in expressions for name in expression.columns}


def _column_kinds(columns: dict[str, str], mapping: Mapping, computed: set[str]) -> dict[str, str]:
    """Return the kind of each column to examine.

    The kind is ``number``, ``moment``, ``id``, or ``any`` for a column in an expression. A column
    that is mapped or cast to a moment stays one: compact dates and epochs look like numbers.
    """
    as_text = {name.casefold() for name in mapping.source_columns_of("text", "json")}
    kinds: dict[str, str] = {}
    for target, expression in mapping.columns.items():
        if expression.column is None:
            for name in expression.cast_to_times:
                if name.casefold() in computed:
                    kinds.setdefault(name.casefold(), "moment")
            continue
        kind: str | None = "id" if target in IDS else mapping.table[target].kind
        if kind in ("id", "number", "moment"):
            kinds.setdefault(expression.column.casefold(), kind)
    for name in _order_numbers(mapping):
        kinds.setdefault(name.casefold(), "id")
    column_kinds: dict[str, str] = {}
    for name, type_ in columns.items():
        key = name.casefold()
        if type_ == "VARCHAR":
            kind = kinds.get(key) or ("any" if key in computed and key not in as_text else None)
            if kind:
                column_kinds[name] = "any" if kind == "number" and key in computed else kind
        elif kinds.get(key) == "moment" and (
            type_.endswith("INT") or type_ in ("INTEGER", "DOUBLE")
        ):
            column_kinds[name] = "moment"
    return column_kinds


@dataclass(frozen=True, slots=True)
class ColumnStats:
    """Counts of a column's values by format."""

    is_text: bool
    filled: int
    numbers: int  # plain numbers
    point_numbers: int  # with a decimal point, currency symbols and thousands separators removed
    comma_numbers: int  # with a decimal comma, likewise
    fractions: int
    leading_zeros: int
    comma_only: int  # must have a decimal comma
    point_only: int  # must have a decimal point
    ambiguous: int  # like 1,234
    dotted: int
    integral_floats: int  # like 12345.0
    scientific: int  # like 9.94E+14
    times: int
    zoned_times: int
    numeric_dates: int  # like 31/12/2010 or 12/31/2010
    day_first: int
    month_first: int
    short_years: int
    dotted_dates: int  # like 31.12.2010
    month_names: int
    compact_dates: int  # like 20101231
    epoch_seconds: int
    epoch_millis: int
    serial_days: int  # like 41640, as Excel counts days
    in_map_format: int  # times in the map's date_format

    @property
    def is_time(self) -> bool:
        """Whether nearly all values are times."""
        forms = (self.numeric_dates, self.month_names, self.compact_dates)
        times = self.times + max(*forms, self.epoch_seconds, self.epoch_millis)
        return bool(self.filled and max(times, self.in_map_format) >= MIN_SHARE * self.filled)

    @property
    def lacks_zone(self) -> bool:
        """Whether some times lack a time zone. Seconds since 1970 need none."""
        forms = (self.numeric_dates, self.month_names, self.compact_dates, self.serial_days)
        return self.times + max(forms) > self.zoned_times

    @property
    def is_number(self) -> bool:
        """Whether most values are numbers without leading zeros."""
        most = max(self.numbers, self.point_numbers, self.comma_numbers)
        is_plain = self.is_text and not self.leading_zeros
        return bool(is_plain and self.filled and most >= MIN_SHARE * self.filled)


def count_formats(
    con: Any,
    relation: str,
    columns: dict[str, str],
    kinds: dict[str, str],
    date_format: str | None = None,
) -> dict[str, ColumnStats]:
    """Count values by format.

    `kinds`: kind of each column to examine: ``number``, ``moment``, ``id`` or ``any``.

    Notes
    -----
    Patterns are matched only if a plain cast fails.
    """
    # Planning takes longer than counting in a small file, so columns of a kind share expressions.
    groups: dict[tuple[str, bool], list[str]] = {}
    for name, kind in kinds.items():
        groups.setdefault((kind, columns[name] == "VARCHAR"), []).append(name)
    counts: dict[str, ColumnStats] = {}
    for (kind, is_text), names in groups.items():
        values = " UNION ALL ".join(
            f"SELECT {place} AS place, "
            f"{quoted(name) if is_text else f'{quoted(name)}::BIGINT::VARCHAR'} AS v "
            f"FROM {relation}"
            for place, name in enumerate(names)
        )
        counted = ", ".join(_count_expressions("v", kind, is_text, date_format))
        rows = con.execute(f"SELECT place, {counted} FROM ({values}) GROUP BY place").fetchall()
        counts |= {names[place]: ColumnStats(is_text, *row) for place, *row in rows}
    nothing = [0] * (len(fields(ColumnStats)) - 1)
    return {
        name: counts.get(name) or ColumnStats(columns[name] == "VARCHAR", *nothing)
        for name in kinds
    }


def _count_expressions(raw: str, kind: str, is_text: bool, date_format: str | None) -> list[str]:
    """Return SQL of the counts of `ColumnStats`, in its order; 0 for other kinds."""
    column = f"nullif(trim({raw}), '')"
    number, integer = f"try_cast({column} AS DOUBLE)", f"try_cast({column} AS BIGINT)"
    first, second = (
        f"try_cast(regexp_extract({column}, '{_NUMERIC_DATE}', {place}) AS INTEGER)"
        for place in (1, 2)
    )
    numbers = (
        f"{number} IS NOT NULL",
        f"coalesce({number}, {_clean_number(column, False)}) IS NOT NULL",
        f"CASE WHEN contains({raw}, ',') THEN {_clean_number(column, True)} IS NOT NULL "
        f"ELSE {number} IS NOT NULL OR {_clean_number(column, True)} IS NOT NULL END",
        f"{integer} <> {number}",
        f"{raw} LIKE '0_%' AND {raw} NOT LIKE '0.%' AND {raw} NOT LIKE '0,%'",
        f"contains({raw}, ',') AND "
        f"regexp_matches({raw}, '\\.\\d{{3}},|^\\D*\\d*,(\\d{{1,2}}|\\d{{4,}})\\D*$')",
        f"contains({raw}, '.') AND "
        f"regexp_matches({raw}, ',\\d{{3}}\\.|^\\D*\\d*\\.(\\d{{1,2}}|\\d{{4,}})\\D*$')",
        f"contains({raw}, ',') AND {number} IS NULL "
        f"AND regexp_matches({raw}, '^\\D*\\d{{1,3}}(,\\d{{3}})+\\D*$')",
    )
    ids = (
        f"contains({raw}, '.') AND try_cast({raw} AS DOUBLE) IS NOT NULL",
        f"contains({raw}, '.0') AND regexp_matches({raw}, '^-?\\d+\\.0+$')",
        f"contains(lower({raw}), 'e') AND regexp_matches({raw}, '{SCIENTIFIC}')",
    )
    times = (f"{_cast_time(column)} IS NOT NULL", f"regexp_matches({raw}, '{ZONED}')")
    coded_times = (  # which a plain cast does not read
        f"regexp_matches({raw}, '{_NUMERIC_DATE}')",
        f"{first} BETWEEN 13 AND 31 AND {second} BETWEEN 1 AND 12",
        f"{second} BETWEEN 13 AND 31 AND {first} BETWEEN 1 AND 12",
        f"length(regexp_extract({column}, '{_NUMERIC_DATE}', 3)) = 2",
        f"regexp_matches({raw}, '^\\s*\\d{{1,2}}\\.\\d')",
        f"regexp_matches({raw}, "
        "'(?i)jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|[0-9]年[0-9]')",
        f"regexp_matches({column}, '^(19|20)\\d\\d(0[1-9]|1[0-2])([0-2]\\d|3[01])"
        "(([01]\\d|2[0-3])([0-5]\\d([0-5]\\d)?)?| .*)?$')",
        f"regexp_matches({column}, '^\\d{{9,10}}(\\.\\d+)?$')",
        f"regexp_matches({column}, '^\\d{{12,13}}$')",
        f"regexp_matches({column}, '^\\d{{5}}(\\.\\d+)?$') "
        f"AND {number} BETWEEN {_SERIAL_DAYS[0]} AND {_SERIAL_DAYS[1]}",
    )
    is_coded = (f"{_cast_time(column)} IS NULL AND {condition}" for condition in coded_times)
    in_map_format = f"{_in_map_format(column, date_format)} IS NOT NULL" if date_format else "false"
    groups = (
        (kind in ("number", "any") and is_text, numbers),
        (kind == "id", ids),
        (kind in ("moment", "any"), (*times, *is_coded, in_map_format)),
    )
    return [f"count({column})"] + [
        f"count(*) FILTER ({condition})" if is_examined else "0"
        for is_examined, conditions in groups
        for condition in conditions
    ]


# ---------------------------------------------------------------- numbers


def _clean_number(column: str, decimal_comma: bool) -> str:
    """Return SQL of a number; brackets or a trailing minus make it negative."""
    bare = f"regexp_replace({column}, '{_CURRENCY}', '', 'g')"
    point = f"translate({bare}, '.,', ',.')" if decimal_comma else bare
    digits = f"try_cast(regexp_replace({point}, '[(),+-]', '', 'g') AS DOUBLE)"
    sign = f"CASE WHEN regexp_matches({bare}, '[(-]') THEN -1 ELSE 1 END"
    return f"CASE WHEN regexp_matches({point}, '{_GROUPED}') THEN {digits} * {sign} END"


def _has_decimal_comma(
    numbers: dict[str, ColumnStats], mapping: Mapping, result: ColumnReadings
) -> bool:
    """Decide whether the file has decimal commas.

    The map decides first, then the unambiguous values.
    """
    if mapping.decimal:
        return mapping.decimal == ","
    comma_count = sum(stats.comma_only for stats in numbers.values())
    point_count = sum(stats.point_only for stats in numbers.values())
    ambiguous = [name for name, stats in numbers.items() if stats.ambiguous]
    if comma_count and point_count:
        text = gettext(
            "Numbers are written both like 1.234,56 ({commas:,}) and like 1,234.56 "
            "({points:,}): each column is read by its majority; write decimal = "
            '"," or "." into the map to decide.'
        )
        result.notes.append(text.format(commas=comma_count, points=point_count))
    elif ambiguous and not comma_count and not point_count:
        text = gettext(
            "{columns}: a value like 1,234 is read as thousands; write decimal = "
            '"," into the map if it is a decimal comma.'
        )
        result.notes.append(text.format(columns=", ".join(ambiguous)))
    if comma_count or point_count:
        result.decimal = "," if comma_count > point_count else "."
    return comma_count > point_count


def _read_number(
    name: str,
    stats: ColumnStats,
    kind: str,
    decimal_comma: bool,
    mapping: Mapping,
    result: ColumnReadings,
) -> None:
    column = f"nullif(trim({quoted(name)}), '')"
    # The column's own values outweigh the other columns.
    if not mapping.decimal and (stats.comma_only or stats.point_only):
        decimal_comma = stats.comma_only > stats.point_only
    is_special = stats.comma_only or stats.ambiguous or stats.point_only or stats.fractions
    if decimal_comma and (is_special or stats.numbers < stats.filled):
        result.columns[name] = ColumnReading("DOUBLE", _clean_number(column, True), "is no number")
    elif stats.point_numbers > stats.numbers:
        sql = f"coalesce(try_cast({column} AS DOUBLE), {_clean_number(column, False)})"
        result.columns[name] = ColumnReading("DOUBLE", sql, "is no number")
    elif kind == "any":
        type_ = "DOUBLE" if stats.fractions else "BIGINT"
        sql = f"try_cast({column} AS {type_})"
        result.columns[name] = ColumnReading(type_, sql, "is no number")


# ---------------------------------------------------------------- dates and times


def _time(type_: str, sql: str) -> ColumnReading:
    return ColumnReading(type_, sql, "is no date or time")


def _read_time(
    name: str, stats: ColumnStats, is_computed: bool, mapping: Mapping, result: ColumnReadings
) -> None:
    column = f"nullif(trim({quoted(name)}{'' if stats.is_text else '::BIGINT::VARCHAR'}), '')"
    if mapping.date_format and stats.in_map_format < stats.filled:
        _note_other_formats(name, stats, mapping.date_format, result)
    if mapping.date_format and stats.in_map_format:
        is_zoned = "%z" in mapping.date_format
        type_ = "TIMESTAMP WITH TIME ZONE" if is_zoned else "TIMESTAMP"
        plain = _cast_zoned(column) if is_zoned else _cast_time(column)
        sql = f"coalesce({_in_map_format(column, mapping.date_format)}, {plain})"
        result.columns[name] = _time(type_, sql)
        result.dates[name] = mapping.date_format
        return
    if stats.compact_dates and stats.compact_dates >= max(
        stats.numeric_dates, stats.epoch_seconds, stats.epoch_millis
    ):
        sql, note = _parse_formats(column, _COMPACT_FORMATS), gettext("like 20101231")
    elif stats.epoch_millis or stats.epoch_seconds:
        epochs = max(stats.epoch_millis, stats.epoch_seconds)
        if not stats.is_text or epochs >= MIN_SHARE * stats.filled:
            per_second = 1000 if stats.epoch_millis > stats.epoch_seconds else 1
            seconds = f"to_timestamp(try_cast({column} AS DOUBLE) / {per_second})"
            sql = f"coalesce({seconds}, {_cast_zoned(column)})"  # in no zone but UTC
            result.columns[name] = _time("TIMESTAMP WITH TIME ZONE", sql)
            if per_second > 1:
                result.dates[name] = gettext("milliseconds since 1970")
            else:
                result.dates[name] = gettext("seconds since 1970")
        return
    elif stats.serial_days and stats.serial_days + stats.times >= MIN_SHARE * stats.filled:
        seconds = f"round(try_cast({column} AS DOUBLE) * 86400)::BIGINT"
        sql = f"TIMESTAMP '1899-12-30' + to_seconds({seconds})"
        note = gettext("days since 1899-12-30, as in Excel")
    elif stats.numeric_dates:
        day_first = _is_day_first(name, stats, mapping, result)
        sql, note = _parse_numeric_date(column, stats, day_first)
    elif stats.month_names:
        without_weekday = f"regexp_replace({column}, '{_WEEKDAY}', '')"
        sql = _parse_formats(without_weekday, _MONTH_NAME_FORMATS, "[ ,.]+")
        note = gettext("by the month's name")
    elif is_computed and stats.times >= MIN_SHARE * max(1, stats.filled):
        is_zoned = stats.zoned_times >= MIN_SHARE * stats.filled
        sql = zoned_text(column) if is_zoned else f"try_cast({column} AS TIMESTAMP)"
        type_ = "TIMESTAMP WITH TIME ZONE" if is_zoned else "TIMESTAMP"
        result.columns[name] = _time(type_, sql)
        return
    else:
        return
    result.columns[name] = ColumnReading(
        "TIMESTAMP", f"coalesce({_cast_time(column)}, {sql})", "is no date or time"
    )
    result.dates[name] = note


def _note_other_formats(
    name: str, stats: ColumnStats, date_format: str, result: ColumnReadings
) -> None:
    example = "2010-12-31 08:26:00" + ("+01:00" if "%z" in date_format else "")
    if stats.in_map_format:
        note = gettext(
            "{column}: {matching:,} of {filled:,} values are written as date_format = "
            "{date_format!r} says; of the others only times like {example} are read without it."
        )
    else:
        note = gettext(
            "{column}: {matching:,} of {filled:,} values are written as date_format = "
            "{date_format!r} says; they are read without it."
        )
    result.notes.append(
        note.format(
            column=name,
            matching=stats.in_map_format,
            filled=stats.filled,
            date_format=date_format,
            example=example,
        )
    )


def _in_map_format(column: str, date_format: str) -> str:
    """Parse a time in the map's date format.

    This format goes first: 2010-02-01 may mean the second of January.
    """
    return f"try_strptime({column}, {literal(date_format)})"


def _cast_time(column: str) -> str:
    """Return SQL that casts a time.

    Years before 1000 are refused: DuckDB reads 31/12/24 as a day in the year 31.
    """
    cast = f"try_cast({column} AS TIMESTAMP)"
    return f"CASE WHEN {cast} >= TIMESTAMP '1000-01-01' THEN {cast} END"


def _cast_zoned(column: str) -> str:
    """Return SQL of a time with an offset, else NULL."""
    return f"CASE WHEN regexp_matches({column}, '{ZONED}') THEN {zoned_text(column)} END"


def zoned_text(column: str) -> str:
    """Return SQL that casts to a zoned time.

    Any form of offset is allowed, such as +01, +0100 or +01:00.
    """
    colon = f"regexp_replace({column}, '\\s*([+-]\\d\\d):?(\\d\\d)\\s*$', '\\1:\\2')"
    return f"try_cast({colon} AS TIMESTAMPTZ)"


def _parse_formats(column: str, formats: tuple[str, ...], blanks: str = "") -> str:
    text = f"regexp_replace({column}, '{blanks}', ' ', 'g')" if blanks else column
    patterns = [day + time for day in formats for time in (_TIME_FORMATS if blanks else ("",))]
    return f"try_strptime({text}, [{', '.join(map(literal, patterns))}])"


def _parse_numeric_date(column: str, stats: ColumnStats, day_first: bool) -> tuple[str, str]:
    year = "%y" if 2 * stats.short_years > stats.numeric_dates else "%Y"
    day = f"%d/%m/{year}" if day_first else f"%m/%d/{year}"
    slashed = f"regexp_replace({column}, '^(\\d+)[./-](\\d+)[./-](\\d+)[T, ]*', '\\1/\\2/\\3 ')"
    formats = ", ".join(literal(day + time) for time in _TIME_FORMATS)
    return (
        f"try_strptime(trim({slashed}), [{formats}])",
        gettext("day first") if day_first else gettext("month first"),
    )


def _is_day_first(name: str, stats: ColumnStats, mapping: Mapping, result: ColumnReadings) -> bool:
    """Decide whether dates are day first.

    The map decides first, then numbers above 12, then the custom in the shop's time zone.
    """
    if mapping.dayfirst is not None:
        return mapping.dayfirst
    if stats.day_first and stats.month_first:
        result.notes.append(
            gettext(
                "{column}: {day_first:,} dates are day first and {month_first:,} month first; all "
                "are read by the majority, the others are quarantined. Write dayfirst = true or "
                "false into the map to decide."
            ).format(column=name, day_first=stats.day_first, month_first=stats.month_first)
        )
    if stats.day_first or stats.month_first:
        return stats.day_first > stats.month_first
    day_first = bool(stats.dotted_dates) or not mapping.timezone.startswith("America/")
    if day_first:
        note = gettext(
            "{column}: no date tells day from month; they are read day first. Write "
            "dayfirst = false into the map if that is wrong."
        )
    else:
        note = gettext(
            "{column}: no date tells day from month; they are read month first. Write "
            "dayfirst = true into the map if that is wrong."
        )
    result.notes.append(note.format(column=name))
    return day_first
