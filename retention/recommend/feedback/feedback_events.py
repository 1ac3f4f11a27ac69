"""What the desk and the customers answered to recommendations, as lines of a history: models learn from them as from events.

"Good idea" is worth what a cart is; "not for them" takes a purchase back, as a return does. A click on a recommended item is worth
more the less likely its place was looked at (inverse examination propensity): a click on the fifth place says more than one on the first.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy.orm import Session

from retention.feedback import Word, of_items
from retention.recommend.feedback.exposure import examined
from retention.recommend.feedback.responses import seen
from retention.recommend.history import DAY, LINE_COLUMNS, WEIGHTS, History
from retention.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from retention.lake import Lake

WORDS = {"useful": WEIGHTS["cart"], "wrong": WEIGHTS["return"]}
MOST = 5.0  # times a click's own weight
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
COLUMNS = ("customer_id", "item_id", "at", "weight")


def words(said: Iterable[Word], before: datetime) -> "pd.DataFrame":
    """One line for each word on an item (as `feedback.of_items`) that was said before: `COLUMNS`; ``at`` in days since 1970.

    Of several people's words on one item for one customer, and of one person's under several models, the last counts.
    """
    import pandas as pd

    last = {(one.customer_id, one.item_id): one for one in said if one.at < before}
    rows = [(*pair, one.at.timestamp() / DAY, WORDS[one.verdict]) for pair, one in last.items()]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def gather(lake: "Lake", session: Session, settings: Settings, before: datetime) -> "pd.DataFrame":
    """All that was heard before: what was said, and the further weight of clicks. For the next training."""
    import pandas as pd

    answers = seen(lake, session, settings, before)
    answers = answers[answers["surface"] == "campaign"]
    said = words(of_items(session, settings, lake.identities.canonical_ids(before)), before)
    return pd.concat([said, clicks(answers, examined(answers))], ignore_index=True)


def clicks(answers: "pd.DataFrame", examined: Mapping[int, float]) -> "pd.DataFrame":
    """The further weight of each click on a recommended item, beyond that of the click's own event: `COLUMNS`.

    Parameters
    ----------
    answers : DataFrame
        As `responses.seen` gives it: ``customer_id, item_id, position, clicked_at``.
    examined : mapping
        Place → chance that it is looked at, relative to the first.
    """
    clicked = answers[answers["clicked_at"].notna()]
    times = (
        1 / clicked["position"].map(examined).fillna(min(examined.values(), default=1.0))
    ).clip(upper=MOST)
    at = (clicked["clicked_at"] - EPOCH).dt.total_seconds() / DAY
    further = clicked.assign(at=at, weight=WEIGHTS["email_click"] * (times - 1))
    return further.loc[further["weight"] > 0, list(COLUMNS)]


def with_heard(history: History, lines: "pd.DataFrame", before: datetime) -> History:
    """The history and these lines, of which only those of its customers count (nobody else is being asked about).

    Parameters
    ----------
    lines : DataFrame
        `COLUMNS`.
    before : datetime
        The moment the history was read for: later lines are left out.
    """
    from retention.recommend.matrices import positions

    if (
        lines.empty
    ):  # mostly; asking pandas of nothing takes a millisecond of the ten that an answer may take
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
    further = {
        name: np.zeros(count, dtype=getattr(history, name).dtype) for name in LINE_COLUMNS
    } | {
        "customer": positions(history.customers, lines["customer_id"]).astype(np.int32),
        "item": positions(items, lines["item_id"]).astype(np.int32),
        "day": day,
        "known": day,
        "weight": lines["weight"].to_numpy(dtype=np.float64),
    }
    own = {name: getattr(history, name) for name in further} | {"item": moved[history.item]}
    both = {
        name: np.concatenate([own[name], values]).astype(own[name].dtype)
        for name, values in further.items()
    }
    order = np.lexsort((both["known"], both["day"], both["item"], both["customer"]))
    sorted_: dict[str, Any] = {name: values[order] for name, values in both.items()}
    return replace(history, items=items, **sorted_)
