"""Handle the window in which admins change the policy."""

from slack_bolt import Ack, App

from bot.commands.policy import DEED, parsed_values, policy_data
from bot.services import Services
from bot.slack.builder import show_answer
from bot.slack.interactions import Click, listen, once, show_modal
from retention.risk import policy_edits
from retention.text import in_language
from workers import action_ids, user_roles
from workers.delivery import render


def register(app: App, services: Services) -> None:
    """Listen to the button and the window."""
    listen(app, services, {action_ids.CHANGE_POLICY: _open}, {action_ids.POLICY_VIEW: _save})


def _open(services: Services, click: Click) -> None:
    with services.database.reading() as session:
        user_roles.require(session, click.user, "admin", in_language(DEED))
        shown = policy_data(session, click.user)
    show_modal(services, click, render.view("bot/policy_edit", **shown))


def _save(services: Services, click: Click, ack: Ack) -> None:
    """Store the changed settings; the private metadata is the version that the person saw."""
    typed = {place: click.answer(place) for place in click.state}
    with once(services, click, "admin", in_language(DEED)) as session:
        values = parsed_values(policy_edits.file_policy(session), typed, in_percent=True)
        policy_edits.change_policy(session, values, click.user, int(click.value))
    ack()
    with services.database.reading() as session:
        shown = policy_data(session, click.user)
    zone = services.settings.timezone
    show_answer(services, "", click.user, render.message("bot/policy", zone=zone, **shown))
