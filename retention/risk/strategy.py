"""Define a rule of the strategy.

It has the customers that it applies to, and their action.
"""

from collections.abc import Iterator
from itertools import product
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from retention.features.catalogue import FEATURES, GROUPS
from retention.text import gettext

Tier = Literal["high", "medium", "low", "lapsed", "listed", "prospect"]
Value = Literal["high", "middle", "low", "any"]
Consent = Literal["given", "unknown"]
Action = Literal[
    "coupon",
    "free_shipping",
    "gift",
    "bundle",
    "points",
    "early_access",
    "reminder",
    "new_arrivals",
    "message",
    "call",
    "nothing",
]
CODED = ("coupon", "free_shipping", "gift", "bundle")  # actions whose customers get a code
NAMED = ("gift", "bundle", "points", "early_access")  # actions whose offer a rule says in words
PRICED = ("gift", "points")  # named ones with a cost of their own
KindName = Literal[
    "win_back", "product_news", "cross_sell", "second_order", "thank_you", "no_offer"
]
WIN_BACK: KindName = "win_back"  # the kind whose offers the rules decide, by risk
KINDS: tuple[KindName, ...] = get_args(KindName)
EVERY_TIER: tuple[Tier, ...] = ("high", "medium", "low", "lapsed", "prospect")

_GROUP = {feature.name: feature.group for feature in FEATURES}
REASONS: tuple[str, ...] = (*GROUPS, "other")  # groups of features
ANY: Literal["any"] = "any"
Cell = tuple[str, str, str, str]  # tier, reason, value, consent


def reason_of(feature: str) -> str:
    """Return the policy's reason for a model feature. ``recency_days`` → ``recency``"""
    return feature if feature in GROUPS else _GROUP.get(feature, "other")


class Rule(BaseModel):
    """An action for a group of customers.

    The group is given by tiers, reasons, value bands and consent states.

    With ``instead_of`` it only offers an alternative to customers of the rules that it names.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: Annotated[str, Field(min_length=1, max_length=60)]
    tiers: tuple[Tier, ...] = ()
    instead_of: tuple[str, ...] = ()
    reasons: Annotated[tuple[str, ...], Field(min_length=1)] = (ANY,)
    values: Annotated[tuple[Value, ...], Field(min_length=1)] = (ANY,)
    consent: tuple[Consent, ...] | None = None  # None: as in [campaign]
    action: Action
    discount: Annotated[float, Field(ge=0, lt=1)] = 0.0
    amount: Annotated[float, Field(ge=0)] = 0.0
    min_order: Annotated[float, Field(ge=0)] = 0.0
    categories: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    what: Annotated[str, Field(max_length=80)] = ""  # what a named offer is, for customers
    cost: Annotated[float, Field(ge=0)] = 0.0  # of one gift, or of one customer's points
    # Share of the buyers who use the offer; None: as in [offer].
    redeemed: Annotated[float, Field(ge=0, le=1)] | None = None
    most: Annotated[int, Field(ge=1)] | None = None  # customers, the most valuable; None: all

    @field_validator("name", "what")
    @classmethod
    def _check_readable(cls, name: str) -> str:
        if not name.isprintable():
            text = gettext(
                "{name!r} holds a character that nobody can read; write it in letters on one line"
            )
            raise ValueError(text.format(name=name))
        return name

    @model_validator(mode="after")
    def _check_names(self) -> "Rule":
        for reason in self.reasons:
            if reason not in REASONS and reason != ANY:
                text = gettext("there is no reason {reason!r}; use {reasons} or {any}")
                raise ValueError(text.format(reason=reason, reasons=", ".join(REASONS), any=ANY))
        for field, names in (("reasons", self.reasons), ("values", self.values)):
            if ANY in names and len(names) > 1:
                message = gettext("{field}: {any!r} already holds for every one; name it alone")
                raise ValueError(message.format(field=field, any=ANY))
        if self.consent == ():
            raise ValueError(
                gettext(
                    'consent is empty, so the rule is for nobody; use "given", "unknown" or both'
                )
            )
        return self

    @model_validator(mode="after")
    def _check_customers(self) -> "Rule":
        if not self.tiers and not self.instead_of:
            text = gettext(
                "tiers: rule {name!r} names none, so it is for nobody; use high, medium, "
                "low, lapsed, listed, or with instead_of the rules whose customers may get it "
                "instead"
            )
            raise ValueError(text.format(name=self.name))
        if not self.instead_of:
            return self
        own = {"tiers": (), "reasons": (ANY,), "values": (ANY,), "consent": None}
        for name, usual in own.items():
            if (value := getattr(self, name)) != usual:
                text = gettext(
                    "{name} {value} with instead_of: rule {rule!r} takes its customers from the"
                    " rules that it names there; leave {name} out"
                )
                raise ValueError(text.format(name=name, value=value, rule=self.name))
        if self.action in ("call", "nothing"):
            message = gettext(
                "action {action!r} with instead_of; only what is sent can stand in for an offer"
            )
            raise ValueError(message.format(action=self.action))
        return self

    @model_validator(mode="after")
    def _check_named(self) -> "Rule":
        is_named, is_priced = self.action in NAMED, self.action in PRICED
        has_words, may_use = bool(self.what.strip()), self.action in (*CODED, "points")
        faults = {
            gettext('without what; say what customers get, like "a tea towel"'): (
                is_named and not has_words
            ),
            gettext("with what; only {named} have one"): has_words and not is_named,
            gettext("without a cost; say what one costs the shop, like 2.50"): (
                is_priced and not self.cost
            ),
            gettext("with a cost; only {priced} have one"): self.cost > 0 and not is_priced,
            gettext("without a discount; say which share of the order it takes off"): (
                self.action == "bundle" and not self.discount
            ),
            gettext("with redeemed; nobody can use it up, leave it out"): (
                self.redeemed is not None and not may_use
            ),
        }
        for fault in (text for text, is_wrong in faults.items() if is_wrong):
            shown = fault.format(named=", ".join(NAMED), priced=", ".join(PRICED))
            text = gettext("action {action!r} {fault}")
            raise ValueError(text.format(action=self.action, fault=shown))
        return self

    @model_validator(mode="after")
    def _check_price(self) -> "Rule":
        if self.action != "coupon" and (self.amount or (self.discount and self.action != "bundle")):
            if self.discount:
                what = gettext("discount of {discount}").format(discount=self.discount)
            else:
                what = gettext("amount of {amount}").format(amount=self.amount)
            text = gettext("action {action!r} with a {what}; only coupons have one")
            raise ValueError(text.format(action=self.action, what=what))
        if self.action == "coupon" and bool(self.discount) == bool(self.amount):
            text = gettext("a discount of {discount} and an amount of {amount}")
            seen = text.format(discount=self.discount, amount=self.amount)
            message = gettext(
                "action 'coupon' with {seen}; only coupons with exactly one of the two are "
                "an offer: set discount (a share of the order) or amount (money off)"
            )
            raise ValueError(message.format(seen=seen))
        if self.categories and not (self.discount and self.action == "coupon"):
            action = self.action
            raise ValueError(
                gettext(
                    "categories with action {action!r}{addition}; only a coupon with a discount"
                    " (a share of the order) can hold for a category alone"
                ).format(action=action, addition=gettext(" and an amount") if self.amount else "")
            )
        if (self.amount or self.action in ("free_shipping", "gift")) and not self.min_order:
            text = gettext(
                "action {action!r} without a min_order; say from which order value it "
                "holds, or small orders sell below cost"
            )
            raise ValueError(text.format(action=self.action))
        has_limit = self.action in ("free_shipping", "gift", "bundle", "points")
        if self.min_order and not (self.amount or has_limit):
            text = gettext(
                "a min_order of {min_order} with action {action!r}; only an amount, free"
                " shipping, gifts, bundles and points have one"
            )
            raise ValueError(text.format(min_order=self.min_order, action=self.action))
        return self

    def cells(self, consent: tuple[Consent, ...]) -> Iterator[Cell]:
        """Return the combinations that the rule decides.

        ``consent`` applies if the rule names none.
        """
        return product(self.tiers, self.reasons, self.values, self.consent or consent)


class Kind(BaseModel):
    """What campaigns of a kind offer, to whom, and what is expected of them.

    Everyone in the audience who meets the condition ``customers`` gets the same offer, at risk or
    not. ``uplift`` and ``uplift_sd`` are the prior of its effect.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    action: Action = "message"
    discount: Annotated[float, Field(ge=0, lt=1)] = 0.0
    amount: Annotated[float, Field(ge=0)] = 0.0
    min_order: Annotated[float, Field(ge=0)] = 0.0
    categories: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    what: str = ""
    cost: float = 0.0
    redeemed: float | None = None
    customers: str = ""  # an audience expression
    new_items_only: bool = False
    uplift: Annotated[float, Field(ge=-1, le=1)] = 0.01
    uplift_sd: Annotated[float, Field(gt=0, le=1)] = 0.01

    @model_validator(mode="after")
    def _check_offer(self) -> "Kind":
        if self.action in ("call", "nothing"):
            text = gettext("action {action!r}; a campaign of a kind sends something to everyone")
            raise ValueError(text.format(action=self.action))
        self.rule("kind")
        return self

    def rule(self, name: str) -> Rule:
        """Return its offer as the rule of every customer."""
        terms = {*type(self).model_fields} & {*Rule.model_fields}
        return Rule(name=name, tiers=EVERY_TIER, **self.model_dump(include=terms))
