"""The recommender in use, under the shop's policy: what every task that shows recommendations asks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session

from retention import clock
from retention.db.tables import ModelVersion
from retention.feedback import of_items, refused
from retention.progress import Progress, silent
from retention.recommend.artefact import TrainedRecommender
from retention.recommend.catalogue import catalogue
from retention.recommend.explaining import Item
from retention.recommend.feedback.heard import words
from retention.recommend.fit import Terms, assortment, together
from retention.recommend.serving import recommend
from retention.registry import champion
from retention.registry.opened import recommender
from retention.risk.policy import Policy
from retention.risk.recommending import ListPolicy
from retention.settings import Settings

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
        return recommend(self.trained, lake, customer_ids, k=k, as_of=as_of, terms=terms, progress=progress)

    def together(self, lake: "Lake") -> Callable[[str, Sequence[Any], Sequence[Any], int], list[Any]]:
        """Customer, items of an offer's own kind, their list, its length → what of both may be offered to them."""
        range_ = assortment(catalogue(lake), self.terms.rules, self.terms.margin)
        refused = self.terms.refused
        return lambda who, first, rest, k: together(range_, first, rest, k, refused.get(who, ()))


def open_desk(lake: "Lake", session: Session, settings: Settings, policy: Policy) -> Desk:
    """The model in use, the shop's rules, and what people said is not for whom."""
    row = champion(session, settings, "recommend")
    trained = recommender(settings, row) if row is not None else None
    said = of_items(session, settings, lake.identities.people())
    heard = words(said, clock.now()) if said else None
    terms = Terms(policy.recommend, policy.offer.margin, refused(said), heard)
    return Desk(trained, row, terms)
