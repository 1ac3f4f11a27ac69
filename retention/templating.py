"""Create Jinja2 environments with the filters of all surfaces.

Jinja's autoescape escapes HTML. For Slack see `workers.delivery.render`.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from retention.text import bracket_html, bracket_lines, gettext, is_pseudo
from templates import FOLDER

# Embeddings, overrides and isolates reverse the text after a value, up to the end of the message.
# Terminals obey control characters, so a customer's name could clear the operator's screen.
# Tab and line end stay.
_CONTROL_CHARACTERS = dict.fromkeys(
    (
        *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
        *range(9),
        *range(0x0B, 0x20),
        *range(0x7F, 0xA0),
    )
)
_DATA = {"terminal/bot/suggested_map.txt.j2"}  # read by programs, so never translated
_WORD_JOINER = "\u2060"  # invisible; no line ends here
RAISES, LOWERS = "raises", "lowers"  # directions of a reason, as stored
_SYMBOLS = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥"}
# Currencies without a smaller unit (ISO 4217).
WHOLE = frozenset(
    {
        "BIF",
        "CLP",
        "DJF",
        "GNF",
        "ISK",
        "JPY",
        "KMF",
        "KRW",
        "PYG",
        "RWF",
        "UGX",
        "UYI",
        "VND",
        "VUV",
        "XAF",
        "XOF",
        "XPF",
    }
)


def money(amount: Decimal | float | None, currency: str = "", digits: int = 0) -> str:
    """Format money: ``money(1234.5, "USD")`` → ``$1,234``.

    The minus precedes the symbol.

    Currencies without a smaller unit, such as yen, ignore ``digits``.

    Parameters
    ----------
    amount : Decimal, float or None
        None gives "–".
    currency : str
        ISO 4217 code.
    digits : int
        Digits after the decimal point.
    """
    if amount is None:
        return "–"
    digits = 0 if currency in WHOLE else digits
    symbol = _SYMBOLS.get(currency, f"{currency} " if currency else "")
    sign = "−" if round(float(amount), digits) < 0 else ""
    # A line may end between a minus and "$", but not before a digit or a letter.
    if sign and currency in _SYMBOLS:
        sign += _WORD_JOINER
    return f"{sign}{symbol}{abs(amount):,.{digits}f}"


def signed(number: float, digits: int = 0) -> str:
    """Format a difference: ``signed(-24.83, 1)`` → ``−24.8``."""
    return f"{_rounded(number, digits):+,.{digits}f}".replace("-", "−")


def percent(share: float | None, digits: int = 0) -> str:
    """Format a share: ``percent(.256)`` → ``26 %``."""
    return "–" if share is None else f"{figure(100 * share, digits)} %"


def exact_percent(share: float) -> str:
    """Format a promised share without rounding.

    ``exact_percent(.125)`` → ``12.5 %``
    """
    return f"{round(100 * share, 2):g} %"


def figure(number: float, digits: int = 0) -> str:
    """Format a number: ``figure(-0.42, 1)`` → ``−0.4``.

    The minus is a true one. "−0" never appears.
    """
    return f"{_rounded(number, digits):.{digits}f}".replace("-", "−")


def _rounded(number: float, digits: int) -> float:
    return round(float(number), digits) + 0.0  # −0 becomes 0


def risk(probability: float, model_version: str) -> str:
    """Format a probability, or a rank by rules.

    A probability is ``53 %``, a rank is ``50 of 100``.
    """
    return f"{100 * probability:.0f} of 100" if model_version == "rules" else percent(probability)


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


def count(number: float | None, singular: str = "", plural: str = "") -> str:
    """Format a number with its noun.

    ``count(1234, "customer")`` → ``1,234 customers``

    Parameters
    ----------
    number : float or None
        None gives "–".
    singular, plural : str
        The noun. Without ``plural``, "s" is added.
    """
    if number is None:
        return "–"
    noun = "" if not singular else f" {singular}" if number == 1 else f" {plural or singular + 's'}"
    return f"{number:,.0f}{noun}"


def moment(at: datetime | str | None, zone: str = "UTC", form: str = "%a %d %b %Y, %H:%M") -> str:
    """Format a time in the shop's time zone.

    Parameters
    ----------
    at : datetime, str or None
        ISO 8601 text is parsed; a time without zone is in UTC; None gives "–".
    zone : str
        IANA time zone.
    form : str
        Format for `datetime.strftime`.
    """
    if at is None:
        return "–"
    if isinstance(at, str):
        at = datetime.fromisoformat(at)
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return at.astimezone(ZoneInfo(zone)).strftime(form)


def day(at: datetime | str | None, zone: str = "UTC") -> str:
    """Format a date in the shop's time zone."""
    return moment(at, zone, "%d %b %Y").lstrip("0")


def shorten(text: str, limit: int) -> str:
    """Shorten text at a word, with an ellipsis.

    The result has at most ``limit`` characters.
    """
    if len(text) <= limit:
        return text
    cut = text[: limit - 1]
    at_word = cut.rsplit(None, 1)[0] if " " in cut[limit // 2 :] else cut
    return at_word.rstrip(" ,;:") + "…"


def bar(done: int, total: int, width: int = 20) -> str:
    """Draw a progress bar."""
    filled = 0 if total <= 0 else round(width * min(done / total, 1))
    return "▰" * filled + "▱" * (width - filled)


def strip_controls(value: Any) -> Any:
    """Remove characters that control a terminal.

    Marks that change the text direction are removed, too.
    """
    # Output of a macro or a block; its values have passed this function already.
    if isinstance(value, Markup):
        return value
    return value.translate(_CONTROL_CHARACTERS) if isinstance(value, str) else value


FILTERS: dict[str, Callable[..., Any]] = {
    "money": money,
    "signed": signed,
    "figure": figure,
    "percent": percent,
    "exact_percent": exact_percent,
    "risk": risk,
    "count": count,
    "moment": moment,
    "day": day,
    "shorten": shorten,
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
        **{"finalize": strip_controls, **options},
    )
    created.filters.update(FILTERS)
    created.filters.pop("safe", None)  # templates cannot switch escaping off
    created.globals["bar"] = bar
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
