"""Say how long each kind of stored data is kept, and why.

This is the only place with such times. The nightly tidying applies them, the command shows them,
and the page of the documentation is made from them.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from retention.text import gettext, in_language


@dataclass(frozen=True, slots=True)
class Period:
    """How long a kind of data is kept.

    ``stores``: SQL tables, or folders of the home. ``keep``: a time, or a sentence without one.
    """

    name: str
    what: str
    stores: tuple[str, ...]
    keep: timedelta | str
    why: str

    def as_dict(self) -> dict[str, Any]:
        """Return the period in the language of the reader; ``days`` is None without a time."""
        keep = self.keep
        return {
            "name": self.name,
            "what": in_language(self.what),
            "stores": list(self.stores),
            "days": keep.days if isinstance(keep, timedelta) else None,
            "until": "" if isinstance(keep, timedelta) else in_language(keep),
            "why": in_language(self.why),
        }


_UNTIL_ERASED = gettext("until the customer is erased")
_FOR_GOOD = gettext("for good")

PERIODS = (
    Period(
        "customers",
        gettext("customers, events, scores, lists"),
        (
            *("lake", "directory", "list_members", "profiles", "audience_members"),
            *("live_scores", "live_firings"),
        ),
        _UNTIL_ERASED,
        gettext("the desk scores and measures with them"),
    ),
    Period(
        "texts",
        gettext("what customers wrote, with its mood and embedding"),
        ("lake",),
        timedelta(days=730),
        gettext("themes and moods need no older ones; counted back from the newest event"),
    ),
    Period(
        "old_versions",
        gettext("earlier versions of the lake's files"),
        ("lake",),
        timedelta(days=1),
        gettext("running jobs read them"),
    ),
    Period(
        "campaigns",
        gettext("campaign groups, sends, opens and clicks, codes"),
        ("assignments", "sends", "message_events", "coupons", "redemptions", "impressions"),
        gettext("for good; after an erasure under a random name"),
        gettext("results count them"),
    ),
    Period(
        "care",
        gettext("notes, pauses, calls, feedback, unsubscribes"),
        ("notes", "pauses", "calls", "feedback", "suppressions"),
        _UNTIL_ERASED,
        gettext("people and campaigns decide by them"),
    ),
    Period(
        "quarantine",
        gettext("rows that could not be imported"),
        ("quarantine",),
        gettext("until they are released, or the customer is erased"),
        gettext("a corrected map imports them"),
    ),
    Period(
        "jobs",
        gettext("jobs and their results"),
        ("jobs",),
        gettext("for good; an erasure removes the customer"),
        gettext("people open them again"),
    ),
    Period(
        "named_messages",
        gettext("messages that may name customers, and those of campaigns"),
        ("outbox",),
        _FOR_GOOD,
        gettext("an erasure has to find them in Slack"),
    ),
    Period(
        "messages",
        gettext("messages of jobs that name no customer"),
        ("outbox",),
        timedelta(days=180),
        gettext("replies need their thread"),
    ),
    Period(
        "files",
        gettext("files that Slack has (charts, pages)"),
        ("files",),
        timedelta(days=30),
        gettext("a message may be posted again"),
    ),
    Period(
        "unsent_files",
        gettext("files with identities or codes that could not be sent"),
        ("files",),
        timedelta(days=7),
        gettext("they can be released; sent ones are deleted at once"),
    ),
    Period(
        "threads",
        gettext("what a thread is about, and its language"),
        ("threads", "languages"),
        timedelta(days=90),
        gettext("a reply refers to it"),
    ),
    Period(
        "requests",
        gettext("requests that Slack delivered, unfinished clicks, processes that are gone"),
        ("deliveries", "stored_clicks", "job_joins", "processes", "slack_oauth_states"),
        timedelta(days=1),
        gettext("a repeated request has no second effect"),
    ),
    Period(
        "event_keys",
        gettext("hashes of live events"),
        ("event_keys",),
        timedelta(days=7),
        gettext("a repeated event is accepted once"),
    ),
    Period(
        "webhooks",
        gettext("webhooks of a shop, after the import without their content"),
        ("webhook_inbox",),
        timedelta(days=7),
        gettext("a repeated delivery is recognised"),
    ),
    Period(
        "refused_webhooks",
        gettext("webhooks that could not be imported, with their content"),
        ("webhook_inbox",),
        timedelta(days=30),
        gettext("an admin can try them again; any erasure deletes them"),
    ),
    Period(
        "profile_deletions",
        gettext("ids and addresses that an admin has to delete at a mail platform, encrypted"),
        ("profile_deletions",),
        timedelta(days=30),
        gettext("the admin needs them; the rest of the row stays"),
    ),
    Period(
        "erasures",
        gettext("keyed hashes of erased customers"),
        ("erasures",),
        _FOR_GOOD,
        gettext("no later file brings them back"),
    ),
    Period(
        "audit",
        gettext("who decided what, and when"),
        ("audit", "privacy_releases"),
        _FOR_GOOD,
        gettext("decisions can be checked"),
    ),
    Period(
        "logs",
        gettext("traces of errors in the terminal, with addresses and values masked"),
        ("errors.log",),
        timedelta(days=30),
        gettext("the reference of an error leads to them"),
    ),
)
_KEPT = {period.name: period.keep for period in PERIODS}


def keep(name: str) -> timedelta:
    """Return how long a kind of data is kept."""
    kept = _KEPT[name]
    if not isinstance(kept, timedelta):
        raise TypeError(f"{name} is kept {kept}")
    return kept
