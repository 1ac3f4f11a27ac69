"""Evaluate audience expressions at a point in time.

A condition on an unknown value is false. `!=` is the opposite of `=`, so it includes customers
whose value is unknown. Orders, campaigns and unsubscribes count as they were known at the time. The
lake keeps no history of the customers' own fields (country, city, attributes, imported consent),
so these count as they stand now.
"""
# ruff: noqa: S608 - SQL consists of names of our own views; values are parameters

import difflib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import or_, select

from retention.audiences import lists
from retention.audiences.expression import (
    FIELDS,
    NUMBER,
    SCORED,
    STORE,
    TIERS,
    And,
    AtStore,
    Bought,
    Comparison,
    Engaged,
    Expression,
    InCampaign,
    InList,
    Membership,
    Not,
    OneOf,
    Value,
    conditions,
    fields,
    kind_of,
    periods,
    within,
)
from retention.db import Transaction
from retention.db.tables import Assignment, Campaign, Suppression
from retention.lake.customer_directory import attribute_names, own_store
from retention.lake.lake import naive
from retention.outreach import tracking
from retention.text import gettext

if TYPE_CHECKING:
    import pandas as pd

    from retention.lake import Lake

ORDER_FIELDS = frozenset({"orders", "last_order", "first_order", "spent", "channel", "last_store"})
EVENT_TYPES = {
    "bought": ("purchase",),
    "viewed": ("view", "cart"),
    "opened": ("email_open", "email_click"),  # whoever clicked has opened
    "clicked": ("email_click",),
}
MAX_NAMED = 5
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Members:
    """The customers of an audience.

    ``population`` counts the customers known at ``as_of``. ``warnings`` names values that no
    customer or item has.
    """

    as_of: datetime
    customers: frozenset[str]
    population: int = 0
    warnings: tuple[str, ...] = ()


def needs_scores(expression: Expression) -> bool:
    """Return whether an expression compares risk, probability or value."""
    return bool(fields(expression) & SCORED)


def members(
    lake: "Lake",
    session: Transaction,
    expression: Expression,
    as_of: datetime,
    scores: "pd.DataFrame | None" = None,
) -> Members:
    """Find the customers that an expression describes.

    `expression`: from `retention.audiences.parse.parse`.
    `as_of`: only events before it count.
    `scores`: ``customer_id, churn_probability, tier, expected_value`` of a sweep at ``as_of``.
    Customers without a score have no risk, probability and value.
    """
    frame = customer_facts(lake, session, expression, as_of, scores)
    if frame.empty:
        return Members(as_of, frozenset())
    chosen = frame.index[mask(expression, frame)]
    warnings = tuple(_warnings(lake, session, expression, as_of, frame))
    return Members(as_of, frozenset(chosen), len(frame), warnings)


def mask(expression: Expression, frame: "pd.DataFrame") -> "pd.Series":
    """Return which rows an expression describes.

    `frame`: one row per customer. Columns are the fields of the expression, and one boolean column
    for each other condition, named like the condition prints.
    """
    if isinstance(expression, Not):
        return ~mask(expression.part, frame)
    if isinstance(expression, Comparison):
        return _compared(frame[expression.column], expression)
    if isinstance(expression, OneOf):
        column, field = frame[expression.column], expression.field
        is_member = column.isna() & False
        for value in expression.values:
            is_member |= _compared(column, Comparison(field, "=", value))
        return is_member
    if isinstance(expression, Membership):
        return frame[str(expression)].astype(bool)
    left, right = mask(expression.left, frame), mask(expression.right, frame)
    return left & right if isinstance(expression, And) else left | right


def customer_facts(
    lake: "Lake",
    session: Transaction,
    expression: Expression | None,
    as_of: datetime,
    scores: "pd.DataFrame | None" = None,
    extra_fields: Collection[str] = (),
) -> "pd.DataFrame":
    """Collect the values that an expression compares.

    `lake`, `session`, `settings`, `as_of`, `scores`: see `members`.
    `expression`: none collects only ``extra_fields``.
    Returns: indexed by customer id. It lists customers that were known before ``as_of``.
    """
    needed = (fields(expression) if expression else set()) | set(extra_fields)
    parts = conditions(expression) if expression else []
    if any(isinstance(part, AtStore) for part in parts) and own_store(lake):
        needed.add(STORE)
    frame = _customers(lake, as_of, needed)
    if needed & ORDER_FIELDS:
        frame = frame.join(_orders(lake, as_of, needed))
        for name in needed & {"orders", "spent"}:
            frame[name] = frame[name].fillna(0)
    for days, names in periods(expression).items() if expression else ():
        for name, column in _orders(lake, as_of, names, days).items():
            frame[f"{name}{within(days)}"] = column.reindex(frame.index).fillna(0)
    if "last_event" in needed:
        frame = frame.join(_last_event(lake, as_of))
    if "consent" in needed:
        frame["consent"] = _consent(lake, session, frame, as_of)
    if needed & SCORED:
        frame = frame.join(_scores(scores))
    for condition in parts:
        if isinstance(condition, AtStore) and STORE in frame:
            frame[str(condition)] = mask(OneOf(STORE, _values(condition.names)), frame)
        elif isinstance(condition, Membership):
            customers = _customers_of(lake, session, condition, as_of)
            frame[str(condition)] = frame.index.isin(customers)
    return frame


def _customers_of(
    lake: "Lake", session: Transaction, condition: Membership, as_of: datetime
) -> Collection[str]:
    """Return the customers who meet a condition that is no comparison."""
    match condition:
        case Bought():
            return _buyers(lake, condition, as_of)
        case AtStore(names):
            return _shoppers(lake, names, as_of)
        case Engaged():
            return _engaged(lake, session, condition, as_of)
        case InList(name):
            return lake.identities.resolved(lists.members(lake, session, name, as_of))
        case InCampaign(campaign):
            return campaign_members(lake, session, campaign, as_of)


def campaign_members(
    lake: "Lake", session: Transaction, campaign: str, as_of: datetime
) -> set[str]:
    """Return the customers of a campaign that was sent before a moment."""
    own = session.scalars(
        select(Assignment.customer_id)
        .join(Campaign, Campaign.id == Assignment.campaign_id)
        .where(
            Campaign.team_id == session.settings.team_id,
            or_(Campaign.id == campaign.lower(), Campaign.name == campaign),
            Campaign.sent_at < as_of,
        )
    )
    sent = lake.table("treatments", before=as_of)
    imported = sent.filter(sent.campaign_id == campaign).select("customer_id").distinct().execute()
    return lake.identities.resolved({*own, *imported["customer_id"]})


def _customers(lake: "Lake", as_of: datetime, needed: set[str]) -> "pd.DataFrame":
    """Customers known before a moment, with their own fields and attributes.

    A customer without a date and with later events only is not known yet.
    """
    own = {name: f'$."{name}"' for name in sorted(needed) if name not in FIELDS}
    names = {name.lower(): name for name in attribute_names(lake)} if needed else {}
    for name in ("country", "city", STORE):
        if name in needed:
            own[name] = f'$."{names.get(name, name)}"'
    columns = "".join(f', json_extract_string(c.attributes, ?) AS "{name}"' for name in own)
    region = ", c.locale AS _locale" if "country" in needed else ""
    customers = lake.table("customers").get_name()
    before = lake.table("events", before=as_of).get_name()
    everything = lake.table("events").get_name()
    frame = lake.duckdb.execute(
        f"""
        WITH past AS (SELECT DISTINCT customer_id FROM "{before}"),
        ever AS (SELECT DISTINCT customer_id FROM "{everything}"),
        known AS (
            SELECT customer_id FROM past UNION
            SELECT customer_id FROM "{customers}" c WHERE created_at < ?
                OR (created_at IS NULL AND customer_id NOT IN (SELECT customer_id FROM ever))
        )
        SELECT known.customer_id{columns}{region}
        FROM known LEFT JOIN "{customers}" c USING (customer_id) ORDER BY 1
        """,
        [naive(as_of), *own.values()],
    ).df()
    if region:
        from_locale = frame["_locale"].str.extract(r"[-_]([A-Za-z]{2})\b", expand=False).str.upper()
        frame["country"] = frame["country"].fillna(from_locale)
        frame = frame.drop(columns="_locale")
    return frame.set_index("customer_id")


def _orders(
    lake: "Lake", as_of: datetime, needed: set[str], days: int | None = None
) -> "pd.DataFrame":
    """Orders, days since the first and last one, spending, the newest channel and store."""
    events = lake.table("events", before=as_of, since=_since(as_of, days))
    bought = events.filter(events.event_type == "purchase")
    day = bought.occurred_at.date().cast("string")
    columns = {
        "orders": bought.order_id.fill_null(day).nunique(),
        "first_order": bought.occurred_at.min(),
        "last_order": bought.occurred_at.max(),
        "spent": bought.amount.sum(),
        "channel": bought.channel.argmax(bought.occurred_at),
        "last_store": bought.store.argmax(bought.occurred_at),
    }
    chosen = {name: column for name, column in columns.items() if name in needed}
    frame: pd.DataFrame = (
        bought.group_by("customer_id").aggregate(**chosen).execute().set_index("customer_id")
    )
    for name in needed & {"first_order", "last_order"}:
        frame[name] = (naive(as_of) - frame[name]) / timedelta(days=1)
    return frame


def _last_event(lake: "Lake", as_of: datetime) -> "pd.DataFrame":
    """Days since the newest event of any type."""
    events = lake.table("events", before=as_of)
    newest = events.group_by("customer_id").aggregate(last_event=events.occurred_at.max())
    frame = newest.execute().set_index("customer_id")
    return (naive(as_of) - frame) / timedelta(days=1)


def _since(as_of: datetime, days: int | None) -> datetime | None:
    return None if days is None else as_of - timedelta(days=days)


def _consent(
    lake: "Lake", session: Transaction, frame: "pd.DataFrame", as_of: datetime
) -> "pd.Series":
    import pandas as pd

    view = lake.table("customers").get_name()
    sql = f'SELECT customer_id, marketing_consent FROM "{view}" WHERE marketing_consent IS NOT NULL'
    answers = lake.duckdb.execute(sql).df()
    states = pd.Series("unknown", index=frame.index)
    has_agreed = answers["marketing_consent"].astype(bool)
    states[frame.index.isin(answers.loc[has_agreed, "customer_id"])] = "given"
    states[frame.index.isin(answers.loc[~has_agreed, "customer_id"])] = "refused"
    query = select(Suppression.customer_id).where(
        Suppression.team_id == session.settings.team_id,
        Suppression.channel == "email",
        Suppression.at < as_of,
    )
    unsubscribed = session.scalars(query)
    states[frame.index.isin(lake.identities.resolved(unsubscribed))] = "refused"
    return states


def _scores(scores: "pd.DataFrame | None") -> "pd.DataFrame":
    import pandas as pd

    if scores is None:
        return pd.DataFrame({"risk": [], "probability": [], "value": []}, dtype=object)
    chosen = scores.drop_duplicates("customer_id").set_index("customer_id")
    return chosen[["tier", "churn_probability", "expected_value"]].set_axis(
        ["risk", "probability", "value"], axis=1
    )


def _buyers(lake: "Lake", condition: Bought, as_of: datetime) -> Any:
    events = lake.table("events", before=as_of, since=_since(as_of, condition.days))
    chosen = events.filter(events.event_type.isin(EVENT_TYPES[condition.action]))
    if condition.store is not None:
        chosen = chosen.filter(chosen.store.lower() == condition.store.lower())
    return chosen.filter(chosen.item_id.isin(_items(lake, condition))).customer_id.execute()


def _shoppers(lake: "Lake", names: Collection[str], as_of: datetime) -> Any:
    """Customers with an order at one of some stores."""
    bought = _purchases(lake, as_of)
    lower = [name.lower() for name in names]
    return bought.filter(bought.store.lower().isin(lower)).customer_id.execute()


def _purchases(lake: "Lake", as_of: datetime) -> Any:
    events = lake.table("events", before=as_of)
    return events.filter(events.event_type == "purchase")


def _values(names: Iterable[str]) -> tuple[Value, ...]:
    """Return the values that a column has if these were typed."""
    return tuple(float(name) if NUMBER.fullmatch(name) else name for name in names)


def _engaged(
    lake: "Lake", session: Transaction, condition: Engaged, as_of: datetime
) -> Collection[str]:
    """Customers who opened or clicked an e-mail: of the desk, or as events say."""
    since = _since(as_of, condition.days)
    events = lake.table("events", before=as_of, since=since)
    chosen = events.filter(events.event_type.isin(EVENT_TYPES[condition.action]))
    kind: tracking.Kind = "open" if condition.action == "opened" else "click"
    own = tracking.customers(session, kind, since or _BEGINNING, as_of)
    return {*chosen.customer_id.execute(), *lake.identities.resolved(own)}


def _items(lake: "Lake", condition: Bought) -> Any:
    items, name = lake.table("items"), condition.name.lower()
    if condition.kind == "item":
        chosen = items.filter((items.item_id == condition.name) | (items.title.lower() == name))
    else:
        chosen = items.filter(items[condition.kind].lower() == name)
    return chosen.item_id


def _compared(column: "pd.Series", comparison: Comparison) -> "pd.Series":
    """Compare a column; an unknown value is false, and ``!=`` is the opposite of ``=``."""
    if comparison.operator == "!=":
        return ~_compared(column, Comparison(comparison.field, "=", comparison.value))
    values, wanted = _comparable(column, comparison)
    is_match = {"=": values.eq, "<": values.lt, "<=": values.le, ">": values.gt, ">=": values.ge}[
        comparison.operator
    ](wanted)
    return is_match.fillna(False).astype(bool) & column.notna()


def _comparable(column: "pd.Series", comparison: Comparison) -> "tuple[pd.Series, Value]":
    import pandas as pd

    value = comparison.value
    if kind_of(comparison.field) == "tier":
        ranks = {tier: number for number, tier in enumerate(TIERS)}
        return column.map(ranks).astype(float), ranks[str(value)]
    if isinstance(value, str):
        return column.astype("string").str.lower(), value.lower()
    return pd.to_numeric(column, errors="coerce").astype(float), value


def _warnings(
    lake: "Lake",
    session: Transaction,
    expression: Expression,
    as_of: datetime,
    frame: "pd.DataFrame",
) -> list[str]:
    """Name values that no customer or item has: they may be misspelt."""
    warnings = []
    for condition in conditions(expression):
        match condition:
            case Bought(kind, name, store=store):
                warnings += _unknown_texts(kind, [name], _product_names(lake, kind))
                if store:
                    warnings += _unknown_texts(STORE, [store], _store_names(lake, as_of))
            case AtStore(names):
                is_own = STORE in frame
                known = frame[STORE].dropna().unique() if is_own else _store_names(lake, as_of)
                warnings += _unknown_texts(STORE, names, known)
            case InList(name):
                warnings += _unknown_texts("list", [name], lists.names(session))
            case Comparison(field, _, value) if kind_of(field) in ("text", "attribute"):
                warnings += _unknown_texts(field, [value], frame[field].dropna().unique())
            case OneOf(field, values) if kind_of(field) in ("text", "attribute"):
                warnings += _unknown_texts(field, values, frame[field].dropna().unique())
    return list(dict.fromkeys(warnings))


def _product_names(lake: "Lake", kind: str) -> list[str]:
    items = lake.table("items")
    columns = ["item_id", "title"] if kind == "item" else [kind]
    return [
        name
        for column in columns
        for name in items.select(column).distinct().execute()[column].dropna()
    ]


def _store_names(lake: "Lake", as_of: datetime) -> list[str]:
    return list(_purchases(lake, as_of).select("store").distinct().execute()["store"].dropna())


def _unknown_texts(field: str, values: Iterable[Value], known: Iterable[Any]) -> list[str]:
    names = [str(name) for name in known]
    lower = {name.lower() for name in names}
    return [
        _unknown_value(field, value, names)
        for value in values
        if isinstance(value, str) and value.lower() not in lower
    ]


def _unknown_value(field: str, value: str, known: Collection[str]) -> str:
    by_lower = {name.lower(): name for name in known}
    nearest = difflib.get_close_matches(value.lower(), by_lower, 1)
    if nearest:
        text = gettext("Nothing has the {field} {value!r}. Did you mean {nearest!r}?")
        return text.format(field=field, value=value, nearest=by_lower[nearest[0]])
    if not known:
        text = gettext("The data has no {field}, so this condition is never true.")
        return text.format(field=field)
    text = gettext("Nothing has the {field} {value!r}; examples: {names}.")
    return text.format(field=field, value=value, names=", ".join(sorted(known)[:MAX_NAMED]))
