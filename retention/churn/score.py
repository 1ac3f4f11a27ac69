"""Score customers: risk, reasons, expected spend, next order."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from retention.churn.explaining.clauses import Evidence, EvidenceTable
from retention.churn.explaining.reasons import (
    CHUNK_ROWS,
    SEASON_GROUP,
    complete_reasons,
    group_weights,
    groups_of,
    reasons,
)
from retention.churn.lost_margin import list_columns
from retention.churn.model import TrainedChurn
from retention.churn.population import (
    PopulationParts,
    expected_spend,
    next_order,
    population,
    population_parts,
)
from retention.churn.snapshots import Snapshot
from retention.progress import Progress, part, silent
from retention.text import gettext
from retention.window import Window

if TYPE_CHECKING:
    from retention.lake import Lake

COLUMNS = (
    "customer_id",
    "churn_probability",
    "reasons",
    "expected_value",
    "next_order_at",
    "lost_spend",
    "return_value",
    "silence_ratio",
)


def score(
    trained: TrainedChurn, lake: "Lake", as_of: datetime, progress: Progress = silent
) -> tuple[pd.DataFrame, "ModelEvidence"]:
    """Score the active customers.

    Returns: one row per customer with `COLUMNS`. ``expected_value`` is the expected spend within
    one horizon if the customer stays: posterior purchase rate while alive (BG/NBD) × horizon ×
    expected spend per order day (Gamma-Gamma). Multiply it by the probability to get the spend at
    risk. ``next_order_at`` is the last order plus the usual gap. If that has passed, it is
    ``as_of`` plus the median wait of such customers while alive. The last three columns order lists
    (`retention.churn.lost_margin`). And the evidence.
    """
    scores, evidence = score_numbers(trained, lake, as_of, progress)
    known = evidence.reasons_of(list(scores.customer_id))
    scores = scores.assign(reasons=[known[customer] for customer in scores.customer_id])
    return scores[list(COLUMNS)], evidence


def score_numbers(
    trained: TrainedChurn, lake: "Lake", as_of: datetime, progress: Progress = silent
) -> tuple[pd.DataFrame, "ModelEvidence"]:
    """Score the active customers without reasons, which the evidence makes on demand."""
    progress(0, 10, gettext("Features as of {day:%d %b %Y}").format(day=lake.local(as_of)))
    people = population_parts(lake, as_of, trained.window)
    tables = [
        _numbers(trained, snapshot, expected_spend(snapshot, trained.horizon_days))
        for _, snapshot in people
    ]
    scores = pd.concat(tables, ignore_index=True)
    return scores, ModelEvidence(trained, people, scores, part(progress, 1, 3))


class ModelEvidence:
    """Weights of the feature groups of scored customers, and the evidence and reasons they give.

    Nothing is computed before it is asked for. Features are read one part at a time.
    """

    def __init__(
        self,
        trained: TrainedChurn,
        people: PopulationParts,
        scores: pd.DataFrame,
        progress: Progress = silent,
    ) -> None:
        self._trained, self._people, self._progress = trained, people, progress
        self._chance = scores.churn_probability.to_numpy()
        self._stake = self._chance * scores.expected_value.to_numpy()

    @cached_property
    def _weight(self) -> dict[str, np.ndarray]:
        """The group weights of all customers.

        If not all can be exact, those of the customers with most at stake are.
        """
        trained = self._trained
        by_stake = np.argsort(-self._stake, kind="stable")
        place = np.argsort(by_stake)  # of each customer by stake
        first = np.empty((min(len(place), CHUNK_ROWS), len(trained.columns)))
        weight = {group: np.empty(len(place)) for group in groups_of(trained.columns)}
        for rows, snapshot in self._people:
            X = snapshot.matrix(trained.columns)
            is_first = place[rows] < len(first)
            first[place[rows][is_first]] = X[is_first]
            others = np.flatnonzero(~is_first)
            told = partial(self._tell, rows.start)
            found = group_weights(trained, X[others], leaf_rows=0, progress=told)
            for group, values in found.by_group.items():
                weight[group][rows.start + others] = values
        found = group_weights(trained, first, progress=self._progress)
        for group, values in found.by_group.items():
            weight[group][by_stake[: len(first)]] = values
        return weight

    def _tell(self, before: int, done: int, total: int, what: str) -> None:
        self._progress(before + done, len(self._stake), what)

    def of(self, customer_ids: Sequence[str]) -> dict[str, Evidence]:
        """Return the evidence of some customers, by id."""
        evidence: dict[str, Evidence] = {}
        for snapshot, _, weight in self._parts_of(customer_ids):
            table = evidence_table(self._trained, snapshot, weight)
            evidence |= table.of(list(snapshot.frame.customer_id))
        return evidence

    def reasons_of(self, customer_ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """Return the reasons of some customers, by id; unknown ids are left out."""
        known: dict[str, list[dict[str, Any]]] = {}
        for snapshot, chance, weight in self._parts_of(customer_ids):
            listed = _reasons(self._trained, snapshot, weight, chance)
            known |= zip(snapshot.frame.customer_id, listed, strict=True)
        return known

    def _parts_of(
        self, customer_ids: Sequence[str]
    ) -> Iterator[tuple[Snapshot, np.ndarray, dict[str, np.ndarray]]]:
        """Yield some customers' snapshots, probabilities and weights, a part at a time."""
        ids, starts = self._people.whole.frame.customer_id, self._people.starts
        places = np.flatnonzero(ids.isin(list(customer_ids)).to_numpy())
        numbers = np.searchsorted(starts, places, side="right") - 1
        for number in np.unique(numbers):
            own = places[numbers == number]
            keep = np.zeros(starts[number + 1] - starts[number], dtype=bool)
            keep[own - starts[number]] = True
            weight = {group: values[own] for group, values in self._weight.items()}
            yield self._people.part(number).rows(keep), self._chance[own], weight


def probabilities(trained: TrainedChurn, lake: "Lake", as_of: datetime) -> dict[str, float]:
    """Return the churn probability of every customer who ever ordered, by id."""
    everyone = population(lake, as_of, Window(trained.horizon_days, None))
    chance = trained.predict(everyone)
    return dict(zip(everyone.frame.customer_id, map(float, chance), strict=True))


def evidence_table(
    trained: TrainedChurn, snapshot: Snapshot, weight: Mapping[str, np.ndarray]
) -> EvidenceTable:
    """Return the evidence of scored customers, from the same weights as their reasons."""
    typical = dict(zip(trained.columns, trained.reference, strict=True))
    return EvidenceTable(
        snapshot.frame, _explained(snapshot, weight), typical, trained.horizon_days
    )


def _explained(snapshot: Snapshot, weight: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the weights that may be a reason.

    Before 13 months the season is none: the model cannot tell it from a trend.
    """
    has_season = snapshot.season is not None
    return {group: w for group, w in weight.items() if has_season or group != SEASON_GROUP}


def score_table(
    trained: TrainedChurn, snapshot: Snapshot, value: np.ndarray, weight: dict[str, np.ndarray]
) -> pd.DataFrame:
    """Build the table of scores with reasons in words.

    Before 13 months the season is no reason: the model cannot tell it from a trend. Every customer
    has a reason in each direction; `retention.risk.reasons.reasons_for_tier` selects those of a
    tier.
    """
    scores = _numbers(trained, snapshot, value)
    chance = scores.churn_probability.to_numpy()
    listed = _reasons(trained, snapshot, weight, chance)
    return scores.assign(reasons=listed)[list(COLUMNS)]


def _numbers(trained: TrainedChurn, snapshot: Snapshot, value: np.ndarray) -> pd.DataFrame:
    """Return `COLUMNS` without the reasons."""
    chance = trained.predict(snapshot)
    columns = {
        "customer_id": snapshot.frame.customer_id,
        "churn_probability": chance,
        "expected_value": value,
        "next_order_at": next_order(snapshot),
        **list_columns(snapshot, 1 - chance, trained.horizon_days),
    }
    return pd.DataFrame(columns)


def _reasons(
    trained: TrainedChurn, snapshot: Snapshot, weight: Mapping[str, np.ndarray], chance: np.ndarray
) -> list[list[dict[str, Any]]]:
    """Return each customer's reasons in words, at least one in each direction."""
    typical = dict(zip(trained.columns, trained.reference, strict=True))
    weight = _explained(snapshot, weight)
    horizon, churn_rate = trained.horizon_days, trained.parameters.get("train_churn_rate")
    return [
        complete_reasons(
            reasons_of_one,
            probability=float(probability),
            churn_rate=churn_rate,
            horizon_days=horizon,
        )
        for reasons_of_one, probability in zip(
            reasons(snapshot.frame, weight, typical=typical, horizon_days=horizon),
            chance,
            strict=True,
        )
    ]
