"""Handle the menu and the button of sources."""

from dataclasses import replace

from slack_bolt import App

from bot.services import Services
from bot.slack.interactions import Click, listen, send_ephemeral, submit
from retention import clock
from retention.connect.sources import source_records
from retention.errors import BadInput
from retention.text import gettext
from workers import ids, roles
from workers.data.source_pulls import next_pull
from workers.requests import SourcePull


def register(app: App, services: Services) -> None:
    """Listen to the menu and the button."""
    listen(app, services, {ids.SOURCE_MENU: _choose, ids.SOURCE_ACCEPT: _accept})


def _choose(services: Services, click: Click) -> None:
    deed, _, name = click.value.partition("|")
    if deed == "run":
        chosen = replace(click, value=name)
        submit(services, chosen, SourcePull(name=name), check=source_records.find)
    else:
        _change(services, click, deed, name)


def _accept(services: Services, click: Click) -> None:
    request = SourcePull(name=click.value, accept_shrunk=True)
    submit(services, click, request, check=source_records.find)


def _change(services: Services, click: Click, deed: str, name: str) -> None:
    """Pause or resume a source, and confirm it."""
    next_at = None
    if deed not in ("pause", "resume"):
        text = gettext("This menu is of another version; `/retention source list` has a new one.")
        raise BadInput(text)
    with services.database.transaction() as session:
        roles.require(session, click.user, "admin", gettext("change sources"))
        if not click.first_time(session):
            return
        if deed == "pause":
            source_records.pause(session, name, click.user)
        else:
            source = source_records.find(session, name)
            next_at = next_pull(source.every, source.timezone, clock.now())
            source_records.resume(session, name, click.user, next_at)
    at = next_at and next_at.isoformat()
    send_ephemeral(services, click, "source/changed", name=name, deed=deed, next_at=at)
