"""Build a shop with responses to the lists of one campaign."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from retention import impressions
from retention.db.tables import Coupon
from tests import world
from tests.retention.recommend.small_shop import SmallShop, make_shop

SENT = datetime(2025, 5, 1, 9, tzinfo=UTC)
NOW = datetime(2025, 6, 1, tzinfo=UTC)
ITEMS = [
    {"item_id": f"i{place}", "title": f"Item {place}", "source": "buy_again"} for place in (1, 2, 3)
]


def make_responses_shop(home: Path) -> SmallShop:
    """Build a shop of three customers with responses to a campaign of 1 May; c is held out."""
    day = timedelta(days=1)
    lines = [(who, "purchase", SENT - 30 * day, "i9", {"order_id": f"old-{who}"}) for who in "abc"]
    lines += [
        ("a", "email_click", SENT + day, "i3", {}),
        ("a", "email_click", SENT + 2 * day, "i3", {}),
        ("a", "purchase", SENT + 2 * day, "i3", {"order_id": "o1"}),
        ("b", "purchase", SENT + 3 * day, "i1", {"order_id": "o2"}),
        ("b", "purchase", SENT + 29 * day, "i2", {"order_id": "o3"}),  # after the window
        ("b", "email_click", SENT - day, "i2", {}),  # before it was shown
        ("c", "email_click", SENT + day, "i1", {}),  # nothing was shown to c
    ]
    return make_shop(
        home, lines, [(f"i{place}", f"Item {place}", "things", 2.0) for place in (1, 2, 3, 9)]
    )


def send_campaign(shop: SmallShop) -> SmallShop:
    """Add the campaign's impressions and one redeemed code."""
    offer = {
        "items": ITEMS,
        "recommended_by": "recommend-1",
        "arm": "both",
        "propensity": 0.8,
        "action": "coupon",
    }
    redeemed = {"state": "redeemed", "redeemed_at": SENT + timedelta(days=3), "order_id": "o2"}
    with shop.database.transaction() as session:
        campaign = world.campaign("camp", created_at=SENT)
        session.add(campaign)
        session.flush()
        arms = {"a": "treatment", "b": "treatment", "c": "control"}
        session.add_all(
            world.assignment("camp", who, arm, offer=offer) for who, arm in arms.items()
        )
        session.add(
            Coupon(code="X", campaign_id="camp", customer_id="b", expires_at=NOW, **redeemed)
        )
        assert impressions.store_campaign(session, campaign, SENT) == 6
    return shop
