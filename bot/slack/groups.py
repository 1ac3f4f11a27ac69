"""Keep the roles of Slack user groups' members up to date.

Roles are checked on the server in one table. The members of groups are read from Slack when a group
gets a role, when Slack reports a change, and in the background every few minutes.
"""

import logging
import time
from typing import TYPE_CHECKING, Any

from slack_bolt import Ack, App
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackClientError
from sqlalchemy import select

from retention.db import Database
from retention.db.tables import RoleGrant
from retention.errors import BadInput
from retention.text import gettext
from workers.installation import Client
from workers.user_roles import grant_to_members, is_group_grant

if TYPE_CHECKING:
    from bot.services import Services

log = logging.getLogger("retention.bot")

REFRESH_SECONDS = 300.0


class UserGroups:
    """Read the members of user groups and give them their group's role."""

    def __init__(self, client: WebClient, database: Database) -> None:
        self._client, self._settings, self._database = client, database.settings, database

    def members(self, group: str) -> list[str]:
        """Return the user ids of a group."""
        try:
            return list(self._client.usergroups_users_list(usergroup=group)["users"])
        except SlackApiError as error:
            code = error.response.get("error")
            if code == "missing_scope":
                text = gettext(
                    "The app may not read user groups. Add the scope usergroups:read and "
                    "install the app again."
                )
                raise BadInput(text) from None
            text = gettext("Slack cannot read the user group {group} ({code}).")
            raise BadInput(text.format(group=group, code=code)) from None
        except (SlackClientError, OSError):
            text = gettext("Slack did not answer, so nothing was changed. Please try again.")
            raise BadInput(text) from None

    def all_members(self, granted: str | None = None) -> dict[str, list[str]]:
        """Return the members of all groups that have a role, by group."""
        with self._database.reading() as session:
            groups = session.scalars(
                select(RoleGrant.user_id).where(
                    RoleGrant.team_id == self._settings.team_id, is_group_grant()
                )
            ).all()
        members = {granted: self.members(granted)} if granted else {}
        for group in groups:
            try:
                members[group] = members.get(group) or self.members(group)
            except BadInput as error:
                log.warning("the members of %s stay as they were: %s", group, error)
        return members

    def refresh(self) -> None:
        """Read the members of all groups that have a role, and store their roles.

        The members of a group that Slack cannot read keep their role until it can.
        """
        if members := self.all_members():
            with self._database.transaction() as session:
                grant_to_members(session, members)


def keep_fresh(database: Database) -> None:
    """Read the members of groups again and again, without end."""
    groups = UserGroups(Client(database, timeout=10), database)
    while True:
        try:
            groups.refresh()
        except Exception:  # the next refresh tries again
            log.exception("the members of user groups were not refreshed")
        time.sleep(REFRESH_SECONDS)


def register(app: App, services: "Services") -> None:
    """Listen to changes of user groups."""

    @app.event("subteam_members_changed")
    def changed(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        services.groups.refresh()


LOOKUP_SECONDS = 1.0  # Slack waits 3 s for the answer to a command


def address_of(services: "Services", user: str) -> dict[str, str]:
    """Return a person's ``address`` and name (``person``) from Slack's ``users.info``.

    The bot token needs the scopes ``users:read`` and ``users:read.email``.
    Returns: empty texts for what Slack does not tell.
    """
    client = Client(services.database, timeout=LOOKUP_SECONDS)
    try:
        profile = client.users_info(user=user)["user"]["profile"]
    except Exception as error:  # whatever is wrong with it, the person gets a direct message
        log.warning("Slack does not tell the e-mail address of %s: %s", user, error)
        profile = {}
    return {"address": profile.get("email") or "", "person": profile.get("real_name") or ""}
