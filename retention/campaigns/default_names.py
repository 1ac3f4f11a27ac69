"""Name campaigns that no person has named."""

from datetime import datetime

from retention import templating
from retention.campaigns.spec import Body
from retention.text import available_languages, gettext, use_language


def default_name(body: Body, now: datetime) -> str:
    """Return a campaign's name: its list or tiers, and the date of ``now``, in the shop's zone."""
    date = templating.day(now, str(now.tzinfo))
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

    Parameters
    ----------
    name : str
        The campaign's.
    body : Body
        Its version when it was drafted.
    now : datetime
        The time then, in the shop's zone.
    """
    for language in available_languages():
        with use_language(language):
            if name == default_name(body, now):
                return True
    return False
