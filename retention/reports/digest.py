"""Build the weekly digest.

It covers activity, risk, past predictions, campaigns and popular products.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from retention import clock, templating
from retention.db import Database, Transaction
from retention.db.tables import Assignment, Campaign, Cohort, Coupon, ImportLog, Job, ModelVersion
from retention.lake.coverage import late_channels
from retention.number_format import half_up
from retention.outreach import calls
from retention.privacy import pseudonym
from retention.progress import Progress, silent
from retention.registry import champion, definition_in_force
from retention.registry.model_cache import churn_model, open_recommender
from retention.reports import charts
from retention.reports.customer_history import newest_lists
from retention.reports.outlook import Risk, latest_outcome, risk
from retention.reports.verdicts import digest_headline
from retention.reports.voices import voices_line
from retention.reports.week import WEEK, Week, week
from retention.risk.policy import load_policy, thresholds
from retention.settings import Settings
from retention.text import gettext, use_picture_language

if TYPE_CHECKING:
    from retention.lake import Lake
    from retention.recommend.reasons import RecommendedItem
    from retention.risk.policy import Tiers

RUNNING = ("submitted", "approved", "scheduled", "sending", "live", "measuring")
JUST_CLOSED = timedelta(days=14)
RECENT_LIST = timedelta(days=14)  # readers still remember its figures
# A digest is as of the newest order, which comes some minutes before.
SAME_MOMENT = timedelta(hours=12)
RECENT_DIGESTS = 20  # several channels may each have one
COMPARED = ("active", "orders", "revenue", "lapsed")  # figures shown with last week's
TOP_ITEMS = 5
MAX_NAMED = 3  # customers named by pseudonym for each item
MAX_CUSTOMERS = 100  # high-risk customers with a list, the most at stake first
LIST_LENGTH = 5


@dataclass(frozen=True, slots=True)
class Digest:
    """A digest's data and its chart. ``data`` is the JSON object for templates and ``--json``."""

    data: dict[str, Any]
    chart: charts.Chart

    def html(self, settings: Settings) -> str:
        """Return one self-contained page without scripts or external files."""
        return templating.html(
            "reports/digest.html.j2",
            **self.data,
            chart=self.chart.url,
            alt_text=self.chart.alt_text,
            zone=settings.timezone,
        )


def digest(
    lake: "Lake", database: Database, *, as_of: datetime | None = None, progress: Progress = silent
) -> Digest:
    """Build the digest.

    `as_of`: cutoff; by default that of `Lake.as_of`. Later data is not used.
    """
    settings = database.settings
    with database.reading() as session:
        churn_row = champion(session, "churn")
    trained = churn_model(settings, churn_row) if churn_row else None
    definition = definition_in_force(lake, database)
    horizon = definition.horizon_days
    policy = load_policy(settings)
    tiers = thresholds(policy, trained)
    moment = lake.as_of(as_of, horizon)

    progress(0, 6, gettext("Counting the week"))
    # Whole days, so that this week begins where the last digest's week ended.
    today = lake.local(moment.at).replace(hour=0, minute=0, second=0, microsecond=0)
    activity = week(lake, today.astimezone(UTC), horizon)
    progress(1, 6, gettext("Scoring who is at risk now"))
    now = risk(lake, trained, policy, moment.at, definition)
    progress(2, 6, gettext("Scoring who was at risk a week ago"))
    with database.reading() as session:
        posted = _posted_digests(session, moment.at - WEEK)
    before = _posted_risk(posted, churn_row, tiers) or risk(
        lake, trained, policy, moment.at - WEEK, definition
    )
    progress(3, 6, gettext("Looking at what came true"))
    with database.reading() as session:
        checked = latest_outcome(lake, session, moment.at)
        campaigns = _campaigns(session, moment.at)
        fresh = _freshness(lake, session, moment.at)
        due_calls = calls.count_due(session, clock.now())
        by_rules = _list_by_rules(session, moment.at) if churn_row else None
        voices = voices_line(lake, session, moment.at)
        unowned_calls = calls.count_due(session, clock.now(), is_owned=False)
    progress(4, 6, gettext("Choosing what customers at risk would like"))
    customers = list(now.high[:MAX_CUSTOMERS]) if now else []
    top_items = None
    if customers:
        with database.reading() as session:
            recommender = open_recommender(lake, session, policy)
        what = gettext("Choosing what they would like")
        lists = recommender.lists(
            lake,
            customers,
            k=LIST_LENGTH,
            as_of=moment.at,
            progress=lambda *_: progress(4, 6, what),
        )
        top_items = {
            "customers": len(customers),
            "list": LIST_LENGTH,
            "items": [
                {**item, "who": [pseudonym(settings.key, customer) for customer in item["who"]]}
                for item in top_products(lists)
            ],
            "model_version": recommender.version,
        }
    progress(5, 6, gettext("Drawing"))
    chart = _draw_chart(activity, now, before, settings)
    progress(6, 6, gettext("The digest is ready"))
    data = {
        "as_of": moment.at.isoformat(),
        "note": moment.note,
        "currency": lake.currency(settings),
        "customers": _customers(activity, posted),
        "risk": _risk(now, before, churn_row, tiers),
        "list_by_rules": _compared(by_rules, before, moment.at),
        "came_true": checked.as_dict() if checked else None,
        "campaigns": campaigns,
        "top_items": top_items,
        "voices": voices,
        "data": fresh,
        "demo": settings.demo,
        "work": {
            "approvals": sum(one["state"] == "submitted" for one in campaigns),
            "calls": due_calls,
            "unowned_calls": unowned_calls,
            "data": fresh["late"] or bool(fresh["rows_quarantined"]),
        },
    }
    data["headline"] = digest_headline(data)
    return Digest(data, chart)


def _customers(activity: Week, posted: list[dict[str, Any]]) -> dict[str, Any]:
    now = _figures(activity)
    shown = next(
        (result["customers"] for result in posted if result["customers"]["until"] == now["since"]),
        None,
    )
    return {
        **now,
        # Of rounded figures, so that a reader who subtracts finds the same change.
        "change": {
            name: int(half_up(now[name]) - half_up(now[f"{name}_before"])) for name in COMPARED
        },
        # Late orders may have changed the week that the last digest showed.
        "corrected": [
            name
            for name in COMPARED
            if shown and half_up(shown[name]) != half_up(now[f"{name}_before"])
        ],
    }


def _figures(activity: Week) -> dict[str, Any]:
    weeks = activity.weeks
    return {
        **asdict(activity),
        "since": activity.since.isoformat(),
        "until": activity.until.isoformat(),
        "last_day": (activity.until - timedelta(minutes=1)).isoformat(),
        "revenue": round(activity.revenue, 2),
        "revenue_before": round(activity.revenue_before, 2),
        "weeks": [{"since": since.isoformat(), "customers": number} for since, number in weeks],
    }


def _posted_digests(session: Transaction, at: datetime) -> list[dict[str, Any]]:
    """Return what the digests of a moment showed, the newest first."""
    results = session.scalars(
        select(Job.result)
        .where(Job.team_id == session.settings.team_id, Job.kind == "digest", Job.state == "done")
        .order_by(Job.created_at.desc())
        .limit(RECENT_DIGESTS)
    )
    return [
        result
        for result in filter(None, results)
        if abs(datetime.fromisoformat(result["as_of"]) - at) < SAME_MOMENT
    ]


def _posted_risk(
    posted: list[dict[str, Any]], row: ModelVersion | None, tiers: "Tiers"
) -> Risk | None:
    """Return the risk that a digest showed, if it can be compared with today's.

    So both digests show the same figures, and the moment need not be scored again.
    """
    version = row.version if row else "rules"  # whose figures are not those of a model
    like = {"model_version": version, "thresholds": tiers.model_dump()}
    for result in posted:
        shown = result.get("risk") or {}
        if like.items() <= shown.items():
            return Risk(shown["tiers"], shown["revenue_at_risk"], ())
    return None


def _risk(
    now: Risk | None, before: Risk | None, row: ModelVersion | None, tiers: "Tiers"
) -> dict[str, Any] | None:
    if now is None:
        return None
    earlier = before.tiers if before else {}
    change = half_up(now.revenue_at_risk) - half_up(before.revenue_at_risk) if before else None
    return {
        "customers": sum(now.tiers.values()),
        "tiers": now.tiers,
        "before": earlier,
        "change": {
            tier: number - earlier[tier] for tier, number in now.tiers.items() if tier in earlier
        },
        "revenue_at_risk": now.revenue_at_risk,
        "revenue_at_risk_before": before.revenue_at_risk if before else None,
        "revenue_at_risk_change": None if change is None else int(change),
        "model_version": row.version if row else "rules",
        "trained_on": row.cutoff.isoformat() if row else None,
        "thresholds": tiers.model_dump(),
    }


def _list_by_rules(session: Transaction, at: datetime) -> Cohort | None:
    """Return the last posted list, of any tier or of high risk, if it is recent and by rules.

    Its figures cannot be compared with those of a model.
    """
    newest = newest_lists(session, Cohort.as_of < at, Cohort.as_of >= at - RECENT_LIST)
    last = next((row for row in newest if list(row.tiers) in ([], ["high"])), None)
    return last if last is not None and last.model_version == "rules" else None


def _compared(listed: Cohort | None, before: Risk | None, at: datetime) -> dict[str, Any] | None:
    """Return a list by rules with the number that the model would have listed that day.

    A list of any tier has as many by a model.
    """
    if listed is None:
        return None
    is_same_day = abs(listed.as_of - (at - WEEK)) < timedelta(days=1)
    return {
        "as_of": listed.as_of.isoformat(),
        "customers": listed.size,
        "by_model": before.tiers["high"] if before and is_same_day and listed.tiers else None,
    }


def _campaigns(session: Transaction, at: datetime) -> list[dict[str, Any]]:
    """Return live and recently closed campaigns. Closed ones have their profit."""
    campaigns = session.scalars(
        select(Campaign)
        .where(
            Campaign.team_id == session.settings.team_id,
            Campaign.state.in_(RUNNING)
            | ((Campaign.state == "closed") & (Campaign.window_ends_at >= at - JUST_CLOSED)),
            Campaign.created_at <= at,
        )
        .order_by(Campaign.created_at, Campaign.id)
    ).all()
    return [
        {
            "campaign_id": campaign.id,
            "name": campaign.name,
            "state": campaign.state,
            "arms": _counts(session, Assignment.arm, Assignment.campaign_id == campaign.id),
            "coupons": _counts(session, Coupon.state, Coupon.campaign_id == campaign.id),
            "window_ends_at": campaign.window_ends_at.isoformat()
            if campaign.window_ends_at
            else None,
            "result": campaign.result,
        }
        for campaign in campaigns
    ]


def _counts(session: Transaction, column: Any, where: Any) -> dict[str, int]:
    rows = session.execute(select(column, func.count()).where(where).group_by(column))
    return dict(rows.tuples().all())


def _freshness(lake: "Lake", session: Transaction, at: datetime) -> dict[str, Any]:
    """Return the data's age and the week's imports. Imported and quarantined rows are counted."""
    newest = lake.newest_event(before=at)
    events = lake.table("events", at).get_name()
    query = select(ImportLog.report).where(
        ImportLog.team_id == session.settings.team_id, ImportLog.at > at - WEEK, ImportLog.at <= at
    )
    reports = session.scalars(query).all()
    return {
        "newest_event": newest.isoformat() if newest else None,
        "age_hours": round((at - newest).total_seconds() / 3600, 1) if newest else None,
        "late": bool(newest) and bool(late_channels(lake, events, at)),
        "imports": len(reports),
        "rows_accepted": sum(report.get("rows_accepted", 0) for report in reports),
        "rows_quarantined": sum(report.get("rows_quarantined", 0) for report in reports),
    }


def top_products(lists: "Mapping[str, Sequence[RecommendedItem]]") -> list[dict[str, Any]]:
    """Return the products on most customers' lists.

    The first few of these customers are named.

    Products are grouped by title, because a shop may sell one product under several numbers.
    """
    customers_of: dict[str, dict[str, str]] = {}
    for customer, items in lists.items():
        for item in items:
            customers_of.setdefault(item.title, {}).setdefault(customer, item.item_id)
    best = sorted(customers_of.items(), key=lambda pair: (-len(pair[1]), pair[0]))[:TOP_ITEMS]
    return [
        {
            "item_id": Counter(customers.values()).most_common(1)[0][0],
            "title": title,
            "customers": len(customers),
            "who": list(customers)[:MAX_NAMED],
        }
        for title, customers in best
    ]


def _draw_chart(
    activity: Week, now: Risk | None, before: Risk | None, settings: Settings
) -> charts.Chart:
    tiers, earlier = now.tiers if now else {}, before.tiers if before else {}

    def active() -> list[tuple[str, int]]:
        return [
            (templating.moment(since, settings.timezone, "day_of_year"), number)
            for since, number in activity.weeks
        ]

    with use_picture_language():
        picture = charts.weeks(active(), tiers, earlier)
    return replace(picture, alt_text=charts.weeks_text(active(), tiers, earlier))
