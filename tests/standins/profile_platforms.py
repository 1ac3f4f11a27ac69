"""The mail platforms that take profiles: their stand-ins, and what a test needs of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.standins import brevo, customer_io, mail_platforms, mailchimp, sendgrid
from tests.standins.mail_platforms import KEY, SENDER, MailPlatform


@dataclass(frozen=True, slots=True)
class ProfilePlatform:
    """A stand-in's class, the settings of a connection to it, and its fields.

    ``fields`` are, by step of a synchronisation, the fields of its answers that it needs.
    """

    stand_in: type[MailPlatform]
    values: Callable[[Any], dict[str, str]]
    fields: dict[str, str]


def _with_sender(stand_in: Any) -> dict[str, str]:
    return {"key": KEY, "address": stand_in.url, "sender": SENDER, "profiles": "yes"}


PLATFORMS = {
    "brevo": ProfilePlatform(
        brevo.Brevo,
        _with_sender,
        {
            "left": "blockedAt code email emailBlacklisted reason",
            "list_members": "attributes contacts count",
            "change_list": "id processId",
        },
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
        {
            "left": "bounced messages metrics recipient",
            "list_members": "id identifiers name segments type",
            "change_list": "id",
        },
    ),
    "klaviyo": ProfilePlatform(
        mail_platforms.Klaviyo,
        lambda stand_in: {"key": KEY, "address": stand_in.url},
        {
            "left": "datetime email relationships",
            "list_members": "attributes data",
            "change_list": "id",
        },
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
        {
            "left": "email email_address last_changed last_event_at members reason total_items",
            "list_members": "email_address id merge_fields name segments",
            "change_list": "errors",
            "push_profiles": "errored_operations id status",
        },
    ),
    "sendgrid": ProfilePlatform(
        sendgrid.SendGrid,
        _with_sender,
        {
            "left": "created email",
            "list_members": "id status urls",
            "change_list": "id",
            "push_profiles": "job_id status",
            "delete_profiles": "result contact id",
        },
    ),
}
