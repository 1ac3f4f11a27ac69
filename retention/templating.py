"""Create Jinja2 environments with the filters of all surfaces.

Jinja's autoescape escapes HTML. For Slack see `workers.delivery.render`.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from retention.number_format import (
    count,
    exact_percent,
    figure,
    money,
    percent,
    printf,
    signed,
    with_minus,
)
from retention.text import (
    DEFAULT,
    bracket_html,
    bracket_lines,
    gettext,
    is_pseudo,
    language,
    phrase,
    plural_phrase,
    remove_controls,
)
from templates import FOLDER

_DATA = {"terminal/bot/suggested_map.txt.j2"}  # read by programs, so never translated
# How English writes each kind of date; for any other language CLDR's skeleton, and the time's form.
_FORMS = {
    "moment": ("EEE d MMM y, HH:mm", "yMMMEd", " HH:mm"),
    "when": ("EEE d MMM, h:mm a", "MMMEd", " HH:mm"),
    "day": ("d MMM y", "yMMMd", ""),
    "day_of_year": ("d MMM", "MMMd", ""),
    "weekday": ("EEEE", "", "EEEE"),
    "weekday_day": ("EEE d MMM", "MMMEd", ""),
}
DAYS_BY_NAME = 7  # days of the past that are called by their weekday
RAISES, LOWERS = "raises", "lowers"  # directions of a reason, as stored


def risk(probability: float, model_version: str) -> str:
    """Format a probability, or a rank by rules.

    A probability is ``53%``, a rank is ``50 of 100``.

    `probability`: churn probability, or rank as a share.
    """
    if model_version == "rules":
        return phrase("{rank} of 100").format(rank=f"{100 * probability:.0f}")
    return percent(probability)


MAX_AVERAGE_FOR_TIMES = 0.5  # above it, "1.02 times" says little


def beside_average(probability: float, average: float | None, model_version: str) -> str:
    """Compare a churn probability with the shop's average; empty for a rank by rules.

    Examples
    --------
    >>> beside_average(0.63, 0.3, "churn-1"), beside_average(0.97, 0.93, "churn-1")
    ("2.1 times the shop's average", "the shop's average is 93%")
    """
    if not average or model_version == "rules":
        return ""
    if average > MAX_AVERAGE_FOR_TIMES:
        return gettext("the shop's average is {average}").format(average=percent(average))
    times = figure(probability / average, 1)
    if times == "1.0":
        return gettext("the shop's average")
    return gettext("{times} times the shop's average").format(times=times)


def times_average(probability: float, average: float | None, model_version: str) -> str:
    """Shorten `beside_average` to ``2.1×``, for a table; empty where it says an average."""
    is_compared = average and average <= MAX_AVERAGE_FOR_TIMES and model_version != "rules"
    return f"{figure(probability / average, 1)}×" if is_compared and average else ""


def moment(at: datetime | str | None, zone: str = "UTC", form: str = "moment") -> str:
    """Format a time in the shop's time zone, as the present language writes it.

    `at`: ISO 8601 text is parsed; a time without zone is in UTC; None gives "–".
    `form`: ``moment``, ``when``, ``day``, ``day_of_year``, ``weekday`` or ``weekday_day``.

    Examples
    --------
    >>> moment("2017-10-02T13:06:00+00:00"), moment("2017-10-02T13:06:00+00:00", form="weekday_day")
    ('Mon 2 Oct 2017, 13:06', 'Mon 2 Oct')
    """
    if at is None:
        return "–"
    from babel.dates import format_datetime, format_skeleton

    english, skeleton, rest = _FORMS[form]
    name, local = language().replace("-", "_"), _local(at, zone)
    if name == DEFAULT or is_pseudo():
        return format_datetime(local, english, locale=DEFAULT)
    date = format_skeleton(skeleton, local, locale=name) if skeleton else ""
    return date + (format_datetime(local, rest, locale=name) if rest else "")


def _local(at: datetime | str, zone: str) -> datetime:
    if isinstance(at, str):
        at = datetime.fromisoformat(at)
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return at.astimezone(ZoneInfo(zone))


def cutoff(at: datetime | str, zone: str = "UTC") -> str:
    """Format a cutoff as a day, and say so where the day itself does not count.

    A list "as of 30 Oct" at midnight has no order of that day; one of the afternoon has some.
    """
    local = _local(at, zone)
    shown = moment(at, zone, "day")
    is_midnight = (local.hour, local.minute) == (0, 0)
    return gettext("the start of {day}").format(day=shown) if is_midnight else shown


def day(at: datetime | str | None, zone: str = "UTC") -> str:
    """Format a date in the shop's time zone.

    Returns: such as ``2 Oct 2017``.
    """
    return moment(at, zone, "day")


def near_day(at: datetime | str, now: datetime | str, zone: str = "UTC") -> str:
    """Format a date without its year if that is the present one.

    Examples
    --------
    >>> near_day("2017-09-25T10:00:00+00:00", "2017-10-02T09:00:00+00:00")
    '25 Sep'
    >>> near_day("2016-12-25T10:00:00+00:00", "2017-10-02T09:00:00+00:00")
    '25 Dec 2016'
    """
    is_this_year = _local(at, zone).year == _local(now, zone).year
    return moment(at, zone, "day_of_year" if is_this_year else "day")


def weekday_or_day(date: str, as_of: datetime | str) -> str:
    """Name a date of the past six days by its weekday, any other by its date.

    `date`: ISO 8601 date.
    `as_of`: the present, as a time or as ISO 8601 text.

    Examples
    --------
    >>> weekday_or_day("2017-10-02", "2017-10-05T09:00:00+00:00")
    'Monday'
    >>> weekday_or_day("2017-09-02", "2017-10-05T09:00:00+00:00")
    '2 Sep 2017'
    """
    now = datetime.fromisoformat(as_of) if isinstance(as_of, str) else as_of
    past = (now.date() - datetime.fromisoformat(date).date()).days
    return moment(date, form="weekday") if 0 <= past < DAYS_BY_NAME else day(date)


def first_capital(text: str) -> str:
    """Start a sentence with a capital letter.

    Examples
    --------
    >>> first_capital("map `margin`")
    'Map `margin`'
    """
    return text[:1].upper() + text[1:]  # Markup stays Markup


def when(at: datetime | str | None, zone: str = "UTC") -> str:
    """Format a coming or recent time for people.

    Returns: such as ``Mon 2 Oct, 1:06 pm``.

    Examples
    --------
    >>> when("2017-10-02T13:06:00+00:00")
    'Mon 2 Oct, 1:06 pm'
    """
    text = moment(at, zone, "when")
    return text.replace("AM", "am").replace("PM", "pm")


def tier(code: str) -> str:
    """Name a risk tier."""
    names = {
        "high": phrase("high"),
        "medium": phrase("medium"),
        "low": phrase("low"),
        "lapsed": phrase("lapsed"),
        "prospect": phrase("no order yet"),
    }
    return names.get(code, code)


def kind_title(kind: str) -> str:
    """Name a kind of campaign."""
    return {
        "win_back": phrase("Win-back"),
        "product_news": phrase("Product news"),
        "cross_sell": phrase("Cross-sell"),
        "second_order": phrase("Second order"),
        "thank_you": phrase("Thank-you"),
        "no_offer": phrase("Message without an offer"),
    }[kind]


def direction(reason: Mapping[str, Any]) -> str:
    """Return whether a reason raises or lowers the risk.

    Reasons that were stored without a direction have a weight.
    """
    return str(reason.get("direction") or (RAISES if reason["weight"] > 0 else LOWERS))


def effect(reason: Mapping[str, Any]) -> str:
    """Say in words whether a reason raises or lowers the risk."""
    return gettext("raises the risk") if direction(reason) == RAISES else gettext("lowers the risk")


def why(reasons: Iterable[Mapping[str, Any]]) -> str:
    """List reasons with their directions on one line.

    ``raises the risk: no order for 31 days, usually every 6 days; lowers the risk: …``
    """
    texts: dict[str, list[str]] = {}
    for reason in reasons:
        texts.setdefault(effect(reason), []).append(reason["text"])
    return "; ".join(f"{words}: {'; '.join(listed)}" for words, listed in texts.items())


def churn(definition: Mapping[str, Any]) -> str:
    """Say what churn means.

    `definition`: ``horizon_days``, ``active_within_days`` (None: all who ever ordered), and
    ``means``.

    Examples
    --------
    >>> churn({"horizon_days": 90, "active_within_days": 180})
    'no order within 90 days, among customers who ordered in the 180 days before'
    """
    horizon = count(definition["horizon_days"], "day")
    active = definition["active_within_days"]
    everyone, recent = {
        "order": (
            gettext("no order within {horizon}, among all customers who ever ordered"),
            gettext(
                "no order within {horizon}, among customers who ordered in the {active} before"
            ),
        ),
        "renewal": (
            gettext("not renewed within {horizon}, among all customers who ever paid"),
            gettext(
                "not renewed within {horizon}, among customers who paid in the {active} before"
            ),
        ),
        "activity": (
            gettext("no activity within {horizon}, among all customers who were ever active"),
            gettext(
                "no activity within {horizon}, among customers who were active in the {active} "
                "before"
            ),
        ),
    }[definition.get("means", "order")]
    if active is None:
        return everyone.format(horizon=horizon)
    return recent.format(horizon=horizon, active=count(active, "day"))


def shorten(text: str, limit: int) -> str:
    """Shorten text at a word, with an ellipsis.

    Returns: at most ``limit`` characters.
    """
    if len(text) <= limit:
        return text
    cut = text[: limit - 1]
    at_word = cut.rsplit(None, 1)[0] if " " in cut[limit // 2 :] else cut
    return at_word.rstrip(" ,;:") + "…"


def bar(done: int, total: int, width: int = 20) -> str:
    """Draw a progress bar.

    `done`, `total`: finished units, and all units.
    """
    filled = 0 if total <= 0 else round(width * min(done / total, 1))
    return "▰" * filled + "▱" * (width - filled)


def strip_controls(value: Any) -> Any:
    """Remove characters that control a terminal.

    Marks that change the text direction are removed, too.

    Returns: the value without such characters.
    """
    return remove_controls(value) if isinstance(value, str) else value


FILTERS: dict[str, Callable[..., Any]] = {
    "beside_average": beside_average,
    "times_average": times_average,
    "money": money,
    "signed": signed,
    "figure": figure,
    "percent": percent,
    "exact_percent": exact_percent,
    "risk": risk,
    "count": count,
    "format": printf,
    "minus": lambda number: with_minus(str(number)),
    "moment": moment,
    "day": day,
    "cutoff": cutoff,
    "when": when,
    "shorten": shorten,
    "churn": churn,
    "near_day": near_day,
    "weekday_or_day": weekday_or_day,
    "first_capital": first_capital,
    "tier": tier,
    "campaign_kind": kind_title,
    "direction": direction,
    "effect": effect,
    "why": why,
    "user": str,  # a user id; rendering for Slack makes it a mention
}


def environment(*, autoescape: bool, **options: Any) -> Environment:
    """Return an environment over ``templates/`` with our filters.

    A missing variable is an error.

    Every value passes `strip_controls`, unless ``options`` have their own ``finalize``.
    """
    created = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=autoescape,  # noqa: S701 - plain text has no markup
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
        auto_reload=False,  # saves a look at the disk per message
        extensions=["jinja2.ext.i18n"],
        **{"finalize": strip_controls, **options},
    )
    created.policies["ext.i18n.trimmed"] = True
    created.install_gettext_callables(phrase, plural_phrase, newstyle=True)  # type: ignore[attr-defined]
    created.filters.update(FILTERS)
    created.filters.pop("safe", None)  # templates cannot switch escaping off
    # A phrase is a value like any other: it is escaped, and may be joined with values.
    created.globals.update(bar=bar, phrase=phrase, language=language)
    return created


@cache
def _html() -> Environment:
    return environment(autoescape=True)


@cache
def _text() -> Environment:
    return environment(autoescape=False)


def html(template: str, **context: Any) -> str:
    """Render ``templates/<template>`` as HTML; every value is escaped."""
    page = _html().get_template(template).render(**context)
    return bracket_html(page) if is_pseudo() else page


def text(template: str, **context: Any) -> str:
    """Render ``templates/<template>`` as plain text (terminal, coupon text)."""
    lines = _text().get_template(template).render(**context)
    return bracket_lines(lines) if is_pseudo() and template not in _DATA else lines
