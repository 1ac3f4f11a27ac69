"""Check an alert's condition, and find what has become true since the last check."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from retention import monitoring
from retention.alerts import lapses
from retention.alerts.condition import DECAYED, HARM, LAPSES, LATE, Condition
from retention.audiences.evaluate import Members
from retention.audiences.expression import And, Expression
from retention.audiences.scores import members_at, scores_at
from retention.campaigns.lifecycle.spec import Body
from retention.campaigns.measurement.interim import HARM_ALPHA, harmful_campaigns
from retention.db import Database, Transaction
from retention.progress import Progress, silent
from retention.registry import champion, definition_in_force

if TYPE_CHECKING:
    import pandas as pd

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


@dataclass(frozen=True, slots=True)
class Watch:
    """A condition within an audience, and where it is checked."""

    condition: Condition
    audience: Expression | None
    now: datetime
    lake: "Lake"
    database: Database
    progress: Progress = silent

    @property
    def expression(self) -> Expression:
        """The customers of the condition within the audience."""
        return narrowed(self.condition, self.audience)

    def members(self, expression: Expression, as_of: datetime | None) -> Members:
        """Return the customers of an expression at a moment."""
        return members_at(self.lake, self.database, expression, as_of, self.progress)


def check(watch: Watch, state: dict[str, Any], *, reported: Collection[str] = ()) -> Check:
    """Check a condition.

    `state`: `Check.state` of the last check; empty for the first one, which never fires for
    customers.
    `reported`: customers that live events have reported since the last check
    (`retention.alerts.live`).
    """
    kind = watch.condition.kind
    if kind == LATE:
        return _late(watch, state)
    if kind == LAPSES:
        return _lapses(watch, state)
    if kind in (HARM, DECAYED):
        with watch.database.reading() as session:
            return _harm(watch, state, session) if kind == HARM else _decayed(state, session)
    return _customers(watch, state, reported)


def narrowed(condition: Condition, audience: Expression | None) -> Expression:
    """Return the customers of a condition within an audience."""
    assert condition.expression is not None
    return condition.expression if audience is None else And(condition.expression, audience)


def _customers(watch: Watch, state: dict[str, Any], reported: Collection[str]) -> Check:
    """Compare the customers now with those at the last check, with the same model."""
    now = watch.members(watch.expression, None)
    here = {"as_of": now.as_of.isoformat()}
    if "as_of" not in state:
        return Check(here)
    before = datetime.fromisoformat(state["as_of"])
    if before >= now.as_of:
        return Check(state)
    earlier = watch.members(watch.expression, before)
    entered = now.customers - earlier.customers - frozenset(reported)
    facts = {"entered": len(entered), "total": len(now.customers), "since": state["as_of"]}
    named: tuple[str, ...] = ()
    if entered:
        _, scores = scores_at(watch.lake, watch.database, now.as_of)
        named = most_valuable(entered, scores)
    return Check(here, bool(entered), len(entered), facts, named)


def most_valuable(customers: Collection[str], scores: "pd.DataFrame") -> tuple[str, ...]:
    """Return the customers with most at stake first, then those without a score."""
    scored = scores[scores.customer_id.isin(customers)]
    staked = scored.assign(at_stake=scored.churn_probability * scored.expected_value)
    first = list(staked.sort_values("at_stake", ascending=False).customer_id)
    rest = sorted(set(customers) - set(first))
    return tuple([*first, *rest][:MAX_NAMED])


def _lapses(watch: Watch, state: dict[str, Any]) -> Check:
    starts = lapses.week_starts(watch.lake, watch.now, lapses.BASELINE_WEEKS + 1)
    week = starts[-1].isoformat()
    if state.get("week") == week:  # one test a week keeps the false-alarm rate
        return Check(state)
    found = lapses.rise(weekly_lapses(watch, starts))
    has_fired = found.is_unusual and not state.get("is_true")
    facts = {**found.as_dict(), "false_alarms": lapses.ALPHA}
    new_state = {"week": week, "is_true": found.is_unusual}
    return Check(new_state, has_fired, found.lapsed * has_fired, facts)


def weekly_lapses(watch: Watch, starts: list[datetime]) -> list[tuple[datetime, int, int]]:
    """Count the lapses of an audience in each week.

    The audience is that of the start of each week, so all weeks select customers alike.

    `starts`: starts of the weeks, oldest first.
    """
    horizon_days = definition_in_force(watch.lake, watch.database).horizon_days
    orders = lapses.order_days(watch.lake, starts[-1] + lapses.WEEK)
    counts = []
    for number, start in enumerate(starts):
        watch.progress(number, len(starts), "")
        customers = None
        if watch.audience is not None and (orders["at"] < start.timestamp()).any():
            customers = watch.members(watch.audience, start).customers
        counts.append((start, *lapses.count_lapses(orders, start, horizon_days, customers)))
    return counts


def _late(watch: Watch, state: dict[str, Any]) -> Check:
    newest, days = watch.lake.newest_event(before=watch.now), watch.condition.days
    is_late = newest is not None and watch.now - newest > timedelta(days=days)
    facts = {"newest": newest.isoformat() if newest else None, "days": days}
    return Check({"is_true": is_late}, is_late and not state.get("is_true"), 0, facts)


def _decayed(state: dict[str, Any], session: Transaction) -> Check:
    row = champion(session, "churn")
    health = monitoring.latest(session, row.version) if row else None
    is_decayed = health is not None and health.state == "decayed"
    version = row.version if row else None
    was_decayed = state.get("is_true") and state.get("version") == version
    reasons = [reason["text"] for reason in health.reasons] if health else []
    new_state = {"is_true": is_decayed, "version": version}
    facts = {"version": version, "reasons": reasons}
    return Check(new_state, is_decayed and not was_decayed, 0, facts)


def _harm(watch: Watch, state: dict[str, Any], session: Transaction) -> Check:
    harmful = harmful_campaigns(watch.lake, session, watch.now)
    known = set(state.get("campaigns", ()))
    new = [harm for harm in harmful if harm.campaign.id not in known]
    facts = {
        "campaigns": [
            {
                "id": harm.campaign.id,
                "version": harm.campaign.version,
                "name": harm.campaign.name,
                "currency": Body.of(harm.campaign).currency,
                "low": harm.low * harm.treated,
                "high": harm.high * harm.treated,
                "customers": harm.treated,
            }
            for harm in new
        ],
        "false_alarms": HARM_ALPHA,
    }
    new_state = {"campaigns": sorted(known | {harm.campaign.id for harm in harmful})}
    return Check(new_state, bool(new), sum(harm.treated for harm in new), facts)
