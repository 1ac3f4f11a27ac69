"""The feature catalogue: what each column of `retention.features.build` means. H is the horizon in days."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Feature:
    """One column: its name, what it means, its unit, and the group it is explained with."""

    name: str
    meaning: str
    unit: str
    group: str


FEATURES: tuple[Feature, ...] = tuple(
    Feature(*row)
    for row in (
        ("recency_days", "days since the last order", "days", "recency"),
        ("recency_over_gap", "days since the last order ÷ the usual gap", "ratio", "recency"),
        ("recency_over_max_gap", "days since the last order ÷ the longest gap so far", "ratio", "recency"),
        ("orders_half", "orders in the last H/2", "orders", "frequency"),
        ("orders_1h", "orders in the last H", "orders", "frequency"),
        ("orders_2h", "orders in the last 2H", "orders", "frequency"),
        ("orders_4h", "orders in the last 4H", "orders", "frequency"),
        ("orders_all", "orders ever", "orders", "frequency"),
        ("order_days", "days with an order, ever", "days", "frequency"),
        ("orders_per_30d", "orders per 30 days since the first", "orders", "frequency"),
        ("gap_mean", "mean days between order days", "days", "rhythm"),
        ("gap_median", "median days between order days: the usual gap", "days", "rhythm"),
        ("gap_sd", "standard deviation of those gaps", "days", "rhythm"),
        ("gap_max", "longest gap", "days", "rhythm"),
        ("gap_last", "the gap before the last order", "days", "rhythm"),
        ("trend_orders", "(orders in the last H − in the H before) ÷ (their sum + 1)", "ratio", "trend"),
        ("trend_spend", "(spend in the last H − in the H before) ÷ (their sum + 1)", "ratio", "trend"),
        ("spend_1h", "spend in the last H", "money", "spend"),
        ("spend_2h", "spend in the last 2H", "money", "spend"),
        ("spend_4h", "spend in the last 4H", "money", "spend"),
        ("spend_all", "spend ever", "money", "spend"),
        ("basket_mean", "spend per order, ever", "money", "spend"),
        ("basket_ratio", "spend per order in the last 2H ÷ ever", "ratio", "spend"),
        ("discount_share", "discount ÷ (spend + discount), last 4H", "share", "discounts"),
        ("redemptions_4h", "coupons redeemed in the last 4H", "coupons", "discounts"),
        ("lines_per_order", "lines per order in the last 4H", "lines", "breadth"),
        ("items_4h", "different items bought in the last 4H", "items", "breadth"),
        ("weekend_share", "share of orders on Saturday or Sunday (UTC)", "share", "habits"),
        ("tenure_days", "days since the first order", "days", "tenure"),
        ("returns_4h", "returns in the last 4H", "returns", "returns"),
        ("views_1h", "items viewed and searches made in the last H", "views", "intent"),
        ("carts_1h", "items put into the cart in the last H", "items", "intent"),
        ("emails_1h", "e-mails opened or clicked in the last H", "e-mails", "intent"),
    )
)
NAMES: tuple[str, ...] = tuple(feature.name for feature in FEATURES)
GROUPS: tuple[str, ...] = tuple(dict.fromkeys(feature.group for feature in FEATURES))
