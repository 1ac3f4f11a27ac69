"""Read the shop's brand file, and make the links of its e-mails.

It has the name, logo, colours, address and link patterns.

The file is ``brand.toml`` in the home, or ``RETENTION_BRAND``. Without it, e-mails are neutral.
"""

import re
import string
import tomllib
import unicodedata
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from retention import policy_file
from retention.errors import BadInput
from retention.settings import Settings
from retention.text import gettext

NAME = "brand.toml"
PAGE = "docs/crm/brand.md"
MIN_CONTRAST = 4.5  # of text and its background: WCAG 2.2, level AA
_EMAIL = re.compile(r"[^\s\"(),:;<>@\[\\\]]+@[^\s\"(),:;<>@\[\\\]]+\.[^\s\"(),:;<>@\[\\\]]+")
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")
_MAX_URL = 2_000  # characters
MAX_SENDER = 64  # characters of a sender's name
MAX_SLUG = 60  # characters of a campaign's name in its links
_SAFE = ":/?#[]@!$&()*+,;=%~-._"  # signs that have a meaning in a URL


def contrast(first: str, second: str) -> float:
    """Return the contrast ratio of two colours.

    Returns: from 1 to 21.

    References
    ----------
    WCAG 2.2, "contrast ratio" and "relative luminance".

    Examples
    --------
    >>> contrast("#000000", "#ffffff"), round(contrast("#777777", "#ffffff"), 2)
    (21.0, 4.48)
    """
    low, high = sorted((_luminance(first), _luminance(second)))
    return (high + 0.05) / (low + 0.05)


def _luminance(color: str) -> float:
    shares = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _check_color(color: str) -> str:
    if not _COLOR.fullmatch(color):
        problem = gettext("{color!r} is no colour; write it like #1d1c1d")
        raise ValueError(problem.format(color=color))
    return color.lower()


def _check_url(url: str) -> str:
    if url and not is_web_address(url):
        problem = gettext("{url!r} is no web address; write it like https://shop.example")
        raise ValueError(problem.format(url=url[:80]))
    return url


def is_web_address(url: str) -> bool:
    """Return whether a text is an absolute http or https URL without blanks.

    Examples
    --------
    >>> is_web_address("https://shop.example/a?b=c"), is_web_address("javascript:alert(1)")
    (True, False)
    """
    if len(url) > _MAX_URL or not url.isascii() or re.search(r"[\s\"'<>\\^`\x00-\x1f\x7f]", url):
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


def _pattern(*known: str) -> AfterValidator:
    """Return a check of link patterns: web addresses with placeholders in their path or query.

    `known`: the placeholders; the first is needed.
    """
    needed, shown = known[0], ", ".join(f"{{{name}}}" for name in known)

    def check(pattern: str) -> str:
        if not pattern:
            return pattern
        try:
            fields = [field for field in string.Formatter().parse(pattern) if field[1] is not None]
        except ValueError:
            fields = []
        names = {name for _, name, _, _ in fields}
        is_plain = not any(form or conversion for _, _, form, conversion in fields)
        if not is_plain or not names <= set(known) or needed not in names:
            problem = gettext(
                "{pattern!r} must have {{{needed}}}, and no other placeholder than {known}"
            )
            raise ValueError(problem.format(pattern=pattern[:80], needed=needed, known=shown))
        host = urlsplit(pattern.replace("{", "%7B").replace("}", "%7D")).hostname or ""
        if "%7b" in host.lower():
            problem = gettext("{pattern!r} has a placeholder in its host; write it in the path")
            raise ValueError(problem.format(pattern=pattern[:80]))
        _check_url(pattern.format(**dict.fromkeys(known, "x")))
        return pattern

    return AfterValidator(check)


def _join_lines(address: str) -> str:
    return ", ".join(line.strip(" ,") for line in address.splitlines() if line.strip(" ,"))


def _check_reply_to(address: str) -> str:
    if address and (not address.isascii() or not _EMAIL.fullmatch(address)):
        problem = gettext("{address!r} is no e-mail address; write it like service@shop.example")
        raise ValueError(problem.format(address=address[:80]))
    return address


def check_sender_name(name: str) -> str:
    """Return a sender's name without surrounding space, or raise `ValueError`."""
    if not name.isprintable() or "=?" in name or "@" in name:
        problem = gettext("{name!r} is no name of a sender; write it like Ann from Leaf & Kettle")
        raise ValueError(problem.format(name=name[:80]))
    return name.strip()


Line = Annotated[str, Field(max_length=200)]
SenderName = Annotated[str, Field(max_length=MAX_SENDER), AfterValidator(check_sender_name)]
ReplyTo = Annotated[str, Field(max_length=254), AfterValidator(_check_reply_to)]
Address = Annotated[str, Field(max_length=500), AfterValidator(_join_lines)]
Color = Annotated[str, AfterValidator(_check_color)]
Url = Annotated[str, AfterValidator(_check_url)]
ProductPattern = Annotated[str, _pattern("item_id")]
DiscountPattern = Annotated[str, _pattern("code", "redirect")]


class Strict(BaseModel):
    """A table of a file, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Palette(Strict):
    """Colours of an e-mail, as ``#rrggbb``."""

    background: Color = "#f4f4f1"  # around the card
    card: Color = "#ffffff"
    text: Color = "#1d1c1d"
    button: Color = "#1d1c1d"
    button_text: Color = "#ffffff"


_DARK = {
    "background": "#121212",
    "card": "#1e1e1e",
    "text": "#f1f1f1",
    "button": "#f1f1f1",
    "button_text": "#1d1c1d",
}


class Colors(Palette):
    """Colours in the light scheme, and those of the dark scheme in ``dark``."""

    dark: Palette = Palette(**_DARK)

    @model_validator(mode="before")
    @classmethod
    def _fill_dark(cls, values: Any) -> Any:
        """Keep the brand's button in the dark scheme unless the file gives another."""
        if not isinstance(values, dict) or not isinstance(values.get("dark", {}), dict):
            return values
        names, usual = ("button", "button_text"), Palette()
        has_own = not values.keys().isdisjoint(names)
        button = {name: values.get(name, getattr(usual, name)) for name in names if has_own}
        return {**values, "dark": {**_DARK, **button, **values.get("dark", {})}}

    @model_validator(mode="after")
    def _check_contrast(self) -> "Colors":
        _require_contrast(self)
        _require_contrast(self.dark, "dark.")
        return self


def _require_contrast(colors: Palette, prefix: str = "") -> None:
    for front, back in (("text", "card"), ("text", "background"), ("button_text", "button")):
        ratio = contrast(getattr(colors, front), getattr(colors, back))
        if ratio < MIN_CONTRAST:
            problem = gettext(
                "{front} {front_color} on {back} {back_color} has a contrast of {ratio:.1f}, "
                "and WCAG AA needs {least:g}; choose a darker or lighter {front}"
            )
            shown = {"front_color": getattr(colors, front), "back_color": getattr(colors, back)}
            values = {"front": prefix + front, "back": back, **shown}
            raise ValueError(problem.format(**values, ratio=ratio, least=MIN_CONTRAST))


class Links(Strict):
    """Patterns of the shop's links."""

    product: ProductPattern = ""
    discount: DiscountPattern = ""


class Utm(Strict):
    """Campaign parameters of links; ``utm_campaign`` is the campaign's id."""

    source: Line = "retention"
    medium: Line = "email"


class Brand(Strict):
    """A whole brand file."""

    name: Annotated[str, Field(max_length=80)] = ""
    sender_name: SenderName = ""  # of e-mails; empty: as the mail server or platform is set up
    reply_to: ReplyTo = ""
    logo: Url = ""
    logo_width: Annotated[int, Field(ge=40, le=520)] = 160  # pixels
    website: Url = ""
    address: Address = ""  # postal; lines may be broken
    language: Line = ""  # of customers without a locale; by default the desk's
    colors: Colors = Colors()
    links: Links = Links()
    utm: Utm = Utm()


def load_brand(settings: Settings) -> Brand:
    """Return the shop's brand; without a file, a neutral one with the shop's name."""
    path = brand_path(settings)
    if not path.is_file() and settings.brand is None:
        return Brand(name=settings.shop)
    brand = read_brand(path)
    return brand if brand.name else brand.model_copy(update={"name": settings.shop})


def brand_path(settings: Settings) -> Path:
    """Return where the brand file is, or would be."""
    return settings.brand or settings.home / NAME


def lacks_address(settings: Settings) -> bool:
    """Return whether e-mails have no postal address, which many countries require."""
    try:
        return not load_brand(settings).address
    except BadInput:  # whoever sends or previews an e-mail reads why
        return False


def read_brand(path: Path) -> Brand:
    """Read and validate one brand file. Errors are as in `load_brand`."""
    try:
        state = path.stat()
        return _parse(path, state.st_mtime_ns, state.st_size)
    except OSError as error:
        problem = gettext("The brand file {path} cannot be read: {value}.")
        raise BadInput(problem.format(path=path, value=error.strerror or error)) from None


@lru_cache(maxsize=8)  # each e-mail asks for it
def _parse(path: Path, _changed_at: int, _size: int) -> Brand:
    try:
        text = policy_file.read_text(path)
        return policy_file.validate_strictly(Brand, tomllib.loads(text))
    except UnicodeDecodeError:
        problem = gettext("The brand file {path} is not UTF-8 text; save it as UTF-8.")
        explanation = ""
    except tomllib.TOMLDecodeError as error:
        problem = gettext("The brand file {path} is not valid TOML: {explanation}.")
        explanation = policy_file.explain_toml_error(error, text)
    except ValidationError as error:
        problem = gettext("The brand file {path} cannot be used. {explanation}.")
        explanation = policy_file.explain_first_error(error, page=PAGE)
    raise BadInput(problem.format(path=path, explanation=explanation))


def utm_campaign(name: str, campaign_id: str) -> str:
    """Return what links say of a campaign: its name in small letters, and its id.

    Examples
    --------
    >>> utm_campaign("High & medium risk, 2 Oct 2017", "c989xxj"), utm_campaign("冬季 – Café", "c1")
    ('high-medium-risk-2-oct-2017-c989xxj', '冬季-cafe-c1')
    """
    plain = unicodedata.normalize("NFKD", name.casefold())
    letters = "".join(sign for sign in plain if not unicodedata.combining(sign))
    slug = re.sub(r"[\W_]+", "-", unicodedata.normalize("NFC", letters))[:MAX_SLUG].strip("-")
    return f"{slug}-{campaign_id}" if slug else campaign_id


def product_link(brand: Brand, item_id: str, own: str, campaign: str) -> str:
    """Return the link to an item with campaign parameters.

    Returns: empty if neither is known.
    """
    pattern = brand.links.product
    url = web_address(own) or (pattern.format(item_id=quote(item_id, safe="")) if pattern else "")
    return with_utm(url, brand.utm, campaign) if url else ""


def discount_link(brand: Brand, code: str, landing: str, campaign: str) -> str:
    """Return the link that applies a code and opens a page of the shop.

    `landing`: URL of the page to open. If it is of another host, the shop's first page is used.
    Returns: empty if the brand has no pattern.

    Examples
    --------
    >>> links = {"discount": "https://shop.example/discount/{code}?redirect={redirect}"}
    >>> discount_link(Brand(links=links), "TEA-1", "", "c1")
    'https://shop.example/discount/TEA-1?redirect=%2F%3Futm_source%3Dretention%26utm_medium%3Demail%26utm_campaign%3Dc1'
    """
    pattern = brand.links.discount
    if not pattern:
        return ""
    code = quote(code, safe="")
    if "{redirect}" not in pattern:
        return with_utm(pattern.format(code=code), brand.utm, campaign)
    host = urlsplit(pattern.format(code=code, redirect="")).netloc
    page = urlsplit(landing)
    path = urlunsplit(("", "", page.path or "/", page.query, "")) if page.netloc == host else "/"
    redirect = with_utm(path, brand.utm, campaign)
    return pattern.format(code=code, redirect=quote(redirect, safe=""))


def link_opens(brand: Brand, page: str) -> bool:
    """Whether the link that applies a code can open a page."""
    pattern = brand.links.discount or ""
    host = urlsplit(pattern.format(code="", redirect="")).netloc
    return "{redirect}" in pattern and urlsplit(page).netloc == host


def with_utm(url: str, utm: Utm, campaign: str) -> str:
    """Add campaign parameters to a URL; those that it has stay.

    Examples
    --------
    >>> with_utm("https://shop.example/tea?utm_source=own#top", Utm(), "c1")
    'https://shop.example/tea?utm_source=own&utm_medium=email&utm_campaign=c1#top'
    """
    parts = urlsplit(url)
    present = dict(parse_qsl(parts.query, keep_blank_values=True))
    values = {"utm_source": utm.source, "utm_medium": utm.medium, "utm_campaign": campaign}
    added = urlencode({name: value for name, value in values.items() if name not in present})
    query = "&".join(filter(None, (parts.query, added)))
    return urlunsplit(parts._replace(query=query))


def web_address(value: object) -> str:
    """Return a URL of the shop's data for an e-mail; empty if it is not usable.

    Signs that URLs do not have are encoded. Other schemes than http and https are refused.

    Examples
    --------
    >>> web_address("https://shop.example/grüner tee.png"), web_address("javascript:alert(1)")
    ('https://shop.example/gr%C3%BCner%20tee.png', '')
    """
    if not isinstance(value, str):
        return ""
    url = quote(value.strip(), safe=_SAFE)
    return url if is_web_address(url) else ""
