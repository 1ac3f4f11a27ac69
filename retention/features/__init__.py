"""Point-in-time customer features, written once as Ibis expressions; nothing at or after the cutoff is seen."""

from retention.features.build import build, expression
from retention.features.catalogue import FEATURES, GROUPS, NAMES, Feature

__all__ = ["FEATURES", "GROUPS", "NAMES", "Feature", "build", "expression"]
