"""Open models, from a cache in worker processes."""

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from retention import clock
from retention.db import Transaction
from retention.db.tables import ModelVersion
from retention.feedback import item_feedback, refused_items
from retention.registry.store import champion, has_valid_seal, load
from retention.settings import Settings

if TYPE_CHECKING:
    from retention.churn.model import TrainedChurn
    from retention.lake import Lake
    from retention.recommend import TrainedRecommender
    from retention.recommend.serving import ActiveRecommender
    from retention.risk.policy import Policy

T = TypeVar("T")
MAX_MODELS = 4  # per process: both models in use and their predecessors
_CACHE: OrderedDict[tuple[str, str, str], Any] = OrderedDict()
_LOCK = Lock()


def load_cached(settings: Settings, row: ModelVersion, read: Callable[[bytes], T]) -> T:
    """Return a model from the cache, or load it.

    The cache key contains the sha256, and the row's seal is verified every time. Callers must not
    change the model.
    """
    key = row.kind, row.version, row.sha256
    with _LOCK:
        if key in _CACHE and has_valid_seal(settings, row):
            _CACHE.move_to_end(key)
            return _CACHE[key]
    model = read(load(settings, row))
    with _LOCK:
        _CACHE[key] = model
        while len(_CACHE) > MAX_MODELS:
            _CACHE.popitem(last=False)
    return model


def churn_model(settings: Settings, row: ModelVersion) -> "TrainedChurn":
    from retention.churn.model import TrainedChurn

    return load_cached(
        settings, row, lambda content: TrainedChurn.from_bytes(content, version=row.version)
    )


def recommender(settings: Settings, row: ModelVersion) -> "TrainedRecommender":
    from retention.recommend import TrainedRecommender

    return load_cached(settings, row, TrainedRecommender.from_bytes)


def open_recommender(lake: "Lake", session: Transaction, policy: "Policy") -> "ActiveRecommender":
    """Open the recommender in use, with shop rules and feedback."""
    from retention.recommend.reranking import Terms
    from retention.recommend.responses import verdict_events
    from retention.recommend.serving import ActiveRecommender

    row = champion(session, "recommend")
    trained = recommender(session.settings, row) if row is not None else None
    feedback = item_feedback(session, lake.identities.canonical_ids())
    events = verdict_events(feedback, clock.now()) if feedback else None
    terms = Terms(policy.recommend, policy.offer.margin, refused_items(feedback), events)
    return ActiveRecommender(trained, row, terms)
