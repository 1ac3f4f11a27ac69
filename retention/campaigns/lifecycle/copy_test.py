"""Test variants of a campaign's message or offer on a part of it, then send the winner to the rest.

The test is part of the version that was approved: its variants, its share, its days, the metric
that decides and the chances of the variants. A keyed hash draws the variants, as it draws the
hold-out group, and the propensity of each customer's variant is stored.
"""

from bisect import bisect
from collections import defaultdict
from collections.abc import Collection, Mapping
from itertools import accumulate
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import ColumnElement, select, update

from retention.campaigns.lifecycle.states import StaleCampaign, Step, find_campaign
from retention.campaigns.message.parts import MessageParts, PartChanges, changed_parts
from retention.campaigns.planning.assignment import BUCKETS, buckets, change_customers
from retention.db import Transaction
from retention.db.audit import record
from retention.db.tables import Assignment, Campaign
from retention.errors import BadInput
from retention.outreach import sends
from retention.outreach.adapter import CancelCode
from retention.text import gettext

VariantName = Literal["B", "C", "D"]
VARIANTS: tuple[VariantName, ...] = get_args(VariantName)
OWN = "A"  # the campaign's own message and offer
SHARES, DAYS = (0.1, 1.0), (1, 60)
EXPLORE = (0.1, 1.0)
REST_DAYS = 7  # of the window and of the codes that the rest must have left
Metric = Literal["orders", "profit"]
METRICS: tuple[Metric, ...] = get_args(Metric)


class Variant(BaseModel):
    """What differs from the campaign's own message and offer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: VariantName
    message: MessageParts = MessageParts()
    discount: float | None = None  # of each coupon with a discount


class CopyTest(BaseModel):
    """The variants, and the rule that decides between them.

    ``share``: share of the treatment group that tests; the rest gets the winner after ``days``.
    ``explore``: share of the testing customers that is drawn evenly. The others get what earned
    most in past tests: ``chances`` has the chance of each variant, by rule, with the even draw. A
    rule that is missing there is drawn evenly.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    variants: tuple[Variant, ...] = Field(max_length=len(VARIANTS))
    share: float = 1.0
    days: int = 7
    metric: Metric = "orders"
    explore: float = 1.0
    chances: dict[str, tuple[float, ...]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all variants; the campaign's own comes first."""
        return (OWN, *(variant.name for variant in self.variants))

    def chances_of(self, rule: str) -> tuple[float, ...]:
        """The chance of each variant for a testing customer of a rule."""
        return self.chances.get(rule) or (1 / len(self.names),) * len(self.names)

    def variant(self, name: str | None) -> Variant | None:
        """Return a variant; None for the campaign's own."""
        return next((each for each in self.variants if each.name == name), None)

    def discounts(self, usual: float) -> tuple[float, ...]:
        """Return the discount of each variant where the campaign's own is ``usual``."""
        own = (each.discount for each in self.variants)
        return (usual, *(usual if each is None else each for each in own))

    @property
    def varies_discount(self) -> bool:
        """Whether a variant has a discount of its own."""
        return any(each.discount is not None for each in self.variants)

    def check(self, longest: int) -> None:
        """Refuse a rule that cannot decide.

        `longest`: the most days of a test whose winner goes to a rest.
        """
        low, high = SHARES
        if not low <= self.share <= high:
            problem = gettext("The test's share is {value:g}%; use {low:g} to {high:g}.")
            values = {"value": 100 * self.share, "low": 100 * low, "high": 100 * high}
            raise BadInput(problem.format(**values), field="share")
        if not DAYS[0] <= self.days <= DAYS[1]:
            problem = gettext("The test lasts {value} days; use {low} to {high}.")
            raise BadInput(problem.format(value=self.days, low=DAYS[0], high=DAYS[1]), field="days")
        if self.share < 1 and self.days > longest:
            problem = gettext(
                "The test lasts {value} days, and the rest needs {rest} days of the campaign after "
                "it; use at most {longest}."
            )
            values = {"value": self.days, "rest": REST_DAYS, "longest": max(longest, 0)}
            raise BadInput(problem.format(**values), field="days")
        low, high = EXPLORE
        if not low <= self.explore <= high:
            problem = gettext("The even share is {value:g}%; use {low:g} to {high:g}.")
            values = {"value": 100 * self.explore, "low": 100 * low, "high": 100 * high}
            raise BadInput(problem.format(**values), field="explore")
        discounts = {each.discount for each in self.variants} - {None}
        if self.explore < 1 and (self.share < 1 or len(discounts) < len(self.variants)):
            problem = gettext(
                "The even share is {value:g}%: the desk learns from discounts that all customers "
                "test. Set --explore to 100, or --share to 100 and give each variant its own "
                "discount."
            )
            raise BadInput(problem.format(value=100 * self.explore), field="explore")
        if self.share < 1 and self.varies_discount:
            problem = gettext(
                "A discount can be tested with all customers only: the codes of the rest are made "
                "before the test ends. Set the share to 100."
            )
            raise BadInput(problem, field="share")


def changed_test(
    test: CopyTest,
    *,
    variant: str | None = None,
    message: PartChanges,
    discount: float | None = None,
    remove: bool = False,
    **rule: Any,
) -> CopyTest:
    """Return a test with one variant written or removed, and other rules where they are given."""
    has_change = message != PartChanges() or discount is not None
    if discount is not None and not 0.01 <= discount <= 0.99:
        problem = gettext("--discount is {value:g}%; use 1 to 99.")
        raise BadInput(problem.format(value=100 * discount), field="discount")
    if variant is None and (has_change or remove):
        problem = gettext("Say which variant this is for: --variant B, C or D.")
        raise BadInput(problem, field="variant")
    if variant is not None and not (has_change or remove):
        problem = gettext("Say what differs in variant {name}: a subject, a text or a discount.")
        raise BadInput(problem.format(name=variant), field="variant")
    kept = {each.name: each for each in test.variants if not (remove and each.name == variant)}
    if variant is not None and not remove:
        old = test.variant(variant) or Variant.model_validate({"name": variant})
        update: dict[str, Any] = {"message": changed_parts(old.message, message)}
        update |= {} if discount is None else {"discount": discount}
        kept[old.name] = old.model_copy(update=update)
    changed = {name: value for name, value in rule.items() if value is not None}
    variants = tuple(kept[name] for name in sorted(kept))
    return test.model_copy(update={"variants": variants, **changed})


def draw_variants(session: Transaction, campaign: Campaign, test: CopyTest) -> None:
    """Draw a variant for each treated customer; the rest waits for the winner.

    Runs in the transaction that approves the campaign.
    """
    rule = Assignment.offer["rule"].as_string()
    columns = select(Assignment.customer_id, Assignment.tier, rule)
    treated = session.execute(columns.where(*_written_to(campaign.id))).tuples().all()
    # Within a stratum the sizes are exact. The chances are the same for all customers of a rule.
    strata = ((customer, rule if test.chances else tier) for customer, tier, rule in treated)
    places = buckets(campaign.salt, f"{campaign.id}|variant", strata)
    customers_of: dict[tuple[str, float], list[str]] = defaultdict(list)
    for customer, _, rule in treated:
        chances = [test.share * chance for chance in test.chances_of(rule)]
        place = bisect([*accumulate(chances)], places[customer] / BUCKETS)
        if place < len(test.names):
            customers_of[test.names[place], chances[place]].append(customer)
    for (name, chance), customers in customers_of.items():
        drawn = {"variant": name, "variant_propensity": chance}
        change_customers(session, campaign.id, customers, **drawn)


def with_variant(row: dict[str, Any]) -> dict[str, Any]:
    """Put the variant of a row into its offer, which decides the message."""
    variant = row.pop("variant")
    return row if variant is None else {**row, "offer": {**row["offer"], "variant": variant}}


def waiting_customers(session: Transaction, campaign_id: str) -> set[str]:
    """Return the rest, which waits for the winner."""
    waiting = select(Assignment.customer_id).where(
        *_written_to(campaign_id), Assignment.variant.is_(None)
    )
    return set(session.scalars(waiting))


def _written_to(campaign_id: str) -> tuple[ColumnElement[bool], ...]:
    """Whether a customer is treated, and by a message: a call tests no message."""
    return (
        Assignment.campaign_id == campaign_id,
        Assignment.arm == "treatment",
        Assignment.offer["action"].as_string() != "call",
    )


def drawn_variants(session: Transaction, campaign_id: str) -> dict[str, str]:
    """Return the variant of each customer who was drawn for one, without the rest."""
    drawn = select(Assignment.customer_id, Assignment.variant).where(
        Assignment.campaign_id == campaign_id,
        Assignment.arm == "treatment",
        Assignment.variant_propensity.is_not(None),
    )
    rows = session.execute(drawn).tuples()
    return {customer: variant for customer, variant in rows if variant}


def decide_test(
    session: Transaction,
    step: Step,
    comparison: dict[str, Any],
    channel: str,
    skipped: Mapping[CancelCode, Collection[str]],
) -> tuple[Campaign, int]:
    """Store what a test showed, and queue the winner's message to the rest, once.

    `channel`: of the sends.
    `skipped`: customers of the rest who must not get it any more, by the reason. They still count
    as treated, because the hold-out group has such customers, too.
    Returns: the campaign, and the customers of the rest. Without a winner they get the campaign's
    own message.
    """
    undecided = update(Campaign).where(
        Campaign.id == step.campaign_id,
        Campaign.team_id == session.settings.team_id,
        Campaign.state == "live",
        Campaign.test_result.is_(None),
    )
    decided = session.change(undecided.values(test_result=comparison))
    campaign = find_campaign(session, step.campaign_id)
    if not decided:
        raise StaleCampaign(campaign)
    rest = update(Assignment).where(*_written_to(campaign.id), Assignment.variant.is_(None))
    winner = comparison["winner"] or OWN
    released = session.change(rest.values(variant=winner))
    sends.queue_sends(session, campaign, channel, step.at)
    for code, customers in skipped.items():
        sends.cancel_sends_to(session, campaign.id, customers, code)
    details = {"version": campaign.version, "winner": comparison["winner"], "released": released}
    record(session, step.actor, "campaign.test", campaign.id, step.at, details)
    return campaign, released
