"""Take the pictures of e-mails for the docs: a sample shop's, in Chromium, and as Slack shows it.

``make tour`` runs it. Its logo and its items are drawn here.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image, ImageDraw

from retention.campaigns.measurement.money_picture import font
from retention.campaigns.message.email_content import email_content
from retention.campaigns.message.email_picture import draw_email
from retention.campaigns.message.wording import default_text
from retention.outreach.adapter import Contact
from retention.settings import Settings
from tests.chromium import chromium
from tests.retention.campaigns.email_samples import KINDS, sample_email, sample_row, write_brand
from tests.retention.campaigns.samples import a_body
from tests.standins.shop_pages import stand_in_shop

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
SHOTS = ((375, "light"), (375, "dark"), (700, "light"))  # width and colour scheme
GAP, PAPER = 24, "#ffffff"


def main() -> None:
    """Write ``email.png``, ``email_blocks.png`` and ``email_preview.png``."""
    pictures = {"/logo.png": _logo(), "/pictures/tea.png": _tea()}
    with TemporaryDirectory() as home, stand_in_shop(pictures) as shop, chromium() as browser:
        settings = Settings(home=Path(home), _env_file=None)
        for kind, name in (("coupon", "email.png"), ("blocks", "email_blocks.png")):
            html = sample_email(settings, KINDS[kind], shop).html
            shots = []
            for width, scheme in SHOTS:
                size = {"width": width, "height": 600}
                shown = browser.new_page(viewport=size, color_scheme=scheme)
                shown.set_content(html, wait_until="networkidle")
                shots.append(Image.open(io.BytesIO(shown.screenshot(full_page=True))))
            _save(_beside(shots), name)
        write_brand(settings, "https://leaf-and-kettle.example")
        row, products = sample_row(KINDS["coupon"], "https://leaf-and-kettle.example")
        body, ann = a_body(copy_text=default_text()), Contact(name="Ann")
        content = email_content(settings, body, row, ann, products=products)
        _save(Image.open(io.BytesIO(draw_email(content))), "email_preview.png")


def _beside(shots: Sequence[Image.Image]) -> Image.Image:
    width = sum(shot.width for shot in shots) + GAP * (len(shots) - 1)
    sheet = Image.new("RGB", (width, max(shot.height for shot in shots)), PAPER)
    left = 0
    for shot in shots:
        sheet.paste(shot, (left, 0))
        left += shot.width + GAP
    return sheet


def _save(picture: Image.Image, name: str) -> None:
    picture.quantize(128).save(FOLDER / name, optimize=True)


def _logo() -> bytes:
    picture = Image.new("RGBA", (640, 128))
    draw = ImageDraw.Draw(picture)
    draw.ellipse([8, 24, 96, 104], fill="#7a1f3d")
    draw.arc([72, 36, 132, 88], 270, 90, fill="#7a1f3d", width=12)
    draw.text((156, 64), "Leaf & Kettle", "#b5476c", font(60, bold=True), anchor="lm")
    return _png(picture)


def _tea() -> bytes:
    picture = Image.new("RGB", (300, 300), "#d9c7a3")
    draw = ImageDraw.Draw(picture)
    draw.ellipse([60, 110, 240, 230], fill="#ffffff")
    draw.ellipse([80, 120, 220, 170], fill="#8a4b1f")
    draw.arc([210, 130, 280, 200], 270, 90, fill="#ffffff", width=14)
    return _png(picture)


def _png(picture: Image.Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()


if __name__ == "__main__":
    main()
