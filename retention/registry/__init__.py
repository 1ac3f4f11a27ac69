"""Registry of model versions.

It stores training data, metrics, artefacts and the version in use.
"""

from retention.registry.churn_definition import (
    ChurnDefinition,
    champion,
    change_definition,
    current_definition,
    definition_in_force,
    ensure_definition,
)
from retention.registry.store import check_usable, find, load, previous, promote, roll_back, save

__all__ = [
    "ChurnDefinition",
    "champion",
    "change_definition",
    "check_usable",
    "current_definition",
    "definition_in_force",
    "ensure_definition",
    "find",
    "load",
    "previous",
    "promote",
    "roll_back",
    "save",
]
