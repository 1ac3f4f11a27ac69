"""Collaborative models by name, one contract for all (`contract.Collaborative`)."""

from retention.recommend.models.als import Als
from retention.recommend.models.contract import Collaborative
from retention.recommend.models.ease import LARGEST, Ease
from retention.recommend.models.item_knn import ItemKnn

MODELS: dict[str, type[Collaborative]] = {model.name: model for model in (Ease, Als, ItemKnn)}


def fitting(customers: int, items: int) -> Collaborative:
    """The model for a shop of this size: EASE where its matrix can be inverted in seconds, else ALS."""
    return Ease() if min(customers, items) <= LARGEST else Als()


__all__ = ["MODELS", "Als", "Collaborative", "Ease", "ItemKnn", "fitting"]
