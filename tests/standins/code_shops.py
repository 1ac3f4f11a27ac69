"""A campaign whose codes a stand-in makes."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select

from retention import clock
from retention.campaigns.codes.shop_code_sync import Fenced, Shop, SyncReport, sync_campaign
from retention.campaigns.lifecycle import launch, transitions
from retention.campaigns.lifecycle.states import Step
from retention.campaigns.planning.draft import Draft, store
from retention.connect import connections, registry
from retention.connect.contract import MakesCodes, Setting
from retention.db import Database
from retention.db.tables import Campaign, Connection, Coupon, ShopCode, ShopDiscount
from retention.settings import Settings
from tests.retention.campaigns.samples import a_body
from tests.standins.shopify_discounts import ShopifyDiscounts
from tests.standins.woocommerce_coupons import WooCommerceCoupons

NOW = datetime(2025, 5, 1, 9, tzinfo=UTC)
_SETTINGS = {
    "shopify": (Setting("shop"), Setting("token", is_secret=True)),
    "woocommerce": (
        Setting("shop"),
        Setting("key", is_secret=True),
        Setting("secret", is_secret=True),
    ),
}
_SECRETS = {
    "shopify": {"token": "shpat_test"},
    "woocommerce": {"key": "ck_test", "secret": "cs_test"},
}


def connect(
    database: Database, settings: Settings, kind: str, url: str, name: str = "shop"
) -> Connection:
    """Store a connection to a stand-in."""
    values = {"shop": url, **_SECRETS[kind]}
    with database.transaction() as session:
        return connections.add(
            session, name, kind, _SETTINGS[kind], values, channel="C0SHOP", by="U0ADMIN"
        )


def offer_of(number: int, **terms: Any) -> dict[str, Any]:
    """Return a coupon; every fifth customer gets a reminder."""
    is_coupon = number % 5 != 4
    return {
        "rule": "High risk" if is_coupon else "Reminder",
        "action": "coupon" if is_coupon else "reminder",
        "discount": 0.15 if is_coupon else 0.0,
        "amount": 0.0,
        "min_order": 30.0,
        "currency": "EUR",
        "category": None,
        "items": [],
        **terms,
    }


def approved_campaign(
    database: Database,
    settings: Settings,
    customers: int,
    campaign_id: str,
    now: datetime = NOW,
    first: int = 1000,
    guests: int = 0,
    **terms: Any,
) -> None:
    """Draft and approve a campaign and reserve its codes; it is not live yet.

    The first customers are guests of the shop, whose id is an address.
    """
    rows = [
        {
            "customer_id": f"k{number + first}@example.com"
            if number < guests
            else f"{number + first}",
            "arm": "audience",
            "bucket": (2 * number + 1) * 10_000 // (2 * customers),
            "tier": "high",
            "churn_probability": 0.6,
            "expected_value": 50.0,
            "offer": offer_of(number, **terms),
        }
        for number in range(customers)
    ]
    body = a_body(clearance_hours=0, holdout=0.1, copy_text="Hello {name}: {code} {items}")
    drafted = Draft(campaign_id, "salt", f"May {campaign_id}", None, body, rows)
    with database.transaction() as session:
        options = {"author": "U0ANALYST", "channel": "C0CRM", "post_key": f"job:{campaign_id}"}
        store(session, drafted, now=now, **options)
        transitions.submit(session, Step(campaign_id, "U0ANALYST", 1, now))
        transitions.approve(session, Step(campaign_id, "U0LEAD", 1, now))
        launch.begin_sending(session, Step(campaign_id, "U0LEAD", 1, now))
    assert list(launch.reserve_all_codes(database, Step(campaign_id, "U0LEAD", 1)))


def go_live(database: Database, settings: Settings, campaign_id: str, now: datetime = NOW) -> None:
    """Make an approved campaign live."""
    with database.transaction() as session:
        launch.go_live(session, Step(campaign_id, "U0LEAD", 1, now))


def stop(database: Database, settings: Settings, campaign_id: str, now: datetime = NOW) -> None:
    """Stop a campaign."""
    with database.transaction() as session:
        transitions.stop(session, Step(campaign_id, "U0LEAD", at=now), "Too dear")


def opened(database: Database, settings: Settings) -> MakesCodes:
    """Return the connector of the active shop."""
    with database.reading() as session:
        connection = registry.active_shop(session)
    assert connection is not None
    return registry.open_code_maker(settings, connection)


def fenced(database: Database) -> Fenced:
    """Return transactions without a job."""

    @contextmanager
    def transaction() -> Iterator[Any]:
        with database.transaction() as session:
            yield session

    return transaction


def sync(database: Database, settings: Settings, campaign_id: str, **options: Any) -> SyncReport:
    """Run one job, without waiting for anything."""
    values: dict[str, Any] = {
        "busy": timedelta(0),
        "poll_every": 0.002,
        "poll_seconds": 5.0,
        "emails": {f"{number + 1000}": f"k{number}@example.com" for number in range(200)},
        **options,
    }
    end_waits(database)
    shop = Shop(opened(database, settings), **values)
    return sync_campaign(fenced(database), shop, campaign_id)


def end_waits(database: Database) -> None:
    """Make all postponed retries due."""
    with database.transaction() as session:
        for discount in session.scalars(select(ShopDiscount)):
            if discount.retry_at is not None:
                discount.retry_at = clock.wall() - timedelta(seconds=1)


def states(database: Database, campaign_id: str) -> dict[str, str]:
    """Return the state at the shop by code."""
    with database.reading() as session:
        rows = session.execute(
            select(ShopCode.code, ShopCode.state)
            .join(Coupon, Coupon.code == ShopCode.code)
            .where(Coupon.campaign_id == campaign_id)
        )
        return dict(rows.tuples().all())


def may_exist(database: Database) -> Any:
    """Return whether a code may exist: its campaign was live, and it is not void."""

    def allowed(code: str) -> bool:
        with database.reading() as session:
            row = session.execute(
                select(Campaign.window_ends_at, Coupon.state)
                .join(Coupon, Coupon.campaign_id == Campaign.id)
                .where(Coupon.code == code)
            ).first()
        return row is not None and row[0] is not None and row[1] != "reserved"

    return allowed


STAND_INS = {"shopify": ShopifyDiscounts, "woocommerce": WooCommerceCoupons}


def books(stand_in: Any) -> Any:
    """Return the codes of a stand-in."""
    return stand_in.discounts if isinstance(stand_in, ShopifyDiscounts) else stand_in.coupons
