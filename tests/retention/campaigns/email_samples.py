"""E-mails as brands send them, for tests and pictures."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from retention.campaigns.message.customer_message import compose_message
from retention.campaigns.message.parts import MessageParts, parse_blocks
from retention.campaigns.message.wording import default_text
from retention.campaigns.planning.product_details import Product
from retention.db.tables import Send
from retention.outreach.adapter import Contact, Message
from retention.settings import Settings
from tests.retention.campaigns.samples import a_body, write_home
from tests.retention.campaigns.test_wording import ARABIC

UNSUBSCRIBE = "/unsubscribe/0000-1-abcd"
TITLES = ("Darjeeling First Flush, 100 g", "Stoneware mug <blue> & saucer", "Oolong sampler")


@dataclass(frozen=True)
class Kind:
    """One e-mail: its offer, the customer's locale, and whether the shop has a brand."""

    action: str = "coupon"
    locale: str = "en-GB"
    has_brand: bool = True
    has_pictures: bool = True
    blocks: str = ""


BLOCKS = "picture:i9|Teas of the autumn, text, products:3|New in, code, button|See the new teas"
KINDS = {
    "coupon": Kind(),
    "german": Kind(locale="de-DE"),
    "chinese": Kind(locale="zh-CN", action="free_shipping"),
    "right_to_left": Kind(locale="ar-EG"),
    "no_pictures": Kind(has_pictures=False, action="reminder"),
    "neutral": Kind(has_brand=False, has_pictures=False),
    "blocks": Kind(blocks=BLOCKS),
    "blocks_right_to_left": Kind(locale="ar-EG", blocks="code, products:3, picture:i9, text"),
}


def write_brand(settings: Settings, shop: str) -> None:
    """Give the shop at a URL a brand with a logo, and Arabic texts of its own."""
    write_home(settings, "email_text/ar.toml", ARABIC)
    brand = f"""
name = "Leaf & Kettle"
logo = "{shop}/logo.png"
website = "{shop}"
address = "Leaf & Kettle Ltd, 1 High Street, London N1 1AA, United Kingdom"
[colors]
background = "#f3efe6"
text = "#2b2118"
button = "#7a1f3d"
button_text = "#ffffff"
[links]
product = "{shop}/products/{{item_id}}"
discount = "{shop}/discount/{{code}}?redirect={{redirect}}"
"""
    write_home(settings, "brand.toml", brand)


def sample_row(kind: Kind, shop: str, items: int = 3) -> tuple[dict[str, Any], dict[str, Product]]:
    """Return the recipient's row and the products."""
    titles = [TITLES[number % len(TITLES)] for number in range(items)]
    terms = {
        "action": kind.action,
        "discount": 0.15 if kind.action == "coupon" else 0.0,
        "min_order": 30.0,
        "currency": "GBP",
        "items": [{"item_id": f"i{number}", "title": title} for number, title in enumerate(titles)],
    }
    has_code = kind.action in ("coupon", "free_shipping")
    row = {
        "offer": terms,
        "code": "TEA-7F3A-K2P9" if has_code else None,
        "expires_at": datetime(2025, 6, 1, 12, tzinfo=UTC) if has_code else None,
    }
    picture = f"{shop}/pictures/tea.png" if kind.has_pictures else ""
    products = {f"i{number}": Product(8.5 + number, picture) for number in range(items)}
    return row, products | {"i9": Product(9.0, picture, title="Teas of the autumn")}


def sample_email(settings: Settings, kind: Kind, shop: str, items: int = 3) -> Message:
    """Compose one of the e-mails."""
    if kind.has_brand:
        write_brand(settings, shop)
    row, products = sample_row(kind, shop, items)
    send = Send(id=5, campaign_id="c1", customer_id="k")
    contact = Contact("ann@example.com", "Ann", locale=kind.locale)
    message = MessageParts(blocks=parse_blocks(kind.blocks))
    body = a_body(copy_text=default_text(), message=message)
    return compose_message(settings, body, send, contact, row, f"{shop}{UNSUBSCRIBE}", products)
