"""The mail platforms that take profiles: their stand-ins, and what a test needs of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.standins import brevo, customer_io, mail_platforms, mailchimp, sendgrid
from tests.standins.mail_platforms import KEY, SENDER, MailPlatform


@dataclass(frozen=True, slots=True)
class ProfilePlatform:
    """A stand-in's class, the settings of a connection to it, and its fields.

    ``fields`` are a step of a synchronisation and a field of its answer that the step needs.
    """

    stand_in: type[MailPlatform]
    values: Callable[[Any], dict[str, str]]
    fields: tuple[tuple[str, str], ...]


def _with_sender(stand_in: Any) -> dict[str, str]:
    return {"key": KEY, "address": stand_in.url, "sender": SENDER, "profiles": "yes"}


PLATFORMS = {
    "brevo": ProfilePlatform(
        brevo.Brevo,
        _with_sender,
        (
            ("left", "blockedAt"),
            ("left", "code"),
            ("left", "email"),
            ("left", "emailBlacklisted"),
            ("left", "reason"),
            ("list_members", "attributes"),
            ("list_members", "contacts"),
            ("list_members", "count"),
            ("change_list", "id"),
            ("change_list", "processId"),
        ),
    ),
    "customer.io": ProfilePlatform(
        customer_io.CustomerIo,
        lambda stand_in: {
            "key": KEY,
            "sender": SENDER,
            "site_id": customer_io.SITE,
            "track_key": customer_io.TRACK_KEY,
            "address": stand_in.url,
            "track_address": stand_in.url,
        },
        (
            ("left", "bounced"),
            ("left", "messages"),
            ("left", "metrics"),
            ("left", "recipient"),
            ("list_members", "id"),
            ("list_members", "identifiers"),
            ("list_members", "name"),
            ("list_members", "segments"),
            ("list_members", "type"),
            ("change_list", "id"),
        ),
    ),
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
    "mailchimp": ProfilePlatform(
        mailchimp.Mailchimp,
        lambda stand_in: {
            "key": KEY,
            "sender": SENDER,
            "marketing_key": mailchimp.MARKETING_KEY,
            "audience": mailchimp.AUDIENCE,
            "address": stand_in.url,
            "marketing_address": stand_in.url,
        },
        (
            ("left", "email"),
            ("left", "email_address"),
            ("left", "last_changed"),
            ("left", "last_event_at"),
            ("left", "members"),
            ("left", "reason"),
            ("left", "total_items"),
            ("list_members", "email_address"),
            ("list_members", "id"),
            ("list_members", "merge_fields"),
            ("list_members", "name"),
            ("list_members", "segments"),
            ("change_list", "errors"),
            ("push_profiles", "errored_operations"),
            ("push_profiles", "id"),
            ("push_profiles", "status"),
        ),
    ),
    "sendgrid": ProfilePlatform(
        sendgrid.SendGrid,
        _with_sender,
        (
            ("left", "created"),
            ("left", "email"),
            ("list_members", "id"),
            ("list_members", "status"),
            ("list_members", "urls"),
            ("change_list", "id"),
            ("push_profiles", "job_id"),
            ("push_profiles", "status"),
        ),
    ),
}
