"""Test the pictures of a campaign: its money and its e-mail."""

import io
from datetime import UTC, datetime

import pytest
from PIL import Image

from retention.campaigns.lifecycle.view import version_data
from retention.campaigns.measurement.money_picture import (
    WIDTH,
    campaign_rows,
    describe_money,
    draw_money,
)
from retention.campaigns.message.email_content import email_content
from retention.campaigns.message.email_picture import draw_email, email_blocks, undrawable
from retention.campaigns.planning.product_details import Product
from retention.outreach.adapter import Contact
from tests.retention.campaigns.samples import a_body, write_home

COUPON = {
    "action": "coupon",
    "discount": 0.1,
    "currency": "EUR",
    "items": [{"item_id": "i1", "title": "Tea"}, {"item_id": "i2", "title": "Mug"}],
}


def _content(settings, text="Hello Ann\nand Bob\n\n{code}", locale="", terms=COUPON):
    expires_at = datetime(2025, 6, 1, tzinfo=UTC)
    row = {"offer": terms, "code": "AB-12", "expires_at": expires_at}
    products = {"i1": Product(8.5, "https://tea.example/tea.png")}
    body = a_body(copy_text=text)
    return email_content(settings, body, row, Contact(name="Ann", locale=locale), products=products)


def _drawn(content):
    return Image.open(io.BytesIO(draw_email(content)))


def test_email_is_drawn_in_its_order(settings):
    blocks = email_blocks(_content(settings.model_copy(update={"shop": "Leaf"})))
    assert [(block.kind, block.text) for block in blocks] == [
        ("shop", "Leaf"),
        ("text", "Hello Ann\nand Bob"),
        ("text", "AB-12"),
        ("code", "AB-12"),
        ("line", "10% off, once, until 1 Jun 2025"),
        ("item", "Tea"),
        ("item", "Mug"),
        ("foot", "Leaf wrote to you because you agreed to hear from us. Unsubscribe"),
    ]
    assert [(block.detail, block.has_picture) for block in blocks if block.kind == "item"] == [
        ("€8.50", True),
        ("", False),
    ]


def test_longer_email_makes_a_taller_picture(settings):
    short, long = (_drawn(_content(settings, text)) for text in ("Hello", 300 * "word "))
    assert short.width == long.width
    assert long.height > 1.5 * short.height


def test_a_word_without_spaces_stays_in_the_picture(settings):
    picture = _drawn(_content(settings, 400 * "x"))
    right = picture.convert("L").crop((picture.width - 30, 0, picture.width, picture.height))
    assert min(right.getdata()) > 200  # only background


def test_picture_has_the_brands_colours(settings):
    colors = '[colors]\nbutton = "#7a1f3d"\nbackground = "#f3efe6"'
    brand = f'website = "https://tea.example"\n{colors}'
    write_home(settings, "brand.toml", brand)
    used = {color for _, color in _drawn(_content(settings)).convert("RGB").getcolors(1 << 20)}
    assert {(0x7A, 0x1F, 0x3D), (0xF3, 0xEF, 0xE6), (255, 255, 255)} <= used


@pytest.mark.parametrize(
    ("text", "missing"),
    [("Grüße, 15 % − €5", []), ("你好 你", ["你", "好"]), ("שלום", ["ש", "ל", "ו", "ם"])],
)
def test_characters_that_cannot_be_drawn_are_named(settings, text, missing):
    assert undrawable(_content(settings, text)) == missing


def test_picture_shows_the_range_of_the_draft_and_the_result():
    data = version_data(a_body()) | {"result": None, "verdict": None}
    cost, profit = campaign_rows(data)
    assert (cost.amount, cost.low) == (-data["plan"]["cost"], None)
    assert (profit.low, profit.high) == (data["plan"]["profit_low"], data["plan"]["profit_high"])
    measured = data | {
        "result": {"cost": 9.0},
        "verdict": {"profit": {"total": 5.0, "low": 1.0, "high": 9.0}},
    }
    assert [row.amount for row in campaign_rows(measured)] == [-9.0, profit.amount, 5.0]


@pytest.mark.parametrize("amount", [0.0, -3.0, 4e6])
def test_any_amount_can_be_drawn(amount):
    data = version_data(a_body()) | {"result": None, "verdict": None}
    data["plan"] |= {"profit": amount, "profit_low": amount - 1, "profit_high": amount + 1}
    assert Image.open(io.BytesIO(draw_money(describe_money(data)))).width == WIDTH
