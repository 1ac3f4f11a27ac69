"""Judge each use of a coupon code once.

Uses come from events, files or signed calls of tills.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import func, select, update

from retention.campaigns.codes import coupons
from retention.db import Transaction
from retention.db.insert import among, insert_missing
from retention.db.tables import Coupon, DirectoryEntry, Redemption
from retention.privacy.erased import erased_customers
from retention.text import gettext

if TYPE_CHECKING:
    from retention.db import Database
    from retention.lake import Lake

Source = Literal["event", "import", "http"]
MISUSES = ("twice", "other_customer", "expired", "void", "unissued")
BATCH_USES = 2_000
SAME_USE_TOLERANCE = timedelta(minutes=10)  # between the clocks of two sources
# Many sources report only a date, some in another zone: up to 1.5 days before the moment.
DATE_TOLERANCE = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class CodeUse:
    """A reported use of a code.

    Customer and order may be unknown. ``key`` is the source's own id of the report.
    """

    code: str
    at: datetime
    source: Source
    customer_id: str | None = None
    order_id: str | None = None
    key: str = ""  # the source's id of the report

    @property
    def identity(self) -> str:
        """The stored key of the report.

        A hash of the source's key, or of all values if it has none.
        """
        report = self.key or "\x1f".join(
            (self.code, self.customer_id or "", self.order_id or "", self.at.isoformat())
        )
        return f"{self.source}:{sha256(report.encode()).hexdigest()}"


@dataclass(slots=True)
class _CouponState:
    """State of a coupon while its batch of uses is judged."""

    code: str
    campaign_id: str
    customer_id: str
    state: str
    issued_at: datetime | None
    expires_at: datetime
    redeemed_at: datetime | None
    order_id: str | None
    reported_by: str | None = None  # source that reported the use
    is_in_batch: bool = False  # reported in this batch


def redeem(session: Transaction, uses: Sequence[CodeUse]) -> list[str]:
    """Judge uses, redeem valid codes and store the reports.

    The code's own customer can redeem it, and so can a customer that the source does not name. A
    use by another customer is stored and reported; the code stays valid. The same report again
    changes nothing and gets the same outcome.

    Returns: outcome per use, in order; `outcome_text` explains it.
    """
    # An event may have been read before its customer was erased; its id must not come back.
    named = {use.customer_id for use in uses if use.source == "event" and use.customer_id}
    gone = erased_customers(session).among(named) if named else set()
    outcomes: list[str] = []
    for start in range(0, len(uses), BATCH_USES):
        outcomes += _redeem_batch(session, uses[start : start + BATCH_USES], gone)
    return outcomes


def outcome_text(outcome: str) -> str:
    """Return the sentence for an outcome."""
    return {
        "redeemed": gettext("used, as it was meant"),
        "repeated": gettext("the same use, told again"),
        "twice": gettext("used already"),
        "other_customer": gettext("used by another customer"),
        "expired": gettext("used after it had expired"),
        "void": gettext("used although its campaign was stopped"),
        "unissued": gettext("used before it was issued"),
        "unknown": gettext("no code of ours"),
    }[outcome]


def _redeem_batch(session: Transaction, uses: Sequence[CodeUse], gone: set[str]) -> list[str]:
    codes = [coupons.normalize_code(use.code) for use in uses]
    conditions = (
        Coupon.team_id == session.settings.team_id,
        among(session, Coupon.code, {code for code in codes if code}),
    )
    # Lock before reading, so a concurrent report of the same code sees this outcome.
    reported_by = (
        select(Redemption.source)
        .where(Redemption.code == Coupon.code, Redemption.outcome == "redeemed")
        .limit(1)
        .scalar_subquery()
        .label("reported_by")
    )
    stored = [
        getattr(Coupon, name)
        for name in _CouponState.__slots__
        if name not in ("reported_by", "is_in_batch")
    ]
    locked = select(*stored, reported_by).where(*conditions)
    coupons_now = session.execute(locked.order_by(Coupon.code).with_for_update(of=Coupon))
    coupon_of = {row.code: _CouponState(**row._asdict()) for row in coupons_now}
    keys = [use.identity for use in uses]
    known = select(Redemption.key, Redemption.outcome).where(among(session, Redemption.key, keys))
    outcome_of = dict(session.execute(known).tuples().all())
    ids = {use.customer_id for use in uses} | {coupon.customer_id for coupon in coupon_of.values()}
    canonical = _canonical_ids(session, ids - {None})
    rows: list[dict[str, Any]] = []
    outcomes: list[str] = []
    for use, code, key in zip(uses, codes, keys, strict=True):
        coupon = coupon_of.get(code or "")
        if coupon is None or (use.source == "event" and use.customer_id in gone):
            outcomes.append("unknown")
            continue
        if key not in outcome_of:
            outcome_of[key] = _judge(use, coupon, canonical)
            if outcome_of[key] == "redeemed":
                coupon.state, coupon.redeemed_at, coupon.order_id = "redeemed", use.at, use.order_id
                coupon.reported_by, coupon.is_in_batch = use.source, True
            own = {"key": key, "code": coupon.code, "campaign_id": coupon.campaign_id}
            reported = {"customer_id": use.customer_id, "order_id": use.order_id, "at": use.at}
            rows.append(
                {
                    "team_id": session.settings.team_id,
                    **own,
                    **reported,
                    "source": use.source,
                    "outcome": outcome_of[key],
                    "told": False,
                }
            )
        outcomes.append(outcome_of[key])
    insert_missing(session, Redemption, rows)
    if redeemed_keys := [row["key"] for row in rows if row["outcome"] == "redeemed"]:
        _mark_used(session, redeemed_keys)
    return outcomes


def _mark_used(session: Transaction, keys: Sequence[str]) -> None:
    """Mark codes by the stored reports.

    Of two concurrent calls with one key, only one report is stored, and it decides.
    """
    is_stored = (among(session, Redemption.key, keys), Redemption.outcome == "redeemed")
    used = update(Coupon).where(*is_stored, Redemption.code == Coupon.code)
    values = {"redeemed_at": Redemption.at, "order_id": Redemption.order_id}
    session.change(used.values(state="redeemed", **values))


def _judge(use: CodeUse, coupon: _CouponState, canonical: dict[str, str]) -> str:
    owner = canonical[coupon.customer_id]
    if use.customer_id is not None and canonical[use.customer_id] != owner:
        return "other_customer"
    if coupon.state == "redeemed":
        return "repeated" if _is_same_use(use, coupon) else "twice"
    if coupon.state == "reserved" or (
        coupon.issued_at is not None and use.at < coupon.issued_at - DATE_TOLERANCE
    ):
        return "unissued"
    if coupon.state == "void":
        return "void"
    return "redeemed" if use.at < coupon.expires_at else "expired"


def _is_same_use(use: CodeUse, coupon: _CouponState) -> bool:
    """Whether a report repeats a known use.

    It does if the order is the same or, without an order, if the times are close. Two calls of a
    till are two uses, because a repeated call has the same key. Two rows of one file are also two
    uses. Otherwise a shared code would pass at two tills.
    """
    if use.order_id is not None and coupon.order_id is not None:
        return use.order_id == coupon.order_id
    if use.source == "http" and coupon.reported_by in ("http", None):  # None: reported concurrently
        return False
    if use.source == "import" and coupon.reported_by == "import" and coupon.is_in_batch:
        return False
    return coupon.redeemed_at is not None and abs(use.at - coupon.redeemed_at) <= SAME_USE_TOLERANCE


def _canonical_ids(session: Transaction, ids: Iterable[Any]) -> dict[str, str]:
    ordered = list(ids)
    entry, in_team = DirectoryEntry, DirectoryEntry.team_id == session.settings.team_id
    listed = select(entry.customer_id, entry.canonical_id)
    rows = session.execute(listed.where(in_team, among(session, entry.customer_id, ordered)))
    canonical = {customer_id: canonical_id or customer_id for customer_id, canonical_id in rows}
    return {customer_id: canonical.get(customer_id, customer_id) for customer_id in ordered}


def event_uses(lake: "Lake", database: "Database") -> list[CodeUse]:
    """Read ``coupon_redeem`` events with a code in ``query``, which may be the shop's own."""
    first = select(func.min(Coupon.issued_at)).where(Coupon.team_id == database.settings.team_id)
    with database.reading() as session:
        first_issued = session.scalar(first)
    if first_issued is None:
        return []
    events = lake.table("events", since=first_issued - DATE_TOLERANCE, identity="stored")
    events = events.filter(events.event_type == "coupon_redeem", events.query.notnull())
    names = ("event_id", "customer_id", "order_id", "occurred_at", "query")
    reported = events.select(*names).order_by("occurred_at", "event_id")
    return [
        CodeUse(
            row.query,
            row.occurred_at.to_pydatetime().replace(tzinfo=UTC),
            "event",
            row.customer_id,
            row.order_id if isinstance(row.order_id, str) else None,
            row.event_id,
        )
        for row in reported.execute().itertuples(index=False)
    ]


def unannounced_misuses(session: Transaction) -> dict[str, dict[str, int]]:
    """Return campaign → outcome → number of all misuses so far, for campaigns with a new one."""
    is_misuse = (Redemption.team_id == session.settings.team_id, Redemption.outcome.in_(MISUSES))
    unannounced = select(Redemption.campaign_id).where(*is_misuse, ~Redemption.told).distinct()
    misuse_counts = (
        select(Redemption.campaign_id, Redemption.outcome, func.count())
        .where(*is_misuse, Redemption.campaign_id.in_(unannounced))
        .group_by(Redemption.campaign_id, Redemption.outcome)
    )
    misuses: dict[str, dict[str, int]] = {}
    for campaign_id, outcome, number in session.execute(misuse_counts):
        misuses.setdefault(campaign_id, {})[outcome] = number
    return misuses


def mark_misuses_announced(session: Transaction, campaign_id: str) -> None:
    """Mark a campaign's misuses as announced, in the savepoint that writes the announcement."""
    new = (Redemption.outcome.in_(MISUSES), ~Redemption.told)
    misuses = update(Redemption).where(Redemption.campaign_id == campaign_id, *new)
    session.change(misuses.values(told=True))


def list_misuses(session: Transaction, campaign_id: str) -> list[dict[str, Any]]:
    """Return each misuse of a campaign's codes, newest first.

    The rows contain customers and codes.
    """
    reported = ("code", "outcome", "at", "order_id", "source")
    rows = session.execute(
        select(
            *(getattr(Redemption, name) for name in reported),
            Redemption.customer_id.label("used_by"),
            Coupon.customer_id,
        )
        .join(Coupon, Coupon.code == Redemption.code)
        .where(Redemption.campaign_id == campaign_id, Redemption.outcome.in_(MISUSES))
        .order_by(Redemption.at.desc(), Redemption.id.desc())
    )
    return [{**row._asdict(), "at": row.at.isoformat()} for row in rows]
