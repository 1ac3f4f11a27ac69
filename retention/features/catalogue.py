"""Catalogue of features: names, meanings, units and groups.

H is the horizon in days.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from retention.errors import BadInput
from retention.text import gettext


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature column."""

    name: str
    meaning: str
    unit: str
    group: str
    source: str = "purchases"


Rows = dict[tuple[str, str], tuple[tuple[str, str, str], ...]]  # by group and source
_HALF_LIVES = (("quarter", "H/4"), ("half", "H/2"), ("1h", "H"), ("2h", "2H"), ("4h", "4H"))
_OF_PURCHASES: Rows = {
    ("recency", "purchases"): (
        ("recency_days", "days since the last order", "days"),
        ("recency_over_gap", "days since the last order ÷ the usual gap", "ratio"),
        ("recency_over_max_gap", "days since the last order ÷ the longest gap so far", "ratio"),
        (
            "recency_rank",
            "share of the customer's own gaps that were longer than the silence now",
            "share",
        ),
        ("silence_rank", "the same share, as if a tenth of one more gap had been longer", "share"),
        (
            "gap_survival",
            "of own gaps longer than the silence now, the share that lasted H more "
            "(½ : 1 without any)",
            "share",
        ),
    ),
    ("frequency", "purchases"): (
        ("orders_half", "orders in the last H/2", "orders"),
        ("orders_1h", "orders in the last H", "orders"),
        ("orders_2h", "orders in the last 2H", "orders"),
        ("orders_3h", "orders in the last 3H", "orders"),
        ("orders_4h", "orders in the last 4H", "orders"),
        ("orders_all", "orders ever", "orders"),
        ("order_days", "days with an order, ever", "days"),
        ("orders_per_30d", "orders per 30 days since the first", "orders"),
        *(
            (
                f"pace_{name}",
                f"order days per day, each worth half as much for every {time} since",
                "per day",
            )
            for name, time in _HALF_LIVES
        ),
        ("order_days_1q", "order days in the last H/4", "days"),
        ("order_days_2q", "order days in the H/4 before", "days"),
        ("order_days_3q", "order days in the third H/4 back", "days"),
        ("order_days_4q", "order days in the fourth H/4 back", "days"),
        ("order_days_5q", "order days in the fifth H/4 back", "days"),
        ("order_days_6q", "order days in the sixth H/4 back", "days"),
    ),
    ("rhythm", "purchases"): (
        ("quarters_1h", "quarters with an order among the four of the last H", "quarters of H"),
        ("quarters_2h", "quarters with an order among the eight of the last 2H", "quarters of H"),
        ("quarters_3h", "quarters with an order among the twelve of the last 3H", "quarters of H"),
        ("quarters_6h", "quarters with an order among the 24 of the last 6H", "quarters of H"),
        ("gap_mean", "mean days between order days", "days"),
        ("gap_median", "median days between order days: the usual gap", "days"),
        ("gap_sd", "standard deviation of those gaps", "days"),
        ("gap_cv", "standard deviation of those gaps ÷ their mean: 0 is a clockwork", "ratio"),
        ("gap_max", "longest gap", "days"),
        ("gap_last", "the gap before the last order", "days"),
        ("gap_last_ratio", "the gap before the last order ÷ the usual gap", "ratio"),
        ("gap_trend", "mean gap of the last five orders ÷ mean gap ever", "ratio"),
        ("gap_last_two", "mean of the gaps before the last two orders", "days"),
        ("gap_recent", "mean of the gaps before the last five orders", "days"),
        ("gap_log_mean", "mean of the logarithms of the gaps", "log days"),
        ("gap_log_sd", "standard deviation of the logarithms of the gaps", "log days"),
        ("gaps_over_1h", "gaps of H or longer", "gaps"),
        (
            "long_gap_share",
            "share of the days since the first order that lie in such gaps",
            "share",
        ),
        (
            "blank_share",
            "how likely H days taken at random since the first order had none, "
            "the silence now counted",
            "share",
        ),
        (
            "silent_share",
            "share of the days between first and last order on which the next H days "
            "brought no order",
            "share",
        ),
    ),
    ("trend", "purchases"): (
        ("trend_orders", "(orders in the last H − in the H before) ÷ (their sum + 1)", "ratio"),
        ("trend_slope", "slope of the orders in the last four H, oldest to newest", "orders per H"),
        ("trend_spend", "(spend in the last H − in the H before) ÷ (their sum + 1)", "ratio"),
    ),
    ("spend", "purchases"): (
        ("spend_1h", "spend in the last H", "money"),
        ("spend_2h", "spend in the last 2H", "money"),
        ("spend_4h", "spend in the last 4H", "money"),
        ("spend_all", "spend ever", "money"),
        *(
            (
                f"spend_pace_{name}",
                f"spend per day, each order worth half as much for every {time} since",
                "money per day",
            )
            for name, time in _HALF_LIVES
        ),
        ("spend_last", "spend of the last order", "money"),
        ("basket_mean", "spend per order, ever", "money"),
        ("basket_ratio", "spend per order in the last 2H ÷ ever", "ratio"),
        ("basket_last_ratio", "spend of the last order ÷ per order ever", "ratio"),
        ("basket_cv", "standard deviation of the spend per order ÷ its mean", "ratio"),
    ),
    ("discounts", "purchases"): (
        ("discount_share", "discount ÷ (spend + discount), last 4H", "share"),
        ("discounted_share", "share of the orders of the last 4H with a discount", "share"),
    ),
    ("breadth", "purchases"): (
        ("lines_per_order", "lines per order in the last 4H", "lines"),
        ("lines_last", "lines of the last order", "lines"),
        ("lines_trend", "lines per order in the last H ÷ in the last 4H", "ratio"),
    ),
    ("habits", "purchases"): (
        ("weekend_share", "share of orders on Saturday or Sunday, by the shop's clock", "share"),
        ("weekday_share", "share of orders on the favourite day of the week", "share"),
        (
            "hour_concentration",
            "how much the orders keep to one time of the day: 0 any, 1 always the same (circular)",
            "",
        ),
    ),
    ("tenure", "purchases"): (("tenure_days", "days since the first order", "days"),),
    ("season", "purchases"): (
        (
            "orders_last_year",
            "orders in the H days that began a year ago; missing for customers newer than that",
            "orders",
        ),
        (
            "season_match",
            "how much the orders fall into the time of the year ahead: "
            "1 always, −1 always half a year away",
            "",
        ),
    ),
    ("channel", "purchases"): (
        ("online_share", "share of orders online", "share"),
        ("channels", "different channels ordered through", "channels"),
        ("channel_share", "share of the main channel among the orders", "share"),
    ),
}
_OF_ITEMS: Rows = {
    ("breadth", "purchases, items"): (
        ("items_4h", "different items bought in the last 4H", "items"),
        ("categories_4h", "different categories bought in the last 4H", "categories"),
        (
            "category_entropy",
            "entropy of the categories' lines, last 4H: 0 is one category only",
            "nats",
        ),
        (
            "category_top_share",
            "share of the favourite category in the lines of the last 4H",
            "share",
        ),
    ),
    ("replenishment", "purchases, items"): (
        ("category_top_since", "days since the favourite category was last bought", "days"),
        (
            "categories_kept",
            "share of the categories of the last 4H bought in the last H too",
            "share",
        ),
        (
            "repeat_share",
            "share of lines of the last 4H that are items bought twice or more",
            "share",
        ),
        ("regular_items", "items bought three times or more in the last 4H", "items"),
        ("overdue_share", "share of those whose usual interval has passed", "share"),
    ),
}
_OF_OTHERS: Rows = {
    ("returns", "returns"): (
        ("returns_4h", "returns in the last 4H", "returns"),
        ("return_share", "returns ÷ orders, ever", "ratio"),
        ("return_money_share", "money returned ÷ spend, ever", "ratio"),
        ("return_recency", "days since the last return", "days"),
    ),
    ("discounts", "coupon redemptions"): (
        ("redemptions_4h", "coupons redeemed in the last 4H", "coupons"),
        ("redemption_share", "days with a redemption ÷ orders, last 4H", "ratio"),
        ("redemption_recency", "days since a coupon was redeemed", "days"),
    ),
    ("intent", "views, searches"): (
        ("views_1h", "items viewed and searches made in the last H", "views"),
        ("views_per_order", "items viewed and searches made per order, last 4H", "views"),
        ("views_since_order", "items viewed and searches made since the last order", "views"),
        ("view_recency", "days since the last view or search", "days"),
        ("view_seconds_1h", "time spent on them in the last H", "seconds"),
    ),
    ("intent", "searches"): (("searches_1h", "searches made in the last H", "searches"),),
    ("intent", "carts"): (
        ("carts_1h", "items put into the cart in the last H", "items"),
        ("carts_since_order", "items put into the cart since the last order", "items"),
        ("cart_recency", "days since something was put into the cart", "days"),
        (
            "cart_left_share",
            "share of the carts of the last 4H that no order followed within a week",
            "share",
        ),
    ),
    ("response", "e-mail"): (
        ("emails_1h", "e-mails opened or clicked in the last H", "e-mails"),
        ("clicks_4h", "e-mails clicked in the last 4H", "clicks"),
        ("email_recency", "days since an e-mail was opened or clicked", "days"),
    ),
    ("response", "treatments"): (
        ("campaigns_4h", "campaigns received in the last 4H", "campaigns"),
        ("campaign_recency", "days since the last campaign", "days"),
        ("campaign_response", "days with a redemption ÷ campaigns, last 4H", "ratio"),
    ),
    ("opinion", "ratings"): (
        ("ratings", "ratings given", "ratings"),
        ("rating_mean", "mean rating given", "rating"),
        ("rating_last", "last rating given", "rating"),
    ),
    ("opinion", "support"): (("support_4h", "contacts with support in the last 4H", "contacts"),),
    ("opinion", "texts"): (
        ("complaints_30d", "texts with a bad mood in the last 30 days", "texts"),
        ("complaint_recency", "days since the last text with a bad mood", "days"),
        ("mood_last", "mood of the last text: 0 bad, 1 good", "share"),
    ),
}


def _features(rows: Rows) -> tuple[Feature, ...]:
    return tuple(Feature(*row, *kind) for kind, listed in rows.items() for row in listed)


FEATURES: tuple[Feature, ...] = (
    *_features(_OF_PURCHASES),
    *_features(_OF_ITEMS),
    Feature(
        "own_brand_share",
        "share of the shop's own brand in the lines of the last 4H",
        "share",
        "breadth",
        "purchases, items",
    ),
    *_features(_OF_OTHERS),
)
# Features from closed forms, buying states and the calendar (`retention.churn.model_features`).
DERIVED = (
    Feature("bg_no_purchase", "BG/NBD: P(no order within H)", "probability", "recency"),
    Feature("bg_alive", "BG/NBD: P(still a customer)", "probability", "recency"),
    Feature(
        "bg_rate", "BG/NBD: expected orders within H while a customer", "order days", "frequency"
    ),
    Feature("bg_expected", "BG/NBD: expected order days within H", "order days", "frequency"),
    Feature(
        "states_no_purchase", "buying states: log-odds of no order within H", "log-odds", "rhythm"
    ),
    Feature(
        "states_later",
        "buying states: P(an order in a quarter of H), two H from now",
        "probability",
        "rhythm",
    ),
    Feature(
        "recency_share", "days since the last order ÷ days since the first", "share", "recency"
    ),
    Feature(
        "contacts_lapsed",
        "share of the customers they are related to whose last order is more than H ago",
        "share",
        "contacts",
        "relations",
    ),
    Feature("season_sin", "sine of the day of the year", "", "season"),
    Feature("season_cos", "cosine of the day of the year", "", "season"),
    Feature(
        "season_ahead",
        "log of how fast repeat orders come in the H days ahead ÷ in the H before, "
        "by last year's season and the trend",
        "",
        "season",
    ),
    Feature(
        "season_no_purchase",
        "BG/NBD on the shop's seasonal clock: P(no order within H)",
        "probability",
        "recency",
    ),
)
NAMES: tuple[str, ...] = tuple(feature.name for feature in FEATURES)
GROUPS: tuple[str, ...] = tuple(dict.fromkeys(feature.group for feature in FEATURES))
ZERO_IF_MISSING = (  # without events: 0; other features: missing
    "items_4h",
    "categories_4h",
    "regular_items",
    "returns_4h",
    "return_visits",
    "return_money",
    "redemptions_4h",
    "redemption_visits",
    "views_1h",
    "views_4h",
    "views_since_order",
    "view_seconds_1h",
    "searches_1h",
    "carts_1h",
    "carts_since_order",
    "cart_days",
    "carts_left",
    "emails_1h",
    "clicks_4h",
    "campaigns_4h",
    "ratings",
    "support_4h",
    "complaints_30d",
)


def check_features(names: Iterable[str], version: str) -> None:
    """Check that all features of a model are still computed."""
    if missing := sorted(set(names) - {feature.name for feature in (*FEATURES, *DERIVED)}):
        ellipsis = ", …" if len(missing) > 3 else ""
        message = gettext(
            "Model {model} asks for features that this version no longer computes "
            "({names}{ellipsis})."
        ).format(model=version or "unnamed", names=", ".join(missing[:3]), ellipsis=ellipsis)
        raise BadInput(message, hint="retrain")


def signed_log(values: np.ndarray) -> np.ndarray:
    """Return sign(x) · log(1 + |x|): money and counts are skewed, and some are negative.

    Examples
    --------
    >>> float(signed_log(np.array([0.0]))[0])
    0.0
    """
    return np.sign(values) * np.log1p(np.abs(values))
