"""A campaign's body to start from, and campaigns in the database."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from retention.campaigns.lifecycle import decisions, launch
from retention.campaigns.lifecycle.spec import Body, OfferLine, Prior
from retention.campaigns.lifecycle.states import Step
from retention.campaigns.planning.draft import Draft, store
from retention.db import Database, Transaction
from retention.db.tables import Campaign
from retention.settings import Settings

NOW = datetime(2025, 5, 1, 9, tzinfo=UTC)


def write_home(settings: Settings, name: str, text: str) -> None:
    """Write a file of the home."""
    file = settings.home / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def a_line(**changes: Any) -> OfferLine:
    """A coupon for a hundred customers."""
    totals = {"customers": 100, "sales": 5000.0, "base_sales": 2000.0, "base": 40.0}
    terms = {"rule": "High risk", "action": "coupon", "discount": 0.1}
    return OfferLine(**terms | totals | changes)


def a_body(**changes: Any) -> Body:
    """A hundred customers at high risk, one coupon."""
    return Body(
        **{
            "as_of": datetime(2025, 5, 1, tzinfo=UTC),
            "model_version": "rules",
            "currency": "EUR",
            "audience": 100,
            "tiers": {"high": 100},
            "excluded": {"no_consent": 7},
            "holdout": 0.15,
            "expires_days": 28,
            "offers": (a_line(),),
            "copy_text": "Hello {name}: {code}",
            "margin": 0.3,
            "redemption": 0.1,
            "contact_cost": 0.02,
            "min_margin": 0.05,
            "budget": 1000.0,
            "window_days": 28,
            "clearance_hours": 4,
            "approval_expires_hours": 72,
            "remind_hours": 24,
            "prior": Prior(mean=0.04, sd=0.02),
            **changes,
        }
    )


def offer_of(_number: int = 0) -> dict[str, Any]:
    """Return the usual coupon."""
    return {"rule": "High risk", "action": "coupon", "discount": 0.1, "items": []}


def audience_rows(
    customers: int = 100,
    offer: Callable[[int], dict[str, Any]] = offer_of,
    name: Callable[[int], str] = "k{}".format,
) -> list[dict[str, Any]]:
    """Rows of a draft, in order of their buckets."""
    shared = {"arm": "audience", "tier": "high", "churn_probability": 0.6, "expected_value": 50.0}
    return [
        {
            **shared,
            "customer_id": name(number),
            "bucket": (2 * number + 1) * 5000 // customers,
            "offer": offer(number),
        }
        for number in range(customers)
    ]


def store_draft(
    session: Transaction,
    campaign_id: str = "c1",
    rows: list[dict[str, Any]] | None = None,
    *,
    name: str = "May",
    by: str = "U0ANALYST",
    now: datetime = NOW,
    post_key: str | None = None,
    channel: str | None = "C0CRM",
    **body: Any,
) -> Campaign:
    """Store a draft with a body of `a_body`."""
    drafted = Draft(campaign_id, "salt", name, None, a_body(**body), rows or audience_rows())
    key = post_key or f"job:{campaign_id}"
    return store(session, drafted, author=by, channel=channel, post_key=key, now=now)


def approve_draft(
    database: Database,
    campaign_id: str,
    rows: list[dict[str, Any]],
    now: datetime = NOW,
    **options: Any,
) -> None:
    """Draft and approve a campaign and reserve its codes; a tenth is held out.

    It is not live yet. ``options`` are those of `store_draft`.
    """
    options = {"clearance_hours": 0, "holdout": 0.1, **options}
    step = Step(campaign_id, "U0LEAD", 1, now)
    with database.transaction() as session:
        store_draft(session, campaign_id, rows, now=now, **options)
        decisions.submit(session, Step(campaign_id, "U0ANALYST", 1, now))
        decisions.approve(session, step)
        launch.begin_sending(session, step)
    assert list(launch.reserve_all_codes(database, step))


def go_live(database: Database, campaign_id: str = "c1", now: datetime = NOW) -> Campaign:
    """Make an approved campaign live."""
    with database.transaction() as session:
        return launch.go_live(session, Step(campaign_id, "U0LEAD", 1, now)).campaign
