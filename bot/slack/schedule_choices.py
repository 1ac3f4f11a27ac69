"""Offer what can be scheduled, when, and in which time zone."""

from functools import cache
from typing import TypedDict

from sqlalchemy import select

from retention.clock import time_zones
from retention.db import Transaction
from retention.db.tables import Audience
from retention.text import gettext, in_language

MAX_GROUP = 100  # options of a group, by Slack's limit
MINUTES = (0, 30)  # of each hour; a typed command takes any minute

COMMANDS = (
    ("sweep --tier high", gettext("Customers at high risk")),
    ("sweep --tier medium", gettext("Customers at medium or high risk")),
    ("digest", gettext("The digest")),
    ("report programme", gettext("What all campaigns earned")),
    ("report recommend", gettext("How recommendations do")),
    ("data", gettext("The check of the data")),
    ("retrain", gettext("Training of new models")),
)
DAYS = (
    ("mon", gettext("Monday")),
    ("tue", gettext("Tuesday")),
    ("wed", gettext("Wednesday")),
    ("thu", gettext("Thursday")),
    ("fri", gettext("Friday")),
    ("sat", gettext("Saturday")),
    ("sun", gettext("Sunday")),
    ("daily", gettext("Every day")),
    ("1st", gettext("First day of the month")),
    ("last-working-day", gettext("Last working day of the month")),
)


class Choice(TypedDict):
    """An option of a select."""

    value: str
    title: str


class Group(TypedDict):
    """Options below one heading."""

    title: str
    choices: list[Choice]


def commands(session: Transaction) -> list[tuple[str, str]]:
    """Return commands and their titles; saved audiences come last."""
    audiences = session.scalars(
        select(Audience.name)
        .where(Audience.team_id == session.settings.team_id, ~Audience.is_exclusion)
        .order_by(Audience.name)
    )
    title = gettext("Customers at risk in {audience}")
    return [(command, str(in_language(words))) for command, words in COMMANDS] + [
        (f"sweep --audience {name}", title.format(audience=name)) for name in audiences
    ]


def times() -> list[Group]:
    """Return each day's hours and half hours, as ``--every`` takes them."""
    return [
        {
            "title": str(in_language(title)),
            "choices": [
                {
                    "value": f"{day} {hour:02}:{minute:02}",
                    "title": f"{in_language(title)} {hour:02}:{minute:02}",
                }
                for hour in range(24)
                for minute in MINUTES
            ],
        }
        for day, title in DAYS
    ]


def zones(first: str) -> list[Group]:
    """Return all IANA time zones by region.

    `first`: the shop's zone, which comes first.
    """
    shop: Group = {"title": gettext("Your shop"), "choices": [_zone(first)]}
    others = gettext("Others")
    regions: list[Group] = [
        {"title": title or others, "choices": choices} for title, choices in _regions(first)
    ]
    return [shop, *regions]


def _zone(name: str) -> Choice:
    return {"value": name, "title": name.replace("_", " ")}


@cache
def _regions(without: str) -> tuple[tuple[str, list[Choice]], ...]:
    """Return the zones by region, in groups that Slack accepts; other names have no region."""
    by_region: dict[str, list[str]] = {}
    for name in sorted(time_zones() - {without, "Factory", "localtime"}):
        region = name.partition("/")[0] if "/" in name else ""
        by_region.setdefault(region, []).append(name)
    small = [region for region, names in by_region.items() if region and len(names) <= 1]
    for region in small:
        by_region.setdefault("", []).extend(by_region.pop(region))
    regions = sorted(by_region, key=lambda region: (region == "", region))
    return tuple(
        (_title(region, part, is_whole=len(part) == len(by_region[region])), [*map(_zone, part)])
        for region in regions
        for part in _parts(by_region[region])
    )


def _parts(names: list[str]) -> list[list[str]]:
    return [names[start : start + MAX_GROUP] for start in range(0, len(names), MAX_GROUP)]


def _title(region: str, names: list[str], *, is_whole: bool) -> str:
    """Return a region's name, with the first letters of its cities if it has several groups."""
    if is_whole:
        return region
    first, last = (name.partition("/")[2][:1] for name in (names[0], names[-1]))
    return f"{region} {first}–{last}"
