"""Try an alert on the past 90 days."""

import itertools
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import select

from retention.alerts import lapses
from retention.alerts.checks import Watch, weekly_lapses
from retention.alerts.condition import DECAYED, HARM, LAPSES, LATE, Condition
from retention.audiences.evaluate import needs_scores
from retention.audiences.scores import members_at
from retention.campaigns.measurement.interim import interim
from retention.db import Database
from retention.db.tables import Campaign, ModelHealth
from retention.errors import TooLittleData
from retention.lake.lake import naive
from retention.registry import definition_in_force
from retention.text import gettext

if TYPE_CHECKING:
    from retention.lake import Lake

DAYS = 90
DAY = timedelta(days=1)


def would_have_fired(watch: Watch) -> tuple[list[dict[str, Any]], int]:
    """Return when an alert would have fired in the past `DAYS` days.

    The end of the period is the newest data before the business time of the watch.

    Returns: ``at`` and ``customers`` of each firing, and the days between two checks. Each check
    sees the data before it. Scores are those of today's model.
    """
    kind, now = watch.condition.kind, watch.now
    if kind == LATE:
        return _late(watch.condition, now, watch.lake), 1
    horizon = definition_in_force(watch.lake, watch.database).horizon_days
    end = watch.lake.as_of(None, horizon).at
    if kind == LAPSES:
        return _lapses(watch, end), 7
    if kind == DECAYED:
        return _decayed(end, watch.database), 7
    if kind == HARM:
        return _harm(watch, end), 1
    expression = watch.expression
    step = 7 if needs_scores(expression) else 1
    fired, before = [], None
    days = range(DAYS // step * step, -1, -step)
    for number, ago in enumerate(days):
        watch.progress(number, len(days), gettext("Checking the past"))
        at = end - DAY * ago
        try:
            inside = members_at(watch.lake, watch.database, expression, at).customers
        except TooLittleData:  # before the first order
            continue
        entered: frozenset[str] = inside - before if before is not None else frozenset()
        if entered:
            fired.append({"at": at.isoformat(), "customers": len(entered)})
        before = inside
    return fired, step


def _late(condition: Condition, end: datetime, lake: "Lake") -> list[dict[str, Any]]:
    """Find silences of the data that were longer than allowed."""
    start, limit = end - DAY * DAYS, DAY * condition.days
    events = lake.table("events", before=end, since=start - limit - DAY)
    times = events.occurred_at.truncate("h").name("at")
    seen = events.select(times).distinct().execute()["at"].sort_values()
    moments = [*seen.dt.to_pydatetime(), naive(end)] if len(seen) else []
    fired = []
    for earlier, later in itertools.pairwise(moments):
        due = earlier + limit
        if later > due + timedelta(hours=1) and due >= naive(start):
            at = due.replace(tzinfo=end.tzinfo)
            fired.append({"at": at.isoformat(), "customers": 0})
    return fired


def _lapses(watch: Watch, end: datetime) -> list[dict[str, Any]]:
    starts = lapses.week_starts(watch.lake, end, lapses.BASELINE_WEEKS + DAYS // 7)
    counts = weekly_lapses(watch, starts)
    rises = (
        lapses.rise(counts[last - lapses.BASELINE_WEEKS - 1 : last])
        for last in range(lapses.BASELINE_WEEKS + 1, len(counts) + 1)
    )
    return _beginnings(
        (rise.is_unusual, (rise.week + lapses.WEEK).astimezone(end.tzinfo), rise.lapsed)
        for rise in rises
    )


def _decayed(end: datetime, database: Database) -> list[dict[str, Any]]:
    with database.reading() as session:
        checks = session.scalars(
            select(ModelHealth)
            .where(
                ModelHealth.team_id == database.settings.team_id,
                ModelHealth.at >= end - DAY * DAYS,
                ModelHealth.at <= end,
            )
            .order_by(ModelHealth.at)
        ).all()
    return _beginnings((health.state == "decayed", health.at, 0) for health in checks)


def _beginnings(checks: Iterable[tuple[bool, datetime, int]]) -> list[dict[str, Any]]:
    """Return the checks at which a condition became true."""
    fired, was_true = [], False
    for is_true, at, customers in checks:
        if is_true and not was_true:
            fired.append({"at": at.isoformat(), "customers": customers})
        was_true = is_true
    return fired


def _harm(watch: Watch, end: datetime) -> list[dict[str, Any]]:
    """Look at each sent campaign of the period on each day of its window."""
    fired = []
    with watch.database.reading() as session:
        query = select(Campaign).where(
            Campaign.team_id == session.settings.team_id,
            Campaign.sent_at.is_not(None),
            Campaign.window_ends_at > end - DAY * DAYS,
        )
        sent = session.scalars(query).all()
        for number, campaign in enumerate(sent):
            watch.progress(number, len(sent), gettext("Checking the past"))
            assert campaign.sent_at is not None
            assert campaign.window_ends_at is not None
            days = int(np.ceil((min(end, campaign.window_ends_at) - campaign.sent_at) / DAY))
            for day in range(1, days + 1):
                at = min(campaign.sent_at + DAY * day, end)
                result, _ = interim(watch.lake, session, campaign, at)
                profit = result.effects.get("profit")
                if at < end - DAY * DAYS or not result.sample_ratio.believable:
                    continue
                if profit is not None and profit.high is not None and profit.high < 0:
                    fired.append({"at": at.isoformat(), "customers": result.sample_ratio.treated})
                    break
    return sorted(fired, key=lambda one: one["at"])
