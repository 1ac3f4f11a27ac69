"""Open the recommender in use with shop rules and feedback."""

from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from retention import clock
from retention.feedback import of_items, refused
from retention.recommend.reranking import Terms
from retention.recommend.responses import verdict_events
from retention.recommend.serving import ActiveRecommender
from retention.registry import champion
from retention.registry.model_cache import recommender
from retention.risk.policy import Policy
from retention.settings import Settings

if TYPE_CHECKING:
    from retention.lake import Lake


def open_desk(
    lake: "Lake", session: Session, settings: Settings, policy: Policy
) -> ActiveRecommender:
    """Return a `Desk` with model, rules and feedback.

    Parameters
    ----------
    lake : Lake
    session : Session
    settings : Settings
    policy : Policy
    """
    row = champion(session, settings, "recommend")
    trained = recommender(settings, row) if row is not None else None
    said = of_items(session, settings, lake.identities.canonical_ids())
    heard = verdict_events(said, clock.now()) if said else None
    terms = Terms(policy.recommend, policy.offer.margin, refused(said), heard)
    return ActiveRecommender(trained, row, terms)
