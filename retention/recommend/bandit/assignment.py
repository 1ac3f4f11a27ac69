"""What each customer of a campaign gets: arm by arm as decided, lists by the blend that was drawn."""

import secrets
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from retention.progress import Progress, silent
from retention.recommend.bandit import thompson
from retention.recommend.bandit.decisions import decisions, judge, posterior_of, require
from retention.recommend.reasons import Item
from retention.recommend.serving import ActiveRecommender
from retention.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from retention.lake import Lake


class Choosing:
    """Decides an audience once, then makes its lists. ``posterior``: of the bandit; None as long as it does not act."""

    def __init__(
        self, policy: "thompson.OfferPolicy", posterior: thompson.Posterior | None = None
    ) -> None:
        self.policy, self.posterior = policy, posterior
        self._blend: dict[str, str] = {}

    def decide(self, customers: "pd.DataFrame") -> "pd.DataFrame":
        """As `thompson.decided`, drawn anew each time; the chances are kept, so that nothing need be drawn the same again."""
        made = thompson.decided(customers, self.policy, self.posterior, secrets.randbits(32))
        self._blend = dict(zip(made["customer_id"], made["blend"], strict=True))
        return made

    def lists(
        self,
        desk: ActiveRecommender,
        lake: "Lake",
        customer_ids: Sequence[str],
        *,
        k: int,
        as_of: datetime,
        progress: Progress = silent,
    ) -> dict[str, list[Item]]:
        """Each customer's items by their blend."""
        own = self.policy.recommend.policy
        blends = {who: self._blend.get(who, own) for who in customer_ids}
        return blended(desk, lake, blends, k=k, as_of=as_of, progress=progress)


def blended(
    desk: ActiveRecommender,
    lake: "Lake",
    blends: Mapping[str, str],
    *,
    k: int,
    as_of: datetime,
    progress: Progress = silent,
) -> dict[str, list[Item]]:
    """The items of each customer of ``blends`` (customer → blend), by that blend."""
    found: dict[str, list[Item]] = {}
    for blend in thompson.BLENDS:
        mine = [who for who, one in blends.items() if one == blend]
        if mine:
            found |= desk.lists(lake, mine, k=k, as_of=as_of, policy=blend, progress=progress)
    return found


def choosing(
    lake: "Lake",
    session: Session,
    settings: Settings,
    policy: "thompson.OfferPolicy",
    now: datetime,
    excluded: Collection[str],
) -> Choosing:
    """As the policy file says; with ``recommend.bandit`` by the bandit, if it may act.

    Parameters
    ----------
    lake, session, settings, policy
        Of the installation.
    now : datetime
        Of business time.
    excluded : collection of str
        Campaigns without a usable result, as for `decisions`.

    Raises
    ------
    BadInput, TooLittleData
        Where the bandit is switched on and is not surely better, or cannot be judged.
    """
    if not policy.recommend.bandit:
        return Choosing(policy)
    lines = decisions(lake, session, settings, now, excluded)
    require(judge(lines, policy))
    return Choosing(policy, posterior_of(lines, policy))
