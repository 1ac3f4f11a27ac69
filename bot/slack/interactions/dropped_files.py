"""Receive files that people drop into the bot's direct message, and handle their buttons."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from slack_bolt import App

from bot.services import Services, first_time
from bot.slack.failures import error_message
from bot.slack.interactions import Click, listen, once
from retention.db import Transaction
from retention.db.tables import Job
from retention.errors import Refused
from retention.text import gettext
from workers import action_ids
from workers.data import slack_files, voice_clips
from workers.delivery import outbox, threads
from workers.job_requests import FileImport, FilePropose, Voice
from workers.queue import jobs
from workers.tasks.interface import Post

MAX_FILES = 3  # of one message


@dataclass(frozen=True, slots=True)
class Drop:
    """Files of one message to the bot. ``key`` is equal for all deliveries of the message."""

    user: str
    channel: str
    files: tuple[dict[str, Any], ...]
    key: str
    root: str  # the first message of its thread

    @classmethod
    def of(cls, event: dict[str, Any]) -> "Drop | None":
        """Read an event; None if it is no person's file in a direct message."""
        files = event.get("files")
        is_of_person = not event.get("bot_id") and not event.get("app_id")
        is_shared = event.get("subtype") in (None, "file_share")
        is_direct = event.get("channel_type") == "im"
        user, channel, ts = event.get("user"), event.get("channel"), event.get("ts")
        if not (isinstance(files, list) and files and is_of_person and is_shared and is_direct):
            return None
        if not (user and channel and ts):
            return None
        known = tuple(one for one in files if isinstance(one, dict) and one.get("id"))
        root = str(event.get("thread_ts") or ts)
        return cls(str(user), str(channel), known[:MAX_FILES], f"drop:{channel}:{ts}", root)


def receive(services: Services, drop: Drop) -> None:
    """Queue a job for each file; one that cannot be read gets one sentence.

    It proposes how a table is imported, and finds the words of a voice message.
    """
    for file in drop.files:
        file_id, name = str(file["id"]), str(file.get("name") or gettext("the file"))[:255]
        try:
            slack_files.check_size(name, int(file.get("size") or 0))
            if voice_clips.is_voice(file):
                place = {"place": drop.channel, "root": drop.root}
                thread = threads.thread_key(drop.channel, drop.root)
                _queue(services, drop, Voice(file_id=file_id, name=name, **place), thread)
            else:
                services.require(drop.user, FilePropose.role, FilePropose.deed)
                slack_files.check_table(name)
                _queue(services, drop, FilePropose(file_id=file_id, name=name))
        except Exception as error:
            _answer(services, drop, file_id, error_message(error, services.settings))


def _queue(
    services: Services, drop: Drop, request: FilePropose | Voice, thread: str | None = None
) -> None:
    write = partial(
        jobs.submit,
        request=request,
        requested_by=drop.user,
        channel=drop.user,
        idem_key=f"{drop.key}:{request.file_id}",
        thread_key=thread,
        announce=False,
    )
    submission = services.group_commit.store(write)
    if submission.created:
        services.queue.wake(submission.job)


def _answer(services: Services, drop: Drop, file_id: str, sentence: str) -> None:
    key = f"{drop.key}:{file_id}:answer"
    post = Post("talk/refused", {"sentence": sentence}, key=key, channel=drop.user)

    def store(session: Transaction) -> None:
        if first_time(session, key):
            outbox.put(session, post, default_channel=drop.user)

    services.group_commit.store(store)


# ---------------------------------------------------------------- the menu and the buttons


def register(app: App, services: Services) -> None:
    """Listen to the menu and the buttons."""
    clicks = {
        action_ids.FILE_TABLE: _choose_table,
        action_ids.FILE_IMPORT: _import,
        action_ids.FILE_CANCEL: _cancel,
    }
    listen(app, services, clicks)


def _choose_table(services: Services, click: Click) -> None:
    """Propose the import of a file into another table."""
    table, _, proposal = click.value.partition("|")
    with once(services, click, FileImport.role, FileImport.deed) as session:
        file = _proposal(session, click, proposal)
        request = FilePropose(file_id=file["file_id"], name=file["name"], table=table)
        submission = click.submit(session, request, click.user, announce=False)
    if submission.created:
        services.queue.wake(submission.job)


def _import(services: Services, click: Click) -> None:
    """Import a file as it was proposed; a second click changes nothing."""
    with once(services, click, FileImport.role, FileImport.deed) as session:
        file = _proposal(session, click, click.value)
        request, key = FileImport(proposal=click.value), f"file_import:{click.value}"
        submission = click.submit(session, request, click.user, idem_key=key)
        if submission.created:
            _decide(session, file, click.user, "import")
    if submission.created:
        services.queue.wake(submission.job)


def _cancel(services: Services, click: Click) -> None:
    with once(services, click, FileImport.role, FileImport.deed) as session:
        file = _proposal(session, click, click.value)
        _decide(session, file, click.user, "cancel")


def _proposal(session: Transaction, click: Click, job_id: str) -> dict[str, Any]:
    """Return the proposal of a file that this person dropped."""
    job = session.get(Job, job_id)
    is_own = job and job.kind == FilePropose.kind and job.requested_by == click.user
    if not job or not is_own or job.team_id != session.settings.team_id or not job.result:
        raise Refused(gettext("This file is not waiting any more; drop it again, please."))
    return job.result


def _decide(session: Transaction, file: dict[str, Any], user: str, deed: str) -> None:
    """Show what a person decided about a file, in place of the buttons."""
    values = {"name": file["name"], "user": user, "deed": deed}
    post = Post("source/file_decided", values, key=f"file:{file['file_id']}", channel=user)
    outbox.put(session, post, default_channel=user)
