"""A campaign whose codes a stand-in makes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import select

from retention import clock
from retention.campaigns.codes.shop_code_sync import Fenced, Shop, SyncReport, sync_campaign
from retention.campaigns.lifecycle import decisions
from retention.campaigns.lifecycle.states import Step
from retention.connect import connections, registry
from retention.connect.contract import MakesCodes, Setting
from retention.db import Database
from retention.db.tables import Campaign, Connection, Coupon, ShopCode, ShopDiscount
from tests.retention.campaigns.samples import NOW, approve_draft, audience_rows, go_live
from tests.standins.shopify_discounts import ShopifyDiscounts
from tests.standins.woocommerce_coupons import WooCommerceCoupons

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


def connect(database: Database, kind: str, url: str, name: str = "shop") -> Connection:
    """Store a connection to a stand-in."""
    values = {"shop": url, **_SECRETS[kind]}
    with database.transaction() as session:
        return connections.add(
            session, name, kind, _SETTINGS[kind], values, channel="C0SHOP", by="U0ADMIN"
        )


@contextmanager
def connected(
    database: Database, kind: str = "shopify", name: str = "shop", **options: Any
) -> Iterator[Any]:
    """Connect a stand-in, which counts codes that must not exist."""
    with STAND_INS[kind].start(allowed=may_exist(database), **options) as stand_in:
        connect(database, kind, stand_in.url, name)
        yield stand_in


def live_campaign(database: Database, customers: int, campaign_id: str = "c1", **options) -> None:
    """Make a campaign live; the shop has none of its codes yet."""
    approved_campaign(database, customers, campaign_id, **options)
    go_live(database, campaign_id, options.get("now", NOW))


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
    customers: int,
    campaign_id: str = "c1",
    now: datetime = NOW,
    first: int = 1000,
    guests: int = 0,
    **terms: Any,
) -> None:
    """Draft and approve a campaign and reserve its codes; it is not live yet.

    The first customers are guests of the shop, whose id is an address.
    """

    def name(number: int) -> str:
        return f"k{number + first}@example.com" if number < guests else f"{number + first}"

    rows = audience_rows(customers, partial(offer_of, **terms), name)
    options = {"name": f"May {campaign_id}", "copy_text": "Hello {name}: {code} {items}"}
    approve_draft(database, campaign_id, rows, now, **options)


def stop(database: Database, campaign_id: str = "c1", now: datetime = NOW) -> None:
    """Stop a campaign."""
    with database.transaction() as session:
        decisions.stop(session, Step(campaign_id, "U0LEAD", at=now), "Too dear")


def opened(database: Database) -> MakesCodes:
    """Return the connector of the active shop."""
    with database.reading() as session:
        connection = registry.active_shop(session)
    assert connection is not None
    return registry.open_code_maker(database.settings, connection)


def fenced(database: Database) -> Fenced:
    """Return transactions without a job."""

    @contextmanager
    def transaction() -> Iterator[Any]:
        with database.transaction() as session:
            yield session

    return transaction


def sync(database: Database, campaign_id: str = "c1", **options: Any) -> SyncReport:
    """Run one job, without waiting for anything."""
    values: dict[str, Any] = {
        "busy": timedelta(0),
        "poll_every": 0.002,
        "poll_seconds": 5.0,
        "emails": {f"{number + 1000}": f"k{number}@example.com" for number in range(200)},
        **options,
    }
    end_waits(database)
    shop = Shop(opened(database), **values)
    return sync_campaign(fenced(database), shop, campaign_id)


def end_waits(database: Database) -> None:
    """Make all postponed retries due."""
    with database.transaction() as session:
        for discount in session.scalars(select(ShopDiscount)):
            if discount.retry_at is not None:
                discount.retry_at = clock.wall() - timedelta(seconds=1)


def states(database: Database, campaign_id: str = "c1") -> dict[str, str]:
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


def use(stand_in: Any, code: str, customer: str) -> None:
    """The customer pays with a code."""
    if isinstance(stand_in, ShopifyDiscounts):
        assert not stand_in.discounts.checkout(code, customer, 50, "2025-05-02T00:00:00Z")
    else:
        stand_in.coupons.use(code)


def replace_code(stand_in: Any, lost: str, own: str) -> None:
    """Somebody deletes a code of ours and adds one of their own."""
    if isinstance(stand_in, ShopifyDiscounts):
        nodes = stand_in.discounts.nodes.values()
        node = next(each for each in nodes if lost in {code["code"] for code in each["codes"]})
        node["codes"] = [code for code in node["codes"] if code["code"] != lost]
        node["codes"].append({"id": "gid://f/1", "code": own, "asyncUsageCount": 0})
    else:
        rows = stand_in.coupons.rows
        (number,) = (number for number, row in rows.items() if row["code"] == lost.lower())
        description = rows.pop(number)["description"]
        foreign = {"id": 1, "code": own.lower(), "description": description, "usage_count": 0}
        rows[1] = foreign


def remembered(stand_in: Any) -> Callable[[], None]:
    """Return a function that brings back what the shop has now."""
    if isinstance(stand_in, ShopifyDiscounts):
        nodes = {
            key: {**node, "codes": list(node["codes"])}
            for key, node in stand_in.discounts.nodes.items()
        }
        return lambda: stand_in.discounts.nodes.update(nodes)
    rows = dict(stand_in.coupons.rows)
    return lambda: stand_in.coupons.rows.update(rows)
