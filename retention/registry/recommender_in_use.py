"""Open the recommender in use together with the shop's rules and people's feedback."""

from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from retention import clock
from retention.feedback import of_items, refused
from retention.recommend.reranking import Terms
from retention.recommend.responses import verdict_events
from retention.recommend.service import Desk
from retention.registry import champion
from retention.registry.model_cache import recommender
from retention.risk.policy import Policy
from retention.settings import Settings

if TYPE_CHECKING:
    from retention.lake import Lake


def open_desk(lake: "Lake", session: Session, settings: Settings, policy: Policy) -> Desk:
    """The model in use, the shop's rules, and what people said is not for whom."""
    row = champion(session, settings, "recommend")
    trained = recommender(settings, row) if row is not None else None
    said = of_items(session, settings, lake.identities.people())
    heard = verdict_events(said, clock.now()) if said else None
    terms = Terms(policy.recommend, policy.offer.margin, refused(said), heard)
    return Desk(trained, row, terms)
