"""Find limits that the data sets for models.

Each has its remedy.
"""

from typing import Any

from retention.text import gettext

MONTHS_OF_SEASON = 13
BUYERS_OF_MODEL, DAYS_OF_MODEL = 500, 180
BUYERS_OF_RULES = 100
OLD_DAYS = 7
HALF, MOST, FEW = 0.5, 0.95, 0.01
UNMATCHED = 0.2


Check = tuple[Any, str, str]  # whether the limit holds, what it is, and its remedy


def limits(report: dict[str, Any]) -> list[dict[str, str]]:
    """Find the limits in a quality report.

    `found`: from `retention.lake.quality.quality`, with ``imports``, ``drift`` and ``champion``.
    Returns: ``limit`` and ``remedy``, each a sentence without a full stop, most severe first.
    """
    if not report["newest_event"]:
        limit = gettext("no events: nothing can be predicted")
        return [
            {"limit": limit, "remedy": gettext("run `retention import events FILE --map MAP.toml`")}
        ]
    checks = (*_history(report), *_model(report), *_sources(report), *_rows(report))
    return [{"limit": limit, "remedy": remedy} for holds, limit, remedy in checks if holds]


def _history(report: dict[str, Any]) -> list[Check]:
    age, days, buyers = report["age_days"], report["days"], report["customers"]
    months = days / 30.4375
    more_buyers = gettext("import more of the history, or all channels")
    missing = gettext(
        "if the shop was open, import what is missing: customers look quieter than they were"
    )
    return [
        (
            age > OLD_DAYS,
            gettext("the newest event is {age:,.0f} days old: recent orders are unknown").format(
                age=age
            ),
            gettext("import newer events"),
        ),
        (
            buyers < BUYERS_OF_RULES,
            gettext(
                "{buyers} customers: below {buyers_of_rules} only rules can be used, no model"
            ).format(buyers=buyers, buyers_of_rules=BUYERS_OF_RULES),
            more_buyers,
        ),
        (
            BUYERS_OF_RULES <= buyers < BUYERS_OF_MODEL,
            gettext(
                "{buyers} customers: a trained model needs {buyers_of_model}; until then a "
                "simple formula (BG/NBD) predicts"
            ).format(buyers=buyers, buyers_of_model=BUYERS_OF_MODEL),
            more_buyers,
        ),
        (
            days < DAYS_OF_MODEL,
            gettext("{days} days of history: a trained model needs {days_of_model}").format(
                days=days, days_of_model=DAYS_OF_MODEL
            ),
            gettext("import older orders"),
        ),
        (
            months < MONTHS_OF_SEASON,
            gettext(
                "{months:.0f} months of history: seasons are known after {months_of_season}"
            ).format(months=months, months_of_season=MONTHS_OF_SEASON),
            gettext("import older orders; until then a season looks like a trend"),
        ),
        *(
            (
                True,
                gettext("no events from {since} to {until} ({days} days)").format(**gap),
                missing,
            )
            for gap in report["volume"]["gaps"][:2]
        ),
    ]


def _model(report: dict[str, Any]) -> list[Check]:
    if report["champion"] is None:
        rules = gettext("no model has been trained: the rules decide")
        return [(True, rules, gettext("train one: `retrain`"))]
    drift = report["drift"]
    if not drift or not drift["moved"]:
        return []
    count = len(drift["moved"])
    moved = gettext("1 feature has") if count == 1 else gettext("{count} features have")
    text = gettext("{moved} changed since the model was trained ({names})").format(
        moved=moved.format(count=count),
        names="; ".join(drift["meaning"][name] for name in drift["moved"][:3]),
    )
    return [(True, text, gettext("look at what changed in the source, then `retrain`"))]


def _sources(report: dict[str, Any]) -> list[Check]:
    """Return limits from data that no source provides."""
    filled, rows = report["filled"], report["rows"]
    return [
        (
            filled["events"]["order_id"] < MOST,
            gettext("orders without an id: a customer's purchases of one day count as one order"),
            gettext("map `order_id`"),
        ),
        (
            filled["events"]["item_id"] < HALF,
            gettext("purchases without an item: no recommendations, and returns find no order"),
            gettext("map `item_id`"),
        ),
        (
            filled["events"]["amount"] < MOST,
            gettext("purchases without an amount count as worth nothing"),
            gettext("map `amount`"),
        ),
        (
            not rows["items"],
            gettext("no items: recommendations have no titles, categories or stock"),
            gettext("run `retention import items FILE`"),
        ),
        (
            not rows["items"] or (filled["items"]["margin"] or 0) < HALF,
            gettext("no margin: profit is assumed by the policy"),
            gettext("map `margin` of items, or set it in the policy"),
        ),
        (
            not rows["customers"],
            gettext("no customers table: nobody has consented, so campaigns reach nobody"),
            gettext("run `retention import customers FILE`"),
        ),
        (
            bool(rows["customers"]) and (filled["customers"]["marketing_consent"] or 0) < MOST,
            gettext("consent is unknown for some customers: they are excluded from campaigns"),
            gettext("map `marketing_consent`"),
        ),
        (
            bool(rows["customers"]) and (filled["customers"]["email"] or 0) < HALF,
            gettext("most customers have no e-mail address: campaigns go out as a file only"),
            gettext("map `email`"),
        ),
        (
            not {"view", "cart", "search"} & set(report["event_types"]),
            gettext(
                "no views, searches or carts: what customers look at before they buy is not known"
            ),
            gettext("import the shop's web events"),
        ),
        (
            len(report["currencies"]) > 1,
            gettext("amounts in several currencies cannot be added"),
            gettext("import them in one (an expression in the map) into a new RETENTION_HOME"),
        ),
    ]


def _rows(report: dict[str, Any]) -> list[Check]:
    quarantined = sum(reason["rows"] for reason in report["quarantined"])
    # Rows stored now, because a file may have been imported more than once.
    total = quarantined + sum(report["rows"].values())
    found: list[Check] = []
    if quarantined > FEW * total:
        first = report["quarantined"][0]
        text = gettext("{share:.0f}% of all rows are in quarantine, most for: {reason} ({rows:,})")
        found.append((True, text.format(share=100 * quarantined / total, **first), first["remedy"]))
    returns = report["returns"]["returns"]
    unmatched = returns - report["returns"]["matched"]
    text = gettext("{unmatched:,} of {returns:,} returns find no order that they undo")
    remedy = gettext(
        "import the orders before the first return, and map `item_id` and `quantity` alike for both"
    )
    found.append(
        (unmatched > UNMATCHED * returns, text.format(unmatched=unmatched, returns=returns), remedy)
    )
    return found
