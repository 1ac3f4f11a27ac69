"""Assign lists and offers to a campaign's customers."""

import secrets
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from retention.db import Transaction
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

if TYPE_CHECKING:
    import pandas as pd

    from retention.lake import Lake


class ListAssigner:
    """Assign arms to an audience, then create its lists."""

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
        seed = secrets.randbits(32)
        assigned = thompson.assign_arms(customers, self.policy, self.posterior, seed)
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
        """Create each customer's list by the assigned blend."""
        default = self.policy.recommend.policy
        blends = {customer: self._blend.get(customer, default) for customer in customer_ids}
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
    """Create each customer's list by the given blend."""
    lists: dict[str, list[RecommendedItem]] = {}
    for blend in thompson.BLENDS:
        customers = [customer for customer, own in blends.items() if own == blend]
        if customers:
            lists |= recommender.lists(
                lake, customers, k=k, as_of=as_of, policy=blend, progress=progress
            )
    return lists


def create_assigner(
    lake: "Lake",
    session: Transaction,
    policy: "thompson.OfferPolicy",
    now: datetime,
    excluded: Collection[str],
) -> ListAssigner:
    """Create the assigner that the policy file asks for.

    With ``recommend.bandit`` the bandit assigns, if it may act.

    `excluded`: campaigns without a usable result, as for `logged_decisions`.
    """
    if not policy.recommend.bandit:
        return ListAssigner(policy)
    lines = logged_decisions(lake, session, now, excluded)
    require_improvement(evaluate_bandit(lines, policy))
    return ListAssigner(policy, fit_bandit(lines, policy))
