"""Look up a person's own e-mail address in Slack."""

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slack_sdk import WebClient

log = logging.getLogger(__name__)

LOOKUP_SECONDS = 1.0  # Slack waits 3 s for the answer to a command


def address_of(client: "WebClient", user: str) -> dict[str, str]:
    """Return a person's ``address`` and name (``person``) from Slack's ``users.info``.

    Parameters
    ----------
    client : WebClient
        Its token needs the scopes ``users:read`` and ``users:read.email``.
    user : str
        Slack id.

    Returns
    -------
    dict of str to str
        Empty texts for what Slack does not tell.
    """
    from slack_sdk import WebClient

    own = WebClient(
        token=client.token,
        base_url=client.base_url,
        timeout=LOOKUP_SECONDS,  # type: ignore[arg-type]
        retry_handlers=[],
    )
    try:
        profile = own.users_info(user=user)["user"]["profile"]
    except Exception as error:  # whatever is wrong with it, the person gets a direct message
        log.warning("Slack does not tell the e-mail address of %s: %s", user, error)
        profile = {}
    return {"address": profile.get("email") or "", "person": profile.get("real_name") or ""}
