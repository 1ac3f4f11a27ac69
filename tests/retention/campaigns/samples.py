"""A campaign's body to start from."""

from datetime import UTC, datetime
from typing import Any

from retention.campaigns.lifecycle.spec import Body, OfferLine, Prior


def a_body(**changes: Any) -> Body:
    """A hundred customers at high risk, one coupon."""
    totals = {"customers": 100, "sales": 5000.0, "base_sales": 2000.0, "base": 40.0}
    coupon = OfferLine(rule="High risk", action="coupon", discount=0.1, **totals)
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
            "offers": (coupon,),
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


def audience_rows(customers: int = 100) -> list[dict[str, Any]]:
    """Rows of a draft, in order of their buckets."""
    offer = {"rule": "High risk", "action": "coupon", "discount": 0.1, "items": []}
    shared = {"arm": "audience", "tier": "high", "churn_probability": 0.6, "expected_value": 50.0}
    return [
        {
            **shared,
            "customer_id": f"k{number}",
            "bucket": (2 * number + 1) * 5000 // customers,
            "offer": dict(offer),
        }
        for number in range(customers)
    ]
