"""Test that a click which Slack has an answer to survives the death of the bot."""

import json
import threading
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from sqlalchemy import delete

from bot.slack import clicks
from bot.slack.interactions import Click
from retention import clock, erasure
from retention.db.tables import Delivery, Outbox, StoredClick
from tests.bot.real_server import FORM, RunningBot, running_bot
from tests.bot.slack.test_slash import all_jobs, until
from tests.bot.wire import ADMIN, PAYLOADS, stored
from tests.world import add, change
from workers import action_ids


def body_of(action_id: str, value: str, **action: str) -> dict:
    body = json.loads((PAYLOADS / "block_actions.json").read_text())
    body["user"]["id"] = ADMIN
    body["actions"][0] |= {"action_id": action_id, "value": value, **action}
    return body


def click(action_id: str, value: str, at: str) -> str:
    return urlencode({"payload": json.dumps(body_of(action_id, value, action_ts=at))})


def press_and_kill(bot: RunningBot, database, body: str) -> None:
    """Send a click while another process writes; kill the bot as soon as it has answered."""
    is_busy, is_over = threading.Event(), threading.Event()

    def write() -> None:
        with database.transaction() as session:
            session.execute(delete(Delivery).where(Delivery.key == "of nobody"))
            is_busy.set()
            is_over.wait(0.8)  # an answer before the click is stored comes within this time

    writer = threading.Thread(target=write)
    writer.start()
    assert is_busy.wait(30)
    status, _, _ = bot.signed(body)
    bot.process.kill()
    is_over.set()
    writer.join()
    assert bot.process.wait(30) != 0
    assert status == 200


def states(database) -> list[str]:
    return [job.state for job in all_jobs(database)]


def unfinished(database) -> list[str]:
    return [click.key for click in stored(database, StoredClick)]


@pytest.mark.nightly
def test_an_answered_click_is_done_after_a_kill_and_a_restart(settings, database):
    pressed = click(action_ids.RUN_COMMAND, "sweep", "1.1")
    with running_bot(settings) as bot:
        press_and_kill(bot, database, pressed)
    with running_bot(settings):
        until(lambda: states(database) == ["queued"])
        until(lambda: not unfinished(database))


@pytest.mark.nightly
def test_each_of_six_clicks_before_a_kill_acts_once(settings, database):
    with running_bot(settings) as bot:
        press_and_kill(bot, database, click(action_ids.RUN_COMMAND, "sweep --tier low", "1.0"))
    state = "queued"
    for number in range(1, 6):
        with running_bot(settings) as bot:
            until(lambda: states(database) == [state])  # noqa: B023
            action = action_ids.RETRY_JOB if state == "cancelled" else action_ids.CANCEL_JOB
            state = "queued" if state == "cancelled" else "cancelled"
            press_and_kill(bot, database, click(action, all_jobs(database)[0].id, f"1.{number}"))
    with running_bot(settings):
        until(lambda: states(database) == [state])
        until(lambda: not unfinished(database))


def test_a_failed_click_is_explained_and_leaves_no_row(workspace, database, api):
    workspace.press(action_ids.CANCEL_JOB, "nope")
    assert "There is no job" in api.wait("response_url")["text"]
    until(lambda: not unfinished(database))
    assert all_jobs(database) == []


@pytest.mark.nightly
def test_a_repeated_click_that_was_done_acts_no_second_time(workspace, database, api):
    """The bot died after the effect, and before the click was deleted."""
    body = body_of(action_ids.RUN_COMMAND, "sweep", action_ts="9.9")
    workspace.send(click(action_ids.RUN_COMMAND, "sweep", "9.9"), FORM)
    until(lambda: states(database) == ["queued"] and not unfinished(database))
    add(database, StoredClick(key=f"click:{ADMIN}:9.9:{action_ids.RUN_COMMAND}", body=body))
    clicks.repeat_unfinished(workspace.app, database, clock.wall())
    until(lambda: not unfinished(database))
    assert states(database) == ["queued"]


def test_a_stored_click_has_no_content_of_its_window():
    shown = {"type": "plain_text", "text": "Marta Fischer"}
    window = {"id": "V1", "type": "modal", "hash": "1.a", "state": {"values": {"copy": {}}}}
    window |= {"callback_id": "note", "private_metadata": "c7:1", "title": shown}
    window["blocks"] = [{"type": "section", "text": shown}]
    body = body_of(action_ids.RUN_COMMAND, "sweep") | {"view": window}
    needed = clicks.needed(body)
    assert "Marta" not in json.dumps(needed)
    assert Click.of(needed) == Click.of(body)


def test_an_old_click_is_not_repeated_and_its_person_hears_it(workspace, database):
    key = f"click:{ADMIN}:8.8:{action_ids.RUN_COMMAND}"
    now = clock.wall()
    body, at = body_of(action_ids.RUN_COMMAND, "sweep"), now - timedelta(minutes=11)
    add(database, StoredClick(key=key, body=body, at=at))
    clicks.repeat_unfinished(workspace.app, database, now)
    assert (states(database), unfinished(database)) == ([], [])
    assert [message.channel for message in stored(database, Outbox)] == [ADMIN]


def test_an_erasure_empties_the_stored_clicks(database, settings):
    add(database, StoredClick(key="click:1", body=body_of(action_ids.RUN_COMMAND, "score k7")))
    change(database, erasure.erase_from_sql, ["k7"])
    assert unfinished(database) == []
