"""What would this customer like next?

``train`` learns before a cutoff, ``evaluate`` compares with what was bought after it, ``recommend`` makes the lists.
"""

from retention.recommend.artefact import TrainedRecommender
from retention.recommend.evaluation import evaluate
from retention.recommend.serving import Item, recommend
from retention.recommend.training import train

__all__ = ["Item", "TrainedRecommender", "evaluate", "recommend", "train"]
