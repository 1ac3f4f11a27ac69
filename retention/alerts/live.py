"""Check alerts about customers for those whose events have just arrived.

A live check fires for customers who meet the condition now and did not at the alert's last complete
check. It fires once for each of them: `reported` tells the next complete check who they were.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import delete, select

from retention.alerts import store
from retention.alerts.checks import Check, most_valuable, narrowed
from retention.audiences import store as audiences
from retention.audiences.evaluate import members
from retention.audiences.expression import Expression
from retention.db import Transaction
from retention.db.tables import Alert, LiveFiring

if TYPE_CHECKING:
    import pandas as pd

    from retention.lake.customer_lake import CustomerLake

MAX_CACHED = 200_000  # customers whose earlier state is remembered


@dataclass(frozen=True, slots=True)
class CustomerAlert:
    """An alert about customers, with what its last complete check stored."""

    alert_id: int
    expression: Expression
    as_of: datetime
    state: dict[str, object]
    fired_for: frozenset[str]


@dataclass(frozen=True, slots=True)
class LiveCheck:
    """An alert that fired, and for whom."""

    alert_id: int
    check: Check
    customers: frozenset[str]


class LiveChecks:
    """Checks alerts, and remembers who met a condition at its last complete check."""

    def __init__(self) -> None:
        self._before: dict[tuple[int, datetime], dict[str, bool]] = {}

    def run(
        self,
        session: Transaction,
        lake: "CustomerLake",
        alerts: Sequence[CustomerAlert],
        now: datetime,
        scores: "pd.DataFrame",
        scores_at: "Callable[[datetime], pd.DataFrame]",
    ) -> list[LiveCheck]:
        """Check alerts for the customers of a lake."""
        fired = []
        for alert in alerts:
            if alert.as_of >= now:
                continue
            current = members(lake, session, alert.expression, now, scores).customers
            candidates = current - alert.fired_for
            if not candidates:
                continue
            before = self._members_before(session, lake, alert, candidates, scores_at)
            if entered := candidates - before:
                fired.append(_live_check(alert, entered, scores))
        return fired

    def _members_before(
        self,
        session: Transaction,
        lake: "CustomerLake",
        alert: CustomerAlert,
        candidates: Collection[str],
        scores_at: "Callable[[datetime], pd.DataFrame]",
    ) -> set[str]:
        """Return the candidates who met the condition at the last complete check."""
        key = alert.alert_id, alert.as_of
        if key not in self._before or len(self._before[key]) > MAX_CACHED:
            stale = [other for other in self._before if other[0] == alert.alert_id]
            for other in stale:
                del self._before[other]
            self._before[key] = {}
        known = self._before[key]
        if any(customer not in known for customer in candidates):
            earlier = members(
                lake, session, alert.expression, alert.as_of, scores_at(alert.as_of)
            ).customers
            for customer in lake.customers:
                known.setdefault(customer, customer in earlier)
        return {customer for customer in candidates if known[customer]}


def customer_alerts(session: Transaction) -> list[CustomerAlert]:
    """Return the alerts about customers that have had a complete check."""
    saved = audiences.saved(session)
    expressions = {audience.name: audiences.expression_of(audience) for audience in saved}
    fired = reported(session)
    found = []
    for alert in store.alerts(session):
        condition, audience = store.condition_of(alert), alert.audience
        is_checkable = audience is None or audience in expressions
        if condition.kind != "customers" or "as_of" not in alert.state or not is_checkable:
            continue
        found.append(
            CustomerAlert(
                alert.id,
                narrowed(condition, expressions[audience] if audience else None),
                datetime.fromisoformat(alert.state["as_of"]),
                dict(alert.state),
                fired.get(alert.id, frozenset()),
            )
        )
    return found


def reported(session: Transaction) -> Mapping[int, frozenset[str]]:
    """Return the customers for whom alerts fired live since their last complete check, by alert."""
    rows = session.execute(
        select(LiveFiring.alert_id, LiveFiring.customer_id)
        .join(Alert, Alert.id == LiveFiring.alert_id)
        .where(Alert.team_id == session.settings.team_id)
    )
    customers: dict[int, set[str]] = {}
    for alert_id, customer in rows:
        customers.setdefault(alert_id, set()).add(customer)
    return {alert_id: frozenset(names) for alert_id, names in customers.items()}


def note_reported(session: Transaction, checks: Sequence[LiveCheck], now: datetime) -> None:
    """Store for whom alerts fired, in the transaction that publishes the messages."""
    session.add_all(
        LiveFiring(
            team_id=session.settings.team_id, alert_id=check.alert_id, customer_id=customer, at=now
        )
        for check in checks
        for customer in check.customers
    )


def forget_reported(session: Transaction, alert_id: int, as_of: str | None) -> None:
    """Forget live firings that a complete check as of a moment covers."""
    old = delete(LiveFiring).where(LiveFiring.alert_id == alert_id)
    if as_of is not None:
        old = old.where(LiveFiring.at <= datetime.fromisoformat(as_of))
    session.change(old)


def _live_check(alert: CustomerAlert, entered: frozenset[str], scores: "pd.DataFrame") -> LiveCheck:
    facts = {"entered": len(entered), "since": alert.as_of.isoformat(), "live": True}
    check = Check(alert.state, True, len(entered), facts, most_valuable(entered, scores))
    return LiveCheck(alert.alert_id, check, frozenset(entered))
