"""Compare the customers at risk with those of an earlier sweep."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import pandas as pd

from retention.risk.lapsed import LAPSED
from retention.risk.sweep import Sweep


@dataclass(frozen=True, slots=True)
class Change:
    """What changed since an earlier list of the same tiers.

    `recovered`: customers of the earlier list who are off it, active and at a lower risk now. Of
    lapsed ones, those who ordered again.
    """

    since: datetime
    before: int
    new: int
    recovered: int
    lapsed: int
    same_model: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the change as a JSON object."""
        return {**asdict(self), "since": self.since.isoformat()}


def change_since(
    swept: Sweep, earlier: pd.DataFrame, *, as_of: datetime, model_version: str
) -> Change | None:
    """Compare a sweep with the scores of an earlier one.

    `earlier`: the earlier sweep's rows of the lake's ``scores``.
    """
    if earlier.empty:
        return None
    is_listed = earlier["tier"].isin(swept.cohort_tiers)
    if "list_rank" in earlier and earlier["list_rank"].notna().any():
        is_listed = earlier["list_rank"].notna()
    listed, present = set(earlier.loc[is_listed, "customer_id"]), set(swept.cohort["customer_id"])
    gone = listed - present
    active = swept.scores[swept.scores["customer_id"].isin(gone)]
    recovered = len(active)
    if not swept.cohort_tiers:  # others may have taken their places
        before = earlier.set_index("customer_id")["churn_probability"]
        lower = active["churn_probability"] < active["customer_id"].map(before)
        recovered = int(lower.sum())
    return Change(
        since=as_of,
        before=len(listed),
        new=len(present - listed),
        recovered=recovered,
        lapsed=0 if LAPSED in swept.cohort_tiers else len(gone) - len(active),
        same_model=model_version == swept.model_version,
    )
