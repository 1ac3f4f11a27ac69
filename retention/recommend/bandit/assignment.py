"""Assign lists and offers to a campaign's customers."""

import secrets
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from retention.progress import Progress, silent
from retention.recommend.bandit import thompson
from retention.recommend.bandit.decisions import (
    evaluate_bandit,
    fit_bandit,
    logged_decisions,
    require_improvement,
)
from retention.recommend.reasons import RecommendedItem
from retention.recommend.serving import ActiveRecommender
from retention.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from retention.lake import Lake


class ListAssigner:
    """Assign arms to an audience, then create its lists.

    Parameters
    ----------
    policy : OfferPolicy
    posterior : Posterior, optional
        Of the bandit; None while it does not act.
    """

    def __init__(
        self, policy: "thompson.OfferPolicy", posterior: thompson.Posterior | None = None
    ) -> None:
        self.policy, self.posterior = policy, posterior
        self._blend: dict[str, str] = {}

    def decide(self, customers: "pd.DataFrame") -> "pd.DataFrame":
        """Draw an arm per customer; see `thompson.assign_arms`.

        Every call draws anew. The probabilities are stored with the result, so draws need not
        repeat.
        """
        assigned = thompson.assign_arms(
            customers, self.policy, self.posterior, secrets.randbits(32)
        )
        self._blend = dict(zip(assigned["customer_id"], assigned["blend"], strict=True))
        return assigned

    def lists(
        self,
        recommender: ActiveRecommender,
        lake: "Lake",
        customer_ids: Sequence[str],
        *,
        k: int,
        as_of: datetime,
        progress: Progress = silent,
    ) -> dict[str, list[RecommendedItem]]:
        """Create each customer's list by the assigned blend.

        Parameters
        ----------
        recommender : ActiveRecommender
        lake : Lake
        customer_ids : sequence of str
        k : int
            Items per list.
        as_of : datetime
        progress : Progress

        Returns
        -------
        dict
            Customer id → items.
        """
        default = self.policy.recommend.policy
        blends = {
            customer_id: self._blend.get(customer_id, default) for customer_id in customer_ids
        }
        return lists_by_blend(recommender, lake, blends, k=k, as_of=as_of, progress=progress)


def lists_by_blend(
    recommender: ActiveRecommender,
    lake: "Lake",
    blends: Mapping[str, str],
    *,
    k: int,
    as_of: datetime,
    progress: Progress = silent,
) -> dict[str, list[RecommendedItem]]:
    """Create each customer's list by the given blend.

    Parameters
    ----------
    recommender : ActiveRecommender
    lake : Lake
    blends : mapping
        Customer id → blend.
    k : int
        Items per list.
    as_of : datetime
    progress : Progress

    Returns
    -------
    dict
        Customer id → items.
    """
    lists: dict[str, list[RecommendedItem]] = {}
    for blend in thompson.BLENDS:
        customer_ids = [
            customer_id for customer_id, customer_blend in blends.items() if customer_blend == blend
        ]
        if customer_ids:
            lists |= recommender.lists(
                lake, customer_ids, k=k, as_of=as_of, policy=blend, progress=progress
            )
    return lists


def create_assigner(
    lake: "Lake",
    session: Session,
    settings: Settings,
    policy: "thompson.OfferPolicy",
    now: datetime,
    excluded: Collection[str],
) -> ListAssigner:
    """Create the assigner that the policy file asks for.

    With ``recommend.bandit`` the bandit assigns, if it may act.

    Parameters
    ----------
    lake, session, settings, policy
    now : datetime
        Business time.
    excluded : collection of str
        Campaigns without a usable result, as for `logged_decisions`.

    Returns
    -------
    ListAssigner

    Raises
    ------
    BadInput, TooLittleData
        The bandit is switched on but not surely better, or cannot be evaluated.
    """
    if not policy.recommend.bandit:
        return ListAssigner(policy)
    lines = logged_decisions(lake, session, settings, now, excluded)
    require_improvement(evaluate_bandit(lines, policy))
    return ListAssigner(policy, fit_bandit(lines, policy))
