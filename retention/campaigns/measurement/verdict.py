"""Say what a measured campaign showed, next to what its draft promised."""

from math import ceil
from typing import Any

from retention.campaigns.lifecycle.spec import Body, Plan
from retention.campaigns.measurement.effects import Z_ALPHA, Z_POWER

ROUND_TO = 100  # customers; a larger precision would be false
MAX_WEEKS = 26  # no offer works longer
MAX_CAMPAIGNS = 52  # a year of weekly campaigns
MAX_CUSTOMERS = 1_000_000  # no shop's campaign reaches more
FOLLOW_UPS = {  # advice → what to draft next
    "repeat": "repeat",
    "stop": "reminder",
    "cheaper": "cheaper",
    "undecided": "larger",
    "too_small": "larger",
}


def verdict(result: dict[str, Any] | None, body: Body, plan: Plan) -> dict[str, Any] | None:
    """Compare a campaign's result with its forecast.

    Returns: none without a measured result. ``outcome`` is ``gain`` or ``loss`` (of profit),
    ``buyers`` (more customers bought, profit is inconclusive), ``inconclusive``, ``too_small`` or
    ``unbelievable``. ``profit`` and ``buyers`` are totals with 95% intervals. ``needed`` is the
    audience that would be conclusive, or None. ``uncertain``: the measured interval is too wide to
    judge the promise. ``held``: whether the measured profit is in the promised interval and not
    uncertain; ``overlaps``: whether its own interval overlaps it. ``next``: what to draft next, or
    None. ``follow`` says how many customers that draft has, and ``instead`` what to do if the shop
    has fewer than ``needed``.
    """
    effects = (result or {}).get("effects") or {}
    if result is None or result["advice"] == "no_orders":
        return None
    outcome = _outcome(result["advice"], effects)
    is_readable = outcome not in ("too_small", "unbelievable")
    profit = _totals(effects["profit"]) if effects and is_readable else None
    needed = conclusive_size(result, plan) if is_readable else None
    follow = result.get("follow")  # None in results of earlier versions
    uncertain = profit is not None and _is_uncertain(plan, profit)
    return {
        "outcome": outcome,
        "profit": profit,
        "buyers": _totals(effects["buyers"]) if effects and is_readable else None,
        "needed": needed,
        "promised": promise(plan),
        "uncertain": uncertain,
        "held": None if profit is None else not uncertain and _contains(plan, profit["total"]),
        "overlaps": None
        if profit is None
        else profit["low"] <= plan.profit_high and plan.profit_low <= profit["high"],
        "instead": _instead(result, body, plan, needed),
        "follow": follow,
        "next": follow["action"] if follow else _follow_up(result["advice"], body),
    }


def promise(plan: Plan) -> dict[str, float]:
    """Return the figures of a forecast that a result is compared with."""
    profit = {"profit": plan.profit, "low": plan.profit_low, "high": plan.profit_high}
    return {**profit, "cost": plan.cost, "buyers": plan.effect * plan.treated}


def conclusive_size(result: dict[str, Any], plan: Plan) -> int | None:
    """Return the audience with which the profit would differ from zero.

    `result`: as stored in ``Campaign.result``, with effects.

    Notes
    -----
    The variance of the difference is inversely proportional to the number of customers, so n
    customers with standard error s show an effect δ with power 80% from n ((z₀.₉₇₅ + z₀.₈) s / δ)²
    on. δ is the promised profit per customer. A result that rules this promise out uses the
    measured one.
    """
    effect, sizes = (result.get("effects") or {}).get("profit"), result.get("sample_ratio") or {}
    if not effect or not effect.get("standard_error"):
        return None
    customers = sizes["treated"] + sizes["control"]
    promised = plan.profit / plan.treated if plan.treated else 0.0
    for difference in (promised, abs(effect["per_customer"])):
        if difference <= 0:
            continue
        size = customers * ((Z_ALPHA + Z_POWER) * effect["standard_error"] / difference) ** 2
        if size > customers:
            return ceil(size / ROUND_TO) * ROUND_TO if size <= MAX_CUSTOMERS else None
    return None


def _instead(
    result: dict[str, Any], body: Body, plan: Plan, needed: int | None
) -> dict[str, Any] | None:
    """What can be conclusive instead, if fewer customers than needed can be reached.

    The needed number n is proportional to (s / δ)². So campaigns of this size add up to it; an
    offer is conclusive with all reachable customers if it earns √(n / reachable) times as much; and
    a window w times as long needs n / w, as long as the offer works on.
    """
    reachable = (result.get("follow") or {}).get("reachable")
    if not needed or not reachable or needed <= reachable:
        return None
    sizes = result["sample_ratio"]
    weeks = ceil(body.window_days * needed / reachable / 7)
    campaigns = ceil(needed / (sizes["treated"] + sizes["control"]))
    return {
        "reachable": reachable,
        "campaigns": campaigns if campaigns <= MAX_CAMPAIGNS else None,
        "times": (needed / reachable) ** 0.5,
        "weeks": weeks if weeks <= MAX_WEEKS else None,
    }


def _outcome(advice: str, effects: dict[str, Any]) -> str:
    if advice in ("too_small", "unbelievable"):
        return advice
    if advice == "repeat":
        return "gain"
    if advice in ("stop", "cheaper"):
        return "loss"
    return "buyers" if effects and effects["buyers"]["low"] > 0 else "inconclusive"


def _totals(effect: dict[str, float]) -> dict[str, float]:
    return {"total": effect["total"], "low": effect["total_low"], "high": effect["total_high"]}


def _contains(plan: Plan, profit: float) -> bool:
    return plan.profit_low <= profit <= plan.profit_high


def _is_uncertain(plan: Plan, profit: dict[str, float]) -> bool:
    """Whether a measured interval fits the promise and no profit, and is wider than the promise."""
    fits = all(profit["low"] <= value <= profit["high"] for value in (0.0, plan.profit))
    return fits and profit["high"] - profit["low"] > plan.profit_high - plan.profit_low


def _follow_up(advice: str, body: Body) -> str | None:
    """What to draft next; a cheaper offer needs a discount to lower."""
    following = FOLLOW_UPS.get(advice)
    if following == "cheaper" and body.discount is None:
        return "reminder"
    return following
