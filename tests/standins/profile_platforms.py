"""The mail platforms that take profiles: their stand-ins, and what a test needs of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.standins import mail_platforms
from tests.standins.mail_platforms import KEY, MailPlatform


@dataclass(frozen=True, slots=True)
class ProfilePlatform:
    """A stand-in's class, the settings of a connection to it, and its fields.

    ``fields`` are a step of a synchronisation and a field of its answer that the step needs.
    """

    stand_in: type[MailPlatform]
    values: Callable[[Any], dict[str, str]]
    fields: tuple[tuple[str, str], ...]


PLATFORMS = {
    "klaviyo": ProfilePlatform(
        mail_platforms.Klaviyo,
        lambda stand_in: {"key": KEY, "address": stand_in.url},
        (
            ("left", "datetime"),
            ("left", "email"),
            ("left", "relationships"),
            ("list_members", "attributes"),
            ("list_members", "data"),
            ("change_list", "id"),
        ),
    ),
}
