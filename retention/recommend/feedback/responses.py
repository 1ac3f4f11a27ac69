"""What came of each recommendation that was shown: clicked, bought, redeemed, and what people said of it."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from retention.db.tables import Coupon, Impression
from retention.feedback import Word, of_items
from retention.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from retention.lake import Lake

WINDOW_DAYS = 28  # after it was shown
KEPT = (
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


def seen(
    lake: "Lake",
    session: Session,
    settings: Settings,
    before: datetime,
    *,
    window_days: int = WINDOW_DAYS,
) -> "pd.DataFrame":
    """One line for each item shown before ``before``, with what was known then of the answers.

    Returns
    -------
    DataFrame
        The columns of `Impression`; ``clicked_at`` (the first click on the item in a mail within the window, missing without
        one), ``clicked``, ``bought`` (within the window), ``redeemed`` (in the order that used the campaign's code, or by a redemption
        of the item itself), ``useful`` and ``wrong`` (how many people said so of this line).
    """
    import pandas as pd

    columns = [getattr(Impression, name) for name in KEPT]
    rows = session.execute(
        select(*columns)
        .where(Impression.team_id == settings.team_id, Impression.shown_at < before)
        .order_by(
            Impression.shown_at, Impression.shown_in, Impression.customer_id, Impression.position
        )
    ).all()
    frame = pd.DataFrame([tuple(row) for row in rows], columns=list(KEPT))
    frame["shown_at"] = pd.to_datetime(frame["shown_at"], utc=True)
    frame["propensity"] = frame["propensity"].astype(float)
    people = lake.identities.canonical_ids(before)
    frame["customer_id"] = frame["customer_id"].map(lambda one: people.get(one, one))
    events = _events(lake, frame, before)
    inside = _within(frame, events, window_days)
    click = inside[
        (inside["event_type"] == "email_click")
        | ((inside["event_type"] == "view") & (inside["channel"] == "email"))
    ]
    clicked_at = pd.to_datetime(
        click.groupby("line")["occurred_at"].min().reindex(frame.index), utc=True
    )
    used = {
        kind: inside.loc[inside["event_type"] == kind, "line"]
        for kind in ("purchase", "coupon_redeem")
    }
    by_code = _by_code(_codes(session, settings, before, people), frame, events)
    return frame.assign(
        clicked_at=clicked_at,
        clicked=clicked_at.notna(),
        bought=frame.index.isin(used["purchase"]),
        redeemed=frame.index.isin(used["coupon_redeem"]) | frame.index.isin(by_code),
        **_said(of_items(session, settings, people), frame, before),
    )


def _events(lake: "Lake", frame: "pd.DataFrame", before: datetime) -> "pd.DataFrame":
    """What the customers did with the items that they were shown, since the first was."""
    import ibis
    import pandas as pd

    names = ["event_type", "occurred_at", *PAIR, "channel", "order_id"]
    if frame.empty:
        moments = pd.Series(dtype="datetime64[us, UTC]")
        return pd.DataFrame(
            {name: moments if name == "occurred_at" else pd.Series(dtype="str") for name in names}
        )
    events = lake.table("events", before=before, since=frame["shown_at"].min().to_pydatetime())
    events = events.filter(
        events.event_type.isin(["email_click", "view", "purchase", "coupon_redeem"])
    )
    wanted = ibis.memtable(frame[PAIR].drop_duplicates(), schema=dict.fromkeys(PAIR, "string"))
    found = events.semi_join(wanted, PAIR).select(*names).to_pyarrow().to_pandas()
    return found.assign(occurred_at=found["occurred_at"].dt.tz_localize("UTC"))


def _within(frame: "pd.DataFrame", events: "pd.DataFrame", window_days: int) -> "pd.DataFrame":
    """The events of each line, from when it was shown to the end of its window."""
    lines = frame.reset_index(names="line")[["line", *PAIR, "shown_at"]].merge(events, on=PAIR)
    at, shown = lines["occurred_at"], lines["shown_at"]
    return lines[(at >= shown) & (at < shown + timedelta(days=window_days))]


def _codes(
    session: Session, settings: Settings, before: datetime, people: dict[str, str]
) -> "pd.DataFrame":
    """Which order used which campaign's code."""
    import pandas as pd

    used = session.execute(
        select(Coupon.campaign_id, Coupon.customer_id, Coupon.order_id).where(
            Coupon.team_id == settings.team_id,
            Coupon.state == "redeemed",
            Coupon.redeemed_at < before,
            Coupon.order_id.is_not(None),
        )
    ).all()
    names = ["shown_in", "customer_id", "order_id"]
    codes = pd.DataFrame([tuple(row) for row in used], columns=names, dtype="str")
    return codes.assign(customer_id=codes["customer_id"].map(lambda one: people.get(one, one)))


def _by_code(codes: "pd.DataFrame", frame: "pd.DataFrame", events: "pd.DataFrame") -> "pd.Series":
    """The lines whose item is in the order that used the code of their campaign."""
    orders = events.loc[events["event_type"] == "purchase", [*PAIR, "order_id"]].drop_duplicates()
    lines = frame.reset_index(names="line").merge(codes, on=["shown_in", "customer_id"])
    return lines.merge(orders, on=[*PAIR, "order_id"])["line"]


def _said(said: Iterable[Word], frame: "pd.DataFrame", before: datetime) -> dict[str, Any]:
    """How many called the line useful, and wrong."""
    import pandas as pd

    words = pd.DataFrame(
        [
            (one.customer_id, one.item_id, one.model_version, one.as_of, one.verdict)
            for one in said
            if one.at < before
        ],
        columns=[*PAIR, "model_version", "shown_at", "verdict"],
    )
    words["shown_at"] = pd.to_datetime(words["shown_at"], utc=True)
    key = [*PAIR, "model_version", "shown_at"]
    counted = words.groupby([*key, "verdict"]).size().unstack("verdict", fill_value=0)
    counted = counted.reindex(columns=["useful", "wrong"], fill_value=0).reset_index()
    found = frame[key].merge(counted, on=key, how="left")
    return {name: found[name].fillna(0).astype(int).to_numpy() for name in ("useful", "wrong")}
