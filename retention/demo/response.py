"""Simulate the demo households' responses to our campaigns.

The households of the Complete Journey never got our coupons. A keyed hash decides for each treated
household whether it makes one extra visit (`Effect`), and which real visits use the coupon. The
hold-out group does not respond. All results have the source ``simulated``.
"""

# ruff: noqa: S608 - SQL is put together from names and literals of our own
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from sqlalchemy import select

from retention.db import Database, Transaction
from retention.db.insert import among
from retention.db.tables import Assignment, Campaign, Coupon, Send
from retention.demo import EFFECT, SHOP_ORDER, Effect
from retention.keys import keyed_hash
from retention.lake import Lake
from retention.lake.importing.mapping import literal
from retention.lake.lake import naive
from retention.outreach import tracking

SOURCE = "simulated"


@dataclass(frozen=True, slots=True)
class Answers:
    """New orders and redemptions, their file, and code, time and order of each used coupon."""

    effect: Effect
    orders: int = 0
    redemptions: int = 0
    files: tuple[Path, ...] = ()
    redeemed: tuple[tuple[str, datetime, str], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the counts, and the stated ``effect``."""
        effect = asdict(self.effect)
        return {"orders": self.orders, "redemptions": self.redemptions, "effect": effect}


def respond(
    database: Database,
    lake: Lake,
    week: Path,
    until: datetime,
    folder: Path,
    effect: Effect = EFFECT,
) -> Answers:
    """Write the responses before ``until`` that the lake lacks.

    A purchase's amount is before the coupon; the coupon's value is the ``discount`` of its
    ``coupon_redeem``.

    `week`: real events that the lake will get together with the responses.
    `effect`: shares of customers that respond.
    """
    with database.reading() as session:
        responses = list(_responses(session, until, effect))
    if not responses:
        return Answers(effect)
    path = folder / "answers.parquet"
    redeemed = _write(lake, responses, week, until, path)
    orders, redemptions = _added(lake, path)
    files = (path,) if orders or redemptions else ()
    return Answers(effect, orders, redemptions, files, tuple(redeemed))


def _responses(session: Transaction, until: datetime, effect: Effect) -> Iterator[dict[str, Any]]:
    """Yield the response of each customer of the treatment groups.

    It is an extra visit at ``visit_at``, and use of the coupon.
    """
    treated = (
        select(Campaign, Assignment, Coupon)
        .join(Assignment, Assignment.campaign_id == Campaign.id)
        .outerjoin(
            Coupon,
            (Coupon.campaign_id == Campaign.id) & (Coupon.customer_id == Assignment.customer_id),
        )
        .where(
            Campaign.team_id == session.settings.team_id,
            Campaign.state.in_(("live", "measuring", "closed")),
            Campaign.sent_at < until,
            Assignment.arm == "treatment",
        )
        .order_by(Campaign.id, Assignment.customer_id)
    )
    for campaign, assignment, coupon in session.execute(treated):
        draw = _draws(session.settings.key, campaign.id, assignment.customer_id)
        share = effect.visits_with_coupon if coupon else effect.visits_with_reminder
        ends = min(
            filter(None, (campaign.window_ends_at, coupon.expires_at if coupon else None, until))
        )
        sent = campaign.sent_at
        assert sent is not None  # as the query requires
        visit = sent + timedelta(days=0.5 + draw[1] * (effect.days - 0.5))
        visits = draw[0] < share and visit < ends
        # A code used at the fake shop is not used again.
        is_open = coupon is not None and not (coupon.order_id or "").startswith(SHOP_ORDER)
        yield {
            "campaign_id": campaign.id,
            "customer_id": assignment.customer_id,
            "sent_at": naive(sent),
            "ends_at": naive(ends),
            "visit_at": naive(visit.replace(microsecond=0)) if visits else None,
            "code": coupon.code if is_open else None,
            "discount": float(assignment.offer.get("discount") or 0),
            "min_order": float(assignment.offer.get("min_order") or 0),
            "redeems_extra": draw[2] < effect.redeem_extra,
            "redeems_real": draw[3] < effect.redeem_real,
        }


def _draws(
    key: bytes, campaign_id: str, customer_id: str, what: str = "answer to"
) -> tuple[float, ...]:
    """Return four fixed numbers in [0, 1).

    They depend on the key, the campaign, the customer and what is drawn.
    """
    digest = keyed_hash(key, f"{what} {campaign_id}", customer_id)
    return tuple(
        int.from_bytes(digest[start : start + 8], "big") / 2**64 for start in (0, 8, 16, 24)
    )


def open_emails(database: Database, until: datetime, effect: Effect = EFFECT) -> None:
    """Store the simulated opens and clicks before ``until``; those that are stored stay."""
    with database.transaction() as session:
        for send in session.scalars(session.own(Send, state="sent").where(Send.tracks_opens)):
            assert send.sent_at is not None  # it was sent
            whose = send.campaign_id, send.customer_id
            draw = _draws(session.settings.key, *whose, what="opens of")
            opened = send.sent_at + timedelta(minutes=20) + draw[1] * timedelta(days=3)
            if draw[0] < effect.opens and opened < until:
                tracking.store_event(session, send, "open", opened)
                if draw[2] < effect.clicks and send.tracks_clicks:
                    tracking.store_event(session, send, "click", opened)
            if draw[3] < effect.preloads:
                tracking.store_event(session, send, "open", send.sent_at, reason="mail_privacy")


def _write(
    lake: Lake, responses: list[dict[str, Any]], week: Path, until: datetime, path: Path
) -> list[tuple[str, datetime, str]]:
    """Write responses as events with canonical columns.

    Return code, time and order of each redemption.
    """
    con = lake.duckdb
    con.register("answers", pa.Table.from_pylist(responses))
    try:
        events = lake.table("events", until).get_name()
        for name, sql in (("bought", _BOUGHT), ("extra", _EXTRA), ("redeemed", _REDEEMED)):
            filled = sql.format(events=events, week=literal(week))
            con.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {filled}")
        con.execute(f"COPY ({_EVENTS}) TO {literal(path)} (FORMAT parquet)")
        sql = "SELECT code, occurred_at, order_id FROM redeemed WHERE code IS NOT NULL"
        return con.execute(sql).fetchall()
    finally:
        con.unregister("answers")
        for name in ("bought", "extra", "redeemed"):
            con.execute(f"DROP TABLE IF EXISTS {name}")


# The customers' real purchases: one scan of the lake's events serves all that follows.
_BOUGHT = """
    SELECT * FROM (
        SELECT * FROM "{events}" UNION ALL BY NAME SELECT * FROM read_parquet({week})
    )
    WHERE event_type = 'purchase' AND source <> 'simulated'
        AND customer_id IN (SELECT customer_id FROM answers)
"""

# An extra visit: one of the customer's own earlier baskets, chosen by hash.
_EXTRA = """
    WITH baskets AS (
        SELECT answers.campaign_id, answers.customer_id, events.order_id
        FROM answers JOIN bought AS events USING (customer_id)
        WHERE answers.visit_at IS NOT NULL AND events.order_id IS NOT NULL
            AND events.occurred_at < answers.sent_at
        GROUP BY answers.campaign_id, answers.customer_id, events.order_id
        HAVING sum(events.amount) > 0
        QUALIFY row_number() OVER (
            PARTITION BY answers.campaign_id, answers.customer_id
            ORDER BY md5(answers.campaign_id || events.order_id)) = 1
    )
    SELECT baskets.campaign_id, baskets.customer_id, answers.visit_at AS occurred_at,
        'sim-' || baskets.campaign_id || '-' || baskets.customer_id AS order_id,
        row_number() OVER (
            PARTITION BY baskets.campaign_id, baskets.customer_id
            ORDER BY events.event_id, events.item_id) AS line,
        events.item_id, events.quantity, events.amount, events.currency, events.channel,
        events.store
    FROM baskets JOIN answers USING (campaign_id, customer_id)
    JOIN bought AS events
        ON events.customer_id = baskets.customer_id AND events.order_id = baskets.order_id
"""

# The coupon is used once: in the first suitable visit, extra or real, that redeems it.
_REDEEMED = """
    WITH visits AS (
        SELECT answers.campaign_id, customer_id, extra.occurred_at, extra.order_id,
            extra.amount, extra.currency
        FROM extra JOIN answers USING (campaign_id, customer_id) WHERE redeems_extra
        UNION ALL
        SELECT answers.campaign_id, customer_id, events.occurred_at, events.order_id,
            events.amount, events.currency
        FROM bought AS events JOIN answers USING (customer_id)
        WHERE redeems_real
            AND events.occurred_at >= answers.sent_at AND events.occurred_at < answers.ends_at
    )
    SELECT campaign_id, customer_id, min(visits.occurred_at) AS occurred_at, visits.order_id,
        answers.code, any_value(visits.currency) AS currency,
        round(answers.discount * sum(visits.amount), 2) AS discount
    FROM visits JOIN answers USING (campaign_id, customer_id)
    WHERE answers.code IS NOT NULL
    GROUP BY campaign_id, customer_id, visits.order_id,
        answers.code, answers.discount, answers.min_order
    HAVING sum(visits.amount) >= answers.min_order
    QUALIFY row_number() OVER (
        PARTITION BY campaign_id, customer_id
        ORDER BY min(visits.occurred_at), visits.order_id) = 1
"""

_EVENTS = f"""
    SELECT order_id || '-' || line AS event_id, customer_id, 'purchase' AS event_type, occurred_at,
        item_id, order_id, quantity, amount, 0.0 AS discount, currency, channel, store,
        '{SOURCE}' AS source
    FROM extra
    UNION ALL BY NAME
    SELECT 'sim-' || campaign_id || '-' || customer_id || '-coupon' AS event_id, customer_id,
        'coupon_redeem' AS event_type, occurred_at, order_id, discount, currency,
        'store' AS channel, '{SOURCE}' AS source
    FROM redeemed
"""


def _added(lake: Lake, path: Path) -> tuple[int, int]:
    """Count the file's new orders and redemptions. New means that they are not in the lake."""
    events_view = lake.table("events").get_name()
    return lake.duckdb.execute(
        "SELECT count(DISTINCT order_id) FILTER (event_type = 'purchase'), "
        "count(*) FILTER (event_type = 'coupon_redeem') "
        f"FROM read_parquet({literal(path)}) ANTI JOIN "
        f"(SELECT event_id FROM \"{events_view}\" WHERE source = '{SOURCE}') USING (event_id)"
    ).fetchall()[0]


def mark_redeemed(database: Database, answers: Answers) -> None:
    """Mark coupons as redeemed, once."""
    uses = {code: (at, order) for code, at, order in answers.redeemed}
    with database.transaction() as session:
        issued = among(session, Coupon.code, sorted(uses))
        for coupon in session.scalars(select(Coupon).where(issued, Coupon.state == "issued")):
            at, order = uses[coupon.code]
            coupon.state, coupon.redeemed_at = "redeemed", at.replace(tzinfo=UTC)
            coupon.order_id = order
