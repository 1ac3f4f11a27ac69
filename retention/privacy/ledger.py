"""Keep the ledger of releases with differential privacy, and their budget per week.

A release adds the cost of what it shows. Beyond the budget of the week it is refused. The same
subject of the same period is released once: later readers get the same figures at no cost.
"""

import csv
import hashlib
import io
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select

from retention import clock
from retention.csv_text import escape_formulas
from retention.db import Transaction
from retention.db.engine import advisory_lock
from retention.db.tables import PrivacyRelease
from retention.errors import Refused
from retention.text import gettext

RELEASES_PER_WEEK = 4  # each costs the same part of the budget
SHOWN = 5  # releases
AUDIENCES = "audiences"  # the subject of their counts
_ROUNDING = 1e-9  # of sums of costs


def is_on(session: Transaction) -> bool:
    """Whether what leaves the desk is noisy."""
    return session.settings.privacy_budget > 0


def cost(session: Transaction) -> float:
    """Return ε of one release of counts."""
    return session.settings.privacy_budget / RELEASES_PER_WEEK


def week_start(session: Transaction, at: datetime) -> datetime:
    """Return the Monday of a moment's week, by the shop's clock."""
    local = at.astimezone(session.settings.zone)
    monday = local.replace(hour=0, minute=0, second=0, microsecond=0)
    return monday - timedelta(days=local.weekday())


def week_of(session: Transaction, at: datetime) -> str:
    """Return the period of a week, such as ``2026-W49``."""
    year, week, _ = week_start(session, at).isocalendar()
    return f"{year}-W{week:02}"


def spent(session: Transaction, at: datetime) -> float:
    """Return the sum of ε in the week of a moment."""
    start = week_start(session, at)
    in_week = (PrivacyRelease.at >= start, PrivacyRelease.at < start + timedelta(days=7))
    own = PrivacyRelease.team_id == session.settings.team_id
    return session.scalar(select(func.sum(PrivacyRelease.epsilon)).where(own, *in_week)) or 0.0


def check_budget(session: Transaction, epsilon: float) -> None:
    """Refuse a cost beyond the budget of this week. Without a budget nothing is refused."""
    budget, at = session.settings.privacy_budget, clock.now()
    used = spent(session, at)
    if is_on(session) and used + epsilon > budget + _ROUNDING:
        text = gettext(
            "This needs {needed:g} of the privacy budget, and {left:g} of {budget:g} is left until "
            "{day:%Y-%m-%d}."
        )
        day = week_start(session, at) + timedelta(days=7)
        left = max(0.0, budget - used)
        message = text.format(needed=epsilon, left=round(left, 4), budget=budget, day=day)
        raise Refused(message, hint="privacy_budget")


def find(session: Transaction, subject: str, period: str) -> PrivacyRelease | None:
    """Return an earlier release of a subject and period."""
    return session.scalars(session.own(PrivacyRelease, subject=subject, period=period)).first()


def release(
    session: Transaction,
    subject: str,
    period: str,
    by: str,
    draw: Callable[[float], list[dict[str, Any]]],
) -> PrivacyRelease:
    """Return the release of a subject and period; the first one pays for it.

    `draw`: returns the noisy figures at a cost.
    """
    advisory_lock(session, f"privacy:{session.settings.team_id}")
    earlier = find(session, subject, period)
    if earlier is not None:
        return earlier
    epsilon = cost(session)
    check_budget(session, epsilon)
    return _add(session, subject, period, by, (epsilon, 0.0), draw(epsilon))


def record_training(
    session: Transaction, version: str, by: str, epsilon: float, delta: float
) -> PrivacyRelease:
    """Write down what the coefficients of a private model cost."""
    advisory_lock(session, f"privacy:{session.settings.team_id}")
    check_budget(session, epsilon)
    return _add(session, "model", version, by, (epsilon, delta), [])


def summary(session: Transaction) -> dict[str, Any]:
    """Return the budget, what this week spent, and the last releases."""
    at, budget = clock.now(), session.settings.privacy_budget
    newest = session.own(PrivacyRelease).order_by(PrivacyRelease.id.desc()).limit(SHOWN)
    return {
        "budget": budget,
        "spent": round(spent(session, at), 4),
        "cost": cost(session),
        "until": (week_start(session, at) + timedelta(days=7)).isoformat(),
        "releases": [as_dict(row) for row in session.scalars(newest)],
    }


def as_dict(row: PrivacyRelease) -> dict[str, Any]:
    """Return a release for templates and ``--json``."""
    names = ("subject", "period", "by", "epsilon", "delta", "figures")
    return {**{name: getattr(row, name) for name in names}, "at": row.at.isoformat()}


def figures_csv(figures: list[dict[str, Any]]) -> str:
    """Return released figures as CSV."""
    sheet = io.StringIO(newline="")
    writer = csv.writer(sheet)
    columns = ("name", "value", "low", "high")
    writer.writerow(columns)
    writer.writerows([escape_formulas(figure[name]) for name in columns] for figure in figures)
    return sheet.getvalue()


def _add(
    session: Transaction,
    subject: str,
    period: str,
    by: str,
    loss: tuple[float, float],
    figures: list[dict[str, Any]],
) -> PrivacyRelease:
    digest = hashlib.sha256(json.dumps(figures, sort_keys=True).encode()).hexdigest()
    row = PrivacyRelease(subject=subject, period=period, by=by, figures=figures, digest=digest)
    row.team_id, row.at, (row.epsilon, row.delta) = session.settings.team_id, clock.now(), loss
    session.add(row)
    session.flush()
    return row
