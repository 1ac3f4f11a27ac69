"""Choose the draft with the highest expected profit among those that can be measured.

The options are the tiers of risk that the policy acts on, and its hold-outs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from retention.campaigns.lifecycle.spec import Asked, Body, ListRest, Wider
from retention.campaigns.planning.audience import Audience
from retention.risk.policy import HOLDOUT, LAPSED, TIERS, Policy

if TYPE_CHECKING:
    import pandas as pd


LIST = "list"  # the customers of a list, of whatever tier


@dataclass(frozen=True, slots=True)
class Option:
    """An audience with its version of the campaign, not yet drawn."""

    tier: str  # lowest risk tier, or LIST
    audience: Audience
    body: Body


def choose_option(
    scores: "pd.DataFrame",
    asked: str,
    policy: Policy,
    evaluate: Callable[[str, "pd.DataFrame"], Option],
    *,
    may_widen: bool,
) -> Option:
    """Choose the option with the highest expected profit that can be measured.

    `scores`: all active customers with their ``tier``, or all lapsed ones.
    `evaluate`: maps a lowest tier and its customers to an option with the policy's hold-out.
    `may_widen`: consider wider tiers. Otherwise the next one is only noted in ``Body.wider``.
    """
    is_lapsed = asked == LAPSED or (len(scores) > 0 and scores["tier"].iloc[0] == LAPSED)
    levels = (LIST, LAPSED) if is_lapsed else (LIST, *TIERS)
    options = [evaluate(tier, of_tiers(scores, tier)) for tier in tiers_from(asked, policy, levels)]
    considered = options if may_widen else options[:1]
    best = max(
        (option for each in considered for option in _with_holdouts(each) if _is_good(option.body)),
        key=lambda option: option.body.plan().profit,
        default=options[0],
    )
    first = options[0]
    notes: dict[str, object] = {"wider": _next_wider(best, options)}
    if best.tier != first.tier:
        notes["asked"] = Asked(
            tier=first.tier,
            customers=first.body.audience,
            why=_why_widened(first),
            excluded=first.audience.excluded,
        )
    return replace(best, body=best.body.model_copy(update=notes))


def tiers_from(
    asked: str, policy: Policy, levels: tuple[str, ...] = (LIST, *TIERS)
) -> tuple[str, ...]:
    """Return the lowest tiers to consider: the asked one, then wider ones with a rule that acts."""
    acting = policy.acting_tiers
    return (asked, *(tier for tier in levels[levels.index(asked) + 1 :] if tier in acting))


def list_rest(scores: "pd.DataFrame", listed: int, lowest: str, policy: Policy) -> ListRest | None:
    """Count the customers of a list below a tier; None if there are none."""
    if lowest not in TIERS:
        return None
    below = TIERS[TIERS.index(lowest) + 1 :]
    counts = {tier: int((scores["tier"] == tier).sum()) for tier in below}
    lower = {tier: number for tier, number in counts.items() if number}
    unscored = listed - scores["customer_id"].nunique()
    if not lower and not unscored:
        return None
    wider = [tier for tier in tiers_from(lowest, policy)[1:] if tier in lower]
    tier = wider[-1] if wider else None
    return ListRest(listed=listed, lower=lower, unscored=unscored, tier=tier)


def of_tiers(scores: "pd.DataFrame", lowest: str) -> "pd.DataFrame":
    """Return the scores of a tier and of those above it, or of the list."""
    if lowest == LIST:
        return scores[scores["list_rank"].notna()]
    if lowest == LAPSED:
        return scores[scores["tier"] == LAPSED]
    return scores[scores["tier"].isin(TIERS[: TIERS.index(lowest) + 1])]


def _with_holdouts(option: Option) -> list[Option]:
    """The option with the policy's hold-out, and with the largest allowed one."""
    largest, body = HOLDOUT[1], option.body
    if largest <= body.holdout:
        return [option]
    return [option, replace(option, body=body.model_copy(update={"holdout": largest}))]


def _is_good(body: Body) -> bool:
    """Whether the version earns money, and the expected effect would be detected."""
    if not body.audience:
        return False
    plan = body.plan()
    smallest = plan.smallest_effect
    return plan.profit > 0 and smallest is not None and smallest <= plan.effect


def _why_widened(option: Option) -> Literal["too_few", "no_profit", "earns_less"]:
    """Say why a wider option than the one that was asked for was chosen."""
    if any(_is_good(each.body) for each in _with_holdouts(option)):
        return "earns_less"
    is_profitable = option.body.audience > 0 and option.body.plan().profit > 0
    return "too_few" if is_profitable or not option.body.audience else "no_profit"


def _next_wider(chosen: Option, options: Sequence[Option]) -> Wider | None:
    """Return the next larger audience; for a list, the first that pays and can be measured."""
    position = [option.tier for option in options].index(chosen.tier)
    found = []
    for option in options[position + 1 :]:
        if option.body.audience <= chosen.body.audience:
            continue
        body = option.body.model_copy(update={"holdout": chosen.body.holdout})
        figures = body.plan().model_dump(include={"profit", "learnable"})
        found.append(Wider(tier=option.tier, customers=body.audience, **figures))
    first = found[0] if found else None
    if chosen.tier != LIST:
        return first
    return next((each for each in found if each.learnable and each.profit >= 0), first)
