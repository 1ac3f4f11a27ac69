"""Profile columns and compare their names with synonyms."""
# ruff: noqa: S608 - names are quoted (mapping.quoted)

import re
import tomllib
import unicodedata
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from retention import clock
from retention.errors import BadInput
from retention.lake.importing.mapping import quoted
from retention.lake.reading.column_formats import ColumnStats, count_formats
from retention.lake.reading.sources import Source
from retention.text import gettext

SAMPLE_ROWS = 200_000
FORMAT_ROWS = 20_000  # of the sample, evenly spread, whose formats are looked at
BATCH_COLUMNS = 8  # whose formats one query counts; each takes many expressions, and memory
MAX_CATEGORIES = 50  # most distinct values of a column of categories, such as event types
MIN_SIMILARITY = 0.85  # for a name that is not a synonym itself
EXACT = 0.901  # from here on, a similarity is that of a synonym


@dataclass(frozen=True, slots=True)
class Profile:
    """Statistics of a column.

    Shares refer to the filled values.

    `filled`: share of rows with a value.
    `whole`: share of whole numbers.
    `numbers`, `moments`, `emails`, `negative`, `zero`: shares of numbers, times, e-mail addresses,
    negative numbers and zeros.
    `words`: share of words for event types.
    `coded_moments`: share of times in the guise of numbers: seconds or milliseconds since 1970, or
    the days of a spreadsheet. They may be ids as well, so the name decides.
    """

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
    words: float
    example: str
    coded_moments: float = 0.0

    @property
    def is_moment(self) -> bool:
        """Whether nearly all values are times."""
        return self.moments >= 0.9

    @property
    def is_number(self) -> bool:
        """Whether most values are numbers, not times."""
        return self.numbers >= 0.9 and not self.is_moment


def profile_columns(con: Any, source: Source) -> list[Profile]:
    """Profile each column of a source.

    `source`: only the first `SAMPLE_ROWS` rows are read.
    """
    con.execute(
        "CREATE OR REPLACE TABLE suggested_rows AS "
        f"SELECT COLUMNS(*)::VARCHAR FROM {source.relation} LIMIT {SAMPLE_ROWS}"
    )
    try:
        names = [*source.columns]
        rows = con.execute("SELECT count(*) FROM suggested_rows").fetchall()[0][0]
        step = max(1, rows // FORMAT_ROWS)
        spread = f"(SELECT * FROM suggested_rows WHERE rowid % {step} = 0)"
        stats: dict[str, ColumnStats] = {}
        for start in range(0, len(names), BATCH_COLUMNS):
            batch = names[start : start + BATCH_COLUMNS]
            texts, kinds = dict.fromkeys(batch, "VARCHAR"), dict.fromkeys(batch, "any")
            stats |= count_formats(con, spread, texts, kinds)
        if not rows:
            raise BadInput(gettext("{name} has no rows.").format(name=source.name))
        return [_profile(con, name, stats[name], rows) for name in source.columns]
    finally:
        con.execute("DROP TABLE suggested_rows")


def number_sql(column: str) -> str:
    """Return SQL of a column's number, or NULL."""
    return f"try_cast(regexp_replace({column}::VARCHAR, '[^0-9.-]', '', 'g') AS DOUBLE)"


def _profile(con: Any, name: str, stats: ColumnStats, rows: int) -> Profile:
    column = quoted(name)
    value = number_sql(column)
    is_email = f"regexp_matches({column}::VARCHAR, '^\\S+@\\S+\\.\\w+$')"
    present, distinct, emails, negative, zero, largest, example = con.execute(
        f"SELECT count(nullif(trim({column}), '')), count(DISTINCT {column}), "
        f"count(*) FILTER ({is_email}), count(*) FILTER ({value} < 0), "
        f"count(*) FILTER ({value} = 0), max({value}), min({column}::VARCHAR) FROM suggested_rows"
    ).fetchall()[0]
    looked_at = max(1, stats.filled)
    times = stats.times + stats.numeric_dates + stats.compact_dates
    moments = max(times, stats.month_names) / looked_at
    numbers = max(stats.numbers, stats.point_numbers, stats.comma_numbers) / looked_at
    whole = (stats.numbers - stats.fractions) / looked_at if stats.numbers else 0.0
    filled = max(1, present)
    return Profile(
        name,
        present / rows,
        distinct,
        rows,
        whole,
        numbers,
        min(1.0, moments),
        emails / filled,
        negative / filled,
        zero / filled,
        largest or 0.0,
        _event_word_share(con, column, filled) if distinct <= MAX_CATEGORIES else 0.0,
        str(example or ""),
        _coded_moments(stats, largest or 0.0) / looked_at,
    )


def _coded_moments(stats: ColumnStats, largest: float) -> int:
    """Count times in the guise of numbers, none of which is in the future."""
    tomorrow = clock.wall().timestamp() + 86_400
    return max(
        stats.serial_days,
        stats.epoch_seconds if largest <= tomorrow else 0,
        stats.epoch_millis if largest <= 1000 * tomorrow else 0,
    )


def _event_word_share(con: Any, column: str, filled: int) -> float:
    counts = con.execute(f"SELECT {column}, count(*) FROM suggested_rows GROUP BY 1").fetchall()
    return sum(rows for value, rows in counts if value and event_type_of(value)) / filled


# ---------------------------------------------------------------- synonyms


@cache
def synonyms() -> dict[str, Any]:
    """Read ``synonyms.toml``. It has column names per table, event words and countries."""
    return tomllib.loads(Path(__file__).with_name("synonyms.toml").read_text(encoding="utf-8"))


def similarity(name: str, words: list[str]) -> float:
    """Score a column name against synonyms.

    `name`: column name. Of a nested field (``user.id``), the last part alone counts, too.
    `words`: synonyms, the most specific first.
    Returns: from 0 to 1.
    """
    without_unit = re.sub(r"\s*[(（\[][^()（）]*[)）\]]\s*$", "", name)  # Amount (EUR)
    parts = {name, name.rpartition(".")[2], without_unit or name}
    known = tuple(_plain_words(words))
    return max(_part_similarity(part, known) for part in parts)


def is_synonym_of(profile: Profile, target: str) -> bool:
    """Return whether a column's name is a synonym of a canonical column of events."""
    return similarity(profile.name, synonyms()["events"][target]) >= EXACT


def event_type_of(word: str) -> str | None:
    """Return the event type of a word. None for unknown words."""
    name = plain(word)
    for event_type, event_words in synonyms()["words"].items():
        if name and (name == event_type.replace("_", "") or name in _plain_words(event_words)):
            return str(event_type)
    return None


@cache
def plain(name: str) -> str:
    """Return the letters and digits of a name, in lower case and without accents.

    Examples
    --------
    >>> plain("N.º de pedido"), plain("Straße"), plain("订单 #")
    ('nodepedido', 'strasse', '订单')
    """
    parts = unicodedata.normalize("NFKD", name.replace("ß", "ss"))
    return re.sub(r"[\W_]", "", "".join(c for c in parts if not unicodedata.combining(c))).lower()


def name_words(name: str) -> set[str]:
    """Return the plain words of a name.

    Examples
    --------
    >>> sorted(name_words("BirthDate of_customer"))
    ['birth', 'customer', 'date', 'of']
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return {plain(part) for part in re.split(r"[\W_]+", spaced) if part}


def _plain_words(words: list[str]) -> list[str]:
    return [plain(word) for word in words]


@lru_cache(10_000)  # a proposal asks a hundred times for each name
def _part_similarity(name: str, known: tuple[str, ...]) -> float:
    word = plain(name)
    if word in known:
        return 1.0 - 0.0005 * known.index(word)  # specific synonyms come first
    if not word:
        return 0.0
    best = max(SequenceMatcher(None, word, other).ratio() for other in known)
    long_words = tuple(other for other in known if len(other) > (3 if other.isascii() else 1))
    # The end of a name weighs more: "total discount" is a discount.
    ends = word.endswith(long_words) or plain(re.split(r"[\s_-]", name)[-1]) in known
    part = 0.75 if ends else 0.7 if word.startswith(long_words) else 0.0
    return max(best * 0.9 if best >= MIN_SIMILARITY else 0.0, part)
