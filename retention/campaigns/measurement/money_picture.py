"""Draw a campaign's money as a picture: cost, promised profit and measured profit.

A transaction stores the description; the sender draws it, so no writer waits for a picture. It uses
Pillow, which loads in milliseconds.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retention.number_format import money
from retention.text import gettext, language, use_language, use_picture_language

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

MONEY = "application/vnd.retention.money+json"  # type of a description
WIDTH, ROW, TOP, BOTTOM = 600, 108, 8, 44  # pixels; readable on a phone, where it is 320 wide
SIDES = 64  # pixels left and right of the axis
TEXT, MUTED, PAPER = "#1d1c1d", "#5c5c5f", "#ffffff"
COST, PROMISED, MEASURED = "#8d8d97", "#9a7fa0", "#9b5fb0"
# Of a transparent picture: readable on Slack's light and on its dark theme.
CHART_TEXT, CHART_GRID, NO_PAPER = "#7b7b7f", "#80808080", (123, 123, 127, 0)


@dataclass(frozen=True, slots=True)
class MoneyRow:
    """One line of the picture: an amount, with its range if it is uncertain."""

    label: str
    amount: float
    low: float | None
    high: float | None
    color: str


@use_picture_language()
def campaign_rows(data: Mapping[str, Any]) -> tuple[MoneyRow, ...]:
    """Return the lines of a campaign's picture.

    `data`: of `retention.campaigns.lifecycle.view.campaign_data`.
    Returns: cost and promised profit; after a measurement, the measured ones, too.
    """
    plan, verdict, result = data["plan"], data.get("verdict"), data.get("result") or {}
    expected = plan["profit"], plan["profit_low"], plan["profit_high"]
    promised = MoneyRow(gettext("Expected profit"), *expected, PROMISED)
    cost = MoneyRow(gettext("Expected cost"), -plan["cost"], None, None, COST)
    if not verdict or not verdict["profit"]:
        return cost, promised
    profit = verdict["profit"]
    cost = MoneyRow(gettext("Cost"), -result["cost"], None, None, COST)
    measured = profit["total"], profit["low"], profit["high"]
    return cost, promised, MoneyRow(gettext("Measured profit"), *measured, MEASURED)


@use_picture_language()
def describe_money(data: Mapping[str, Any]) -> bytes:
    """Return what `draw_money` needs for a campaign: equal data give equal bytes."""
    is_simulated = (data.get("result") or {}).get("simulated")
    description = {
        "rows": [asdict(row) for row in campaign_rows(data)],
        "currency": data["currency"],
        # Pictures are shared without their message.
        "note": gettext("Simulated response") if is_simulated else "",
        "language": language(),
    }
    return json.dumps(description).encode()


def draw_money(description: bytes) -> bytes:
    """Draw amounts on one axis, with their ranges, as a PNG."""
    values = json.loads(description)
    rows = [MoneyRow(**row) for row in values["rows"]]
    with use_language(values["language"]):
        return _draw(rows, values["currency"], values["note"])


def _draw(rows: Sequence[MoneyRow], currency: str, note: str) -> bytes:
    from PIL import Image, ImageDraw

    height = TOP + ROW * len(rows) + BOTTOM
    picture = Image.new("RGBA", (WIDTH, height), NO_PAPER)
    draw = ImageDraw.Draw(picture)
    ends = [end for row in rows for end in (row.amount, row.low, row.high) if end is not None]
    low, high = min(0.0, *ends), max(0.0, *ends)
    span = (high - low) or 1.0

    def across(amount: float) -> float:
        return SIDES + (WIDTH - 2 * SIDES) * (amount - low) / span

    floor = TOP + ROW * len(rows)
    for number in range(len(rows)):  # not across the labels
        top = TOP + ROW * number
        draw.line([(across(0), top + 40), (across(0), top + ROW)], fill=CHART_GRID, width=2)
    draw.text((across(0), floor + 6), money(0, currency), CHART_TEXT, font(20), anchor="ma")
    if note:
        draw.text((WIDTH - 12, height - 12), note, CHART_TEXT, font(18), anchor="rs")
    for number, row in enumerate(rows):
        _draw_row(draw, row, TOP + ROW * number, across, currency)
    content = io.BytesIO()
    picture.quantize(128, Image.Quantize.FASTOCTREE).save(content, format="PNG", optimize=True)
    return content.getvalue()


def _draw_row(draw: "ImageDraw", row: MoneyRow, top: int, across: Any, currency: str) -> None:
    middle = top + 88
    draw.text((12, top + 20), row.label, CHART_TEXT, font(24), anchor="lm")
    at, amount = across(row.amount), money(row.amount, currency)
    if row.low is None or row.high is None:
        left, right = sorted((across(0), at))
        draw.rectangle([left, middle - 11, max(right, left + 3), middle + 11], fill=row.color)
        _write(draw, at, middle - 18, amount, font(22, bold=True), CHART_TEXT)
        return
    left, right = across(row.low), across(row.high)
    draw.rounded_rectangle([left, middle - 6, right, middle + 6], radius=6, fill=row.color)
    dot = [at - 12, middle - 12, at + 12, middle + 12]
    draw.ellipse(dot, fill=row.color, outline=NO_PAPER, width=3)
    _write(draw, at, middle - 18, amount, font(22, bold=True), CHART_TEXT)
    for x, end in ((left, row.low), (right, row.high)):
        if abs(x - at) > 90:  # else it would cover the amount
            _write(draw, x, middle - 18, money(end, currency), font(20), CHART_TEXT)


def _write(draw: "ImageDraw", x: float, y: float, text: str, face: Any, color: str) -> None:
    """Write a text centred at x, but within the picture."""
    half = draw.textlength(text, face) / 2 + 6
    draw.text((min(max(x, half), WIDTH - half), y), text, color, face, anchor="ms")


@lru_cache(maxsize=32)
def font(size: int, *, bold: bool = False, mono: bool = False) -> Any:
    """Return a font for pictures."""
    from PIL import ImageFont

    return ImageFont.truetype(font_file(bold=bold, mono=mono), size)


def font_file(*, bold: bool = False, mono: bool = False) -> str:
    """Return the path of a font that matplotlib brings along, without loading matplotlib."""
    spec = find_spec("matplotlib")
    assert spec is not None  # a requirement
    assert spec.origin is not None
    name = f"DejaVuSans{'Mono' if mono else ''}{'-Bold' if bold else ''}.ttf"
    return str(Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / name)
