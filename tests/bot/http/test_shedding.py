"""Test that a bot with too much to do answers commands with a sentence."""

import asyncio
import json
import logging
import time
from types import SimpleNamespace
from typing import Any

import pytest
from slack_sdk.socket_mode.request import SocketModeRequest
from sqlalchemy import event

from bot.http import metrics
from bot.http.requests import SHED, Request, json_reply
from bot.http.server import Gateway
from bot.http.web import SLACK, Route, Site
from bot.slack import shedding
from tests.bot.real_server import FORM
from tests.bot.wire import VIEWER, signature, slash_command
from tests.security.asgi import Answer, send
from tests.world import change
from workers import languages


@pytest.fixture
def site(settings, database) -> Site:
    return Site(settings, database)


def shed() -> float:
    """Count the commands that this process has shed."""
    return metrics._REFUSED.labels(SHED)._value.get()


def when_full(site: Site, body: str, signed: dict[str, str]) -> Answer:
    """Return the answer to a request while all threads have work."""
    gateway = Gateway(site)
    gateway._pools[SLACK].waiting = shedding.MAX_COMMANDS
    pairs = {"content-type": FORM, **signed}.items()
    headers = [(name.encode(), value.encode()) for name, value in pairs]
    return asyncio.run(send(gateway, "POST", SLACK, body=body.encode(), headers=headers))


def typed(site: Site, user: str = VIEWER) -> dict[str, Any]:
    """Return the answer to a shed command."""
    body, before = slash_command("status", user), shed()
    answer = when_full(site, body, signature(body))
    assert (answer.status, shed()) == (200, before + 1)
    return json.loads(answer.body)


def test_shed_command_is_answered_with_a_sentence_and_no_database(site, database):
    statements: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *given: statements.append("any"))
    message = typed(site)
    assert (message["response_type"], message["text"].count(".")) == ("ephemeral", 1)
    assert statements == []


def test_forged_command_is_refused_and_not_shed(site):
    before = shed()
    assert when_full(site, slash_command("status"), {}).status == 401
    assert when_full(site, slash_command("status"), signature("another")).status == 401
    assert shed() == before


@pytest.mark.parametrize("body", ["command=%2Fretention&user_id=U1", "payload=%7B%7D"])
def test_command_that_waited_for_a_thread_is_shed_and_a_click_is_not(site, body):
    site.routes["POST", SLACK] = Route(lambda request: json_reply(202, {}), 10**6)
    request = Request("POST", SLACK, body=body.encode())
    waited, now = -shedding.MAX_WAIT_SECONDS - 1, time.monotonic()
    answers = [Gateway(site)._answer(request, now + since).status for since in (0, waited)]
    assert answers == [202, 200 if body.startswith("command") else 202]


def test_clicks_find_room_where_commands_are_shed(site):
    site.routes["POST", SLACK] = Route(lambda request: json_reply(202, {}), 10**6)
    click = "payload=%7B%22command%22%3A+1%7D&command=%2Fretention"
    assert when_full(site, click, signature(click)).status == 202


def test_shed_command_is_answered_in_the_language_of_its_person(site, database):
    change(database, languages.choose, VIEWER, "en-XA")
    site.languages._choices()  # as the last request read them
    assert "⟦" in typed(site)["text"]


@pytest.mark.parametrize(("waiting", "is_shed"), [(shedding.MAX_COMMANDS, True), (0, False)])
def test_commands_of_socket_mode_are_shed_when_many_requests_wait(site, waiting, is_shed):
    sent: list[Any] = []
    client: Any = SimpleNamespace(
        message_workers=SimpleNamespace(_work_queue=SimpleNamespace(qsize=lambda: waiting)),
        send_socket_mode_response=sent.append,
        logger=logging.getLogger("test"),
    )
    handler = object.__new__(shedding.SocketMode)  # a whole one opens a connection
    handler.app, handler._languages = site.app, site.languages
    body = {"command": "/retention", "text": "help", "user_id": VIEWER, "team_id": "T0DEMO"}
    before = shed()
    handler.handle(client, SocketModeRequest("slash_commands", "E1", body))
    assert shed() - before == is_shed
    assert [each.envelope_id for each in sent] == ["E1"]
