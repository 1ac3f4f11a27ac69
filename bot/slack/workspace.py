"""Accept requests of one workspace only.

An installation holds the customers of one shop. A valid signature only proves that Slack sent
the request for this app, not for this workspace. A distributed app gets requests of other
workspaces, and Slack Connect brings people of other workspaces into shared channels. Their user
ids are unknown here, so they have no role.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from slack_bolt import BoltRequest, BoltResponse
from slack_sdk.errors import SlackApiError

from bot.http import requests
from retention.db import Database
from retention.text import gettext
from workers.installation import Client, first_installation

log = logging.getLogger("retention.bot")

WAIT_SECONDS = 1.0  # a request waits this long for the first answer to auth.test
RETRY_SECONDS = 30.0  # longest pause between two calls of auth.test
REFRESH_SECONDS = 60.0  # how long an installation read from the database is trusted

FOREIGN_WORKSPACE = "E_FOREIGN_WORKSPACE"
UNKNOWN_WORKSPACE = "E_UNKNOWN_WORKSPACE"
TEXT = {
    FOREIGN_WORKSPACE: gettext(
        "This desk belongs to another workspace, so your request was not carried out."
    ),
    UNKNOWN_WORKSPACE: gettext(
        "The desk does not know its workspace yet, so nothing was done. Please try again in a "
        "minute. If this persists, the operator should check the bot token, or install the app at "
        "/slack/install."
    ),
}


@dataclass(frozen=True, slots=True)
class Workspace:
    """A Slack workspace.

    ``enterprise_id`` is None if the workspace belongs to no Enterprise organisation, or if that is
    unknown.
    """

    team_id: str
    enterprise_id: str | None = None


class OwnWorkspace:
    """Find out and remember the workspace of this installation.

    The sources, in order: ``SLACK_TEAM_ID``; the workspace that installed the app by OAuth; the
    answer to ``auth.test`` for the configured bot token. The last is requested in the background
    from start-up until Slack answers.
    """

    def __init__(self, database: Database) -> None:
        self._settings, self._database = database.settings, database
        self._tested: Workspace | None = None
        self._installed: Workspace | None = None
        self._read_at = float("-inf")
        self._known = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to ask Slack in the background. A second call does nothing."""
        with self._starting:
            if self._thread is None and self._settings.slack_bot_token:
                self._thread = threading.Thread(
                    target=self._find_out, name="auth.test", daemon=True
                )
                self._thread.start()

    def current(self) -> Workspace | None:
        """Return the workspace, or None while it is unknown."""
        if self._settings.slack_team_id:
            known = self._from_database() or self._tested
            is_same = known is not None and known.team_id == self._settings.slack_team_id
            return known if known and is_same else Workspace(self._settings.slack_team_id)
        if known := self._from_database():
            return known
        if self._settings.slack_bot_token and self._tested is None:
            self.start()
            self._known.wait(WAIT_SECONDS)
        return self._tested

    def _from_database(self) -> Workspace | None:
        if not self._settings.oauth:
            return None
        if time.monotonic() - self._read_at > REFRESH_SECONDS or self._installed is None:
            with self._database.reading() as session:
                workspace = first_installation(session)
            self._installed = Workspace(*workspace) if workspace else None
            self._read_at = time.monotonic()
        return self._installed

    def _find_out(self) -> None:
        pause = 1.0
        while self._tested is None:
            try:
                self._tested = self._auth_test()
            except Exception as error:  # retry after every kind of network error
                reason = type(error).__name__
                if isinstance(error, SlackApiError):
                    reason = error.response.get("error")
                log.warning("auth.test failed (%s); trying again in %.0f s", reason, pause)
                time.sleep(pause)
                pause = min(2 * pause, RETRY_SECONDS)
        self._known.set()
        configured = self._settings.slack_team_id
        if configured and self._tested.team_id != configured:
            log.error(
                "SLACK_TEAM_ID is %s, but the bot token belongs to %s",
                configured,
                self._tested.team_id,
            )

    def _auth_test(self) -> Workspace:
        answer = Client(self._database, timeout=3).auth_test()
        team = answer.get("team_id")
        if not team:
            raise SlackApiError("auth.test names no workspace", answer)
        return Workspace(str(team), answer.get("enterprise_id") or None)


def refusal(request: BoltRequest, own: Workspace | None) -> str | None:
    """Return the error code of a refusal, or None."""
    if own is None:
        return UNKNOWN_WORKSPACE
    if request.context.get("team_id") != own.team_id:
        return FOREIGN_WORKSPACE
    # An event may name the organisation instead of the workspace.
    own_ids = {own.team_id, own.enterprise_id}
    if any(team not in own_ids for team in _actor_teams(request.body)):
        return FOREIGN_WORKSPACE
    enterprise = request.context.get("enterprise_id")
    if own.enterprise_id and enterprise and enterprise != own.enterprise_id:
        return FOREIGN_WORKSPACE
    return None


def _actor_teams(body: dict[str, Any]) -> Iterator[str]:
    """Yield the acting person's home workspaces. Slack may state it in several fields."""
    user, event = body.get("user"), body.get("event")
    if isinstance(user, dict) and user.get("team_id"):
        yield user["team_id"]
    if "command" in body and body.get("team_id"):
        yield body["team_id"]
    if isinstance(event, dict):
        for field in ("user_team", "source_team", "team"):
            if event.get(field):
                yield event[field]


class CheckWorkspace:
    """Bolt middleware that refuses other workspaces."""

    def __init__(self, own: OwnWorkspace) -> None:
        self.own = own

    def __call__(self, request: BoltRequest, next: Callable[[], BoltResponse]) -> BoltResponse:
        code = refusal(request, self.own.current())
        if code is None:
            return next()
        requests.note(requests.FOREIGN, "/slack/events")
        if request.body.get("command"):
            reply = {"response_type": "ephemeral", "text": TEXT[code]}
            return BoltResponse(status=200, body=reply)
        if request.body.get("type") == "event_callback" and code == UNKNOWN_WORKSPACE:
            return BoltResponse(status=503, body="")  # Slack delivers it again
        return BoltResponse(status=200, body="")
