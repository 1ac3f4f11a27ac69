"""Turn recorded calls into rows of the table ``texts``."""

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd

from retention.errors import BadInput
from retention.progress import Progress
from retention.text import gettext
from retention.texts import speech

_NAME = re.compile(
    r"(?P<who>.+)_(?P<day>\d{4}-\d\d-\d\d)(?:[T_ ](?P<hour>\d\d)[-.]?(?P<minute>\d\d))?"
)


def transcribe_calls(paths: Sequence[Path], timezone: ZoneInfo, progress: Progress) -> pd.DataFrame:
    """Return the words of recordings whose names say the customer and the local time.

    A row without a text is a recording that nothing was heard in; ``fault`` says why. A recording
    keeps its id when a later version of the recogniser hears other words.
    """
    named = [(path, *_customer_and_time(path, timezone)) for path in paths]  # before hours of work
    rows = []
    for place, (path, customer, at) in enumerate(named):
        progress(place, len(named), gettext("listening to {file}").format(file=path.name))
        text, fault = "", ""
        try:
            text = speech.recognise(path, speech.MAX_CALL_SECONDS)
        except BadInput as error:
            fault = str(error)
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        rows.append((f"call:{content[:32]}", customer, at, "ticket", text, "en", path.name, fault))
    columns = ["text_id", "customer_id", "occurred_at", "kind", "text", "language", "file", "fault"]
    return pd.DataFrame(rows, columns=columns)


def _customer_and_time(path: Path, timezone: ZoneInfo) -> tuple[str, str]:
    found = _NAME.fullmatch(path.stem)
    if found:
        try:
            hour, minute = (int(found[part] or 0) for part in ("hour", "minute"))
            day = datetime.fromisoformat(found["day"])
            at = day.replace(hour=hour, minute=minute, tzinfo=timezone)
        except ValueError:
            found = None
    if not found:
        text = gettext(
            "{file}: name a recorded call by its customer and local time, "
            "like C0017_2026-11-02_14-30.wav."
        )
        raise BadInput(text.format(file=path.name), field="files")
    if not path.is_file():
        raise BadInput(gettext("{file} cannot be read: there is no such file.").format(file=path))
    return found["who"], at.isoformat()
