"""Choose what an e-mail shows, without its layout.

The HTML, the plain text and the picture in Slack all show this content.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from retention import templating
from retention.campaigns.lifecycle.spec import Body
from retention.campaigns.message.brand import (
    Brand,
    discount_link,
    link_opens,
    load_brand,
    product_link,
    with_utm,
)
from retention.campaigns.message.greeting import greeting_name
from retention.campaigns.message.merged_message import (
    CALL,
    customer_wording,
    message_text,
    own_parts,
    wording_action,
)
from retention.campaigns.message.parts import Block, BlockKind, MessageParts, usual_blocks
from retention.campaigns.message.wording import (
    Wording,
    fill_text,
    kind_text,
    load_wording,
    text_key,
)
from retention.campaigns.planning.offer_terms import limited_category
from retention.campaigns.planning.product_details import Product
from retention.outreach.adapter import Contact
from retention.risk.strategy import WIN_BACK
from retention.settings import Settings

MAX_TITLE = 120  # characters
ITEMS = "{items}"
NOBODY = Contact()
Offer = Mapping[str, Any]  # a row of `launch.recipient_rows`


@dataclass(frozen=True, slots=True)
class EmailItem:
    """A recommended item; unknown parts are empty."""

    title: str
    price: str = ""
    picture: str = ""
    link: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """What a block shows to one customer."""

    kind: BlockKind
    text: str = ""  # the line above items, a picture's description or a button's label
    heading: str = ""  # of items; the text above then does not name them
    link: str = ""
    picture: str = ""
    items: tuple[EmailItem, ...] = ()


@dataclass(frozen=True, slots=True)
class EmailContent:
    """Everything that an e-mail shows, in the customer's language."""

    language: str  # BCP 47
    direction: str  # ltr or rtl
    brand: Brand
    home: str  # link to the shop's first page, or empty
    sender_name: str  # empty: that of the installation
    subject: str
    preview: str  # what a list of e-mails shows below the subject
    text: str  # the whole text, with the items' titles
    paragraphs: tuple[str, ...]  # of the block with the text
    code: str
    code_line: str  # value, conditions and last day of the code
    is_code_in_text: bool
    sections: tuple[Section, ...]  # from top to bottom
    reason: str  # why the customer gets it
    unsubscribe: str
    unsubscribe_url: str

    @property
    def is_rtl(self) -> bool:
        """Whether the text runs from right to left."""
        return self.direction == "rtl"


def email_content(
    settings: Settings,
    body: Body,
    offer: Offer,
    contact: Contact = NOBODY,
    *,
    campaign_id: str = "",
    unsubscribe_url: str = "#",
    products: Mapping[str, Product] | None = None,
) -> EmailContent:
    """Choose what the e-mail to one customer shows.

    `offer`: row of `launch.recipient_rows`, with the items of `block_products.with_products`.
    """
    terms, brand = offer["offer"], load_brand(settings)
    campaign = body.utm_campaign or campaign_id
    parts = own_parts(settings, body, terms)
    wording = customer_wording(settings, body, terms, contact.locale, parts)
    words = wording.words
    typed = message_text(body, terms, wording, parts)
    listed = _listed(terms, parts)
    values = placeholder_values(settings, contact.name, {**offer, "offer": listed}, wording)
    blocks = parts.blocks or usual_blocks(has_code=bool(values["code"]))
    has_items = any(block.kind == "products" for block in blocks)
    # Below a heading of their own, no line of the text announces the items.
    is_headed = any(block.kind == "products" and block.label for block in blocks)
    told = values | {"items": ""} if is_headed else values
    paragraphs, announcement = _split(typed, told, has_items=has_items)
    items = _items(brand, wording, listed, campaign, products or {}) if has_items else ()
    text = fill_text(typed, told).strip()
    is_coupon = terms["action"] == "coupon"
    line = words.offer.coupon_line if is_coupon else words.offer.free_shipping_line
    code_line = fill_text(line, values) if values["code"] else ""
    why = words.footer.bought if "unknown" in (terms.get("consent") or ()) else words.footer.agreed
    preheader = fill_text(parts.preheader, values).strip() or code_line
    shown = _Shown(brand, wording, campaign, values["code"], announcement, items, products or {})
    return EmailContent(
        language=wording.tag,
        direction=wording.direction,
        brand=brand,
        home=shown.home,
        sender_name=parts.sender_name or brand.sender_name,
        subject=email_subject(parts, wording, terms, values, body.kind),
        preview=preheader or (wording.items_preview(len(items)) if items else ""),
        text=text,
        paragraphs=paragraphs,
        code=values["code"],
        code_line=code_line,
        is_code_in_text=values["code"] in text,
        sections=tuple(filter(None, map(shown.section, blocks))),
        reason=why.replace("{shop}", brand.name or words.footer.we),
        unsubscribe=words.footer.unsubscribe,
        unsubscribe_url=unsubscribe_url,
    )


def _listed(terms: Mapping[str, Any], parts: MessageParts) -> Mapping[str, Any]:
    """Return an offer with the items that the products block shows.

    Without the block, only a text of the shop's own may still name them.
    """
    if not parts.blocks or (parts.products is None and ITEMS in parts.text):
        return terms
    block = parts.products
    items = terms["items"][: block.count or None] if block else []
    return {**terms, "items": items}


@dataclass(frozen=True, slots=True)
class _Shown:
    """What the blocks of one e-mail are filled with."""

    brand: Brand
    wording: Wording
    campaign: str
    code: str
    announcement: str
    items: tuple[EmailItem, ...]
    products: Mapping[str, Product]

    @property
    def home(self) -> str:
        return self._tagged(self.brand.website)

    def section(self, block: Block) -> Section | None:
        """Return what a block shows; None if it has nothing to show."""
        if block.kind == "products":
            shown = Section("products", self.announcement, block.label, items=self.items)
            return shown if self.items else None
        if block.kind == "picture":
            return self._picture(block)
        if block.kind == "button":
            return self._button(block)
        return Section(block.kind) if block.kind == "text" or self.code else None

    def _picture(self, block: Block) -> Section | None:
        item = self.products.get(block.item_id, Product())
        url = item.picture if block.item_id else block.address
        link = product_link(self.brand, block.item_id, item.url, self.campaign)
        return (
            Section("picture", block.label or item.title, link=link, picture=url) if url else None
        )

    def _button(self, block: Block) -> Section | None:
        words = self.wording.words.button
        landing = block.address or _landing(self.items)
        applies = self.code and (not block.address or link_opens(self.brand, block.address))
        apply = discount_link(self.brand, self.code, landing, self.campaign) if applies else ""
        link = apply or self._tagged(block.address or self.brand.website)
        label = block.label or (words.use_code if apply else words.visit)
        return Section("button", label, link=link) if link else None

    def _tagged(self, url: str) -> str:
        return with_utm(url, self.brand.utm, self.campaign) if url else ""


def email_subject(
    parts: MessageParts,
    wording: Wording,
    terms: Mapping[str, Any],
    values: dict[str, str],
    kind: str = WIN_BACK,
) -> str:
    """Return the subject as a person wrote it, or the default."""
    if own := fill_text(parts.subject, values).strip():
        return own
    subjects = wording.words.subject
    usual = kind_text(wording, terms["action"], kind)
    by_action = getattr(subjects, text_key(wording_action(terms)), None) or subjects.reminder
    subject = fill_text(usual.subject if usual else by_action, values).strip()
    named = {"subject": subject, "shop": values["shop"]}
    return fill_text(subjects.with_shop, named) if named["shop"] else subject


def placeholder_values(
    settings: Settings, name: str | None, offer: Offer, wording: Wording | None = None
) -> dict[str, str]:
    """Return the placeholder values for one customer.

    `offer`: row of `launch.recipient_rows`.
    `wording`: of `customer_wording`; by default the shop's.
    """
    terms = offer["offer"]
    wording = wording or load_wording(settings)
    expires_at = offer["expires_at"]
    return {
        "name": _greeted(wording, terms, templating.strip_controls(name or "")),
        "discount": _discount(wording, terms),
        "conditions": _conditions(wording, terms),
        "code": offer["code"] or "",
        "expires": wording.day(expires_at, settings.timezone) if expires_at else "",
        "items": "; ".join(item["title"] for item in _shown(terms)),
        "shop": load_brand(settings).name,
    }


def _greeted(wording: Wording, terms: Mapping[str, Any], name: str) -> str:
    """Return the name in the text; a call script has the whole one."""
    is_whole = wording.words.greeting == "whole" or terms["action"] == CALL
    return name if is_whole else greeting_name(name, wording.tag)


def _discount(wording: Wording, terms: Mapping[str, Any]) -> str:
    if terms["action"] == "free_shipping":
        return wording.words.offer.free_shipping
    if terms.get("what"):
        return str(templating.strip_controls(terms["what"]))
    if terms.get("amount"):
        return wording.money(terms["amount"], terms.get("currency") or "")
    return wording.percent(terms["discount"]) if terms.get("discount") else ""


def _conditions(wording: Wording, terms: Mapping[str, Any]) -> str:
    if category := limited_category(terms):
        return wording.words.offer.only.replace("{category}", category)
    if not terms.get("min_order"):
        return ""
    amount = wording.money(terms["min_order"], terms.get("currency") or "")
    return wording.words.offer.from_.replace("{amount}", amount)


def shown_titles(terms: Mapping[str, Any]) -> list[str]:
    """Return readable titles of all items of an offer, shortened."""
    return [_title(item) for item in terms["items"]]


def _title(item: Mapping[str, Any]) -> str:
    return templating.shorten(templating.strip_controls(item["title"]), MAX_TITLE)


def _shown(terms: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return id and title of the items that are shown.

    An item without a title has only its id, and customers do not know ids. If no item has a title,
    all are shown by their ids.
    """
    titled = [item for item in terms["items"] if item["title"] != item["item_id"]]
    shown = titled or terms["items"]
    return [{"item_id": item["item_id"], "title": _title(item)} for item in shown]


def _items(
    brand: Brand,
    wording: Wording,
    terms: Mapping[str, Any],
    campaign: str,
    products: Mapping[str, Product],
) -> tuple[EmailItem, ...]:
    currency, items = terms.get("currency") or "", []
    for item in _shown(terms):
        product = products.get(item["item_id"], Product())
        # Without its currency a price could be misread.
        has_price = product.price and product.price > 0 and currency
        price = wording.money(product.price, currency) if product.price and has_price else ""
        link = product_link(brand, item["item_id"], product.url, campaign)
        items.append(EmailItem(item["title"], price, product.picture, link))
    return tuple(items)


def _landing(items: tuple[EmailItem, ...]) -> str:
    """Return the page that the discount link opens: that of the first item, if it has one."""
    return next((item.link for item in items if item.link), "")


def _split(typed: str, values: dict[str, str], *, has_items: bool) -> tuple[tuple[str, ...], str]:
    """Return the paragraphs, and apart from them the one that announces the items.

    The items follow as pictures, so their titles are left out if the text ends with them. The code
    is between both, so a text of one line stays whole above it.
    """
    typed, announcement = typed.strip(), ""
    if has_items and typed.endswith(ITEMS) and values["items"]:
        typed, _, last = f"\n{typed.removesuffix(ITEMS).rstrip()}".rpartition("\n")
        typed, announcement = (typed, last) if typed.strip() else (last, "")
    above, announcement = (fill_text(text, values).strip() for text in (typed, announcement))
    return tuple(part.strip() for part in above.split("\n\n") if part.strip()), announcement
