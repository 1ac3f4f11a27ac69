"""Choose what an e-mail shows, without its layout.

The HTML, the plain text and the picture in Slack all show this content.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from retention import templating
from retention.campaigns.lifecycle.spec import WITHOUT_CODE, Body
from retention.campaigns.message.brand import (
    Brand,
    discount_link,
    load_brand,
    product_link,
    with_utm,
)
from retention.campaigns.message.greeting import greeting_name
from retention.campaigns.message.wording import (
    Wording,
    fill_text,
    is_default_text,
    kind_text,
    load_wording,
    text_of,
    text_wording,
)
from retention.campaigns.planning.due_and_new_items import NEW_ARRIVAL
from retention.campaigns.planning.offer_terms import limited_category
from retention.campaigns.planning.product_details import Product
from retention.outreach.adapter import Contact, is_text
from retention.risk.strategy import WIN_BACK
from retention.settings import Settings

MAX_TITLE = 120  # characters
CALL = "call"  # the action of a call script, which a person of the shop reads
ITEMS = "{items}"
NOBODY = Contact()
LONG_SILENCE = 28  # days without an order from which "it has been a while"
Offer = Mapping[str, Any]  # a row of `launch.recipient_rows`


@dataclass(frozen=True, slots=True)
class EmailItem:
    """A recommended item; unknown parts are empty."""

    title: str
    price: str = ""
    picture: str = ""
    link: str = ""


@dataclass(frozen=True, slots=True)
class EmailContent:
    """Everything that an e-mail shows, in the customer's language."""

    language: str  # BCP 47
    direction: str  # ltr or rtl
    brand: Brand
    home: str  # link to the shop's first page, or empty
    subject: str
    preview: str  # what a list of e-mails shows below the subject
    text: str  # the whole text, with the items' titles
    paragraphs: tuple[str, ...]  # the text above the code
    announcement: str  # the text right above the items
    code: str
    code_line: str  # value, conditions and last day of the code
    is_code_in_text: bool
    button: str
    button_link: str  # empty without a button
    items: tuple[EmailItem, ...]
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

    `offer`: row of `launch.recipient_rows`.
    """
    terms, brand = offer["offer"], load_brand(settings)
    campaign = body.utm_campaign or campaign_id
    wording = customer_wording(settings, body, terms, contact.locale)
    words = wording.words
    values = placeholder_values(settings, contact.name, offer, wording)
    typed = message_text(settings, body, terms, wording)
    paragraphs, announcement = _split(typed, values)
    items = _items(brand, wording, terms, campaign, products or {})
    text = fill_text(typed, values).strip()
    apply = discount_link(brand, values["code"], _landing(items), campaign)
    home = with_utm(brand.website, brand.utm, campaign) if brand.website else ""
    has_apply = bool(values["code"] and apply)
    line = words.offer.free_shipping_line if _is_free_shipping(terms) else words.offer.coupon_line
    code_line = fill_text(line, values) if values["code"] else ""
    why = words.footer.bought if "unknown" in (terms.get("consent") or ()) else words.footer.agreed
    return EmailContent(
        language=wording.tag,
        direction=wording.direction,
        brand=brand,
        home=home,
        subject=email_subject(wording, terms, values, body.kind),
        preview=code_line or (wording.items_preview(len(items)) if items else ""),
        text=text,
        paragraphs=paragraphs,
        announcement=announcement,
        code=values["code"],
        code_line=code_line,
        is_code_in_text=values["code"] in text,
        button=words.button.use_code if has_apply else words.button.visit,
        button_link=apply if has_apply else home,
        items=items,
        reason=why.replace("{shop}", brand.name or words.footer.we),
        unsubscribe=words.footer.unsubscribe,
        unsubscribe_url=unsubscribe_url,
    )


def customer_wording(
    settings: Settings, body: Body, terms: Mapping[str, Any], locale: str
) -> Wording:
    """Return the texts for a customer.

    A text that a person wrote is in the shop's language, and so is all around it. Call scripts are
    in the shop's language, too.
    """
    wording = load_wording(settings, locale)
    if terms["action"] == CALL or own_text(settings, body, terms["action"]):
        shop = load_wording(settings)
        # A text in the customer's own language still has dates and amounts as they write them.
        is_same = wording.name == shop.name and terms["action"] != CALL
        wording = wording if is_same else shop
    return text_wording(settings, wording) if is_text(body.message_channel) else wording


def message_text(settings: Settings, body: Body, terms: Mapping[str, Any], wording: Wording) -> str:
    """Return the campaign's text or the offer's default text."""
    own = own_text(settings, body, terms["action"])
    return own or text_of(
        wording,
        wording_action(terms),
        body.message_channel,
        is_late=terms.get("silent_days", LONG_SILENCE) < LONG_SILENCE,  # unknown in old campaigns
        kind=body.kind,
    )


def own_text(settings: Settings, body: Body, action: str) -> str:
    """Return the text that a person wrote for an action; empty if nobody did."""
    if action == body.copy_action:
        text = body.copy_text
    elif action in WITHOUT_CODE:
        text, action = body.reminder_text, body.reminder_action or action
    else:
        return ""
    is_default = is_default_text(settings, action, text, body.message_channel, body.kind)
    is_own = text and not is_default
    return text if is_own else ""


def wording_action(terms: Mapping[str, Any]) -> str:
    """Return the action that the wording of an offer follows.

    A new-arrivals offer without new items reads as a reminder.
    """
    action = str(terms["action"])
    has_new_item = any(item.get("source") == NEW_ARRIVAL for item in terms["items"])
    return "reminder" if action == "new_arrivals" and not has_new_item else action


def email_subject(
    wording: Wording, terms: Mapping[str, Any], values: Mapping[str, str], kind: str = WIN_BACK
) -> str:
    """Return the subject."""
    subjects = wording.words.subject
    own = kind_text(wording, terms["action"], kind)
    pattern = own.subject if own else getattr(subjects, wording_action(terms), subjects.reminder)
    subject = fill_text(pattern, dict(values)).strip()
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
    if _is_free_shipping(terms):
        return wording.words.offer.free_shipping
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


def _is_free_shipping(terms: Mapping[str, Any]) -> bool:
    return bool(terms["action"] == "free_shipping")


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


def _split(typed: str, values: dict[str, str]) -> tuple[tuple[str, ...], str]:
    """Return the paragraphs, and apart from them the one that announces the items.

    The items follow as pictures, so their titles are left out if the text ends with them. The code
    is between both, so a text of one line stays whole above it.
    """
    typed, announcement = typed.strip(), ""
    if typed.endswith(ITEMS) and values["items"]:
        typed, _, last = f"\n{typed.removesuffix(ITEMS).rstrip()}".rpartition("\n")
        typed, announcement = (typed, last) if typed.strip() else (last, "")
    above, announcement = (fill_text(text, values).strip() for text in (typed, announcement))
    return tuple(part.strip() for part in above.split("\n\n") if part.strip()), announcement
