"""Handle the menu and the button of sources."""

from typing import Any

from slack_bolt import Ack, App

from bot.interactions import Click, confirm, send_ephemeral
from bot.services import Services
from retention import clock
from retention.connect import sources
from retention.errors import BadInput
from retention.text import gettext
from workers import ids, jobs, roles
from workers.requests import SourcePull
from workers.sources import next_pull


def register(app: App, services: Services) -> None:
    """Listen to the menu and the button.

    Parameters
    ----------
    app : App
        The Slack app.
    services : Services
        The installation's services.
    """

    @app.action(ids.SOURCE_MENU)
    def chosen(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        click = Click.of(body)
        deed, _, name = click.value.partition("|")
        if deed == "run":
            pull(services, click, name)
        else:
            change(services, click, deed, name)

    @app.action(ids.SOURCE_ACCEPT)
    def accept(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        click = Click.of(body)
        pull(services, click, click.value, accept_shrunk=True)


def pull(services: Services, click: Click, name: str, *, accept_shrunk: bool = False) -> None:
    """Pull a source now.

    Parameters
    ----------
    services : Services
        The installation's services.
    click : Click
        The click.
    name : str
        Name of the source.
    accept_shrunk : bool, optional
        Import although it lost half of its rows.
    """
    channel = click.channel or click.user
    with services.database.transaction() as session:
        known = sources.find(session, services.settings, name).name
        submission = jobs.submit(
            session,
            services.settings,
            SourcePull(name=known, accept_shrunk=accept_shrunk),
            requested_by=click.user,
            channel=channel,
            idem_key=click.key,
        )
    confirm(services, click, submission, private=channel == click.user)


def change(services: Services, click: Click, deed: str, name: str) -> None:
    """Pause or resume a source, and confirm it.

    Parameters
    ----------
    services : Services
        The installation's services.
    click : Click
        The click.
    deed : str
        ``pause`` or ``resume``.
    name : str
        Name of the source.
    """
    settings, next_at = services.settings, None
    if deed not in ("pause", "resume"):
        raise BadInput(
            gettext("This menu is of another version; `/retention source list` has a new one.")
        )
    with services.database.transaction() as session:
        roles.require(session, settings, click.user, "admin", gettext("change sources"))
        if not click.first_time(session):
            return
        if deed == "pause":
            sources.pause(session, settings, name, click.user)
        else:
            source = sources.find(session, settings, name)
            next_at = next_pull(source.every, source.timezone, clock.now())
            sources.resume(session, settings, name, click.user, next_at)
    at = next_at and next_at.isoformat()
    send_ephemeral(services, click, "source/changed", name=name, deed=deed, next_at=at)
