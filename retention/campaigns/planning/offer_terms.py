"""Terms of offers: per rule, as stored per customer, and in words.

`targeting` chooses who gets which.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import JSON, ColumnElement, cast, func, literal, select, update
from sqlalchemy.dialects.postgresql import JSONB

from retention import templating
from retention.campaigns.lifecycle.spec import Body, OfferLine
from retention.db import Transaction
from retention.db.tables import Assignment
from retention.errors import BadInput
from retention.risk.policy import Policy
from retention.risk.strategy import Rule
from retention.text import gettext

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from retention.lake import Lake


_OF_RULE = {"action", "discount", "min_order", "categories", "what", "redeemed"}


class SuggestedItem(Protocol):
    """An item that `retention.recommend` suggests."""

    @property
    def item_id(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def why(self) -> str: ...


def offer_lines(
    customers: "pd.DataFrame", policy: Policy, own: Mapping[str, int]
) -> tuple[OfferLine, ...]:
    """Return one offer line per rule in use.

    `customers`: ``churn_probability, expected_value, rule``, optionally ``uplift``.
    `own`: rule → customers with an item of the action's own kind (due again, new arrival).
    Returns: lines in the policy's order.
    """
    stays, value = orders_in_window(customers)
    sums = {"sales": value, "base_sales": stays * value, "base": stays}
    if (uplift := customers.get("uplift")) is not None:
        sums |= {"uplift_sales": uplift * value, "uplift_buyers": uplift}
    lines = []
    for rule in policy.rules:
        in_rule = customers["rule"] == rule.name
        if in_rule.any():
            lines.append(
                OfferLine(
                    rule=rule.name,
                    **rule.model_dump(include=_OF_RULE),
                    face=money_off(rule, policy),
                    customers=int(in_rule.sum()),
                    contact=contact_cost(rule, policy),
                    own=own.get(rule.name),
                    **{name: float(each[in_rule].sum()) for name, each in sums.items()},
                )
            )
    return tuple(lines)


def merge_equal_lines(lines: Sequence[OfferLine]) -> tuple[OfferLine, ...]:
    """Return one line if all lines have the same terms.

    The campaign stores a line per rule, because a rule also sets whose consent suffices.
    """
    terms = {
        tuple(getattr(line, name) for name in (*sorted(_OF_RULE), "face", "contact"))
        for line in lines
    }
    if len(lines) < 2 or len(terms) > 1:
        return tuple(lines)

    def total(name: str) -> Any:
        values = [getattr(line, name) for line in lines]
        return None if None in values else sum(values)

    sums = ("customers", "sales", "base_sales", "base", "own", "uplift_sales", "uplift_buyers")
    merged = {"rule": gettext("All customers"), **{name: total(name) for name in sums}}
    return (lines[0].model_copy(update=merged),)


def stored_offer(
    line: OfferLine,
    items: Sequence[SuggestedItem],
    currency: str,
    recommended_by: str | None = None,
    category: str | None = None,
) -> dict[str, Any]:
    """Return one customer's offer as stored in the assignment."""
    return {
        "rule": line.rule,
        "action": line.action,
        "discount": line.discount,
        "amount": line.face,
        "min_order": line.min_order,
        "currency": currency,
        "category": category,
        "what": line.what,
        "items": stored_items(items),
        "recommended_by": recommended_by,
    }


def stored_items(items: Sequence[SuggestedItem]) -> list[dict[str, str]]:
    """Return items as stored in an offer."""
    return [
        {"item_id": item.item_id, "title": item.title, "source": item.source, "why": item.why}
        for item in items
    ]


def set_offer(
    session: Transaction, campaign_id: str, line: OfferLine, *which: ColumnElement[bool]
) -> None:
    """Update the terms of the customers with a rule. One UPDATE; no row is read."""
    new_terms = _new_terms(line)
    new_offer: Any
    if session.get_bind().dialect.name == "sqlite":
        pairs = ((f"$.{key}", value) for key, value in new_terms.items())
        new_offer = func.json_set(Assignment.offer, *chain.from_iterable(pairs))
    else:
        merged = cast(Assignment.offer, JSONB).concat(literal(new_terms, JSONB))
        new_offer = cast(merged, JSON)
    has_rule = Assignment.offer["rule"].as_string() == line.rule
    in_rule = update(Assignment).where(Assignment.campaign_id == campaign_id, has_rule, *which)
    session.change(in_rule.values(offer=new_offer))


def changed_offer(offer: Mapping[str, Any], line: OfferLine) -> dict[str, Any]:
    """Return a stored offer with the terms of an edited line, as `set_offer` stores it."""
    return {**offer, **_new_terms(line)}


def sampled_offers(session: Transaction, campaign_id: str, body: Body) -> list[dict[str, Any]]:
    """Return the offers of a random sample of customers, with the terms of an edited version.

    `body`: the edited version. There are as many offers as it has ``readers``, in their order.
    """
    stored = (
        select(Assignment.offer)
        .where(Assignment.campaign_id == campaign_id)
        .order_by(Assignment.bucket, Assignment.customer_id)
        .limit(len(body.readers))
    )
    lines = {line.rule: line for line in body.offers}
    return [changed_offer(offer, lines[offer["rule"]]) for offer in session.scalars(stored)]


def _new_terms(line: OfferLine) -> dict[str, str | float | None]:
    return {
        "action": line.action,
        "discount": line.discount,
        "amount": line.face,
        "min_order": line.min_order,
        "what": line.what,
        **({} if line.categories else {"category": None}),
    }


def public_terms(offer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the public terms of an offer.

    Tills, platforms and files see them. What an offer costs the shop is not a public amount.
    """
    public = {name: offer.get(name) for name in ("action", "discount", "amount", "min_order")}
    public |= {} if public["action"] == "coupon" else {"amount": 0.0}
    what = {"what": offer["what"]} if offer.get("what") else {}
    return {**public, **what, "category": limited_category(offer)}


def limited_category(offer: Mapping[str, Any]) -> str | None:
    """Return the category that a coupon is limited to.

    An edit may have turned a category coupon into another offer, so the action counts too.
    """
    is_share = offer.get("action") == "coupon" and offer.get("discount")
    return offer.get("category") if is_share else None


def coupon_categories(
    lake: "Lake", policy: Policy, customers: "pd.DataFrame", as_of: datetime
) -> dict[str, str]:
    """Choose a category for each customer with a category coupon.

    Picks the category with the highest chance of redemption.

    `customers`: ``customer_id, rule``.
    `as_of`: only data before this moment counts.
    """
    from retention.recommend.past_offers import rank_offers

    category_of: dict[str, str] = {}
    for rule in policy.rules:
        in_rule = customers["rule"] == rule.name
        ids = list(customers.loc[in_rule, "customer_id"]) if rule.categories else []
        if ids:
            ranked = rank_offers(lake, _items_by_category(lake, rule), ids, as_of=as_of)
            category_of |= {customer_id: ranked[customer_id][0][0] for customer_id in ids}
    return category_of


def _items_by_category(lake: "Lake", rule: Rule) -> dict[str, list[str]]:
    items = lake.table("items").select("item_id", "category").execute().dropna()
    covered = items[items["category"].isin(rule.categories)]
    by_category = {str(name): list(each) for name, each in covered.groupby("category")["item_id"]}
    for category in rule.categories:
        if category not in by_category:
            known = ", ".join(sorted(items["category"].unique())[:10])
            problem = gettext(
                "The rule {name!r} has a coupon for the category {category!r}, which no item "
                "has; use of these: {known}."
            )
            raise BadInput(problem.format(name=rule.name, category=category, known=known))
    return by_category


def describe_rule(rule: Rule) -> str:
    """Describe a rule's action in words."""
    if rule.action == "coupon":
        conditions = ""
        if rule.min_order:
            amount = templating.money(rule.min_order, "", 2)
            conditions = gettext(" (from {amount} on)").format(amount=amount)
        text = gettext("a coupon of {discount}{conditions}")
        return text.format(discount=_discount(rule, ""), conditions=conditions)
    if rule.what:
        return rule.what
    return {
        "free_shipping": gettext("free shipping"),
        "reminder": gettext("a reminder of what is due, no discount"),
        "new_arrivals": gettext("new arrivals in the favourite category, no discount"),
        "message": gettext("a message without an offer"),
        "call": gettext("a personal call"),
        "nothing": gettext("nothing"),
    }[rule.action]


def next_step(rule: Rule | None, currency: str = "", consent: str = "given") -> str:
    """Return a rule's action in at most three words, for a table.

    `rule`: rule of the policy; None without one.
    """
    if rule is None or rule.action == "nothing":
        if consent == "refused":
            return gettext("no offer: no consent")
        if consent == "unknown":
            return gettext("no offer: consent unknown")
        return gettext("no offer")
    if rule.action == "coupon":
        return gettext("{discount} coupon").format(discount=_discount(rule, currency))
    return {
        "free_shipping": gettext("free shipping"),
        "gift": gettext("gift"),
        "bundle": gettext("bundle"),
        "points": gettext("points"),
        "early_access": gettext("early access"),
        "reminder": gettext("reminder"),
        "new_arrivals": gettext("new arrivals"),
        "message": gettext("message"),
        "call": gettext("call"),
    }[rule.action]


def _discount(rule: Rule, currency: str) -> str:
    if rule.amount:
        return templating.money(rule.amount, currency, 2)
    return templating.exact_percent(rule.discount)


def money_off(rule: Rule, policy: Policy) -> float:
    """Return the money off one redeemed order.

    A fixed coupon's amount, or the cost of a parcel, a gift or points.
    """
    return (
        policy.offer.shipping_cost if rule.action == "free_shipping" else rule.amount or rule.cost
    )


def contact_cost(rule: Rule, policy: Policy) -> float | None:
    """Return the rule's cost per contact; None uses the campaign's."""
    return policy.offer.call_cost if rule.action == "call" else None


def orders_in_window(customers: "pd.DataFrame") -> "tuple[np.ndarray, np.ndarray]":
    """Return P(order without an offer) and the spend of who orders, (n,) each."""
    chance = 1 - customers["churn_probability"].to_numpy(float)
    spend = customers["expected_value"].fillna(0).clip(lower=0).to_numpy(float)
    if "window_chance" not in customers:
        return chance, spend
    return (
        chance * customers["window_chance"].to_numpy(float),
        spend * customers["window_spend"].to_numpy(float),
    )
