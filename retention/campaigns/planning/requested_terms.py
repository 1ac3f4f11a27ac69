"""Apply the terms that a person asks for to a draft's policy."""

from datetime import datetime

from retention import templating
from retention.campaigns.lifecycle.spec import Body
from retention.errors import BadInput, FieldErrors
from retention.risk.policy import HOLDOUT, Policy
from retention.risk.strategy import WIN_BACK, Rule
from retention.templating import kind_title, money
from retention.text import available_languages, gettext, use_language


def with_terms(
    policy: Policy,
    *,
    discount: float | None,
    holdout: float | None,
    budget: float | None,
    currency: str,
) -> Policy:
    """Return the policy for one draft.

    The audience, the offers and the forecast follow from it, so that a budget limits the audience.

    `discount`, `holdout`: shares from 0 to 1. None keeps the policy's.
    """
    errors, rules = FieldErrors(), policy.rules
    with errors.collect():
        if discount is not None:
            rules = _with_discount(policy, discount)
    with errors.collect():
        if holdout is not None and not HOLDOUT[0] <= holdout <= HOLDOUT[1]:
            problem = gettext("--holdout is {value:g}%; use {low:g} to {high:g}.")
            low, high = (100 * limit for limit in HOLDOUT)
            raise BadInput(problem.format(value=100 * holdout, low=low, high=high), field="holdout")
    with errors.collect():
        if budget is not None and not 0 < budget <= policy.campaign.budget:
            problem = gettext("--budget is {value}; use more than 0 and at most {limit}.")
            value, limit = (money(each, currency) for each in (budget, policy.campaign.budget))
            raise BadInput(problem.format(value=value, limit=limit), field="budget")
    errors.raise_any()
    asked = {"holdout": holdout, "budget": budget}
    update = {name: value for name, value in asked.items() if value is not None}
    campaign = policy.campaign.model_copy(update=update)
    return policy.model_copy(update={"rules": rules, "campaign": campaign})


def _with_discount(policy: Policy, discount: float) -> tuple[Rule, ...]:
    if not 0.01 <= discount <= 0.99:
        problem = gettext("--discount is {value:g}%; use 1 to 99.")
        raise BadInput(problem.format(value=100 * discount), field="discount")
    if not any(rule.discount for rule in policy.rules):
        problem = gettext("--discount has no use: no rule of the policy file gives a discount.")
        raise BadInput(problem, field="discount")
    return tuple(
        rule.model_copy(update={"discount": discount}) if rule.discount else rule
        for rule in policy.rules
    )


def default_name(body: Body, now: datetime) -> str:
    """Return a campaign's name: its list or tiers, and the date of ``now``, in the shop's zone."""
    date = templating.day(now, str(now.tzinfo))
    if body.kind != WIN_BACK:
        return gettext("{kind}, {date}").format(kind=kind_title(body.kind), date=date)
    if "lapsed" in body.tiers:
        return gettext("Lapsed customers, {date}").format(date=date)
    if body.drafted_for and body.drafted_for.listed:
        return gettext("The list of {date}").format(date=date)
    names = [templating.tier(code) for code in ("high", "medium", "low") if code in body.tiers]
    listed = ", ".join(names)
    if len(names) > 1:
        listed = gettext("{tiers} and {last}").format(tiers=", ".join(names[:-1]), last=names[-1])
    return gettext("{tiers} risk, {date}").format(tiers=listed.capitalize(), date=date)


def is_default_name(name: str, body: Body, now: datetime) -> bool:
    """Return whether no person chose a campaign's name, in whichever language it was drafted.

    `now`: the time then, in the shop's zone.
    """
    for language in available_languages():
        with use_language(language):
            if name == default_name(body, now):
                return True
    return False
