"""Catalogue of features: names, meanings, units and groups.

H is the horizon in days.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from retention.errors import BadInput
from retention.text import gettext


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature column.

    Parameters
    ----------
    name, meaning, unit : str
    group : str
        Group for explanations.
    source : str
        Kinds of events that it uses.
    """

    name: str
    meaning: str
    unit: str
    group: str
    source: str = "purchases"


_OF_PURCHASES = (
    ("recency_days", "days since the last order", "days", "recency"),
    ("recency_over_gap", "days since the last order ÷ the usual gap", "ratio", "recency"),
    (
        "recency_over_max_gap",
        "days since the last order ÷ the longest gap so far",
        "ratio",
        "recency",
    ),
    (
        "recency_rank",
        "share of the customer's own gaps that were longer than the silence now",
        "share",
        "recency",
    ),
    (
        "silence_rank",
        "the same share, as if a tenth of one more gap had been longer",
        "share",
        "recency",
    ),
    (
        "gap_survival",
        "of own gaps longer than the silence now, the share that lasted H more (½ : 1 without any)",
        "share",
        "recency",
    ),
    ("orders_half", "orders in the last H/2", "orders", "frequency"),
    ("orders_1h", "orders in the last H", "orders", "frequency"),
    ("orders_2h", "orders in the last 2H", "orders", "frequency"),
    ("orders_3h", "orders in the last 3H", "orders", "frequency"),
    ("orders_4h", "orders in the last 4H", "orders", "frequency"),
    ("orders_all", "orders ever", "orders", "frequency"),
    ("order_days", "days with an order, ever", "days", "frequency"),
    ("orders_per_30d", "orders per 30 days since the first", "orders", "frequency"),
    (
        "pace_quarter",
        "order days per day, each worth half as much for every H/4 since",
        "per day",
        "frequency",
    ),
    (
        "pace_half",
        "order days per day, each worth half as much for every H/2 since",
        "per day",
        "frequency",
    ),
    (
        "pace_1h",
        "order days per day, each worth half as much for every H since",
        "per day",
        "frequency",
    ),
    (
        "pace_2h",
        "order days per day, each worth half as much for every 2H since",
        "per day",
        "frequency",
    ),
    (
        "pace_4h",
        "order days per day, each worth half as much for every 4H since",
        "per day",
        "frequency",
    ),
    ("order_days_1q", "order days in the last H/4", "days", "frequency"),
    ("order_days_2q", "order days in the H/4 before", "days", "frequency"),
    ("order_days_3q", "order days in the third H/4 back", "days", "frequency"),
    ("order_days_4q", "order days in the fourth H/4 back", "days", "frequency"),
    ("order_days_5q", "order days in the fifth H/4 back", "days", "frequency"),
    ("order_days_6q", "order days in the sixth H/4 back", "days", "frequency"),
    (
        "quarters_1h",
        "quarters with an order among the four of the last H",
        "quarters of H",
        "rhythm",
    ),
    (
        "quarters_2h",
        "quarters with an order among the eight of the last 2H",
        "quarters of H",
        "rhythm",
    ),
    (
        "quarters_3h",
        "quarters with an order among the twelve of the last 3H",
        "quarters of H",
        "rhythm",
    ),
    (
        "quarters_6h",
        "quarters with an order among the 24 of the last 6H",
        "quarters of H",
        "rhythm",
    ),
    ("gap_mean", "mean days between order days", "days", "rhythm"),
    ("gap_median", "median days between order days: the usual gap", "days", "rhythm"),
    ("gap_sd", "standard deviation of those gaps", "days", "rhythm"),
    (
        "gap_cv",
        "standard deviation of those gaps ÷ their mean: 0 is a clockwork",
        "ratio",
        "rhythm",
    ),
    ("gap_max", "longest gap", "days", "rhythm"),
    ("gap_last", "the gap before the last order", "days", "rhythm"),
    ("gap_last_ratio", "the gap before the last order ÷ the usual gap", "ratio", "rhythm"),
    ("gap_trend", "mean gap of the last five orders ÷ mean gap ever", "ratio", "rhythm"),
    ("gap_last_two", "mean of the gaps before the last two orders", "days", "rhythm"),
    ("gap_recent", "mean of the gaps before the last five orders", "days", "rhythm"),
    ("gap_log_mean", "mean of the logarithms of the gaps", "log days", "rhythm"),
    ("gap_log_sd", "standard deviation of the logarithms of the gaps", "log days", "rhythm"),
    ("gaps_over_1h", "gaps of H or longer", "gaps", "rhythm"),
    (
        "long_gap_share",
        "share of the days since the first order that lie in such gaps",
        "share",
        "rhythm",
    ),
    (
        "blank_share",
        "how likely H days taken at random since the first order had none, the silence now counted",
        "share",
        "rhythm",
    ),
    (
        "silent_share",
        "share of the days between first and last order on which the next H days brought no order",
        "share",
        "rhythm",
    ),
    (
        "trend_orders",
        "(orders in the last H − in the H before) ÷ (their sum + 1)",
        "ratio",
        "trend",
    ),
    (
        "trend_slope",
        "slope of the orders in the last four H, oldest to newest",
        "orders per H",
        "trend",
    ),
    ("trend_spend", "(spend in the last H − in the H before) ÷ (their sum + 1)", "ratio", "trend"),
    ("spend_1h", "spend in the last H", "money", "spend"),
    ("spend_2h", "spend in the last 2H", "money", "spend"),
    ("spend_4h", "spend in the last 4H", "money", "spend"),
    ("spend_all", "spend ever", "money", "spend"),
    (
        "spend_pace_quarter",
        "spend per day, each order worth half as much for every H/4 since",
        "money per day",
        "spend",
    ),
    (
        "spend_pace_half",
        "spend per day, each order worth half as much for every H/2 since",
        "money per day",
        "spend",
    ),
    (
        "spend_pace_1h",
        "spend per day, each order worth half as much for every H since",
        "money per day",
        "spend",
    ),
    (
        "spend_pace_2h",
        "spend per day, each order worth half as much for every 2H since",
        "money per day",
        "spend",
    ),
    (
        "spend_pace_4h",
        "spend per day, each order worth half as much for every 4H since",
        "money per day",
        "spend",
    ),
    ("spend_last", "spend of the last order", "money", "spend"),
    ("basket_mean", "spend per order, ever", "money", "spend"),
    ("basket_ratio", "spend per order in the last 2H ÷ ever", "ratio", "spend"),
    ("basket_last_ratio", "spend of the last order ÷ per order ever", "ratio", "spend"),
    ("basket_cv", "standard deviation of the spend per order ÷ its mean", "ratio", "spend"),
    ("discount_share", "discount ÷ (spend + discount), last 4H", "share", "discounts"),
    (
        "discounted_share",
        "share of the orders of the last 4H with a discount",
        "share",
        "discounts",
    ),
    ("lines_per_order", "lines per order in the last 4H", "lines", "breadth"),
    ("lines_last", "lines of the last order", "lines", "breadth"),
    ("lines_trend", "lines per order in the last H ÷ in the last 4H", "ratio", "breadth"),
    (
        "weekend_share",
        "share of orders on Saturday or Sunday, by the shop's clock",
        "share",
        "habits",
    ),
    ("weekday_share", "share of orders on the favourite day of the week", "share", "habits"),
    (
        "hour_concentration",
        "how much the orders keep to one time of the day: 0 any, 1 always the same (circular)",
        "",
        "habits",
    ),
    ("tenure_days", "days since the first order", "days", "tenure"),
    (
        "orders_last_year",
        "orders in the H days that began a year ago; missing for customers newer than that",
        "orders",
        "season",
    ),
    (
        "season_match",
        "how much the orders fall into the time of the year ahead: "
        "1 always, −1 always half a year away",
        "",
        "season",
    ),
    ("online_share", "share of orders online", "share", "channel"),
    ("channels", "different channels ordered through", "channels", "channel"),
    ("channel_share", "share of the main channel among the orders", "share", "channel"),
)
_OF_ITEMS = (
    ("items_4h", "different items bought in the last 4H", "items", "breadth"),
    ("categories_4h", "different categories bought in the last 4H", "categories", "breadth"),
    (
        "category_entropy",
        "entropy of the categories' lines, last 4H: 0 is one category only",
        "nats",
        "breadth",
    ),
    (
        "category_top_share",
        "share of the favourite category in the lines of the last 4H",
        "share",
        "breadth",
    ),
    (
        "category_top_since",
        "days since the favourite category was last bought",
        "days",
        "replenishment",
    ),
    (
        "categories_kept",
        "share of the categories of the last 4H bought in the last H too",
        "share",
        "replenishment",
    ),
    (
        "repeat_share",
        "share of lines of the last 4H that are items bought twice or more",
        "share",
        "replenishment",
    ),
    ("regular_items", "items bought three times or more in the last 4H", "items", "replenishment"),
    ("overdue_share", "share of those whose usual interval has passed", "share", "replenishment"),
    (
        "own_brand_share",
        "share of the shop's own brand in the lines of the last 4H",
        "share",
        "breadth",
    ),
)
_OF_OTHERS = (
    ("returns_4h", "returns in the last 4H", "returns", "returns", "returns"),
    ("return_share", "returns ÷ orders, ever", "ratio", "returns", "returns"),
    ("return_money_share", "money returned ÷ spend, ever", "ratio", "returns", "returns"),
    ("return_recency", "days since the last return", "days", "returns", "returns"),
    (
        "redemptions_4h",
        "coupons redeemed in the last 4H",
        "coupons",
        "discounts",
        "coupon redemptions",
    ),
    (
        "redemption_share",
        "days with a redemption ÷ orders, last 4H",
        "ratio",
        "discounts",
        "coupon redemptions",
    ),
    (
        "redemption_recency",
        "days since a coupon was redeemed",
        "days",
        "discounts",
        "coupon redemptions",
    ),
    (
        "views_1h",
        "items viewed and searches made in the last H",
        "views",
        "intent",
        "views, searches",
    ),
    (
        "views_per_order",
        "items viewed and searches made per order, last 4H",
        "views",
        "intent",
        "views, searches",
    ),
    (
        "views_since_order",
        "items viewed and searches made since the last order",
        "views",
        "intent",
        "views, searches",
    ),
    ("view_recency", "days since the last view or search", "days", "intent", "views, searches"),
    ("view_seconds_1h", "time spent on them in the last H", "seconds", "intent", "views, searches"),
    ("searches_1h", "searches made in the last H", "searches", "intent", "searches"),
    ("carts_1h", "items put into the cart in the last H", "items", "intent", "carts"),
    (
        "carts_since_order",
        "items put into the cart since the last order",
        "items",
        "intent",
        "carts",
    ),
    ("cart_recency", "days since something was put into the cart", "days", "intent", "carts"),
    (
        "cart_left_share",
        "share of the carts of the last 4H that no order followed within a week",
        "share",
        "intent",
        "carts",
    ),
    ("emails_1h", "e-mails opened or clicked in the last H", "e-mails", "response", "e-mail"),
    ("clicks_4h", "e-mails clicked in the last 4H", "clicks", "response", "e-mail"),
    ("email_recency", "days since an e-mail was opened or clicked", "days", "response", "e-mail"),
    ("campaigns_4h", "campaigns received in the last 4H", "campaigns", "response", "treatments"),
    ("campaign_recency", "days since the last campaign", "days", "response", "treatments"),
    (
        "campaign_response",
        "days with a redemption ÷ campaigns, last 4H",
        "ratio",
        "response",
        "treatments",
    ),
    ("ratings", "ratings given", "ratings", "opinion", "ratings"),
    ("rating_mean", "mean rating given", "rating", "opinion", "ratings"),
    ("rating_last", "last rating given", "rating", "opinion", "ratings"),
    ("support_4h", "contacts with support in the last 4H", "contacts", "opinion", "support"),
)
FEATURES: tuple[Feature, ...] = (
    *(Feature(*row) for row in _OF_PURCHASES),
    *(Feature(*row, source="purchases, items") for row in _OF_ITEMS),
    *(Feature(*row) for row in _OF_OTHERS),
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
)


def check_features(names: Iterable[str], version: str) -> None:
    """Check that all features of a model are still computed.

    Parameters
    ----------
    names : iterable of str
        Feature columns of the model.
    version : str
        Model version, for the message.

    Raises
    ------
    BadInput
        With the model and the missing features.
    """
    if missing := sorted(set(names) - {feature.name for feature in (*FEATURES, *DERIVED)}):
        raise BadInput(
            gettext(
                "Model {model} asks for features that this version no longer computes "
                "({names}{ellipsis}); run `/retention retrain`."
            ).format(
                model=version or "unnamed",
                names=", ".join(missing[:3]),
                ellipsis=", …" if len(missing) > 3 else "",
            )
        )
