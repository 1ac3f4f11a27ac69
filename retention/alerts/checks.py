"""Check an alert's condition, and find what has become true since the last check."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session

from retention.alerts import lapses
from retention.alerts.condition import DECAYED, HARM, LAPSES, LATE, Condition
from retention.audiences.expression import And, Expression
from retention.audiences.scores import members_at, scores_at
from retention.campaigns.interim import HARM_ALPHA, harmful_campaigns
from retention.db import Database
from retention.monitoring import records
from retention.progress import Progress, silent
from retention.registry import champion, definition_in_force
from retention.settings import Settings

if TYPE_CHECKING:
    from retention.lake import Lake

MAX_NAMED = 5  # customers in a message


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check.

    ``state`` is stored for the next check. ``has_fired``: the condition became true since the last
    one. ``facts`` holds counts for the message. ``named`` lists some of the customers.
    """

    state: dict[str, Any]
    has_fired: bool = False
    customers: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
    named: tuple[str, ...] = ()


def check(
    condition: Condition,
    audience: Expression | None,
    state: dict[str, Any],
    now: datetime,
    lake: "Lake",
    database: Database,
    settings: Settings,
    progress: Progress = silent,
    *,
    reported: Collection[str] = (),
) -> Check:
    """Check a condition.

    Parameters
    ----------
    condition : Condition
        What the alert waits for.
    audience : Expression or None
        Customers that it is limited to.
    state : dict
        `Check.state` of the last check; empty for the first one, which never fires for customers.
    now : datetime
        Business time.
    lake : Lake
        The shop's lake.
    database : Database
        Database of the installation.
    settings : Settings
        Settings of the installation.
    progress : Progress, optional
        Called with done, total and a label.
    reported : collection of str, optional
        Customers that live events have reported since the last check (`retention.alerts.live`).

    Returns
    -------
    Check
    """
    if condition.kind == LATE:
        return _late(condition, state, now, lake)
    if condition.kind == LAPSES:
        return _lapses(audience, state, now, lake, database, settings, progress)
    if condition.kind in (HARM, DECAYED):
        with database.reading() as session:
            if condition.kind == HARM:
                return _harm(state, now, lake, session, settings)
            return _decayed(state, session, settings)
    return _customers(condition, audience, state, lake, database, settings, progress, reported)


def narrowed(condition: Condition, audience: Expression | None) -> Expression:
    """Return the customers of a condition within an audience."""
    assert condition.expression is not None
    return condition.expression if audience is None else And(condition.expression, audience)


def _customers(
    condition: Condition,
    audience: Expression | None,
    state: dict[str, Any],
    lake: "Lake",
    database: Database,
    settings: Settings,
    progress: Progress,
    reported: Collection[str],
) -> Check:
    """Compare the customers now with those at the last check, with the same model."""
    expression = narrowed(condition, audience)
    now = members_at(lake, database, settings, expression, None, progress)
    here = {"as_of": now.as_of.isoformat()}
    if "as_of" not in state:
        return Check(here)
    before = datetime.fromisoformat(state["as_of"])
    if before >= now.as_of:
        return Check(state)
    earlier = members_at(lake, database, settings, expression, before, progress)
    entered = now.customers - earlier.customers - frozenset(reported)
    facts = {"entered": len(entered), "total": len(now.customers), "since": state["as_of"]}
    named = _most_valuable(entered, now.as_of, lake, database, settings) if entered else ()
    return Check(here, bool(entered), len(entered), facts, named)


def _most_valuable(
    customers: Collection[str],
    as_of: datetime,
    lake: "Lake",
    database: Database,
    settings: Settings,
) -> tuple[str, ...]:
    """Return the customers with most at stake first, then those without a score."""
    _, scores = scores_at(lake, database, settings, as_of)
    scored = scores[scores.customer_id.isin(customers)]
    staked = scored.assign(at_stake=scored.churn_probability * scored.expected_value)
    first = list(staked.sort_values("at_stake", ascending=False).customer_id)
    rest = sorted(set(customers) - set(first))
    return tuple([*first, *rest][:MAX_NAMED])


def _lapses(
    audience: Expression | None,
    state: dict[str, Any],
    now: datetime,
    lake: "Lake",
    database: Database,
    settings: Settings,
    progress: Progress,
) -> Check:
    horizon = definition_in_force(lake, database, settings).horizon_days
    starts = lapses.week_starts(lake, now, lapses.BASELINE_WEEKS + 1)
    week = starts[-1].isoformat()
    if state.get("week") == week:  # one test a week keeps the false-alarm rate
        return Check(state)
    counts = weekly_lapses(audience, starts, horizon, lake, database, settings, progress)
    found = lapses.rise(counts)
    has_fired = found.is_unusual and not state.get("is_true")
    facts = {**found.as_dict(), "false_alarms": lapses.ALPHA}
    return Check(
        {"week": week, "is_true": found.is_unusual}, has_fired, found.lapsed * has_fired, facts
    )


def weekly_lapses(
    audience: Expression | None,
    starts: list[datetime],
    horizon_days: int,
    lake: "Lake",
    database: Database,
    settings: Settings,
    progress: Progress = silent,
) -> list[tuple[datetime, int, int]]:
    """Count the lapses of an audience in each week.

    The audience is that of the start of each week, so all weeks select customers alike.

    Parameters
    ----------
    audience : Expression or None
        None: all customers.
    starts : list of datetime
        Starts of the weeks, oldest first.
    horizon_days : int
        Silence after which a customer has lapsed.
    lake : Lake
        The shop's lake.
    database : Database
        Database of the installation.
    settings : Settings
        Settings of the installation.
    progress : Progress, optional
        Called with done, total and a label.

    Returns
    -------
    list of (start, lapsed, active)
    """
    orders = lapses.order_days(lake, starts[-1] + lapses.WEEK)
    counts = []
    for number, start in enumerate(starts):
        progress(number, len(starts), "")
        is_empty = not (orders["at"] < start.timestamp()).any()
        customers = (
            None
            if audience is None or is_empty
            else members_at(lake, database, settings, audience, start).customers
        )
        counts.append((start, *lapses.count_lapses(orders, start, horizon_days, customers)))
    return counts


def _late(condition: Condition, state: dict[str, Any], now: datetime, lake: "Lake") -> Check:
    newest = lake.newest_event(before=now)
    is_late = newest is not None and now - newest > timedelta(days=condition.days)
    facts = {"newest": newest.isoformat() if newest else None, "days": condition.days}
    return Check({"is_true": is_late}, is_late and not state.get("is_true"), 0, facts)


def _decayed(state: dict[str, Any], session: Session, settings: Settings) -> Check:
    row = champion(session, settings, "churn")
    health = records.latest(session, settings, row.version) if row else None
    is_decayed = health is not None and health.state == "decayed"
    version = row.version if row else None
    was_decayed = state.get("is_true") and state.get("version") == version
    facts = {
        "version": version,
        "reasons": [reason["text"] for reason in health.reasons] if health else [],
    }
    return Check(
        {"is_true": is_decayed, "version": version}, is_decayed and not was_decayed, 0, facts
    )


def _harm(
    state: dict[str, Any], now: datetime, lake: "Lake", session: Session, settings: Settings
) -> Check:
    harmful = harmful_campaigns(lake, session, settings, now)
    known = set(state.get("campaigns", ()))
    new = [harm for harm in harmful if harm.campaign.id not in known]
    facts = {
        "campaigns": [
            {
                "id": harm.campaign.id,
                "version": harm.campaign.version,
                "name": harm.campaign.name,
                "currency": harm.campaign.body.get("currency", ""),
                "low": harm.low * harm.treated,
                "high": harm.high * harm.treated,
                "customers": harm.treated,
            }
            for harm in new
        ],
        "false_alarms": HARM_ALPHA,
    }
    customers = sum(harm.treated for harm in new)
    return Check(
        {"campaigns": sorted(known | {harm.campaign.id for harm in harmful})},
        bool(new),
        customers,
        facts,
    )
