"""Find the words of a voice message, by Slack or by the recogniser."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from slack_sdk import WebClient

from retention.errors import BadInput
from retention.settings import Settings
from retention.text import gettext
from retention.texts import speech
from workers.data import slack_files, voice_clips
from workers.delivery import slack_client, threads
from workers.job_requests import Voice
from workers.tasks.interface import Context, Outcome, Post

PATIENCE = 30.0  # seconds that Slack may take to transcribe
CHECK_EVERY = 2.0


def run(request: Voice, context: Context) -> Outcome:
    """Show the words, with a button that asks them."""
    web = slack_client.client(context.database)
    found, source = _of_slack(request, context.settings, web), "slack"
    if found is None:
        path = slack_files.fetch(web, context.settings, request.file_id, request.name)
        found, source = _then_delete(path, speech.recognise), "recogniser"
    if not found:
        raise BadInput(gettext("I heard no words in this recording; speak closer, or type it."))
    if len(found) > voice_clips.MAX_CHARACTERS:
        raise BadInput(gettext("This is too long for a command; say it in one sentence."))
    data = {"text": found, "source": source, "place": request.place, "root": request.root}
    post = Post(
        "talk/heard",
        {**data, "job": context.job_id},
        key=f"heard:{request.file_id}",
        channel=request.place,
        thread_key=threads.thread_key(request.place, request.root),
    )
    return Outcome(data, (post,))


def _of_slack(request: Voice, settings: Settings, web: WebClient) -> str | None:
    """Wait for Slack's words; None if it does not transcribe this file."""
    ends_at = time.monotonic() + PATIENCE
    file = slack_files.file_object(web, request.file_id, request.name)
    while voice_clips.status(file) == voice_clips.PROCESSING and time.monotonic() < ends_at:
        time.sleep(CHECK_EVERY)
        file = slack_files.file_object(web, request.file_id, request.name)
    found = voice_clips.words(file)
    if found or voice_clips.status(file) != voice_clips.COMPLETE or not file.get("vtt"):
        return found
    address = str(file["vtt"])
    path = slack_files.fetch_address(web, settings, request.file_id, "words.vtt", address)
    return voice_clips.words_of_vtt(_then_delete(path, _text)) or None


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8-sig", errors="replace")


def _then_delete(path: Path, read: Callable[[Path], str]) -> str:
    try:
        return read(path)
    finally:
        shutil.rmtree(path.parent, ignore_errors=True)
