"""Answer a customer's message by quotations, or not at all.

Every fact of an answer is copied from a policy, the catalogue, or the customer's own orders and
codes. The words around it are fixed sentences. Nothing is generated.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from retention.number_format import money, percent
from retention.service import examples, intents, search
from retention.service.facts import Code, Order, Product
from retention.service.policies import Section
from retention.templating import day
from retention.text import gettext, use_language

SHOWN_ORDERS, SHOWN_LINES = 3, 4
LANGUAGES = ("en", "zh")
# Scores below are no answer; chosen on the practice questions by `tests.benchmarks.service`.
LEAST = {"en": 0.083, "zh": 0.05}  # Chinese questions share few words with English texts
GOODS = 0.03  # for products, if the question sounds like one about products
MOST = 20  # that are compared
SECOND = 0.02  # a second quotation may be so much less near than the first
SPELLED_ALIKE = 0.8  # ratio of `difflib`, for the goods of an order
POLICY, PRODUCT, ORDERS, CODES = "policy", "product", "orders", "codes"
SIGN_IN, UNKNOWN, PERSON = "sign_in", "unknown", "person"
_MONTHS = re.compile(
    r"\b(jan)uary|\b(feb)ruary|\b(mar)ch\b|\b(apr)il|\b(may)\b|\b(jun)e|\b(jul)y|\b(aug)ust|"
    r"\b(sep)tember|\b(oct)ober|\b(nov)ember|\b(dec)ember",
    re.IGNORECASE,
)
_CHINESE_MONTH = re.compile(r"(?<!\d)(1[0-2]|[1-9]|十[一二]?|[一二三四五六七八九])月")
_CHINESE_NUMBERS = ("", *"一二三四五六七八九十", "十一", "十二")


@dataclass(frozen=True, slots=True)
class Source:
    """What an answer is copied from. ``url`` may be empty."""

    ref: str
    title: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the chat says. ``reason``: why a person comes."""

    code: str
    text: str
    sources: tuple[Source, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What all answers may quote, with its indexes; without the extra ``service`` there are none.

    ``sections`` and ``indexes``: by the language of the question. The products follow the sections
    in an index.
    """

    sections: Mapping[str, Sequence[Section]]
    products: Sequence[Product]
    indexes: Mapping[str, search.Index | None]
    currency: str
    zone: str


@dataclass(frozen=True, slots=True)
class Customer:
    """The signed customer's own data."""

    orders: Sequence[Order]
    codes: Sequence[Code]


def knowledge(
    sections: Sequence[Section], products: Sequence[Product], currency: str, zone: str
) -> Knowledge:
    """Index what answers may quote. A policy counts in the other language if it has only that."""
    read = {}
    for language in LANGUAGES:
        own = {each.subject for each in sections if each.language == language}
        read[language] = [
            each for each in sections if each.language == language or each.subject not in own
        ]
    goods = [each.text for each in products]
    indexes = {
        language: search.build([*(f"{one.title}. {one.text}" for one in some), *goods], language)
        for language, some in read.items()
    }
    return Knowledge(read, products, indexes, currency, zone)


def answer(text: str, known: Knowledge, customer: Customer | None) -> Answer:
    """Answer a message in its language; ``customer`` is None without a signed identity."""
    with use_language(intents.language_of(text)):
        intent = intents.intent_of(text)
        is_sure = intent != intents.ANSWER
        if not is_sure:
            intent = examples.intent_of(text)
        if intent in intents.HANDED_OVER:
            coming = gettext("I have called a colleague. They will answer you here.")
            return Answer(PERSON, coming, reason=intent)
        if intent == intents.REFUSED:
            return _unknown(known)
        if intent == intents.ANSWER:
            return _quoted(text, known) or _unknown(known)
        is_general = intents.is_general(text)
        quoted = None if is_sure and not is_general else _quoted(text, known)
        if quoted and (is_general or customer is None):
            return quoted
        if customer is None:
            return Answer(SIGN_IN, gettext("Please sign in to the shop; then I can look that up."))
        own = (
            _codes(customer.codes, known)
            if intent == intents.CODES
            else _orders(text, customer.orders, known)
        )
        return _joined(own, quoted) if quoted else own


def _joined(own: Answer, quoted: Answer) -> Answer:
    """Return both answers: only the examples say that the question is about the customer's own."""
    return Answer(own.code, f"{own.text}\n{quoted.text}", (*own.sources, *quoted.sources))


def _unknown(known: Knowledge) -> Answer:
    if not any(known.indexes.values()):
        text = gettext(
            "Here I can only look up your own orders and codes. Shall I call a colleague?"
        )
        return Answer(UNKNOWN, text)
    return Answer(UNKNOWN, gettext("I don't know that. Shall I call a colleague?"))


# ---------------------------------------------------------------- the customer's own data


def _codes(codes: Sequence[Code], known: Knowledge) -> Answer:
    if not codes:
        return Answer(CODES, gettext("You have no valid code at the moment."))
    title = gettext("Your valid codes")
    lines = [
        gettext("{code}{discount}, valid until {day}").format(
            code=each.code,
            discount=f" ({percent(each.discount)})" if each.discount else "",
            day=day(each.last_day, known.zone),
        )
        for each in codes
    ]
    sources = tuple(Source(f"code:{each.code}", title) for each in codes)
    return Answer(CODES, "\n".join([f"{title}:", *lines]), sources)


def _orders(text: str, orders: Sequence[Order], known: Knowledge) -> Answer:
    title = gettext("Your orders")
    names = {name.casefold() for name in intents.order_names(text)}
    if any(any(map(str.isdigit, name)) and len(name) > 3 for name in names):
        orders = [one for one in orders if (one.order_id or "").casefold() in names]
        if not orders:
            return Answer(UNKNOWN, gettext("I find no such order of yours."))
    if not orders:
        return Answer(ORDERS, gettext("I find no order of yours."))
    chosen = _matching(text, orders, known)[:SHOWN_ORDERS]
    lines = [_order_line(order, known) for order in chosen]
    sources = tuple(Source(f"order:{order.order_id or order.at.date()}", title) for order in chosen)
    return Answer(ORDERS, "\n".join([f"{title}:", *lines]), sources)


def _matching(text: str, orders: Sequence[Order], known: Knowledge) -> Sequence[Order]:
    """Return the orders of a month or with goods that the question names; else all of them."""
    month = _MONTHS.search(text)
    number = month.lastindex if month else None
    if chinese := _CHINESE_MONTH.search(text):
        name = chinese[1]
        number = int(name) if name.isdecimal() else _CHINESE_NUMBERS.index(name)
    orders = [one for one in orders if number in (None, one.at.month)] or orders
    asked = [*search.stems_of(text), *search.translated(known.indexes["zh"], text)]
    shared = [sum(_is_in(word, order) for word in asked) for order in orders]
    most = max(shared)
    return [one for one, same in zip(orders, shared, strict=True) if same == most]


def _is_in(word: str, order: Order) -> bool:
    """Return whether a word names goods of an order; it may be misspelled."""
    goods = search.stems_of(" ".join(line.title for line in order.lines))
    return bool(get_close_matches(word, goods, 1, SPELLED_ALIKE))


def _order_line(order: Order, known: Knowledge) -> str:
    goods = ", ".join(
        " ".join(
            part
            for part in (
                f"{line.quantity:g} ×" if line.quantity and line.quantity != 1 else "",
                line.title,
                "" if line.amount is None else money(line.amount, known.currency, 2),
            )
            if part
        )
        for line in order.lines[:SHOWN_LINES]
    )
    if (more := len(order.lines) - SHOWN_LINES) > 0:
        goods += gettext(" and {count} more").format(count=more)
    parts = [order.order_id, day(order.at, known.zone), goods]
    if order.amount is not None and len(order.lines) > 1:
        total = gettext("total {amount}")
        parts.append(total.format(amount=money(order.amount, known.currency, 2)))
    parts.append(gettext("with a return") if order.is_returned else None)
    return "; ".join(part for part in parts if part)


# ---------------------------------------------------------------- policies and products


def nearest(text: str, known: Knowledge, most: int = 2) -> list[tuple[int, float]]:
    """Return the places of the nearest policies and products with their scores."""
    language = intents.language_of(text)
    found = search.search(known.indexes[language], text, MOST)
    policies = len(known.sections[language])
    bonus = GOODS if intents.is_about_goods(text) else 0.0
    scored = [(place, score + bonus * (place >= policies)) for place, score in found]
    return sorted(scored, key=lambda each: -each[1])[:most]


def _quoted(text: str, known: Knowledge) -> Answer | None:
    """Quote the nearest policy or product if it is near enough, and one that is as near."""
    language = intents.language_of(text)
    found = nearest(text, known)
    least = max(LEAST[language], found[0][1] - SECOND) if found else 0.0
    quotes = [_quote(place, language, known) for place, score in found if score >= least]
    if not quotes:
        return None
    code = PRODUCT if quotes[0][1].ref.startswith("item:") else POLICY
    return Answer(code, "\n".join(text for text, _ in quotes), tuple(one for _, one in quotes))


def _quote(place: int, language: str, known: Knowledge) -> tuple[str, Source]:
    sections = known.sections[language]
    if place < len(sections):
        section = sections[place]
        return f"“{section.quote}”", Source(section.ref, section.title, section.url)
    product = known.products[place - len(sections)]
    source = Source(f"item:{product.item_id}", product.title, product.url)
    return product_line(product, known.currency), source


def product_line(product: Product, currency: str) -> str:
    """Return a row of the catalogue: exactly what is stored, and no word where nothing is."""
    parts = [product.title]
    if product.price is not None:
        parts.append(gettext("price {price}").format(price=money(product.price, currency, 2)))
    if product.in_stock is not None:
        parts.append(gettext("in stock") if product.in_stock else gettext("not in stock"))
    return "; ".join([*parts, *product.details])
