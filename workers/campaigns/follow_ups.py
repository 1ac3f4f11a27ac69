"""Find the next draft that a result advises, and whether it can be measured now."""

import logging
from functools import partial
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded

from retention.campaigns.lifecycle.spec import Body
from retention.campaigns.lifecycle.view import campaign_data
from retention.campaigns.measurement.verdict import verdict
from retention.db.tables import Campaign
from retention.errors import BadInput, Refused
from retention.outreach.adapter import require_text_channel
from retention.risk.policy import TIERS
from retention.risk.strategy import WIN_BACK
from retention.settings import Settings
from retention.text import gettext
from workers.campaigns.job_requests import CampaignDraft, CampaignWiden
from workers.tasks.interface import Context

log = logging.getLogger(__name__)


def find_follow_up(
    campaign: Campaign, result: dict[str, Any], context: Context
) -> dict[str, Any] | None:
    """Draft what a result advises, without storing it, to say how many customers it has.

    Returns ``action`` (None: no such draft can be measured now), the ``customers`` of that draft
    and those that are ``reachable`` at most. None if the result advises nothing.
    """
    from retention.campaigns.planning.draft import EmptyAudience
    from workers.tasks.campaigns.campaign_draft import make_draft

    body = Body.of(campaign)
    advised = (verdict(result, body, body.plan()) or {}).get("next")
    if advised is None or campaign.state == "cancelled":
        return None
    request = follow_up_request(campaign_data(campaign), advised)
    try:
        drafted = make_draft(request, context, after=(campaign.id, result)).body
    except EmptyAudience:  # nobody can get it now
        return {"action": None, "customers": 0, "reachable": 0}
    except SoftTimeLimitExceeded:
        raise
    except Refused as error:  # a carrier that is not set up, for example, says nothing of customers
        log.info("the draft that follows campaign %s is refused: %s", campaign.id, error)
        return None
    except Exception:
        log.exception("the draft that follows campaign %s cannot be estimated", campaign.id)
        return None
    wider, action, customers = drafted.wider, advised, drafted.audience
    reachable = max(customers, wider.customers if wider else 0)
    if not drafted.plan().learnable:
        action = None
        if wider is not None and wider.learnable and advised in ("repeat", "larger"):
            action, customers = wider.tier, wider.customers
    return {"action": action, "customers": customers, "reachable": reachable}


def follow_up_request(campaign: dict[str, Any], following: str) -> CampaignDraft:
    """Return the draft that a result advises.

    `following`: a value of `retention.campaigns.measurement.verdict.FOLLOW_UPS`, or the lowest risk
    tier.
    Returns: ``larger`` reaches the next lower risk tier, or what is wider than a list. ``cheaper``
    halves the discount and ``reminder`` has none. They are for a new list after that of one.
    """
    levels = ("lapsed",) if "lapsed" in campaign["tiers"] else TIERS
    lowest = max((levels.index(tier) for tier in campaign["tiers"] if tier in levels), default=0)
    wider: str | None = levels[min(lowest + 1, len(levels) - 1)]
    draft = partial(CampaignDraft, tier=levels[lowest], message_channel=campaign["message_channel"])
    if campaign["kind"] != WIN_BACK:  # it was for everyone of its audience
        asked = {name: campaign["drafted_for"][name] for name in ("audience", "where")}
        draft = partial(draft, **asked, tier=None, campaign_kind=campaign["kind"])
        wider = None
    elif (campaign["drafted_for"] or {}).get("listed"):  # a new list, not everyone of its tiers
        wider = campaign["wider"]["tier"] if campaign["wider"] else None
        draft = partial(draft, tier="lapsed" if levels[0] == "lapsed" else None, listed=True)
    if following in levels:
        return draft(tier=following, listed=False)
    if following == "repeat":
        return draft()
    if following == "larger":
        return draft(tier=wider, listed=False) if wider else draft()
    if following == "cheaper" and campaign["discount"]:
        return draft(discount=max(round(50 * campaign["discount"]) / 100, 0.01))
    if following == "reminder":
        return draft(offer="reminder")
    raise BadInput(
        gettext(
            "This button is of another version of the desk; `/retention campaign show` has a new "
            "one."
        )
    )


def channel_request(settings: Settings, campaign: Campaign, channel: str) -> CampaignWiden:
    """Return the request to draft a campaign's audience for another channel."""
    require_text_channel(settings, channel)
    asked = Body.of(campaign).drafted_for
    if asked is None:
        problem = gettext(
            "This draft is of an earlier version of the desk, which did not store whom it is "
            "for; draft it anew: `/retention campaign draft --channel {channel}`."
        )
        raise BadInput(problem.format(channel=channel), field="message_channel")
    of_version = {"campaign_id": campaign.id, "version": campaign.version}
    places = asked.model_dump(exclude={"kind"})
    return CampaignWiden(**of_version, message_channel=channel, **places)
