"""Define the app's shortcuts, for the manifest and the playground."""

from dataclasses import dataclass

from retention.text import gettext
from workers import ids


@dataclass(frozen=True, slots=True)
class Shortcut:
    """A shortcut of Slack's menus.

    ``kind`` is ``message`` (in a message's menu) or ``global`` (in the composer and the search).
    """

    name: str  # at most 24 characters
    description: str
    kind: str
    callback_id: str


_WHY, _DRAFT = gettext("Why at risk?"), gettext("Draft from this list")
_WHY_HELP = gettext("Why is this customer at risk?")
_DRAFT_HELP = gettext("Draft a campaign for the customers of a list.")

SHORTCUTS = (
    Shortcut(_WHY, _WHY_HELP, "message", ids.WHY_MESSAGE),
    Shortcut(_DRAFT, _DRAFT_HELP, "message", ids.DRAFT_MESSAGE),
    Shortcut(_WHY, _WHY_HELP, "global", ids.WHY_GLOBAL),
    Shortcut(_DRAFT, _DRAFT_HELP, "global", ids.DRAFT_GLOBAL),
)
