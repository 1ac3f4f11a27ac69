"""Define a campaign version: its content, expected cost and profit, and limits.

Sums per rule represent the audience, so edits recompute the plan without reading customers.
"""

from datetime import datetime
from math import ceil
from operator import mul
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from sqlalchemy import inspect

from retention.campaigns.lifecycle.copy_test import CopyTest
from retention.campaigns.measurement.effects import Z_ALPHA, smallest_effect
from retention.campaigns.message.parts import MessageParts
from retention.campaigns.planning.assignment import control_size
from retention.db.tables import Campaign
from retention.errors import BadInput, FieldErrors
from retention.number_format import has_no_smaller_unit, percent_limit
from retention.outreach.adapter import MessageChannel
from retention.risk.policy import SecondApprover
from retention.risk.strategy import CODED, WIN_BACK, KindName
from retention.templating import money
from retention.text import gettext

# Actions of messages that have no code.
WITHOUT_CODE = ("reminder", "new_arrivals", "message", "points", "early_access")


class _FrozenModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OfferLine(_FrozenModel):
    """Terms and totals of one rule's customers.

    ``sales`` is Σ v, with v the spend of a customer in the window if they buy. ``base_sales`` is Σ
    p₀ v and ``base`` is Σ p₀, with p₀ the probability of buying without an offer.
    """

    rule: str
    action: str
    discount: float
    customers: int
    sales: float
    base_sales: float
    base: float  # stored name: Σ p₀, expected buyers without an offer
    face: float = 0.0  # stored name: money off, or the cost of a parcel, a gift or points
    min_order: float = 0.0
    categories: tuple[str, ...] = ()  # the coupon is limited to one of these per customer
    contact: float | None = None  # cost per contact; None uses the campaign's
    own: int | None = None  # stored name: customers with an item due again or a new arrival
    what: str = ""  # what a gift, bundle, points or early access are, for customers
    redeemed: float | None = None  # share of buyers who use it; None uses the campaign's
    uplift_sales: float | None = None  # Σ δ v, if past campaigns give each customer's δ
    uplift_buyers: float | None = None  # Σ δ, likewise

    def extra_sales(self, shift: float, mean: float) -> float:
        """Return Σ (δ + shift) v."""
        own = mean * self.sales if self.uplift_sales is None else self.uplift_sales
        return shift * self.sales + own

    def extra_buyers(self, shift: float, mean: float) -> float:
        """Return Σ (δ + shift)."""
        own = mean * self.customers if self.uplift_buyers is None else self.uplift_buyers
        return shift * self.customers + own

    @property
    def largest_share(self) -> float:
        """The largest share of an order that the offer takes off.

        For money off, this is the share of the smallest allowed order.
        """
        if not self.face:
            return self.discount
        return self.face / self.min_order if self.min_order else 1.0

    @property
    def coded(self) -> bool:
        """Whether customers get a coupon code."""
        return self.action in CODED


class Prior(_FrozenModel):
    """Prior of the effect: extra buyers as a share of the treated."""

    mean: float
    sd: float
    campaigns: int = 0  # measured campaigns included; 0: the policy's prior alone
    simulated: bool = False  # whether one of them was simulated (demo)

    @property
    def low(self) -> float:
        return self.mean - Z_ALPHA * self.sd

    @property
    def high(self) -> float:
        return self.mean + Z_ALPHA * self.sd


class TextReader(_FrozenModel):
    """What makes the text to one sampled customer longer or shorter, without saying who it is."""

    locale: str = ""
    name_length: int = 0
    is_gsm: bool = True  # whether an SMS can show the name without Unicode


class Targeting(_FrozenModel):
    """How and why the audience was selected. By uplift from past campaigns, or by risk × value."""

    by: Literal["uplift", "risk"]
    why: Literal["learnt", "none", "small", "indistinct", "failed"]
    campaigns: int = 0
    customers: int = 0
    learner: str = ""
    qini: float | None = None
    qini_low: float | None = None
    qini_high: float | None = None
    offers: int = 0  # past offers with their own effect; 0: pooled


class Overlap(_FrozenModel):
    """Customers that a draft shared with another open campaign when it was drafted.

    ``left_out``: the other campaign was approved or running, so this one leaves them out.
    Otherwise they are in both, until one of the two is approved.
    """

    campaign_id: str
    name: str
    state: str
    customers: int
    left_out: bool


class DraftedFor(_FrozenModel):
    """The customers that a draft was asked for, to draft them anew."""

    tier: str | None = None  # lowest risk tier; None: the best audience
    listed: bool = False  # the customers of a list, of whatever tier; False in old campaigns
    audience: str | None = None  # name of a saved audience
    where: str | None = None  # condition
    customer_id: str | None = None
    kind: KindName = WIN_BACK


class Asked(_FrozenModel):
    """The audience that was asked for, if the draft has a wider one that can be measured."""

    tier: str  # lowest risk tier
    customers: int
    why: Literal["too_few", "no_profit", "earns_less"] | None = None  # None: drafts before 2.3
    excluded: dict[str, int] = {}  # customers of these tiers by reason


class ListRest(_FrozenModel):
    """Customers of the draft's list that have a lower risk than those it takes."""

    listed: int  # customers of the list
    lower: dict[str, int]  # lower tier → customers
    unscored: int = 0  # without recent orders, so without a risk
    tier: str | None = None  # the lowest of these tiers that the policy acts on


class Wider(_FrozenModel):
    """The next wider audience, as the draft found it."""

    tier: str  # lowest risk tier
    customers: int
    profit: float  # expected
    learnable: bool
    audience: str | None = None  # name of the saved audience that the draft is limited to
    where: str | None = None  # condition that the draft is limited to


def is_within_budget(cost: Any, budget: float) -> Any:
    """Whether the budget covers the cost, both in the shop's currency, up to rounding."""
    return cost <= budget * (1 + 1e-9)


class Plan(_FrozenModel):
    """Expected result of a campaign, in the shop's currency.

    Effects are shares of the treated customers. ``effect`` is the expected share of extra buyers:
    the prior's mean, or the customers' own uplift with the prior's uncertainty. ``learnable``: an
    effect at the upper end would be detected.
    """

    treated: int
    control: int
    cost: float
    profit: float
    profit_low: float
    profit_high: float
    effect: float
    effect_low: float
    effect_high: float
    smallest_effect: float | None
    learnable: bool


class Body(_FrozenModel):
    """A version of a campaign, as stored in ``Campaign.body``."""

    kind: KindName = WIN_BACK
    as_of: datetime
    model_version: str
    currency: str
    audience: int
    tiers: dict[str, int]
    excluded: dict[str, int]
    offers: tuple[OfferLine, ...]
    holdout: float
    expires_days: int
    copy_text: str
    utm_campaign: str = ""  # of the links; empty in old campaigns: the id
    reminder_text: str = ""  # of those without a code (`reminder_action`); empty: the default text
    message: MessageParts = MessageParts()  # of all; its text is in the two fields above
    group_messages: dict[str, MessageParts] = {}  # by rule, of one offer line
    margin: float
    redemption: float
    contact_cost: float
    min_margin: float
    budget: float
    window_days: int
    clearance_hours: float
    approval_expires_hours: float
    remind_hours: float = 0.0
    quiet_hours: str = ""
    most_budget: float | None = None  # the policy's limit; None in old campaigns
    shipping_cost: float = 0.0
    send_on: datetime | None = None  # not before
    approver: str | None = None  # Slack user id of the person who was asked to approve
    example: tuple[str, ...] = ()  # item titles of one customer, for {items}
    second_approver: SecondApprover | None = None  # None in old campaigns
    prior: Prior
    tried: int = 0  # stored name: customers with another recommender than the policy's
    targeting: Targeting | None = None  # None in old campaigns
    assumed: tuple[str, ...] = ()
    unmade: tuple[str, ...] = ()  # actions whose codes the connected shop cannot make
    untitled: int = 0  # items without a title; e-mails show their ids
    scores_age_days: int = 0  # from the cutoff of the scores to the draft
    overlaps: tuple[Overlap, ...] = ()
    asked: Asked | None = None  # None: the audience is the one that was asked for
    wider: Wider | None = None  # None: the policy acts on nobody else, or unknown
    message_channel: MessageChannel = "email"
    parts: float = 1  # SMS that a text takes on average; ``contact_cost`` is of all
    readers: tuple[TextReader, ...] = ()  # a sample; empty for e-mails and in old campaigns
    drafted_for: DraftedFor | None = None  # None in old campaigns
    rest: ListRest | None = None  # None: for all of its list, or not for a list
    test: CopyTest | None = None  # of variants

    @classmethod
    def of(cls, campaign: Campaign) -> "Body":
        """Return a campaign's present version. It is validated once per stored value."""
        info = inspect(campaign).info
        if info.get("stored") is not campaign.body:
            info.update(stored=campaign.body, body=cls.model_validate(campaign.body))
        body: Body = info["body"]
        return body

    @property
    def coupons(self) -> tuple[OfferLine, ...]:
        """The lines with a percentage discount."""
        return tuple(line for line in self.offers if line.action == "coupon" and not line.face)

    @property
    def copy_action(self) -> str:
        """The action that ``copy_text`` is written for.

        Coupons if there are any, otherwise the action of most customers.
        """
        if any(line.action == "coupon" for line in self.offers):
            return "coupon"
        written = [line for line in self.offers if line.action != "call"] or [*self.offers]
        return max(written, key=lambda line: line.customers).action if written else "coupon"

    @property
    def reminder_action(self) -> str | None:
        """The action of most customers without a code, who do not get ``copy_text``, if any."""
        others = {*WITHOUT_CODE} - {self.copy_action}
        plain = [line for line in self.offers if line.action in others]
        return max(plain, key=lambda line: line.customers).action if plain else None

    @property
    def lacks_code(self) -> bool:
        """Whether the text has no place for the code that its customers get."""
        return self.copy_action in CODED and "{code}" not in self.copy_text

    @property
    def discount(self) -> float | None:
        """The common discount of all coupons; None if they differ."""
        discounts = {line.discount for line in self.coupons}
        return discounts.pop() if len(discounts) == 1 else None

    @property
    def second_because(self) -> tuple[str, ...]:
        """Limits exceeded: ``audience``, ``cost``, ``discount``; each needs a second approver."""
        limits = self.second_approver
        if limits is None:
            return ()
        reducing = ("coupon", "gift", "bundle")
        lines = [line for line in self.offers if line.action in reducing]
        shares = [
            self._discounts(line) if line.discount else (line.largest_share,) for line in lines
        ]
        largest = max((share for each in shares for share in each), default=0.0)
        sizes = {
            "audience": self.audience > limits.audience,
            "cost": self.plan().cost > limits.cost,
            "discount": largest > limits.discount + 1e-9,
        }
        return tuple(name for name, is_exceeded in sizes.items() if is_exceeded)

    @property
    def approvals_needed(self) -> int:
        """Number of different people that must approve."""
        return 2 if self.second_because else 1

    def plan(self) -> Plan:
        """Return expected cost, profit and power.

        Notes
        -----
        For a treated customer ΔΠ = p₁ (m v − (d v + f) ρ) − p₀ m v − c with p₁ = p₀ + δ, discount
        share d, money off f, redemption ρ, margin m and contact cost c. Customers that would buy
        anyway redeem, too. The sum is linear in δ. So the interval of the profit follows from the
        prior of δ, or from the prior of its level if past campaigns give each customer's own δ.
        """
        control = sum(control_size(customers, self.holdout) for customers in self.tiers.values())
        treated, audience, offers = self.audience - control, self.audience, self.offers
        share = treated / audience if audience else 0.0
        mean = self.prior.mean
        contact = sum(self._contact(line) * line.customers for line in offers)

        def profit(uplift: float) -> float:
            total, shift = 0.0, uplift - mean
            for line in offers:
                sales, buyers = line.extra_sales(shift, mean), line.extra_buyers(shift, mean)
                total += self.margin * sales
                rate = self.redemption_of(line)
                total -= rate * self._discount(line) * (line.base_sales + sales)
                total -= rate * line.face * (line.base + buyers)
            return share * (total - contact)

        redeemed = sum(
            self.redemption_of(line)
            * (
                self._discount(line) * (line.base_sales + max(line.extra_sales(0, mean), 0))
                + line.face * (line.base + max(line.extra_buyers(0, mean), 0))
            )
            for line in offers
        )
        rate = sum(line.base for line in offers) / audience if audience else 0.0
        extra = sum(line.extra_buyers(0, mean) for line in offers)
        effect = extra / audience if audience else mean
        smallest = smallest_effect(rate, treated, control)
        effect_high = effect + self.prior.high - mean
        low, high = sorted((profit(self.prior.low), profit(self.prior.high)))
        return Plan(
            treated=treated,
            control=control,
            cost=share * (redeemed + contact),
            profit=profit(mean),
            profit_low=low,
            profit_high=high,
            effect=effect,
            effect_low=effect + self.prior.low - mean,
            effect_high=effect_high,
            smallest_effect=smallest,
            learnable=smallest is not None and smallest <= effect_high,
        )

    def _discounts(self, line: OfferLine) -> tuple[float, ...]:
        """Return the discount of a line in each variant."""
        is_coupon = line.action == "coupon" and line.discount > 0
        return self.test.discounts(line.discount) if self.test and is_coupon else (line.discount,)

    def _discount(self, line: OfferLine) -> float:
        """Return the mean discount of a line over its variants."""
        discounts = self._discounts(line)
        if self.test is None or len(discounts) == 1:
            return discounts[0]
        chances = self.test.chances_of(line.rule)
        return sum(map(mul, discounts, chances)) / sum(chances)

    def _contact(self, line: OfferLine) -> float:
        return self.contact_cost if line.contact is None else line.contact

    def redemption_of(self, line: OfferLine) -> float:
        """Return the share of buyers who use an offer."""
        return self.redemption if line.redeemed is None else line.redeemed

    def _money(self, sum_: float) -> str:
        return money(sum_, self.currency, 2)

    def _least(self, sum_: float) -> float:
        """Round up to a payable amount, so it is a valid limit."""
        parts = 1 if has_no_smaller_unit(self.currency) else 100
        return ceil(parts * sum_ - 1e-6) / parts

    def _off(self, line: OfferLine) -> str:
        """Describe the discount of a line in words."""
        face = self._money(line.face)
        orders = gettext("orders from {amount} on").format(amount=self._money(line.min_order))
        if line.action == "free_shipping":
            shipping = gettext("Free shipping ({cost} a parcel) on {orders}")
            return shipping.format(cost=face, orders=orders)
        if line.what:
            return gettext("{what} ({cost}) on {orders}").format(
                what=line.what, cost=face, orders=orders
            )
        return gettext("{amount} off {orders}").format(amount=face, orders=orders)

    def check_offers(self) -> None:
        """Reject offers below the policy's minimum margin."""
        errors = FieldErrors()
        for line in self.offers:
            with errors.collect():
                self._check_offer(line)
        errors.raise_any()

    def _check_offer(self, line: OfferLine) -> None:
        max_discount = max(self.margin - self.min_margin, 0)
        values = {"rule": line.rule, "min_margin": 100 * self.min_margin}
        # Points without an order value are for every order.
        has_limit = line.min_order or line.action != "points"
        if line.face and has_limit and line.face > max_discount * line.min_order + 1e-9:
            least = gettext("no order can bear it")
            if max_discount:
                amount = self._money(self._least(line.face / max_discount))
                least = gettext("use it from {amount} on").format(amount=amount)
            problem = gettext(
                "{off} ({rule}) would leave {at_most} of the smallest as margin; the "
                "policy wants at least {min_margin:g}%: {least}."
            )
            at_most = percent_limit(self.margin - line.largest_share)
            shown = {"off": self._off(line), "at_most": at_most, "least": least}
            raise BadInput(problem.format(**shown, **values), field="min_order")
        discount = max(self._discounts(line))
        remaining = self.margin - discount
        if line.discount and not line.face and remaining < self.min_margin - 1e-9:
            problem = gettext(
                "A discount of {discount:g}% ({rule}) would leave {at_most} of sales as "
                "margin; the policy wants at least {min_margin:g}%: use at most {limit}."
            )
            shown = {"at_most": percent_limit(remaining), "limit": percent_limit(max_discount)}
            problem = problem.format(discount=100 * discount, **shown, **values)
            raise BadInput(problem, field="discount")

    def check_budget(self) -> None:
        """Reject a campaign above its budget."""
        if not is_within_budget(cost := self.plan().cost, self.budget):
            problem = gettext(
                "It is expected to cost {cost}, above the budget of {budget}; lower the "
                "discount, or draft for a smaller audience."
            )
            amounts = {"cost": self._money(cost), "budget": self._money(self.budget)}
            raise BadInput(problem.format(**amounts))
