"""Answer a customer's message by quotations, or not at all.

Every fact of an answer is copied from a policy, the catalogue, or the customer's own orders and
codes. The words around it are fixed sentences. Nothing is generated.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from retention.number_format import money, percent
from retention.service import intents, search, spelling, typical
from retention.service.facts import Code, Order, Product, Section
from retention.templating import day
from retention.text import gettext, use_language

SHOWN_ORDERS, SHOWN_LINES = 3, 4
LANGUAGES = ("en", "zh")
# Scores below are no answer; chosen on the practice questions by `tests.benchmarks.service`.
LEAST = {"en": 0.07, "zh": 0.04}  # Chinese questions share few words with English texts
SECOND = 0.05  # a second quotation may be so much less near than the first
POLICY, PRODUCT, ORDERS, CODES = "policy", "product", "orders", "codes"
SIGN_IN, UNKNOWN, PERSON = "sign_in", "unknown", "person"


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
    in an index. ``words``: English words, with how often they are used.
    """

    sections: Mapping[str, Sequence[Section]]
    products: Sequence[Product]
    indexes: Mapping[str, search.Index | None]
    words: Mapping[str, int]
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
    read, indexes = {}, {}
    for language in LANGUAGES:
        own = {each.subject for each in sections if each.language == language}
        some = [each for each in sections if each.language == language or each.subject not in own]
        texts = [*(f"{one.title}. {one.text}" for one in some), *(one.text for one in products)]
        read[language], indexes[language] = some, search.build(texts, language)
    texts = [*(f"{one.title}. {one.text}" for one in sections), *(one.text for one in products)]
    texts += [text for _, text in typical.texts()]
    words = Counter(spelling.words_of(texts))
    return Knowledge(read, products, indexes, words, currency, zone)


def answer(text: str, known: Knowledge, customer: Customer | None) -> Answer:
    """Answer a message in its language; ``customer`` is None without a signed identity."""
    text = spelling.corrected(text, known.words)
    with use_language(intents.language_of(text)):
        intent = _intent(text)
        if intent in intents.HANDED_OVER:
            coming = gettext("I have called a colleague. They will answer you here.")
            return Answer(PERSON, coming, reason=intent)
        is_own = intent in (intents.ORDERS, intents.CODES)
        is_question = not is_own or intents.is_general(text)
        quoted = _quoted(text, known) if is_question and intent != intents.REFUSED else None
        if quoted or not is_own:
            return quoted or _unknown(known)
        if customer is None:
            return Answer(SIGN_IN, gettext("Please sign in to the shop; then I can look that up."))
        if intent == intents.CODES:
            return _codes(customer.codes, known)
        return _orders(text, customer.orders, known)


def _intent(text: str) -> str:
    """Return what a message wants: by its words, else by the subject of the nearest questions."""
    intent = intents.intent_of(text)
    if intent == intents.ANSWER and search.is_installed():
        return typical.intent_of(text) or intent
    return intent


def _unknown(known: Knowledge) -> Answer:
    text = gettext("I don't know that. Shall I call a colleague?")
    if not any(known.indexes.values()):
        text = gettext(
            "Here I can only look up your own orders and codes. Shall I call a colleague?"
        )
    return Answer(UNKNOWN, text)


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
    chosen = _matching(text, orders)[:SHOWN_ORDERS]
    lines = [_order_line(order, known) for order in chosen]
    sources = tuple(Source(f"order:{order.order_id or order.at.date()}", title) for order in chosen)
    return Answer(ORDERS, "\n".join([f"{title}:", *lines]), sources)


def _matching(text: str, orders: Sequence[Order]) -> Sequence[Order]:
    """Return the orders with most of the goods that the question names; else all of them."""
    asked = set(search.stems_of(text))
    goods = [search.stems_of(" ".join(line.title for line in order.lines)) for order in orders]
    shared = [len(asked.intersection(each)) for each in goods]
    return [one for one, same in zip(orders, shared, strict=True) if same == max(shared)]


def _order_line(order: Order, known: Knowledge) -> str:
    goods = []
    for title, quantity, amount in order.lines[:SHOWN_LINES]:
        count = f"{quantity:g} × " if quantity and quantity != 1 else ""
        price = "" if amount is None else f" {money(amount, known.currency, 2)}"
        goods.append(f"{count}{title}{price}")
    shown = ", ".join(goods)
    if (more := len(order.lines) - SHOWN_LINES) > 0:
        shown += gettext(" and {count} more").format(count=more)
    parts = [order.order_id, day(order.at, known.zone), shown]
    if order.amount is not None and len(order.lines) > 1:
        total = gettext("total {amount}")
        parts.append(total.format(amount=money(order.amount, known.currency, 2)))
    parts.append(gettext("with a return") if order.is_returned else None)
    return "; ".join(part for part in parts if part)


# ---------------------------------------------------------------- policies and products


def nearest(text: str, known: Knowledge) -> list[tuple[int, float]]:
    """Return the places of the two nearest policies and products with their scores."""
    language = intents.language_of(text)
    scores = search.search(known.indexes[language], text)
    return [(int(place), scores[place]) for place in np.argsort(-scores, kind="stable")[:2]]


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
