"""Release counts with differential privacy, within the budget of the week.

A release is committed before its message: a later attempt of the job gets the same figures.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from retention import clock
from retention.connect.platforms import profiles
from retention.db import Transaction
from retention.db.tables import AudienceMember
from retention.errors import BadInput
from retention.lake import Lake
from retention.privacy import extra, ledger, noise
from retention.reports.week import capped_sales
from retention.text import gettext
from workers.job_requests import ReleaseCounts
from workers.queue.completion import fenced
from workers.tasks.interface import Attachment, Context, Outcome, Post


def is_shared(channel: str | None) -> bool:
    """Whether several people read a channel: not the terminal, and no direct message."""
    return channel is not None and channel.startswith(("C", "G"))


def noisy_digest(data: dict[str, Any], context: Context) -> Post:
    """Return the message of a digest in which every figure is noisy."""
    extra.require()
    settings, shown = context.settings, data["customers"]
    cap = round(settings.privacy_spend)
    since, until = (datetime.fromisoformat(shown[name]) for name in ("since", "until"))
    sales = capped_sales(Lake.open(settings), since, until, cap)
    exact = (
        noise.Figure("active", shown["active"]),
        noise.Figure("lapsed", shown["lapsed"]),
        noise.Figure("sales", sales, cap, "money"),
    )
    with fenced(context) as session:
        row = ledger.release(
            session,
            "digest",
            shown["until"][:10],
            context.requested_by,
            lambda epsilon: noise.noisy_figures(exact, epsilon),
        )
        released = ledger.as_dict(row)
    values = {"last_day": shown["last_day"], "quiet_days": shown["quiet_days"], "cap": cap}
    return Post("digest/noisy", {**released, **values, "currency": data["currency"]})


def run_release_counts(request: ReleaseCounts, context: Context) -> Outcome:
    """Release the number of customers of each saved audience, once a week."""
    with fenced(context) as session:
        exact = _audience_sizes(session)
        row = ledger.release(
            session,
            ledger.AUDIENCES,
            ledger.week_of(session, clock.now()),
            context.requested_by,
            lambda epsilon: noise.noisy_figures(exact, epsilon),
        )
        data = ledger.as_dict(row)
    name = f"audiences-{data['period']}.csv"
    content = ledger.figures_csv(data["figures"]).encode("utf-8-sig")
    message = f"job:{context.job_id}"
    posts = (
        Post("privacy/released", data),
        Post(
            "privacy/released_file",
            data,
            key=f"{message}:file",
            thread_key=message,
            file=Attachment(name, "text/csv", content),
        ),
    )
    return Outcome(data, posts)


def _audience_sizes(session: Transaction) -> tuple[noise.Figure, ...]:
    """Count the members of the published audiences."""
    snapshot = profiles.newest_snapshot(session)
    query = select(AudienceMember.audience, func.count()).group_by(AudienceMember.audience)
    own = query.filter_by(snapshot_id=snapshot.id if snapshot else 0)
    rows = session.execute(own.order_by(AudienceMember.audience)).tuples().all()
    if not rows:
        raise BadInput(
            gettext(
                "No audience is published yet. Save one, and ask an operator for a key "
                "(`retention keys add NAME`): the desk publishes audiences while a key exists."
            ),
            hint="save_audience",
        )
    return tuple(noise.Figure(name, size) for name, size in rows)
