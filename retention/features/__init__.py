"""Point-in-time customer features as Ibis expressions.

Events at or after the cutoff are never used.
"""

from retention.features.build import build, expression
from retention.features.catalogue import FEATURES, GROUPS, NAMES, Feature

__all__ = ["FEATURES", "GROUPS", "NAMES", "Feature", "build", "expression"]
