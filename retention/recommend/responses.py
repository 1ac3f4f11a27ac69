"""Collect responses to recommendations and feedback for training."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import ibis
import numpy as np
import pandas as pd
from sqlalchemy import inspect, select

from retention.db import Transaction
from retention.db.tables import Coupon, Impression
from retention.feedback import ItemFeedback, item_feedback
from retention.recommend.history import DAY, LINE_COLUMNS, WEIGHTS, History
from retention.recommend.matrices import positions

if TYPE_CHECKING:
    from retention.lake import Lake

WINDOW_DAYS = 28  # after the impression
# all but the team and the title
IMPRESSION_COLUMNS = [
    column for column in inspect(Impression).c if column.name not in ("team_id", "title")
]
PAIR = ["customer_id", "item_id"]


def load_responses(
    lake: "Lake", session: Transaction, before: datetime, *, window_days: int = WINDOW_DAYS
) -> "pd.DataFrame":
    """Load shown items with their responses.

    Only responses known before a moment count.

    `before`: impressions and responses at or after it are ignored.
    `window_days`: days after the impression in which clicks and purchases count.
    Returns: one line per item shown: the columns of `Impression`; ``clicked_at`` (first click on
    the item in an e-mail within the window, missing without one), ``clicked``, ``bought`` (within
    the window), ``redeemed`` (in the order that used the campaign's code, or by a redemption of the
    item itself), ``useful`` and ``wrong`` (number of people with that verdict on the line).
    """
    query = (
        select(*IMPRESSION_COLUMNS)
        .where(Impression.team_id == session.settings.team_id, Impression.shown_at < before)
        .order_by(
            Impression.shown_at, Impression.shown_in, Impression.customer_id, Impression.position
        )
    )
    frame = pd.DataFrame(
        map(tuple, session.execute(query)), columns=[column.name for column in IMPRESSION_COLUMNS]
    )
    people = lake.identities.canonical_ids(before)
    frame = frame.assign(
        shown_at=pd.to_datetime(frame["shown_at"], utc=True),
        propensity=frame["propensity"].astype(float),
        customer_id=current_ids(frame["customer_id"], people),
    )
    events = _events(lake, frame, before)
    in_window = _events_in_window(frame, events, window_days)
    clicks = in_window[
        (in_window["event_type"] == "email_click")
        | ((in_window["event_type"] == "view") & (in_window["channel"] == "email"))
    ]
    first_click = clicks.groupby("line")["occurred_at"].min()
    clicked_at = pd.to_datetime(first_click.reindex(frame.index), utc=True)
    bought, used = (
        in_window.loc[in_window["event_type"] == kind, "line"]
        for kind in ("purchase", "coupon_redeem")
    )
    by_code = _redeemed_lines(_coupon_orders(session, before, people), frame, events)
    return frame.assign(
        clicked_at=clicked_at,
        clicked=clicked_at.notna(),
        bought=frame.index.isin(bought),
        redeemed=frame.index.isin(used) | frame.index.isin(by_code),
        **_verdict_counts(item_feedback(session, people), frame, before),
    )


def current_ids(customers: "pd.Series", people: Mapping[str, str]) -> "pd.Series":
    """Replace merged ids by the customers' current ones."""
    return customers.map(lambda customer: people.get(customer, customer))


def _events(lake: "Lake", frame: "pd.DataFrame", before: datetime) -> "pd.DataFrame":
    """Load the customers' events with shown items.

    Events before the first impression are left out.
    """
    columns = ["event_type", "occurred_at", *PAIR, "channel", "order_id"]
    if frame.empty:
        kinds = dict.fromkeys(columns, "str") | {"occurred_at": "datetime64[us, UTC]"}
        return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in kinds.items()})
    events = lake.table("events", before=before, since=frame["shown_at"].min().to_pydatetime())
    events = events.filter(
        events.event_type.isin(["email_click", "view", "purchase", "coupon_redeem"])
    )
    wanted = ibis.memtable(frame[PAIR].drop_duplicates(), schema=dict.fromkeys(PAIR, "string"))
    events = events.semi_join(wanted, PAIR).select(*columns).to_pyarrow().to_pandas()
    return events.assign(occurred_at=events["occurred_at"].dt.tz_localize("UTC"))


def _events_in_window(
    frame: "pd.DataFrame", events: "pd.DataFrame", window_days: int
) -> "pd.DataFrame":
    """Join lines with events in their window. The window starts with the impression."""
    lines = frame.reset_index(names="line")[["line", *PAIR, "shown_at"]].merge(events, on=PAIR)
    at, shown_at = lines["occurred_at"], lines["shown_at"]
    return lines[(at >= shown_at) & (at < shown_at + timedelta(days=window_days))]


def _coupon_orders(
    session: Transaction, before: datetime, people: dict[str, str]
) -> "pd.DataFrame":
    """Load the orders in which campaign codes were used."""
    rows = session.execute(
        select(Coupon.campaign_id, Coupon.customer_id, Coupon.order_id).where(
            Coupon.team_id == session.settings.team_id,
            Coupon.state == "redeemed",
            Coupon.redeemed_at < before,
            Coupon.order_id.is_not(None),
        )
    )
    columns = ["shown_in", "customer_id", "order_id"]
    codes = pd.DataFrame(map(tuple, rows), columns=columns, dtype="str")
    return codes.assign(customer_id=current_ids(codes["customer_id"], people))


def _redeemed_lines(
    codes: "pd.DataFrame", frame: "pd.DataFrame", events: "pd.DataFrame"
) -> "pd.Series":
    """Find lines of orders with a campaign code.

    The order must contain the item and use the code of the line's campaign.
    """
    orders = events.loc[events["event_type"] == "purchase", [*PAIR, "order_id"]].drop_duplicates()
    lines = frame.reset_index(names="line").merge(codes, on=["shown_in", "customer_id"])
    return lines.merge(orders, on=[*PAIR, "order_id"])["line"]


def _verdict_counts(
    verdicts: Iterable[ItemFeedback], frame: "pd.DataFrame", before: datetime
) -> dict[str, Any]:
    """Count useful and wrong verdicts per line."""
    known = [verdict for verdict in verdicts if verdict.at < before]
    rows = pd.DataFrame(known, columns=list(ItemFeedback._fields))
    rows = rows.assign(shown_at=pd.to_datetime(rows["as_of"], utc=True))
    key = [*PAIR, "model_version", "shown_at"]
    counts = rows.groupby([*key, "verdict"]).size().unstack("verdict", fill_value=0)
    counts = counts.reindex(columns=["useful", "wrong"], fill_value=0).reset_index()
    by_line = frame[key].merge(counts, on=key, how="left")
    return {name: by_line[name].fillna(0).astype(int).to_numpy() for name in ("useful", "wrong")}


PRIOR_CLICKS = 50.0  # clicks per position that the prior is worth
MIN_EXAMINATION = 0.05  # limits the weight of a click to 20
MAX_ITERATIONS = 200


def position_prior(positions: int) -> dict[int, float]:
    """Return prior examination probabilities by position.

    They are relative to the first position. It is 1 / log₂(1 + position), the discount of NDCG.

    Examples
    --------
    >>> {position: round(chance, 3) for position, chance in position_prior(3).items()}
    {1: 1.0, 2: 0.631, 3: 0.5}
    """
    return {position: float(1 / np.log2(1 + position)) for position in range(1, positions + 1)}


def examination_probabilities(shown: "pd.DataFrame") -> dict[int, float]:
    """Estimate the attention to each list position.

    Without this correction, the first position looks better than its item deserves. The model is
    position-based: P(click) = θ(position) · γ(item), fitted by Poisson maximum likelihood in turns.
    Items shown at several positions identify θ and γ. With few clicks the estimate stays near the
    prior.

    `shown`: ``position, item_id, source, clicked``; one line per item shown.
    Returns: position → probability relative to the first, between `MIN_EXAMINATION` and 1; the
    prior without clicks; empty without lines.

    References
    ----------
    Joachims, Swaminathan, Schnabel 2017; Wang et al. 2018.
    """
    if shown.empty:
        return {}
    prior = position_prior(int(shown["position"].max()))
    by_item = shown.groupby(["position", "item_id", "source"])["clicked"]
    counts = by_item.agg(["size", "sum"]).reset_index()
    position = counts["position"].to_numpy() - 1
    item = counts.groupby(["item_id", "source"]).ngroup().to_numpy()
    times_shown, clicked = (counts[name].to_numpy(float) for name in ("size", "sum"))
    clicks = np.bincount(position, weights=clicked, minlength=len(prior))
    if not clicks.sum():
        return prior
    theta = _fit_positions(position, item, times_shown, clicked, len(prior))
    prior_values = np.array(list(prior.values()))
    mixed = (clicks * theta + PRIOR_CLICKS * prior_values) / (clicks + PRIOR_CLICKS)
    mixed = (mixed / mixed[0]).clip(MIN_EXAMINATION, 1.0)
    return {position_number: float(chance) for position_number, chance in enumerate(mixed, 1)}


def _fit_positions(
    position: np.ndarray, item: np.ndarray, shown: np.ndarray, clicks: np.ndarray, positions: int
) -> np.ndarray:
    """Fit θ relative to the first position. Positions never shown get 0."""
    theta = np.ones(positions)
    position_clicks = np.bincount(position, weights=clicks, minlength=positions)
    item_clicks = np.bincount(item, weights=clicks)
    for _ in range(MAX_ITERATIONS):
        gamma = item_clicks / np.maximum(np.bincount(item, weights=shown * theta[position]), 1e-12)
        expected = np.bincount(position, weights=shown * gamma[item], minlength=positions)
        update = position_clicks / np.maximum(expected, 1e-12)
        update /= update[0] if update[0] > 0 else max(update.max(), 1e-12)
        if np.abs(update - theta).max() < 1e-6:
            break
        theta = update
    return theta


# "Good idea" counts like a cart; "not for them" cancels a purchase, as a return does.
VERDICT_WEIGHTS = {"useful": WEIGHTS["cart"], "wrong": WEIGHTS["return"]}
MAX_CLICK_FACTOR = 5.0
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EVENT_COLUMNS = ("customer_id", "item_id", "at", "weight")


def verdict_events(verdicts: Iterable[ItemFeedback], before: datetime) -> "pd.DataFrame":
    """Turn verdicts on items into history lines.

    The last verdict counts for a customer and item, of several people or under several models.

    Returns: `EVENT_COLUMNS`, one line per verdict; ``at`` in days since 1970.
    """
    known = [verdict for verdict in verdicts if verdict.at < before]
    latest = {(verdict.customer_id, verdict.item_id): verdict for verdict in known}
    rows = [
        (*pair, verdict.at.timestamp() / DAY, VERDICT_WEIGHTS[verdict.verdict])
        for pair, verdict in latest.items()
    ]
    return pd.DataFrame(rows, columns=list(EVENT_COLUMNS))


def load_feedback(lake: "Lake", session: Transaction, before: datetime) -> "pd.DataFrame":
    """Load all feedback for the next training.

    It contains verdicts of the team and the additional weight of customers' clicks.

    Returns: `EVENT_COLUMNS`.
    """
    shown = load_responses(lake, session, before)
    shown = shown[shown["surface"] == "campaign"]
    verdicts = verdict_events(item_feedback(session, lake.identities.canonical_ids(before)), before)
    clicks = click_events(shown, examination_probabilities(shown))
    return pd.concat([verdicts, clicks], ignore_index=True)


def click_events(shown: "pd.DataFrame", examination: Mapping[int, float]) -> "pd.DataFrame":
    """Compute additional weights of clicks.

    A click weighs more at positions that customers rarely look at (inverse examination propensity).
    The click's own event already counts once; only the difference is returned.

    `shown`: from `load_responses`: ``customer_id, item_id, position, clicked_at``.
    `examination`: position → examination probability, relative to the first.
    """
    clicked = shown[shown["clicked_at"].notna()]
    rarest = min(examination.values(), default=1.0)
    factor = 1 / clicked["position"].map(examination).fillna(rarest)
    factor = factor.clip(upper=MAX_CLICK_FACTOR)
    at = (clicked["clicked_at"] - EPOCH).dt.total_seconds() / DAY
    lines = clicked.assign(at=at, weight=WEIGHTS["email_click"] * (factor - 1))
    return lines.loc[lines["weight"] > 0, list(EVENT_COLUMNS)]


def add_feedback(history: History, lines: "pd.DataFrame", before: datetime) -> History:
    """Add feedback lines to a history.

    Only lines of its customers are added.

    `lines`: `EVENT_COLUMNS`. Lines of other customers are ignored.
    Returns: the same object without any matching line.
    """
    if lines.empty:  # the usual case; the filter below would take 1 ms of the 10 ms budget
        return history
    is_known = lines["at"] < before.timestamp() / DAY
    lines = lines[is_known & lines["customer_id"].isin(history.customers)]
    if lines.empty:
        return history
    items = np.array(sorted({*history.items, *lines["item_id"]}), dtype=object)
    moved = replace(history, item=positions(items, history.items)[history.item], items=items)
    day = np.floor(lines["at"].to_numpy(dtype=float) + history.shift / DAY)
    added = dict.fromkeys(LINE_COLUMNS, np.zeros(len(lines))) | {
        "customer": positions(history.customers, lines["customer_id"]),
        "item": positions(items, lines["item_id"]),
        "day": day,
        "known": day,
        "weight": lines["weight"].to_numpy(dtype=np.float64),
    }
    combined: dict[str, Any] = {
        name: np.r_[getattr(moved, name), values].astype(getattr(history, name).dtype)
        for name, values in added.items()
    }
    order = np.lexsort([combined[name] for name in ("known", "day", "item", "customer")])
    return replace(moved, **combined).where(order)
