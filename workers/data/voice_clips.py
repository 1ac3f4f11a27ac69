"""Read what Slack says of a voice message.

Slack does not document these fields. File objects have been seen with the ``subtype`` slack_audio
and a ``transcription`` with a ``status`` (processing, complete), a ``locale`` and a ``preview``.
The whole text is in the WebVTT file at ``vtt``.
"""

import re
from typing import Any

SOUND = re.compile(r"\.(wav|mp3|m4a|ogg|oga|opus|flac|aac)$", re.IGNORECASE)  # a file's name
_CUE_TAG = re.compile(r"<[^>]*>")
PROCESSING, COMPLETE = "processing", "complete"  # status
MAX_CHARACTERS = 500  # of a sentence


def is_voice(file: dict[str, Any]) -> bool:
    """Return whether a shared file is sound. Slack gives its own recordings a type of video."""
    sound = str(file.get("mimetype") or "").startswith("audio/")
    has_ending = bool(SOUND.search(str(file.get("name") or "")))
    return file.get("subtype") == "slack_audio" or sound or has_ending


def status(file: dict[str, Any]) -> str | None:
    """Return how far Slack's transcription is; None without one."""
    return _transcription(file).get("status")


def words(file: dict[str, Any]) -> str | None:
    """Return Slack's words if the file object has all of them; else None."""
    preview = _transcription(file).get("preview")
    if status(file) != COMPLETE or not isinstance(preview, dict) or preview.get("has_more"):
        return None
    return str(preview.get("content") or "").strip() or None


def _transcription(file: dict[str, Any]) -> dict[str, Any]:
    found = file.get("transcription")
    return found if isinstance(found, dict) else {}


def words_of_vtt(text: str) -> str:
    """Return the words of a WebVTT file's cues."""
    cues = (part.partition("-->")[2] for part in re.split(r"\n\s*\n", text.replace("\r", "")))
    lines = [line for cue in cues for line in cue.split("\n")[1:]]
    return " ".join(_CUE_TAG.sub("", line).removeprefix("- ").strip() for line in lines).strip()
