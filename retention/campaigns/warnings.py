"""Find what a person should know before a campaign is sent."""

from retention.campaigns.spec import Body, Plan, is_within_budget
from retention.outreach.channels import is_text

OLD_SCORES_DAYS = 7
# The most important one first. A message shows one; the others are in its details.
WARNINGS = (
    "over_budget",  # cannot be submitted
    "losing",
    "no_code",  # in the text
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

    Parameters
    ----------
    body : Body
        The campaign's version.
    plan : Plan
        Its expected result.
    lacks_address : bool, optional
        Whether its e-mails would have no postal address.

    Returns
    -------
    tuple of str
        Members of `WARNINGS`, in their order.
    """
    is_email = not is_text(body.message_channel)
    applies = {
        "over_budget": not is_within_budget(plan.cost, body.budget),
        "losing": plan.profit < 0,
        "no_code": body.lacks_code,
        "unlearnt": body.targeting is not None and body.targeting.why == "failed",
        "too_small": not plan.learnable,
        "no_address": lacks_address and is_email,
        "old_scores": body.scores_age_days >= OLD_SCORES_DAYS,
        "overlaps": bool(body.overlaps),
        "untitled": bool(body.untitled) and is_email,
        "assumed": bool(body.assumed),
    }
    return tuple(code for code in WARNINGS if applies[code])
