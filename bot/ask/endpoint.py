"""Ask a language model for the command, if an OpenAI-compatible endpoint is configured.

It is off by default. It is asked only where the rules found nothing. Its answer counts only if
the command tree accepts it and the command reads. The request holds the sentence and the list of
reading commands, and no data of the shop.
"""

import json
import logging
import urllib.error
import urllib.request

from bot.ask.references import find_person
from bot.ask.result import READING, Understanding, changes
from bot.commands.catalogue import entries
from bot.commands.tree import SLACK, root
from retention.errors import Refused
from retention.settings import Settings

log = logging.getLogger("retention.bot")

TIMEOUT = 8  # seconds
MAX_ANSWER = 64_000  # bytes
CONFIDENCE = 0.6


def ask_endpoint(settings: Settings, sentence: str) -> Understanding | None:
    """Return the endpoint's reading command for a sentence."""
    if not settings.ask_url or "@" in sentence or find_person(sentence):  # they stay here
        return None
    try:
        line = _answer(settings, sentence)
    except (OSError, ValueError, KeyError, IndexError, TypeError, urllib.error.URLError) as error:
        log.warning("the language model did not answer: %s", type(error).__name__)
        return None
    line = line.strip().strip("`").strip().removeprefix("/retention ").strip()
    try:
        is_usable = bool(line) and line.lower() != "none" and not changes(line)
    except Refused:
        return None
    return Understanding(line, False, CONFIDENCE) if is_usable else None


def _answer(settings: Settings, sentence: str) -> str:
    commands = "\n".join(
        entry.usage for entry in entries(root(), where=SLACK) if entry.name in READING
    )
    prompt = (
        "Translate the sentence into one of these commands. Answer with the command line only, "
        f"or with the word none.\n{commands}"
    )
    body = {
        "model": settings.ask_model,
        "temperature": 0,
        "max_tokens": 60,
        "messages": [{"role": "system", "content": prompt}, {"role": "user", "content": sentence}],
    }
    headers = {"content-type": "application/json"}
    if settings.ask_key:
        headers["authorization"] = f"Bearer {settings.ask_key.get_secret_value()}"
    request = urllib.request.Request(  # noqa: S310 - the operator configured the URL
        f"{settings.ask_url.rstrip('/')}/chat/completions",
        data=json.dumps(body).encode(),
        headers=headers,
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:  # noqa: S310
        answer = json.loads(response.read(MAX_ANSWER))
    return str(answer["choices"][0]["message"]["content"])
