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


def limits(report: dict[str, Any]) -> list[dict[str, str]]:
    """Find the limits in a quality report.

    Parameters
    ----------
    found : dict
        From `retention.lake.quality.quality`, with ``imports``, ``drift`` and ``champion``.

    Returns
    -------
    list of dict
        ``limit`` and ``remedy``, each a sentence without a full stop, most severe first.
    """
    if not report["newest_event"]:
        return [
            _limit(
                gettext("no events: nothing can be predicted"),
                gettext("run `retention import events FILE --map MAP.toml`"),
            )
        ]
    return [*_history(report), *_model(report), *_sources(report), *_rows(report)]


def _limit(what: str, how: str) -> dict[str, str]:
    return {"limit": what, "remedy": how}


def _history(report: dict[str, Any]) -> list[dict[str, str]]:
    limits_found = []
    if (age := report["age_days"]) > OLD_DAYS:
        limits_found.append(
            _limit(
                gettext(
                    "the newest event is {age:,.0f} days old: recent orders are unknown"
                ).format(age=age),
                gettext("import newer events"),
            )
        )
    months = report["days"] / 30.4375
    if (buyers := report["customers"]) < BUYERS_OF_RULES:
        limits_found.append(
            _limit(
                gettext(
                    "{buyers} customers: below {buyers_of_rules} only rules can be used, no model"
                ).format(buyers=buyers, buyers_of_rules=BUYERS_OF_RULES),
                gettext("import more of the history, or all channels"),
            )
        )
    elif buyers < BUYERS_OF_MODEL:
        limits_found.append(
            _limit(
                gettext(
                    "{buyers} customers: a trained model needs {buyers_of_model}; until then a "
                    "simple formula (BG/NBD) predicts"
                ).format(buyers=buyers, buyers_of_model=BUYERS_OF_MODEL),
                gettext("import more of the history, or all channels"),
            )
        )
    if report["days"] < DAYS_OF_MODEL:
        limits_found.append(
            _limit(
                gettext("{days} days of history: a trained model needs {days_of_model}").format(
                    days=report["days"], days_of_model=DAYS_OF_MODEL
                ),
                gettext("import older orders"),
            )
        )
    if months < MONTHS_OF_SEASON:
        limits_found.append(
            _limit(
                gettext(
                    "{months:.0f} months of history: seasons are known after {months_of_season}"
                ).format(months=months, months_of_season=MONTHS_OF_SEASON),
                gettext("import older orders; until then a season looks like a trend"),
            )
        )
    limits_found += [
        _limit(
            gettext("no events from {since} to {until} ({days} days)").format(
                since=gap["since"], until=gap["until"], days=gap["days"]
            ),
            gettext(
                "if the shop was open, import what is missing: customers look quieter than "
                "they were"
            ),
        )
        for gap in report["volume"]["gaps"][:2]
    ]
    return limits_found


def _model(report: dict[str, Any]) -> list[dict[str, str]]:
    if report["champion"] is None:
        return [
            _limit(
                gettext("no model has been trained: the rules decide"),
                gettext("train one: `retrain`"),
            )
        ]
    drift = report["drift"]
    if drift and drift["moved"]:
        count, names = (
            len(drift["moved"]),
            "; ".join(drift["meaning"][name] for name in drift["moved"][:3]),
        )
        moved = (
            gettext("1 feature has")
            if count == 1
            else gettext("{count} features have").format(count=count)
        )
        return [
            _limit(
                gettext("{moved} changed since the model was trained ({names})").format(
                    moved=moved, names=names
                ),
                gettext("look at what changed in the source, then `retrain`"),
            )
        ]
    return []


def _sources(report: dict[str, Any]) -> list[dict[str, str]]:
    """Return limits from data that no source provides."""
    filled, rows = report["filled"], report["rows"]
    checks = (
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
    )
    return [_limit(what, how) for holds, what, how in checks if holds]


def _rows(report: dict[str, Any]) -> list[dict[str, str]]:
    limits_found = []
    quarantined = sum(reason["rows"] for reason in report["quarantined"])
    # Rows stored now, because a file may have been imported more than once.
    total = quarantined + sum(report["rows"].values())
    if quarantined > FEW * total:
        first = report["quarantined"][0]
        limits_found.append(
            _limit(
                gettext(
                    "{share:.0f}% of all rows are in quarantine, most for: {reason} ({rows:,})"
                ).format(
                    share=100 * quarantined / total, reason=first["reason"], rows=first["rows"]
                ),
                first["remedy"],
            )
        )
    returns = report["returns"]
    if (
        returns["returns"]
        and returns["returns"] - returns["matched"] > UNMATCHED * returns["returns"]
    ):
        limits_found.append(
            _limit(
                gettext("{unmatched:,} of {returns:,} returns find no order that they undo").format(
                    unmatched=returns["returns"] - returns["matched"], returns=returns["returns"]
                ),
                gettext(
                    "import the orders before the first return, and map `item_id` and "
                    "`quantity` alike for both"
                ),
            )
        )
    return limits_found
