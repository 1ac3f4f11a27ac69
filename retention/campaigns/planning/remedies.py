"""Warn about a draft that loses money or is too small, and name the change that helps.

Codes and numbers only; templates have the sentences.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from retention.campaigns.lifecycle.edits import Changes, apply_changes
from retention.campaigns.lifecycle.spec import Body, Plan, is_within_budget
from retention.errors import Refused
from retention.outreach.adapter import is_text

LOSES_MONEY, TOO_SMALL = "loses_money", "too_small"
WIDEN, CHEAPER = "widen", "cheaper"
DISCOUNTS = (0.15, 0.10, 0.05)  # cheaper offers to try, before a reminder without a discount
LARGER = 1.25  # a wider audience helps against too few customers from this factor on


def warning(body: Body) -> dict[str, Any] | None:
    """Return the draft's most important fault.

    Returns: ``code`` is `LOSES_MONEY` (with ``profit``, and ``too_small``) or `TOO_SMALL` (with
    ``smallest_effect`` and ``effect_high``, shares of extra buyers).
    """
    plan = body.plan()
    if plan.profit < 0:
        return {"code": LOSES_MONEY, "profit": plan.profit, "too_small": not plan.learnable}
    if not plan.learnable:
        return {
            "code": TOO_SMALL,
            "smallest_effect": plan.smallest_effect,
            "effect_high": plan.effect_high,
        }
    return None


def remedy(body: Body) -> dict[str, Any] | None:
    """Return the change that helps against the warning.

    Returns: ``action`` is `WIDEN` (with ``tier`` and ``customers``) or `CHEAPER` (with ``offer``,
    the fields of `Changes`, and ``profit``). None without a warning or a change that helps.
    """
    fault = warning(body)
    if fault is None:
        return None
    wider = body.wider
    if wider is not None and wider.profit >= 0:
        helps = wider.learnable or wider.customers >= LARGER * body.audience
        if fault["code"] == LOSES_MONEY or helps:
            return {"action": WIDEN, "tier": wider.tier, "customers": wider.customers}
    if fault["code"] == LOSES_MONEY and (changes := cheaper_offer(body)):
        offer = {"offer": changes.offer, "discount": changes.discount}
        return {"action": CHEAPER, "offer": offer, "profit": _edited(body, changes).plan().profit}
    return None


def cheaper_offer(body: Body) -> Changes | None:
    """Return the smallest cut of the offer that is expected to earn money."""
    for changes in _cheaper(body):
        try:
            edited = _edited(body, changes)
        except Refused:  # the policy does not allow it
            continue
        if edited.plan().profit > 0:
            return changes
    return None


def _cheaper(body: Body) -> Iterator[Changes]:
    largest = max((line.largest_share for line in body.offers), default=0.0)
    for discount in DISCOUNTS:
        if discount <= largest:
            yield Changes(offer="share", discount=discount)
    yield Changes(offer="reminder")


def _edited(body: Body, changes: Changes) -> Body:
    return apply_changes(body, changes, ZoneInfo("UTC"), datetime.now(UTC))  # neither is used


OLD_SCORES_DAYS = 7
# The most important one first. A message shows one; the others are in its details.
WARNINGS = (
    "over_budget",  # cannot be submitted
    "losing",
    "no_code",  # in the text
    "not_at_checkout",  # the shop cannot make the codes of gifts and bundles
    "unlearnt",
    "too_small",
    "no_address",  # of the shop, in its e-mails
    "old_scores",
    "overlaps",
    "untitled",
    "assumed",
)


def campaign_warnings(body: Body, plan: Plan, *, lacks_address: bool = False) -> tuple[str, ...]:
    """Return the codes of a version's warnings, the most important one first.

    Returns: members of `WARNINGS`, in their order.
    """
    is_email = not is_text(body.message_channel)
    applies = {
        "over_budget": not is_within_budget(plan.cost, body.budget),
        "losing": plan.profit < 0,
        "no_code": body.lacks_code,
        "not_at_checkout": any(line.action in body.unmade for line in body.offers),
        "unlearnt": body.targeting is not None and body.targeting.why == "failed",
        "too_small": not plan.learnable,
        "no_address": lacks_address and is_email,
        "old_scores": body.scores_age_days >= OLD_SCORES_DAYS,
        "overlaps": bool(body.overlaps),
        "untitled": bool(body.untitled) and is_email,
        "assumed": bool(body.assumed),
    }
    return tuple(code for code in WARNINGS if applies[code])
