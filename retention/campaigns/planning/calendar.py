"""Lay out the coming weeks: campaigns, public holidays, and customers in two campaigns."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from itertools import combinations, groupby
from operator import itemgetter
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import func, or_, select

from retention.campaigns.lifecycle.spec import Body
from retention.campaigns.lifecycle.states import ACTIVE
from retention.campaigns.message.preview import send_time
from retention.db import Transaction
from retention.db.tables import Assignment, Campaign
from retention.errors import BadInput
from retention.risk.policy import load_policy
from retention.text import gettext, language

PLANNED = ("submitted", *ACTIVE)
DRAFT_WEEKS = 12  # older drafts are usually given up


@dataclass(frozen=True, slots=True)
class PlannedCampaign:
    """A campaign of the coming weeks.

    ``is_decided``: it is approved; otherwise it sends at ``sends_at`` if it is approved now.
    ``holiday``: the public holiday on which it sends, or empty.
    """

    campaign_id: str
    name: str
    state: str
    sends_at: datetime
    ends_at: datetime
    customers: int
    is_decided: bool
    holiday: str


@dataclass(frozen=True, slots=True)
class SharedCustomers:
    """Customers who are in two campaigns."""

    first: str
    second: str
    customers: int


@dataclass(frozen=True, slots=True)
class Calendar:
    """The weeks from ``start`` until ``end``, exclusive. Without a ``country``, no holidays."""

    start: datetime
    end: datetime
    zone: ZoneInfo
    country: str
    campaigns: tuple[PlannedCampaign, ...]
    holidays: dict[date, str]
    shared: tuple[SharedCustomers, ...]

    def entries(self) -> list[dict[str, str]]:
        """Return what happens on which day: a campaign ``sends`` or ``ends``, or a ``holiday``."""
        happens = [(day, "holiday", name) for day, name in self.holidays.items()]
        happens += [
            (at.astimezone(self.zone).date(), kind, one.campaign_id)
            for one in self.campaigns
            for kind, at in (("sends", one.sends_at), ("ends", one.ends_at))
            if self.start <= at < self.end
        ]
        return [
            {
                "on": day.isoformat(),
                "week": (day - timedelta(days=day.weekday())).isoformat(),
                "kind": kind,
                "what": what,  # the holiday's name, or the campaign's id
            }
            for day, kind, what in sorted(happens)
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for templates and ``--json``."""
        moments = ("sends_at", "ends_at")
        return {
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "country": self.country,
            "campaigns": [
                asdict(one) | {name: getattr(one, name).isoformat() for name in moments}
                for one in self.campaigns
            ],
            "entries": self.entries(),
            "shared": [asdict(one) for one in self.shared],
        }


def coming_weeks(
    session: Transaction, now: datetime, weeks: int, country: str | None = None
) -> Calendar:
    """Return the campaigns and holidays of the coming weeks.

    `country`: ISO 3166 code; None takes the shop's, from the policy file.
    """
    zone, end = session.settings.zone, now + timedelta(weeks=weeks)
    if country is None:
        country = load_policy(session.settings).identity.country
    holidays = public_holidays(country, now.astimezone(zone).date(), end.astimezone(zone).date())
    is_new = Campaign.created_at > now - timedelta(weeks=DRAFT_WEEKS)
    wanted = session.own(Campaign).where(
        or_(Campaign.state.in_(PLANNED), (Campaign.state == "draft") & is_new),
        or_(Campaign.window_ends_at.is_(None), Campaign.window_ends_at > now),
    )
    planned = [_planned(campaign, now, zone, holidays) for campaign in session.scalars(wanted)]
    campaigns = sorted(
        (one for one in planned if one.sends_at < end and one.ends_at > now),
        key=lambda one: (one.sends_at, one.campaign_id),
    )
    shared = _shared_customers(session, [one.campaign_id for one in campaigns])
    return Calendar(now, end, zone, country, tuple(campaigns), holidays, shared)


def _planned(
    campaign: Campaign, now: datetime, zone: ZoneInfo, holidays: Mapping[date, str]
) -> PlannedCampaign:
    body, sends_at = Body.of(campaign), send_time(campaign, now)
    return PlannedCampaign(
        campaign.id,
        campaign.name,
        campaign.state,
        sends_at,
        campaign.window_ends_at or sends_at + timedelta(days=body.window_days),
        body.audience,
        is_decided=campaign.state in ACTIVE,
        holiday=holidays.get(sends_at.astimezone(zone).date(), ""),
    )


def _shared_customers(
    session: Transaction, campaign_ids: Sequence[str]
) -> tuple[SharedCustomers, ...]:
    """Count the customers of each pair of campaigns, most first; both groups count."""
    members = (Assignment.campaign_id.in_(campaign_ids), Assignment.arm != "excluded")
    ids = select(Assignment.customer_id).where(*members).group_by(Assignment.customer_id)
    pairs = select(Assignment.customer_id, Assignment.campaign_id).where(
        *members, Assignment.customer_id.in_(ids.having(func.count() > 1))
    )
    rows = session.execute(pairs.order_by(Assignment.customer_id)).tuples()
    place = {campaign_id: number for number, campaign_id in enumerate(campaign_ids)}
    counts = Counter(
        pair
        for _, own in groupby(rows, key=itemgetter(0))
        for pair in combinations(sorted((row[1] for row in own), key=place.__getitem__), 2)
    )
    return tuple(
        SharedCustomers(*pair, customers)
        for pair, customers in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    )


def public_holidays(country: str, first: date, last: date) -> dict[date, str]:
    """Return the names of the public holidays from a day to a day, in the reader's language.

    `country`: ISO 3166 code; empty: none. Names are English where the language has none.
    """
    if not country:
        return {}
    import holidays  # only the calendar needs it

    if country not in holidays.list_supported_countries(include_aliases=False):
        text = gettext("No public holidays are known of {country!r}; use a code like DE or US.")
        raise BadInput(text.format(country=country), field="country")
    known = holidays.list_localized_countries(include_aliases=False).get(country, [])
    wanted = [code for lead in (language()[:2], "en") for code in known if code[:2] == lead]
    years = range(first.year, last.year + 1)
    days = holidays.country_holidays(country, years=years, language=next(iter(wanted), None))
    return {day: str(name) for day, name in sorted(days.items()) if first <= day <= last}
