"""Draw a campaign's e-mail as a picture, without a browser.

The elements of ``templates/campaigns/email.html.j2`` are drawn: paragraphs, the code, lists and the
footer. Mail programs differ, so the picture shows the content and its order, not each pixel.
"""

import io
from dataclasses import dataclass
from functools import cache
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

from retention.campaigns.pictures import MUTED, PAPER, TEXT, font, font_file
from retention.text import gettext

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

WIDTH, CARD, PADDING = 880, 800, 44  # pixels; readable on a phone
BACKGROUND, BORDER = "#f4f4f1", "#8a8a86"
MAX_HEIGHT = 4000  # pixels; a longer e-mail is cut
_SKIPPED = {"style", "title", "head", "script"}
# Style by class of a paragraph: size, line height, colour and whether it is centred.
_STYLES = {
    "": (30, 45, TEXT, False),
    "code": (42, 96, TEXT, True),
    "until": (26, 40, MUTED, True),
    "foot": (23, 36, MUTED, False),
    "item": (30, 45, TEXT, False),
}


@dataclass(frozen=True, slots=True)
class EmailBlock:
    """One paragraph or list item; ``kind`` is its class, or ``item``."""

    kind: str
    text: str


class _Reader(HTMLParser):
    """Collects the paragraphs and list items of an e-mail."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks: list[EmailBlock] = []
        self._kind: str | None = None
        self._parts: list[str] = []
        self._skipped: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _SKIPPED:
            self._skipped.append(tag)
        elif tag in ("p", "li"):
            kind = "item" if tag == "li" else dict(attrs).get("class") or ""
            self._kind, self._parts = kind, []
        elif tag == "br":
            self._parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if self._skipped and tag == self._skipped[-1]:
            self._skipped.pop()
        elif tag in ("p", "li") and self._kind is not None:
            lines = (" ".join(line.split()) for line in "".join(self._parts).split("\n"))
            self.blocks.append(EmailBlock(self._kind, "\n".join(lines).strip("\n")))
            self._kind = None

    def handle_data(self, data: str) -> None:
        if self._kind is not None and not self._skipped:
            self._parts.append(data.replace("\n", " "))


def email_blocks(html: str) -> list[EmailBlock]:
    """Return the paragraphs and list items of an e-mail.

    Examples
    --------
    >>> email_blocks('<p>Hello<br>Ann</p><p class="code">X1</p>')
    [EmailBlock(kind='', text='Hello\\nAnn'), EmailBlock(kind='code', text='X1')]
    """
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader.blocks


def undrawable(text: str) -> list[str]:
    """Return the characters that the pictures' font lacks, in order and once."""
    known = _characters()
    missing = [sign for sign in text if not sign.isspace() and ord(sign) not in known]
    return list(dict.fromkeys(missing))


def draw_email(subject: str, html: str) -> bytes:
    """Draw an e-mail.

    Parameters
    ----------
    subject : str
        Its subject.
    html : str
        Its HTML, of `compose.compose_message`.

    Returns
    -------
    bytes
        A PNG.
    """
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (WIDTH, MAX_HEIGHT), BACKGROUND)
    draw = ImageDraw.Draw(picture)
    draw.rectangle([0, 0, WIDTH, 96], fill=PAPER)
    label = gettext("Subject: {subject}").format(subject=subject)
    draw.text(
        (PADDING, 48),
        _fitted(draw, label, WIDTH - 2 * PADDING),
        TEXT,
        font(32, bold=True),
        anchor="lm",
    )
    left, top = (WIDTH - CARD) // 2, 124
    blocks = email_blocks(html)
    bottom = _draw_blocks(draw, blocks, left, top + PADDING) + PADDING - 20
    bottom = min(bottom, MAX_HEIGHT - 40)
    # The card's height is known only now: draw it, and its content again on top.
    draw.rounded_rectangle([left, top, left + CARD, bottom], radius=16, fill=PAPER)
    _draw_blocks(draw, blocks, left, top + PADDING)
    draw.rectangle([0, bottom + 1, WIDTH, MAX_HEIGHT], fill=BACKGROUND)
    content = io.BytesIO()
    cut = picture.crop((0, 0, WIDTH, bottom + 40))
    cut.quantize(64).save(content, format="PNG", optimize=True)
    return content.getvalue()


def _draw_blocks(draw: "ImageDraw", blocks: list[EmailBlock], left: int, top: int) -> int:
    """Draw the blocks below each other and return where they end."""
    inner, width = left + PADDING, CARD - 2 * PADDING
    for block in blocks:
        size, height, color, is_centred = _STYLES.get(block.kind, _STYLES[""])
        face = font(size, mono=block.kind == "code")
        indent = 40 if block.kind == "item" else 0
        if block.kind == "code":
            _dashed_box(draw, (inner, top, inner + width, top + height))
        if block.kind == "item":
            draw.text((inner + 8, top), "•", color, face)
        for line in _wrapped(draw, block.text, face, width - indent):
            if is_centred:
                x, anchor = inner + width // 2, "mm"
                draw.text((x, top + height // 2), line, color, face, anchor=anchor)
            else:
                draw.text((inner + indent, top), line, color, face)
            top += height
        top += 12 if block.kind == "item" else 28
    return top


def _dashed_box(draw: "ImageDraw", box: tuple[int, int, int, int]) -> None:
    left, top, right, bottom = box
    for x in range(left, right, 20):
        for y in (top, bottom):
            draw.line([(x, y), (min(x + 11, right), y)], fill=BORDER, width=2)
    for y in range(top, bottom, 20):
        for x in (left, right):
            draw.line([(x, y), (x, min(y + 11, bottom))], fill=BORDER, width=2)


def _wrapped(draw: "ImageDraw", text: str, face: Any, width: int) -> list[str]:
    """Break a text into lines that fit; a word that is too long is broken."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            longer = f"{line} {word}" if line else word
            if draw.textlength(longer, face) <= width:
                line = longer
                continue
            if line:
                lines.append(line)
            line = word
            while draw.textlength(line, face) > width:
                end = next(
                    end
                    for end in range(len(line) - 1, 0, -1)
                    if end == 1 or draw.textlength(line[:end], face) <= width
                )
                lines.append(line[:end])
                line = line[end:]
        lines.append(line)
    return lines


def _fitted(draw: "ImageDraw", text: str, width: int) -> str:
    face = font(32, bold=True)
    if draw.textlength(text, face) <= width:
        return text
    while text and draw.textlength(f"{text}…", face) > width:
        text = text[:-1]
    return f"{text.rstrip()}…"


@cache
def _characters() -> frozenset[int]:
    from fontTools.ttLib import TTFont

    with TTFont(font_file(), lazy=True) as file:
        return frozenset(file.getBestCmap())
