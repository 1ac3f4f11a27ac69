"""Collect responses to recommendations and feedback for training."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from retention.db.tables import Coupon, Impression
from retention.feedback import ItemFeedback, item_feedback
from retention.recommend.history import DAY, LINE_COLUMNS, WEIGHTS, History
from retention.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from retention.lake import Lake

WINDOW_DAYS = 28  # after the impression
IMPRESSION_COLUMNS = (
    "shown_in",
    "surface",
    "customer_id",
    "item_id",
    "position",
    "source",
    "model_version",
    "arm",
    "propensity",
    "shown_at",
)
PAIR = ["customer_id", "item_id"]


def load_responses(
    lake: "Lake",
    session: Session,
    settings: Settings,
    before: datetime,
    *,
    window_days: int = WINDOW_DAYS,
) -> "pd.DataFrame":
    """Load shown items with their responses.

    Only responses known before a moment count.

    Parameters
    ----------
    lake, session, settings
    before : datetime
        Impressions and responses at or after it are ignored.
    window_days : int
        Days after the impression in which clicks and purchases count.

    Returns
    -------
    DataFrame
        One line per item shown: the columns of `Impression`; ``clicked_at`` (first click on the
        item in an e-mail within the window, missing without one), ``clicked``, ``bought`` (within
        the window), ``redeemed`` (in the order that used the campaign's code, or by a redemption of
        the item itself), ``useful`` and ``wrong`` (number of people with that verdict on the line).
    """
    import pandas as pd

    columns = [getattr(Impression, name) for name in IMPRESSION_COLUMNS]
    rows = session.execute(
        select(*columns)
        .where(Impression.team_id == settings.team_id, Impression.shown_at < before)
        .order_by(
            Impression.shown_at, Impression.shown_in, Impression.customer_id, Impression.position
        )
    ).all()
    frame = pd.DataFrame([tuple(row) for row in rows], columns=list(IMPRESSION_COLUMNS))
    frame["shown_at"] = pd.to_datetime(frame["shown_at"], utc=True)
    frame["propensity"] = frame["propensity"].astype(float)
    people = lake.identities.canonical_ids(before)
    frame["customer_id"] = frame["customer_id"].map(
        lambda customer_id: people.get(customer_id, customer_id)
    )
    events = _events(lake, frame, before)
    in_window = _events_in_window(frame, events, window_days)
    clicks = in_window[
        (in_window["event_type"] == "email_click")
        | ((in_window["event_type"] == "view") & (in_window["channel"] == "email"))
    ]
    clicked_at = pd.to_datetime(
        clicks.groupby("line")["occurred_at"].min().reindex(frame.index), utc=True
    )
    lines_by_type = {
        kind: in_window.loc[in_window["event_type"] == kind, "line"]
        for kind in ("purchase", "coupon_redeem")
    }
    redeemed_lines = _redeemed_lines(
        _coupon_orders(session, settings, before, people), frame, events
    )
    return frame.assign(
        clicked_at=clicked_at,
        clicked=clicked_at.notna(),
        bought=frame.index.isin(lines_by_type["purchase"]),
        redeemed=frame.index.isin(lines_by_type["coupon_redeem"])
        | frame.index.isin(redeemed_lines),
        **_verdict_counts(item_feedback(session, settings, people), frame, before),
    )


def _events(lake: "Lake", frame: "pd.DataFrame", before: datetime) -> "pd.DataFrame":
    """Load the customers' events with shown items.

    Events before the first impression are left out.
    """
    import ibis
    import pandas as pd

    columns = ["event_type", "occurred_at", *PAIR, "channel", "order_id"]
    if frame.empty:
        no_times = pd.Series(dtype="datetime64[us, UTC]")
        return pd.DataFrame(
            {
                name: no_times if name == "occurred_at" else pd.Series(dtype="str")
                for name in columns
            }
        )
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
    """Join lines with events in their window.

    The window starts with the impression.
    """
    lines = frame.reset_index(names="line")[["line", *PAIR, "shown_at"]].merge(events, on=PAIR)
    at, shown_at = lines["occurred_at"], lines["shown_at"]
    return lines[(at >= shown_at) & (at < shown_at + timedelta(days=window_days))]


def _coupon_orders(
    session: Session, settings: Settings, before: datetime, people: dict[str, str]
) -> "pd.DataFrame":
    """Load the orders in which campaign codes were used."""
    import pandas as pd

    rows = session.execute(
        select(Coupon.campaign_id, Coupon.customer_id, Coupon.order_id).where(
            Coupon.team_id == settings.team_id,
            Coupon.state == "redeemed",
            Coupon.redeemed_at < before,
            Coupon.order_id.is_not(None),
        )
    ).all()
    columns = ["shown_in", "customer_id", "order_id"]
    codes = pd.DataFrame([tuple(row) for row in rows], columns=columns, dtype="str")
    return codes.assign(
        customer_id=codes["customer_id"].map(
            lambda customer_id: people.get(customer_id, customer_id)
        )
    )


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
    import pandas as pd

    rows = pd.DataFrame(
        [
            (
                verdict.customer_id,
                verdict.item_id,
                verdict.model_version,
                verdict.as_of,
                verdict.verdict,
            )
            for verdict in verdicts
            if verdict.at < before
        ],
        columns=[*PAIR, "model_version", "shown_at", "verdict"],
    )
    rows["shown_at"] = pd.to_datetime(rows["shown_at"], utc=True)
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

    Parameters
    ----------
    shown : DataFrame
        ``position, item_id, source, clicked``; one line per item shown.

    Returns
    -------
    dict
        Position → probability relative to the first, between `MIN_EXAMINATION` and 1; the prior
        without clicks; empty without lines.

    References
    ----------
    Joachims, Swaminathan, Schnabel 2017; Wang et al. 2018.
    """
    if shown.empty:
        return {}
    prior = position_prior(int(shown["position"].max()))
    counts = (
        shown.groupby(["position", "item_id", "source"])["clicked"]
        .agg(["size", "sum"])
        .reset_index()
    )
    position = counts["position"].to_numpy() - 1
    item = counts.groupby(["item_id", "source"]).ngroup().to_numpy()
    clicks = np.bincount(position, weights=counts["sum"], minlength=len(prior))
    if not clicks.sum():
        return prior
    theta = _fit_positions(
        position, item, counts["size"].to_numpy(float), counts["sum"].to_numpy(float), len(prior)
    )
    prior_values = np.array(list(prior.values()))
    mixed = (clicks * theta + PRIOR_CLICKS * prior_values) / (clicks + PRIOR_CLICKS)
    mixed = (mixed / mixed[0]).clip(MIN_EXAMINATION, 1.0)
    return {position_number: float(chance) for position_number, chance in enumerate(mixed, 1)}


def _fit_positions(
    position: np.ndarray, item: np.ndarray, shown: np.ndarray, clicks: np.ndarray, positions: int
) -> np.ndarray:
    """Fit θ relative to the first position.

    Positions never shown get 0.
    """
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

    Parameters
    ----------
    verdicts : iterable of ItemFeedback
        From `feedback.item_feedback`.
    before : datetime
        Later verdicts are ignored.

    Returns
    -------
    DataFrame
        `EVENT_COLUMNS`, one line per verdict; ``at`` in days since 1970.
    """
    import pandas as pd

    latest = {
        (verdict.customer_id, verdict.item_id): verdict
        for verdict in verdicts
        if verdict.at < before
    }
    rows = [
        (*pair, verdict.at.timestamp() / DAY, VERDICT_WEIGHTS[verdict.verdict])
        for pair, verdict in latest.items()
    ]
    return pd.DataFrame(rows, columns=list(EVENT_COLUMNS))


def load_feedback(
    lake: "Lake", session: Session, settings: Settings, before: datetime
) -> "pd.DataFrame":
    """Load all feedback for the next training.

    It contains verdicts of the team and the additional weight of customers' clicks.

    Parameters
    ----------
    lake, session, settings
    before : datetime

    Returns
    -------
    DataFrame
        `EVENT_COLUMNS`.
    """
    import pandas as pd

    shown = load_responses(lake, session, settings, before)
    shown = shown[shown["surface"] == "campaign"]
    verdicts = verdict_events(
        item_feedback(session, settings, lake.identities.canonical_ids(before)), before
    )
    return pd.concat(
        [verdicts, click_events(shown, examination_probabilities(shown))], ignore_index=True
    )


def click_events(shown: "pd.DataFrame", examination: Mapping[int, float]) -> "pd.DataFrame":
    """Compute additional weights of clicks.

    A click weighs more at positions that customers rarely look at (inverse examination propensity).
    The click's own event already counts once; only the difference is returned.

    Parameters
    ----------
    shown : DataFrame
        From `load_responses`: ``customer_id, item_id, position, clicked_at``.
    examination : mapping
        Position → examination probability, relative to the first.

    Returns
    -------
    DataFrame
        `EVENT_COLUMNS`.
    """
    clicked = shown[shown["clicked_at"].notna()]
    factor = (
        1 / clicked["position"].map(examination).fillna(min(examination.values(), default=1.0))
    ).clip(upper=MAX_CLICK_FACTOR)
    at = (clicked["clicked_at"] - EPOCH).dt.total_seconds() / DAY
    lines = clicked.assign(at=at, weight=WEIGHTS["email_click"] * (factor - 1))
    return lines.loc[lines["weight"] > 0, list(EVENT_COLUMNS)]


def add_feedback(history: History, lines: "pd.DataFrame", before: datetime) -> History:
    """Add feedback lines to a history.

    Only lines of its customers are added.

    Parameters
    ----------
    history : History
    lines : DataFrame
        `EVENT_COLUMNS`. Lines of other customers are ignored.
    before : datetime
        Moment for which the history was read; later lines are ignored.

    Returns
    -------
    History
        The same object without any matching line.
    """
    from retention.recommend.matrices import positions

    if lines.empty:  # the usual case; the filter below would take 1 ms of the 10 ms budget
        return history
    lines = lines[
        lines["customer_id"].isin(history.customers) & (lines["at"] < before.timestamp() / DAY)
    ]
    if lines.empty:
        return history
    items = np.array(sorted({*history.items, *lines["item_id"]}), dtype=object)
    moved = positions(items, history.items).astype(np.int32)
    count = len(lines)
    day = np.floor(lines["at"].to_numpy(dtype=float) + history.shift / DAY).astype(np.int32)
    added = {name: np.zeros(count, dtype=getattr(history, name).dtype) for name in LINE_COLUMNS} | {
        "customer": positions(history.customers, lines["customer_id"]).astype(np.int32),
        "item": positions(items, lines["item_id"]).astype(np.int32),
        "day": day,
        "known": day,
        "weight": lines["weight"].to_numpy(dtype=np.float64),
    }
    existing = {name: getattr(history, name) for name in added} | {"item": moved[history.item]}
    combined = {
        name: np.concatenate([existing[name], values]).astype(existing[name].dtype)
        for name, values in added.items()
    }
    order = np.lexsort((combined["known"], combined["day"], combined["item"], combined["customer"]))
    fields: dict[str, Any] = {name: values[order] for name, values in combined.items()}
    return replace(history, items=items, **fields)
