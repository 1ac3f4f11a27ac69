"""Handle the menu of a campaign's message: details, preview, result so far and follow-ups."""

from dataclasses import replace
from functools import partial

from slack_bolt import App

from bot.services import Services
from bot.slack import builder
from bot.slack.interactions import Click, Handler, confirm, fill_window, listen, once, show_modal
from bot.slack.interactions.campaign_copy import open_copy
from bot.slack.interactions.campaigns import download, explains_stale, open_modal, parse_target
from retention.campaigns.lifecycle.copy_test import VARIANTS, CopyTest
from retention.campaigns.lifecycle.spec import Body
from retention.campaigns.lifecycle.states import StaleCampaign, find_campaign
from retention.campaigns.lifecycle.view import campaign_data
from retention.db.audit import history
from retention.errors import BadInput
from retention.outreach import tracking
from retention.text import gettext
from workers import action_ids, user_roles
from workers.campaigns.follow_ups import follow_up_request
from workers.campaigns.job_requests import CampaignDraft, CampaignLook, CampaignPreview
from workers.delivery import render

HISTORY = 40  # steps in the window


def register(app: App, services: Services) -> None:
    """Listen to the menu and to the buttons that start a job."""
    clicks: dict[str, Handler] = {
        action_ids.CAMPAIGN_MENU: _choose,
        action_ids.PREVIEW_EMAIL: preview,
        action_ids.FOLLOW_UP: draft_follow_up,
    }
    listen(app, services, clicks)


def _choose(services: Services, click: Click) -> None:
    deeds: dict[str, Handler] = {
        "details": open_details,
        "preview": preview,
        "look": result_so_far,
        "copy": open_copy,
        "test": open_test,
        "edit": partial(open_modal, deed="edit"),
        "stop": partial(open_modal, deed="stop"),
        "codes": partial(download, part="codes"),
        "calls": partial(download, part="calls"),
    }
    deed, _, target = click.value.partition("|")
    if deed not in deeds:
        raise BadInput(
            gettext(
                "This menu is of another version of the desk; `/retention campaign show` "
                "has a new one."
            )
        )
    deeds[deed](services, replace(click, value=target))


def open_test(services: Services, click: Click) -> None:
    """Open the window that writes a variant of the message."""
    campaign_id, version, _ = parse_target(click)
    with services.database.reading() as session:
        campaign = find_campaign(session, campaign_id)
        if campaign.version != version:
            raise StaleCampaign(campaign, version)
        test = Body.of(campaign).test or CopyTest(variants=())
    free = [name for name in VARIANTS if name not in test.names] or [VARIANTS[-1]]
    fields = {"campaign": campaign_id, "variant": free[0]}
    fields |= {"share": f"{100 * test.share:g}", "days": str(test.days), "metric": test.metric}
    fields["explore"] = f"{100 * test.explore:g}"
    state = builder.started("campaign variants", fields)
    place = builder.Place(click.channel or "", click.response_url or "")
    show_modal(services, click, builder.view(services, click.user, place, state))


def open_details(services: Services, click: Click) -> None:
    """Open the window with everything that the message leaves out."""
    campaign_id, _, _ = parse_target(click)
    with services.database.reading() as session:
        campaign = find_campaign(session, campaign_id)
        steps = history(session, campaign.team_id, campaign.id, "campaign", latest=HISTORY)
        reach = tracking.reach(session, campaign.id)
        view = render.view(
            "campaign/details",
            campaign={**campaign_data(campaign, services.settings, session), "reach": reach},
            history=steps,
            zone=services.settings.timezone,
        )
    services.client.views_open(trigger_id=click.trigger_id, view=view)


@explains_stale
def preview(services: Services, click: Click) -> None:
    """Open a window with a picture of the e-mail; a worker draws it."""
    campaign_id, version, _ = parse_target(click)
    with services.database.reading() as session:
        user_roles.require(session, click.user, CampaignPreview.role, CampaignPreview.deed)
        campaign = find_campaign(session, campaign_id)
        if campaign.version != version:
            raise StaleCampaign(campaign, version)
        view = render.view("campaign/preview_window", name=campaign.name, is_opening=True)
    view_id = show_modal(services, click, view)
    request = CampaignPreview(campaign_id=campaign_id, picture=True, view_id=view_id)
    fill_window(services, click, request)


def result_so_far(services: Services, click: Click) -> None:
    """Show the interim result in the campaign's thread."""
    campaign_id, _, _ = parse_target(click)
    with once(services, click, CampaignLook.role, CampaignLook.deed) as session:
        campaign = find_campaign(session, campaign_id)
        request, channel = CampaignLook(campaign_id=campaign_id), campaign.channel or click.place
        # The reply comes within seconds.
        options = {"thread_key": campaign.post_key, "announce": False}
        submission = click.submit(session, request, channel, **options)
    if submission.created and not services.queue.wake(submission.job):
        confirm(services, click, submission, private=False)


def draft_follow_up(services: Services, click: Click) -> None:
    """Draft the campaign that a result advises.

    `click`: its value is the campaign's id, its version and what to draft (`verdict`'s ``next``).
    """
    campaign_id, _, rest = click.value.partition(":")
    _, _, following = rest.partition(":")
    with once(services, click, CampaignDraft.role, CampaignDraft.deed) as session:
        campaign = find_campaign(session, campaign_id)
        request = follow_up_request(campaign_data(campaign), following)
        submission = click.submit(session, request, campaign.channel or click.place)
    confirm(services, click, submission, private=False)
