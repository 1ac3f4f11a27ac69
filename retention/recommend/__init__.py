"""Recommend items to customers.

``train`` learns before a cutoff. ``evaluate`` compares with later purchases. ``recommend`` makes
the lists.
"""

from retention.recommend.artefact import TrainedRecommender
from retention.recommend.evaluation.evaluate import evaluate
from retention.recommend.reasons import RecommendedItem
from retention.recommend.reranking import Terms
from retention.recommend.serving import recommend
from retention.recommend.training import train

__all__ = ["RecommendedItem", "Terms", "TrainedRecommender", "evaluate", "recommend", "train"]
