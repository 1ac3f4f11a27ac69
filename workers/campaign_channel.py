"""Change the channel of a draft: its audience is drafted anew."""

from retention.campaigns.spec import Body
from retention.db.tables import Campaign
from retention.errors import BadInput
from retention.outreach.channels import require_text_channel
from retention.settings import Settings
from retention.text import gettext
from workers.requests import CampaignWiden


def channel_request(settings: Settings, campaign: Campaign, channel: str) -> CampaignWiden:
    """Return the request to draft a campaign's audience for another channel.

    Parameters
    ----------
    settings : Settings
        Settings of the installation.
    campaign : Campaign
        As stored.
    channel : str
        One of `MESSAGE_CHANNELS`.

    Raises
    ------
    BadInput
        No platform can send it, or the draft is of an earlier version of the desk.
    """
    require_text_channel(settings, channel)
    asked = Body.model_validate(campaign.body).drafted_for
    if asked is None:
        raise BadInput(
            gettext(
                "This draft is of an earlier version of the desk, which did not store whom it is "
                "for; draft it anew: `/retention campaign draft --channel {channel}`."
            ).format(channel=channel),
            field="message_channel",
        )
    return CampaignWiden(
        campaign_id=campaign.id,
        version=campaign.version,
        message_channel=channel,
        **asked.model_dump(),
    )
