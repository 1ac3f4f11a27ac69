"""The recommender in use, under the shop's policy: what every task that shows recommendations asks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from retention.db.tables import ModelVersion
from retention.list_rules import ListPolicy
from retention.progress import Progress, silent
from retention.recommend.artefact import TrainedRecommender
from retention.recommend.catalogue import catalogue
from retention.recommend.explaining import Item
from retention.recommend.reranking import Terms, assortment, together
from retention.recommend.serving import recommend

if TYPE_CHECKING:
    from retention.lake import Lake

UNTRAINED = "none"  # the version of lists that no model made


@dataclass(frozen=True, slots=True)
class Desk:
    """A model (None: own purchases and popularity), its row, and what may be on a list."""

    trained: TrainedRecommender | None
    row: ModelVersion | None
    terms: Terms

    @property
    def version(self) -> str:
        """Of the model, for whoever keeps or shows the lists."""
        return self.row.version if self.row is not None else UNTRAINED

    def lists(
        self,
        lake: "Lake",
        customer_ids: Sequence[str],
        *,
        k: int,
        as_of: datetime,
        policy: ListPolicy | None = None,
        progress: Progress = silent,
    ) -> dict[str, list[Item]]:
        """As `recommend`; ``policy`` goes before the shop's own."""
        terms = self.terms
        if policy is not None:
            terms = replace(terms, rules=terms.rules.model_copy(update={"policy": policy}))
        return recommend(
            self.trained, lake, customer_ids, k=k, as_of=as_of, terms=terms, progress=progress
        )

    def together(
        self, lake: "Lake"
    ) -> Callable[[str, Sequence[Any], Sequence[Any], int], list[Any]]:
        """Customer, items of an offer's own kind, their list, its length → what of both may be offered to them."""
        range_ = assortment(catalogue(lake), self.terms.rules, self.terms.margin)
        refused = self.terms.refused
        return lambda who, first, rest, k: together(range_, first, rest, k, refused.get(who, ()))
