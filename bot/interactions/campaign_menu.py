"""Handle the menu of a campaign's message: details, preview, result so far and follow-ups."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from slack_bolt import Ack, App

from bot.interactions import Click, confirm, show_modal
from bot.interactions.campaign_copy import open_copy
from bot.interactions.campaigns import (
    download,
    open_modal,
    parse_target,
    show_stale,
)
from bot.services import Services
from retention.campaigns.states import EDITABLE, STOPPABLE, StaleCampaign, find_campaign
from retention.campaigns.view import campaign_data
from retention.db.audit import history
from retention.errors import BadInput
from retention.text import gettext
from workers import ids, jobs, roles
from workers.delivery import render
from workers.follow_ups import follow_up_request
from workers.requests import CampaignLook, CampaignPreview

HISTORY = 40  # steps in the window


def register(app: App, services: Services) -> None:
    """Listen to the menu and to the buttons that start a job.

    Parameters
    ----------
    app : App
        The Slack app.
    services : Services
        The installation's services.
    """
    deeds: dict[str, Callable[[Services, Click], None]] = {
        "details": open_details,
        "preview": preview,
        "look": result_so_far,
        "copy": open_copy,
        "edit": lambda services, click: open_modal(services, click, "edit", "analyst", EDITABLE),
        "stop": lambda services, click: open_modal(services, click, "stop", "viewer", STOPPABLE),
        "codes": lambda services, click: download(services, click, "codes"),
        "calls": lambda services, click: download(services, click, "calls"),
    }

    @app.action(ids.CAMPAIGN_MENU)
    def chosen(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        click = Click.of(body)
        deed, _, target = click.value.partition("|")
        if deed not in deeds:
            raise BadInput(
                gettext(
                    "This menu is of another version of the desk; `/retention campaign show` "
                    "has a new one."
                )
            )
        deeds[deed](services, replace(click, value=target))

    @app.action(ids.PREVIEW_EMAIL)
    def preview_pressed(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        preview(services, Click.of(body))

    @app.action(ids.FOLLOW_UP)
    def follow_up(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        draft_follow_up(services, Click.of(body))


def open_details(services: Services, click: Click) -> None:
    """Open the window with everything that the message leaves out.

    Parameters
    ----------
    services : Services
        The installation's services.
    click : Click
        Its value is the campaign's id and version.
    """
    campaign_id, _, _ = parse_target(click)
    with services.database.reading() as session:
        campaign = find_campaign(session, services.settings, campaign_id)
        steps = history(session, campaign.team_id, campaign.id, "campaign", latest=HISTORY)
        view = render.view(
            "campaign/details",
            campaign=campaign_data(campaign, services.settings, session),
            history=steps,
            zone=services.settings.timezone,
        )
    services.client.views_open(trigger_id=click.trigger_id or "", view=view)


def preview(services: Services, click: Click) -> None:
    """Open a window with a picture of the e-mail; a worker draws it.

    Parameters
    ----------
    services : Services
        The installation's services.
    click : Click
        Its value is the campaign's id and version.
    """
    campaign_id, version, _ = parse_target(click)
    settings = services.settings
    try:
        with services.database.reading() as session:
            action = CampaignPreview.deed
            roles.require(session, settings, click.user, CampaignPreview.role, action)
            campaign = find_campaign(session, settings, campaign_id)
            if campaign.version != version:
                raise StaleCampaign(campaign, version)
            view = render.view("campaign/preview_window", name=campaign.name, is_opening=True)
    except StaleCampaign as stale:
        show_stale(services, click, stale)
        return
    view_id = show_modal(services, click, view)
    with services.database.transaction() as session:
        if not click.first_time(session):
            return
        job = jobs.submit(
            session,
            settings,
            CampaignPreview(campaign_id=campaign_id, picture=True, view_id=view_id),
            requested_by=click.user,
            channel=None,
            idem_key=click.key,
        ).job
    services.queue.wake(job)


def result_so_far(services: Services, click: Click) -> None:
    """Show the interim result in the campaign's thread.

    Parameters
    ----------
    services : Services
        The installation's services.
    click : Click
        Its value is the campaign's id and version.
    """
    campaign_id, _, _ = parse_target(click)
    settings = services.settings
    with services.database.transaction() as session:
        if not click.first_time(session):
            return
        campaign = find_campaign(session, settings, campaign_id)
        submission = jobs.submit(
            session,
            settings,
            CampaignLook(campaign_id=campaign_id),
            requested_by=click.user,
            channel=campaign.channel or click.channel or click.user,
            thread_key=campaign.post_key,
            idem_key=click.key,
            announce=False,  # the reply comes within seconds
        )
    if submission.created and not services.queue.wake(submission.job):
        confirm(services, click, submission, private=False)


def draft_follow_up(services: Services, click: Click) -> None:
    """Draft the campaign that a result advises.

    Parameters
    ----------
    services : Services
        The installation's services.
    click : Click
        Its value is the campaign's id, its version and what to draft (`verdict`'s ``next``).
    """
    campaign_id, _, rest = click.value.partition(":")
    _, _, following = rest.partition(":")
    settings = services.settings
    with services.database.transaction() as session:
        if not click.first_time(session):
            return
        campaign = find_campaign(session, settings, campaign_id)
        request = follow_up_request(campaign_data(campaign), following)
        submission = jobs.submit(
            session,
            settings,
            request,
            requested_by=click.user,
            channel=campaign.channel or click.channel or click.user,
            idem_key=click.key,
        )
    confirm(services, click, submission, private=False)
