"""Apply the terms that a person asks for to a draft's policy."""

from retention.errors import BadInput, FieldErrors
from retention.risk.policy import HOLDOUT, Policy, Rule
from retention.templating import money
from retention.text import gettext


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

    Parameters
    ----------
    policy : Policy
        The policy of the installation.
    discount, holdout : float or None
        Shares from 0 to 1. None keeps the policy's.
    budget : float or None
        Most that the campaign may cost.
    currency : str
        For the message.

    Returns
    -------
    Policy

    Raises
    ------
    BadFields
        A value is outside of the policy. The message names the allowed values.
    """
    errors, rules = FieldErrors(), policy.rules
    with errors.collect():
        if discount is not None:
            rules = _with_discount(policy, discount)
    with errors.collect():
        if holdout is not None and not HOLDOUT[0] <= holdout <= HOLDOUT[1]:
            raise BadInput(
                gettext("--holdout is {value:g}%; use {low:g} to {high:g}.").format(
                    value=100 * holdout, low=100 * HOLDOUT[0], high=100 * HOLDOUT[1]
                ),
                field="holdout",
            )
    with errors.collect():
        if budget is not None and not 0 < budget <= policy.campaign.budget:
            raise BadInput(
                gettext("--budget is {value}; use more than 0 and at most {limit}.").format(
                    value=money(budget, currency), limit=money(policy.campaign.budget, currency)
                ),
                field="budget",
            )
    errors.raise_any()
    asked = {"holdout": holdout, "budget": budget}
    update = {name: value for name, value in asked.items() if value is not None}
    campaign = policy.campaign.model_copy(update=update)
    return policy.model_copy(update={"rules": rules, "campaign": campaign})


def _with_discount(policy: Policy, discount: float) -> tuple[Rule, ...]:
    if not 0.01 <= discount <= 0.99:
        raise BadInput(
            gettext("--discount is {value:g}%; use 1 to 99.").format(value=100 * discount),
            field="discount",
        )
    if not any(rule.discount for rule in policy.rules):
        raise BadInput(
            gettext("--discount has no use: no rule of the policy file gives a discount."),
            field="discount",
        )
    return tuple(
        rule.model_copy(update={"discount": discount}) if rule.discount else rule
        for rule in policy.rules
    )
