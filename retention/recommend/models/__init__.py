"""Provide recommendation models by name.

All implement `base.Model`.
"""

from retention.recommend.models.base import Collaborative, Model
from retention.recommend.models.ease import MAX_DEFAULT_ROWS, Ease
from retention.recommend.models.matrix_factorisation import Als, Bpr, LogisticMf
from retention.recommend.models.neighbours import (
    Content,
    ItemCosine,
    ItemKnn,
    ItemTfidf,
    Social,
    UserBm25,
    UserCosine,
    UserKnn,
)
from retention.recommend.models.neural import MultDae, SasRec
from retention.recommend.models.popularity import Popular, SegmentPopular, Trending
from retention.recommend.models.repeat import Repeat

_CLASSES: tuple[type[Model], ...] = (
    *(UserCosine, UserKnn, UserBm25, ItemCosine, ItemTfidf, ItemKnn),
    *(Als, Bpr, LogisticMf, Ease),
    *(Repeat, Popular, SegmentPopular, Trending),
    *(Content, Social, MultDae, SasRec),
)
MODELS = {model.name: model for model in _CLASSES}
DEEP = (MultDae.name, SasRec.name)  # trained with torch (extra `deep`); never the default


def default_model(customers: int, items: int) -> Collaborative:
    """Choose the default model by shop size.

    EASE if its matrix can be inverted in seconds, else ALS.
    """
    return Ease() if min(customers, items) <= MAX_DEFAULT_ROWS else Als()
