"""Draw a campaign's e-mail as a picture, without a browser.

It shows the content of ``templates/campaigns/email.mjml.j2`` in the brand's light colours. Mail
programs differ, so the picture shows the content and its order, not each pixel. Logos and pictures
of items are not fetched: a grey box stands for them.
"""

import io
import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from retention.campaigns.measurement.money_picture import MUTED, PAPER, TEXT, font, font_file
from retention.campaigns.message.brand import Palette
from retention.campaigns.message.email_content import EmailContent, Section
from retention.text import gettext

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

WIDTH, CARD, PADDING = 880, 800, 44  # pixels; readable on a phone
BORDER, PLACEHOLDER = "#8a8a86", "#d9d9d6"
ITEM_PICTURE, GAP = 160, 24  # pixels
MAX_HEIGHT = 4000  # pixels; a longer e-mail is cut
_RIGHT_TO_LEFT = ("R", "AL", "AN")  # bidirectional classes, which Pillow may draw reversed
Kind = Literal["shop", "text", "code", "line", "button", "item", "picture", "foot"]
# Style by kind: size and line height in pixels, and whether it is bold.
_STYLES: dict[Kind, tuple[int, int, bool]] = {
    "shop": (36, 54, True),
    "text": (30, 45, False),
    "code": (42, 64, False),
    "line": (26, 40, False),
    "button": (30, 76, True),
    "item": (30, 44, True),
    "picture": (26, 300, False),
    "foot": (23, 36, False),
}


@dataclass(frozen=True, slots=True)
class EmailBlock:
    """One part of an e-mail, from top to bottom."""

    kind: Kind
    text: str
    detail: str = ""  # an item's price
    has_picture: bool = False


def email_blocks(content: EmailContent) -> list[EmailBlock]:
    """Return what is drawn, from top to bottom; the last blocks are the footer."""
    blocks = [EmailBlock("shop", content.brand.name)] if content.brand.name else []
    for section in content.sections:
        blocks += _drawn(content, section)
    blocks.append(EmailBlock("foot", f"{content.reason} {content.unsubscribe}"))
    if content.brand.address:
        blocks.append(EmailBlock("foot", content.brand.address))
    return blocks


def _drawn(content: EmailContent, section: Section) -> list[EmailBlock]:
    if section.kind == "text":
        return [EmailBlock("text", paragraph) for paragraph in content.paragraphs]
    if section.kind == "code":
        return [EmailBlock("code", content.code), EmailBlock("line", content.code_line)]
    if section.kind == "button":
        return [EmailBlock("button", section.text)]
    if section.kind == "picture":
        return [EmailBlock("picture", section.text)]
    above = [EmailBlock("text", text) for text in (section.text, section.heading) if text]
    items = section.items
    return above + [
        EmailBlock("item", item.title, item.price, bool(item.picture)) for item in items
    ]


def undrawable(content: EmailContent) -> list[str]:
    """Return the characters that cannot be drawn, in order and once.

    The pictures' font lacks them, or they are of a script that runs from right to left.
    """
    words = content.subject + "".join(block.text + block.detail for block in email_blocks(content))
    known, shown = _characters(), (sign for sign in words if not sign.isspace())
    missing = [
        sign
        for sign in shown
        if ord(sign) not in known or unicodedata.bidirectional(sign) in _RIGHT_TO_LEFT
    ]
    return list(dict.fromkeys(missing))


def draw_email(content: EmailContent) -> bytes:
    """Draw an e-mail as a PNG."""
    from PIL import Image, ImageDraw

    colors = content.brand.colors
    picture = Image.new("RGB", (WIDTH, MAX_HEIGHT), colors.background)
    draw = ImageDraw.Draw(picture)
    draw.rectangle([0, 0, WIDTH, 96], fill=PAPER)
    label = gettext("Subject: {subject}").format(subject=content.subject)
    face = font(32, bold=True)
    draw.text(
        (PADDING, 48), _fitted(draw, label, face, WIDTH - 2 * PADDING), TEXT, face, anchor="lm"
    )
    left, top = (WIDTH - CARD) // 2, 124
    blocks = email_blocks(content)
    card = [block for block in blocks if block.kind != "foot"]
    footer = [block for block in blocks if block.kind == "foot"]
    bottom = _draw_blocks(draw, card, left, top + PADDING, colors) + PADDING - 20
    bottom = min(bottom, MAX_HEIGHT - 40)
    # The card's height is known only now: draw it, and its content again on top.
    draw.rectangle([0, 97, WIDTH, MAX_HEIGHT], fill=colors.background)
    draw.rounded_rectangle([left, top, left + CARD, bottom], radius=16, fill=colors.card)
    _draw_blocks(draw, card, left, top + PADDING, colors)
    draw.rectangle([0, bottom + 1, WIDTH, MAX_HEIGHT], fill=colors.background)
    end = min(_draw_blocks(draw, footer, left, bottom + 28, colors) + 12, MAX_HEIGHT)
    output = io.BytesIO()
    picture.crop((0, 0, WIDTH, end)).quantize(64).save(output, format="PNG", optimize=True)
    return output.getvalue()


def _draw_blocks(
    draw: "ImageDraw", blocks: list[EmailBlock], left: int, top: int, colors: Palette
) -> int:
    """Draw the blocks below each other and return where they end."""
    inner, width = left + PADDING, CARD - 2 * PADDING
    for number, block in enumerate(blocks):
        size, height, is_bold = _STYLES[block.kind]
        face = font(size, bold=is_bold, mono=block.kind == "code")
        if block.kind == "item":
            top = _draw_item(draw, block, (inner, top), width, colors)
        elif block.kind == "picture":
            draw.rounded_rectangle([inner, top, inner + width, top + height], 12, fill=PLACEHOLDER)
            middle = (inner + width // 2, top + height // 2)
            draw.text(middle, _fitted(draw, block.text, face, width - 40), MUTED, face, anchor="mm")
            top += height + 40
        elif block.kind == "button":
            top = _draw_button(draw, block.text, face, (inner + width // 2, top), height, colors)
        elif block.kind == "code":  # with its line, in one box
            below_code = _wrapped(draw, blocks[number + 1].text, font(26), width - 40)
            below = top + 24 + height + 40 * len(below_code) + 20
            _dashed_box(draw, (inner, top, inner + width, below))
            middle = (inner + width // 2, top + 24 + height // 2)
            draw.text(middle, block.text, colors.text, face, anchor="mm")
            top += 24 + height
        else:
            is_centred = block.kind == "line"
            for line in _wrapped(draw, block.text, face, width - (40 if is_centred else 0)):
                if is_centred:
                    middle = (inner + width // 2, top + height // 2)
                    draw.text(middle, line, colors.text, face, anchor="mm")
                else:
                    draw.text((inner, top), line, colors.text, face)
                top += height
            top += {"line": 48, "foot": 8}.get(block.kind, 28)
    return top


def _draw_button(
    draw: "ImageDraw", label: str, face: Any, at: tuple[int, int], height: int, colors: Palette
) -> int:
    """Draw the button, centred at a place, and return where it ends."""
    half = int(draw.textlength(label, face) / 2) + 48
    box = [at[0] - half, at[1], at[0] + half, at[1] + height]
    draw.rounded_rectangle(box, radius=12, fill=colors.button)
    draw.text((at[0], at[1] + height // 2), label, colors.button_text, face, anchor="mm")
    return at[1] + height + 44


def _draw_item(
    draw: "ImageDraw", block: EmailBlock, at: tuple[int, int], width: int, colors: Palette
) -> int:
    """Draw an item with its title and price, and return where it ends."""
    left, top = at
    indent = ITEM_PICTURE + GAP if block.has_picture else 0
    if block.has_picture:
        box = [left, top, left + ITEM_PICTURE, top + ITEM_PICTURE]
        draw.rounded_rectangle(box, radius=10, fill=PLACEHOLDER)
        middle = (left + ITEM_PICTURE // 2, top + ITEM_PICTURE // 2)
        draw.text(middle, gettext("Picture"), MUTED, font(23), anchor="mm")
    size, height, is_bold = _STYLES["item"]
    face = font(size, bold=is_bold)
    titles, end = _wrapped(draw, block.text, face, width - indent), top
    if block.has_picture:
        below = height * len(titles) + (40 if block.detail else 0)
        end += max(0, (ITEM_PICTURE - below) // 2)
    for line in titles:
        draw.text((left + indent, end), line, colors.text, face)
        end += height
    if block.detail:
        draw.text((left + indent, end), block.detail, colors.text, font(28))
        end += 40
    return max(end, top + ITEM_PICTURE if block.has_picture else end) + GAP


def _dashed_box(draw: "ImageDraw", box: tuple[int, int, int, int]) -> None:
    left, top, right, bottom = box
    across = [(x, y, min(x + 11, right), y) for x in range(left, right, 20) for y in (top, bottom)]
    down = [(x, y, x, min(y + 11, bottom)) for y in range(top, bottom, 20) for x in (left, right)]
    for line in (*across, *down):
        draw.line(line, fill=BORDER, width=2)


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


def _fitted(draw: "ImageDraw", text: str, face: Any, width: int) -> str:
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
