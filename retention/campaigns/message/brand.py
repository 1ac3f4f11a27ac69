"""Read the shop's brand file: name, logo, colours, address and link patterns of its e-mails.

The file is ``brand.toml`` in the home, or ``RETENTION_BRAND``. Without it, e-mails are neutral.
"""

import re
import string
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from retention import policy_file
from retention.errors import BadInput
from retention.settings import Settings
from retention.text import gettext

NAME = "brand.toml"
PAGE = "docs/crm/brand.md"
MIN_CONTRAST = 4.5  # of text and its background: WCAG 2.2, level AA
PRODUCT_FIELDS, DISCOUNT_FIELDS = ("item_id",), ("code", "redirect")
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")
_MAX_URL = 2_000  # characters

Line = Annotated[str, Field(max_length=200)]


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


class Strict(BaseModel):
    """A table of a file, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Palette(Strict):
    """Colours of an e-mail, as ``#rrggbb``."""

    background: str = "#f4f4f1"  # around the card
    card: str = "#ffffff"
    text: str = "#1d1c1d"
    button: str = "#1d1c1d"
    button_text: str = "#ffffff"

    @field_validator("background", "card", "text", "button", "button_text")
    @classmethod
    def _check_color(cls, color: str) -> str:
        if not _COLOR.fullmatch(color):
            problem = gettext("{color!r} is no colour; write it like #1d1c1d")
            raise ValueError(problem.format(color=color))
        return color.lower()


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

    product: str = ""
    discount: str = ""

    @field_validator("product")
    @classmethod
    def _check_product(cls, pattern: str) -> str:
        return _checked_pattern(pattern, PRODUCT_FIELDS, "item_id")

    @field_validator("discount")
    @classmethod
    def _check_discount(cls, pattern: str) -> str:
        return _checked_pattern(pattern, DISCOUNT_FIELDS, "code")


class Utm(Strict):
    """Campaign parameters of links; ``utm_campaign`` is the campaign's id."""

    source: Line = "retention"
    medium: Line = "email"


class Brand(Strict):
    """A whole brand file."""

    name: Annotated[str, Field(max_length=80)] = ""
    logo: str = ""
    logo_width: Annotated[int, Field(ge=40, le=520)] = 160  # pixels
    website: str = ""
    address: Annotated[str, Field(max_length=500)] = ""  # postal; lines may be broken
    language: Line = ""  # of customers without a locale; by default the desk's
    colors: Colors = Colors()
    links: Links = Links()
    utm: Utm = Utm()

    @field_validator("address")
    @classmethod
    def _join_lines(cls, address: str) -> str:
        return ", ".join(line.strip(" ,") for line in address.splitlines() if line.strip(" ,"))

    @field_validator("logo", "website")
    @classmethod
    def _check_url(cls, url: str) -> str:
        return _checked_url(url)


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


def _checked_url(url: str) -> str:
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


def _checked_pattern(pattern: str, known: tuple[str, ...], needed: str) -> str:
    """Check a link pattern: a web address with known placeholders in its path or query."""
    shown = ", ".join(f"{{{name}}}" for name in known)
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
    example = pattern.format(**dict.fromkeys(known, "x"))
    host = urlsplit(pattern.replace("{", "%7B").replace("}", "%7D")).hostname or ""
    if "%7b" in host.lower():
        problem = gettext("{pattern!r} has a placeholder in its host; write it in the path")
        raise ValueError(problem.format(pattern=pattern[:80]))
    _checked_url(example)
    return pattern
