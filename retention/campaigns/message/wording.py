"""Read the texts of messages by language, format values as each language does, and fill them in.

The texts are in ``templates/campaigns/text/LANGUAGE.toml``. A shop's own file, in the folder
``email_text`` beside its brand file, replaces single lines or adds a language.

A person may edit a campaign's text and its ``{placeholders}``. Values come from a fixed table.
Nothing in the text or the data is evaluated.
"""

import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, field_validator

from retention import policy_file, templating
from retention.campaigns.message.brand import PAGE, Strict, brand_path, load_brand
from retention.errors import BadInput
from retention.outreach.adapter import EMAIL, is_text
from retention.risk.strategy import CODED, NAMED, WIN_BACK
from retention.settings import Settings
from retention.text import DEFAULT, PSEUDO, gettext, language, use_language, use_shop_language
from templates import FOLDER

SHIPPED = FOLDER / "campaigns" / "text"
OWN_FOLDER = "email_text"  # beside the brand file
_TAG = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}")
PLACEHOLDERS = ("name", "discount", "conditions", "code", "expires", "items", "shop")
MAX_CHARACTERS = 2_000
MAX_LINE = 200  # characters of a subject
_PLACEHOLDER = re.compile(r"\{(\w*)\}")
_SPACED_PLACEHOLDER = re.compile(r"( ?)\{(\w*)\}")
_ITEMS_PHRASE = re.compile(  # the items with the phrase that announces them
    r"(?:(?:(?<=[.!?])|\s*[,;–—]|\s-)\s[^{}.,;!?–—]*|[\s:]*)\{items\}\s*$"
)
_BRACES = re.compile(r"\{+[^{}\n]*\}*|\w*\}+")  # possibly meant as a placeholder
Plural = Literal["zero", "one", "two", "few", "many", "other"]  # of Unicode CLDR


def _only(*placeholders: str) -> AfterValidator:
    """Return a validator of texts that may have these placeholders."""
    known = [f"{{{name}}}" for name in placeholders]

    def check(text: str) -> str:
        if unknown := [place for place in _BRACES.findall(text) if place not in known]:
            shown = ", ".join(known) or gettext("no placeholder")
            problem = gettext("{place} means nothing here; use {known}")
            raise ValueError(problem.format(place=unknown[0], known=shown))
        return text.strip("\n")

    return AfterValidator(check)


_LINE = Field(min_length=1, max_length=MAX_LINE)
Line = Annotated[str, _LINE, _only()]
Label = Annotated[str, Field(min_length=1, max_length=60), _only()]
Subject = Annotated[str, _LINE, _only(*PLACEHOLDERS)]
Text = Annotated[str, Field(min_length=1, max_length=MAX_CHARACTERS), _only(*PLACEHOLDERS)]
OfferLineText = Annotated[str, _LINE, _only("discount", "conditions", "expires")]


class Subjects(Strict):
    """Subjects by action; ``with_shop`` adds the shop's name if it has one."""

    coupon: Subject
    free_shipping: Subject
    extra: Subject | None = None  # an offer in words, with a code; a shop's own language has none
    extra_plain: Subject | None = None  # likewise, without a code
    new_arrivals: Subject
    reminder: Subject
    with_shop: Annotated[str, _LINE, _only("subject", "shop")]


class Texts(Strict):
    """Texts by action; ``call`` is what a person says on the telephone."""

    coupon: Text
    free_shipping: Text
    extra: Text | None = None
    extra_plain: Text | None = None
    new_arrivals: Text
    reminder: Text
    call: Text


class LateTexts(Strict):
    """Texts by action for customers who are only a few days late."""

    coupon: Text | None = None
    free_shipping: Text | None = None
    reminder: Text | None = None


class ShortTexts(Strict):
    """Texts of SMS and WhatsApp by action; ``stop`` says how to end further ones.

    ``ask_title``, ``ask`` and ``done`` are on the page behind the link to unsubscribe.
    """

    coupon: Text
    free_shipping: Text
    extra: Text | None = None
    extra_plain: Text | None = None
    new_arrivals: Text
    reminder: Text
    reminder_late: Text | None = None  # for customers who are only a few days late
    with_shop: Annotated[str, _LINE, _only("shop", "text")]
    stop: Line
    ask_title: Line
    ask: Annotated[str, _LINE, _only("channel")]
    done: Annotated[str, _LINE, _only("channel")]


SHORT_ACTIONS = ("coupon", "free_shipping", *NAMED, "new_arrivals", "reminder")


def text_key(action: str) -> str:
    """Return the key of an action's texts; offers in words share two."""
    return ("extra" if action in CODED else "extra_plain") if action in NAMED else action


class OfferWords(Strict):
    """What an offer is, and its conditions."""

    free_shipping: Label
    only: Annotated[str, _LINE, _only("category")]
    from_: Annotated[str, _LINE, _only("amount")] = Field(alias="from")
    coupon_line: OfferLineText
    free_shipping_line: OfferLineText


class Buttons(Strict):
    """Labels of the button."""

    use_code: Label
    visit: Label


class ItemWords(Strict):
    """How many items are recommended, by the language's plural forms."""

    preview: dict[Plural, Annotated[str, _LINE, _only("count")]]

    @field_validator("preview")
    @classmethod
    def _check_other(cls, forms: dict[str, str]) -> dict[str, str]:
        if "other" not in forms:
            raise ValueError(gettext('the form "other" is missing; write it'))
        return forms


class Footer(Strict):
    """Why the customer gets the e-mail, and the link that ends it."""

    agreed: Annotated[str, _LINE, _only("shop")]
    bought: Annotated[str, _LINE, _only("shop")]
    we: Label
    unsubscribe: Label


class UnsubscribePage(Strict):
    """The page behind the link: what it asks, and how it answers."""

    ask_title: Line
    ask: Line
    button: Label
    done_title: Line
    done: Line
    later_title: Line  # if the database could not store it
    later: Line
    unknown_title: Line  # of a link that is not ours, or was cut off
    unknown: Line


class KindText(Strict):
    """What a kind of campaign says: its subject, its opening, and what announces the items."""

    subject: Subject
    opening: Text
    items: Text


class KindTexts(Strict):
    """Texts by kind; ``coupon`` and ``free_shipping`` say what the offer is."""

    hello: Annotated[str, _LINE, _only("name")]
    coupon: Text
    free_shipping: Text
    extra: Text | None = None
    extra_plain: Text | None = None
    product_news: KindText
    cross_sell: KindText
    second_order: KindText
    thank_you: KindText
    no_offer: KindText


class EmailText(Strict):
    """All texts of one language."""

    greeting: Literal["first", "whole"] = "first"  # name
    subject: Subjects
    text: Texts
    late: LateTexts = LateTexts()
    offer: OfferWords
    button: Buttons
    items: ItemWords
    footer: Footer
    unsubscribe_page: UnsubscribePage
    sms: ShortTexts | None = None  # a shop's own language of before has none
    kind: KindTexts | None = None  # likewise


@dataclass(frozen=True, slots=True)
class Wording:
    """Texts in one language, and its way to write numbers, money and dates.

    ``tag`` is the customer's locale, such as ``de-AT``; ``name`` is that of the file, ``de``.
    """

    tag: str
    name: str
    words: EmailText

    @property
    def direction(self) -> str:
        """``ltr`` or ``rtl``."""
        return str(_locale(self.tag).text_direction)

    def money(self, amount: float, currency: str) -> str:
        """Format an amount.

        `currency`: ISO 4217 code.
        """
        with use_language(self.tag):
            return templating.money(amount, currency, 2)

    def percent(self, share: float) -> str:
        """Format a promised share without rounding it to a whole number."""
        from babel.numbers import format_percent

        exact = Decimal(str(round(share, 4)))
        return format_percent(exact, locale=_locale(self.tag), decimal_quantization=False)

    def day(self, at: datetime, zone: str) -> str:
        """Format a date."""
        with use_language(self.tag):
            return templating.day(at, zone)

    def items_preview(self, number: int) -> str:
        """Say how many items are recommended, in the language's plural form."""
        forms: Mapping[Any, str] = self.words.items.preview
        form = forms.get(_locale(self.tag).plural_form(number), forms["other"])
        return form.replace("{count}", str(number))


def load_wording(settings: Settings, *locales: str) -> Wording:
    """Return the texts for a customer's locale.

    `*locales`: the customer's, such as ``de-AT`` or ``de_AT``; the first with texts in its language
    counts. If there is none, the shop's language is used.
    """
    for parents in map(_parents, locales):
        for name in parents:
            if (words := _load(settings, name)) is not None:
                return Wording(parents[0] if _is_known(parents[0]) else name, name, words)
    return _shop_wording(settings)


def _shop_wording(settings: Settings) -> Wording:
    brand_language = load_brand(settings).language
    with use_shop_language():
        name = brand_language or language()
    if name != PSEUDO:
        for parent in _parents(name):
            if (words := _load(settings, parent)) is not None:
                return Wording(parent, parent, words)
        if brand_language:
            problem = gettext(
                "The brand file {path} has the language {name!r}, for which there are no "
                "texts; use one of {known}, or add {file}."
            )
            known, file = ", ".join(shipped_languages()), f"{OWN_FOLDER}/{name}.toml"
            path = brand_path(settings)
            raise BadInput(problem.format(path=path, name=name, known=known, file=file))
    words = _load(settings, DEFAULT)
    assert words is not None  # shipped
    return Wording(name if name == PSEUDO else DEFAULT, DEFAULT, words)


def shipped_wording(name: str = DEFAULT) -> Wording:
    """Return the texts as the product has them, whatever the shop's own files say."""
    return Wording(name, name, _parse((_stamp(SHIPPED / f"{name}.toml"),)))


def text_wording(settings: Settings, wording: Wording) -> Wording:
    """Return texts that have short ones: these, or those of the shop's language, or English."""
    candidates = (wording, _shop_wording(settings))
    return next((one for one in candidates if one.words.sms is not None), shipped_wording())


def default_text(
    action: str = "coupon",
    settings: Settings | None = None,
    channel: str = EMAIL,
    kind: str = WIN_BACK,
) -> str:
    """Return the default text of an action, in the shop's language.

    `settings`: settings of the installation; without them, the shop's own files do not count.
    """
    if settings is None:
        with use_shop_language():
            file = SHIPPED / f"{language()}.toml"
        name = file.stem if file.exists() else DEFAULT
        wording = shipped_wording(name)
    else:
        wording = _shop_wording(settings)
        wording = text_wording(settings, wording) if is_text(channel) else wording
    return text_of(wording, action, channel, kind=kind)


def kind_texts(wording: Wording) -> KindTexts:
    """Return the texts by kind: these, or English ones for a shop's own language of before."""
    texts = wording.words.kind or shipped_wording().words.kind
    assert texts is not None  # shipped
    return texts


def kind_text(wording: Wording, action: str, kind: str) -> KindText | None:
    """Return the own text of a kind of campaign; None where the action decides."""
    if kind == WIN_BACK and action != "message":
        return None
    own: KindText = getattr(kind_texts(wording), "no_offer" if kind == WIN_BACK else kind)
    return own


def text_of(
    wording: Wording,
    action: str,
    channel: str = EMAIL,
    *,
    is_late: bool = False,
    kind: str = WIN_BACK,
) -> str:
    """Return the text of an action in a kind of campaign.

    `is_late`: whether the customer is only a few days late.
    """
    key = text_key(action)
    if own := kind_text(wording, action, kind):
        texts = kind_texts(wording)
        named: str | None = getattr(texts, key, None)
        parts = [part for part in (texts.hello, own.opening, named) if part]
        return " ".join(parts) if is_text(channel) else "\n\n".join([*parts, own.items])
    if is_text(channel) and action in SHORT_ACTIONS:
        late = getattr(wording.words.sms, f"{action}_late", None)
        usual = getattr(wording.words.sms, key) or getattr(wording.words.sms, "reminder", None)
    else:
        late = getattr(wording.words.late, action, None)
        usual = getattr(wording.words.text, key) or wording.words.text.reminder
    return str(late or usual) if is_late else str(usual)


def is_default_text(
    settings: Settings, action: str, text: str, channel: str = EMAIL, kind: str = WIN_BACK
) -> bool:
    """Return whether nobody changed a campaign's text.

    The text was stored when the campaign was drafted. The shop's language may have changed since,
    and so may its own files.
    """
    if text == default_text(action, settings, channel, kind):
        return True
    shipped = (shipped_wording(name) for name in shipped_languages())
    return any(text == text_of(wording, action, channel, kind=kind) for wording in shipped)


def shipped_languages() -> tuple[str, ...]:
    """Return the languages that the product has."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.toml")))


def own_languages(settings: Settings) -> tuple[str, ...]:
    """Return the languages with a file of the shop's own."""
    names = sorted(path.stem for path in _own_folder(settings).glob("*.toml"))
    for name in names:
        _load(settings, name)
    return tuple(names)


def _own_folder(settings: Settings) -> Path:
    return brand_path(settings).parent / OWN_FOLDER


def _parents(locale: str) -> tuple[str, ...]:
    """Return a locale and the wider ones: ``de-AT``, ``de``."""
    tag = locale.strip().replace("_", "-")
    if not _TAG.fullmatch(tag):
        return ()
    first, *rest = tag.split("-")
    parts = [first.lower(), *(part.title() if len(part) == 4 else part.upper() for part in rest)]
    return tuple("-".join(parts[:length]) for length in range(len(parts), 0, -1))


def _load(settings: Settings, name: str) -> EmailText | None:
    """Return the texts of a language: the shipped ones with the shop's own lines."""
    own = _own_folder(settings) / f"{name}.toml"
    # The shop's file of a region changes the language's texts.
    base = [SHIPPED / f"{parent}.toml" for parent in _parents(name)[::-1]]
    if not own.is_file() and not (SHIPPED / f"{name}.toml").is_file():
        return None
    if own.is_file() and not _is_known(name):
        problem = gettext(
            "The text file {path} is for the language {name!r}, which Unicode CLDR does not "
            "know; name it by its ISO 639 code, like nl.toml."
        )
        raise BadInput(problem.format(path=own, name=name))
    paths = [path for path in (*base, own) if path.is_file()]
    return _parse(tuple(map(_stamp, paths)))


def _stamp(path: Path) -> tuple[Path, int]:
    """Return a file and when it was changed."""
    return path, path.stat().st_mtime_ns


@lru_cache(maxsize=64)  # each e-mail asks for it
def _parse(stamps: tuple[tuple[Path, int], ...]) -> EmailText:
    values: dict[str, Any] = {}
    path = stamps[-1][0]
    try:
        for path, _ in stamps:
            text = policy_file.read_text(path)
            tables = tomllib.loads(text)
            _drop_late(values, tables)
            for table, lines in tables.items():
                both = isinstance(lines, dict) and isinstance(values.get(table), dict)
                values[table] = {**values[table], **lines} if both else lines
        return policy_file.validate_strictly(EmailText, values)
    except OSError as error:
        problem = str(error.strerror or error)
    except UnicodeDecodeError:
        problem = gettext("it is not UTF-8 text; save it as UTF-8")
    except tomllib.TOMLDecodeError as error:
        problem = policy_file.explain_toml_error(error, text)
    except ValidationError as error:
        problem = policy_file.explain_first_error(error, page=PAGE)
    refusal = gettext("The text file {path} cannot be used: {problem}.")
    raise BadInput(refusal.format(path=path, problem=problem))


def _drop_late(values: dict[str, Any], own: dict[str, Any]) -> None:
    """Drop the shipped text for late customers where the shop's own text replaces the usual one."""
    for action in own.get("text") or ():
        values["late"] = {k: v for k, v in values.get("late", {}).items() if k != action}
    if "reminder" in (own.get("sms") or ()):
        values.get("sms", {}).pop("reminder_late", None)


@lru_cache(maxsize=256)
def _is_known(tag: str) -> bool:
    from babel import Locale, UnknownLocaleError

    try:
        Locale.parse(tag, sep="-")
    except (UnknownLocaleError, ValueError):
        return False
    return True


@lru_cache(maxsize=256)
def _locale(tag: str) -> Any:
    from babel import Locale

    return Locale.parse(DEFAULT if tag == PSEUDO else tag, sep="-")


def validate_text(text: str, field: str = "copy_text") -> str:
    """Validate a text that a person typed.

    Returns: the text without surrounding space.
    Raises `BadInput`: the text is empty or too long, or a placeholder is unknown or not closed.
    """
    text = text.strip()
    if not text:
        problem = gettext("The copy text is empty; write what the customer shall read.")
        raise BadInput(problem, field=field)
    if len(text) > MAX_CHARACTERS:
        problem = gettext("The copy text has {count:,} characters; use at most {longest:,}.")
        raise BadInput(problem.format(count=len(text), longest=MAX_CHARACTERS), field=field)
    known = [f"{{{name}}}" for name in PLACEHOLDERS]
    if unknown := _unknown_places(text, known):
        shown = ", ".join(templating.shorten(place, 40) for place in unknown[:3])
        sentence = (
            gettext("The copy text has {unknown}, which means nothing here; use {known}.")
            if len(unknown) == 1
            else gettext("The copy text has {unknown}, which mean nothing here; use {known}.")
        )
        raise BadInput(sentence.format(unknown=shown, known=", ".join(known)), field=field)
    return text


def validate_line(
    text: str, field: str, label: str, placeholders: Collection[str], longest: int = MAX_LINE
) -> str:
    """Validate a line that a person typed, such as a subject; it may be empty.

    `label`: what the line is, as the subject of a sentence.
    Returns: the line without surrounding space.
    """
    line = text.strip()
    if "\n" in line or "\r" in line:
        problem = gettext("{label} has more than one line; write one.")
        raise BadInput(problem.format(label=label), field=field)
    if len(line) > longest:
        problem = gettext("{label} has {count:,} characters; use at most {longest:,}.")
        problem = problem.format(label=label, count=len(line), longest=longest)
        raise BadInput(problem, field=field)
    known = [f"{{{name}}}" for name in placeholders]
    if unknown := _unknown_places(line, known):
        problem = gettext("{label} has {unknown}, which means nothing here; use {known}.")
        shown = ", ".join(known) or gettext("no placeholder")
        values = {"label": label, "unknown": templating.shorten(unknown[0], 40), "known": shown}
        raise BadInput(problem.format(**values), field=field)
    return line


def _unknown_places(text: str, known: Collection[str]) -> list[str]:
    return [place for place in dict.fromkeys(_BRACES.findall(text)) if place not in known]


def fill_text(text: str, values: dict[str, Any]) -> str:
    """Fill in the text for one customer.

    An empty placeholder also removes the space before it (``Hello,``). Without items, the phrase
    that announces them at the end of a line is removed.
    """
    lines = text.split("\n") if values.get("items") else map(_without_items, text.split("\n"))

    def value(place: re.Match[str]) -> str:
        text_value = str(values.get(place[2]) or "")
        return place[1] + text_value if text_value else ""

    return _SPACED_PLACEHOLDER.sub(value, "\n".join(line for line in lines if line is not None))


def _without_items(line: str) -> str | None:
    """Remove the phrase that announces items; None if nothing remains."""
    is_alone = {*_PLACEHOLDER.findall(line)} == {"items"}
    is_last = line.rstrip().endswith("{items}")
    return None if is_last and is_alone else _ITEMS_PHRASE.sub("", line)
