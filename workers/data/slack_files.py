"""Fetch files that people dropped into the bot's direct message."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError

from retention.errors import BadInput, Refused
from retention.paths import create_private_folder
from retention.settings import Settings
from retention.text import gettext

MAX_BYTES = 50 * 2**20
_TABLE = re.compile(r"\.(csv|tsv|txt|xlsx|xlsb|xls|ods)$", re.IGNORECASE)
_HOSTS = ("files.slack.com", "files.slack-gov.com")


def check_table(name: str) -> None:
    """Refuse a file that is no table by its name."""
    if not _TABLE.search(name):
        text = gettext("{name} is no table; drop a CSV or an Excel file (.xlsx).")
        raise BadInput(text.format(name=name))


def check_size(name: str, size: int) -> None:
    """Refuse a file that is too large."""
    if size > MAX_BYTES:
        text = gettext(
            "{name} has {size} MB, and the limit is {limit} MB; ask an operator to import it "
            "in the terminal."
        )
        raise BadInput(text.format(name=name, size=round(size / 2**20), limit=MAX_BYTES // 2**20))


def fetch(web: WebClient, settings: Settings, file_id: str, name: str) -> Path:
    """Download a file with the bot's token."""
    file = file_object(web, file_id, name)
    check_size(name, int(file.get("size") or 0))
    url = str(file.get("url_private_download") or file.get("url_private") or "")
    return fetch_address(web, settings, file_id, name, url)


def file_object(web: WebClient, file_id: str, name: str) -> dict[str, Any]:
    """Return what Slack knows of a file."""
    try:
        return dict(web.files_info(file=file_id)["file"])
    except SlackApiError as error:
        raise Refused(_unavailable(name, str(error.response.get("error")))) from None


def fetch_address(web: WebClient, settings: Settings, file_id: str, name: str, url: str) -> Path:
    """Download one of a file's private addresses."""
    if not is_slack_file(url, settings):
        raise Refused(_unavailable(name, "no_url"))
    folder = create_private_folder(settings.home / "uploads" / file_id)
    path = folder / (Path(name).name or "file.csv")
    _download(url, web.token or "", name, path)
    return path


def is_slack_file(url: str, settings: Settings) -> bool:
    """Return whether a file's URL is Slack's.

    The bot's token goes to this host, so no other host counts.
    """
    try:
        target, api = urlsplit(url), urlsplit(settings.slack_api_url)
        if target.scheme == "https" and target.hostname in _HOSTS:
            return target.port in (None, 443) and not target.username
        is_configured = api.hostname not in ("slack.com", "slack-gov.com")
        return is_configured and (target.scheme, target.netloc) == (api.scheme, api.netloc)
    except ValueError:
        return False


def _download(url: str, token: str, name: str, path: Path) -> None:
    import httpx2

    try:
        with (
            httpx2.Client(timeout=30, follow_redirects=False) as client,
            client.stream("GET", url, headers={"authorization": f"Bearer {token}"}) as answer,
            path.open("wb") as file,
        ):
            # Without the scope files:read Slack shows its page to sign in.
            if answer.status_code != 200 or "text/html" in answer.headers.get("content-type", ""):
                raise Refused(_unavailable(name, f"http_{answer.status_code}"))
            received = 0
            for piece in answer.iter_bytes():
                received += len(piece)
                check_size(name, received)
                file.write(piece)
    except httpx2.HTTPError as error:
        raise Refused(_unavailable(name, type(error).__name__)) from None


def _unavailable(name: str, reason: str) -> str:
    return gettext(
        "Slack did not give me {name} ({reason}); drop it again, or ask an operator whether the "
        "app has the scope files:read."
    ).format(name=name, reason=reason)
