"""Test the pictures of a campaign: its money and its e-mail."""

import io
from dataclasses import replace

import pytest
from PIL import Image

from retention.campaigns.email_picture import draw_email, email_blocks, undrawable
from retention.campaigns.pictures import campaign_rows, draw_money
from retention.campaigns.view import version_data
from tests.retention.campaigns.samples import a_body

HTML = """<html><head><title>No</title><style>p { color: red }</style></head><body>
<p>Hello<br>Ann &amp; Bob</p><p class="code">AB-12</p><ul><li>Tea</li></ul></body></html>"""


def test_email_is_read_in_its_order_without_its_head():
    blocks = [(block.kind, block.text) for block in email_blocks(HTML)]
    assert blocks == [("", "Hello\nAnn & Bob"), ("code", "AB-12"), ("item", "Tea")]


def test_longer_email_makes_a_taller_picture():
    short, long = (
        Image.open(io.BytesIO(draw_email("Hi", f"<p>{text}</p>")))
        for text in ("Hello", 300 * "word ")
    )
    assert short.width == long.width
    assert long.height > 2 * short.height


def test_a_word_without_spaces_stays_in_the_picture():
    picture = Image.open(io.BytesIO(draw_email("Hi", f"<p>{400 * 'x'}</p>")))
    right = picture.convert("L").crop((picture.width - 30, 0, picture.width, picture.height))
    assert min(right.getdata()) > 200  # only background


def test_characters_that_the_font_lacks_are_named():
    assert undrawable("Grüße, 15 % − €5") == []
    assert undrawable("你好 你") == ["你", "好"]


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
    row = campaign_rows(version_data(a_body()))[1]
    row = replace(row, amount=amount, low=amount - 1, high=amount + 1)
    assert Image.open(io.BytesIO(draw_money((row,), "EUR"))).width == 800
