"""Models by name, one contract for all (`contract.Model`)."""

from retention.recommend.models.als import Als
from retention.recommend.models.bpr import Bpr
from retention.recommend.models.content import Content
from retention.recommend.models.contract import NOTHING, Collaborative, Days, Model, Segments, Side
from retention.recommend.models.ease import LARGEST, Ease
from retention.recommend.models.item_knn import ItemCosine, ItemKnn, ItemTfidf
from retention.recommend.models.logistic_mf import LogisticMf
from retention.recommend.models.mult_dae import MultDae
from retention.recommend.models.popularity import Popular, SegmentPopular, Trending
from retention.recommend.models.repeat import Repeat
from retention.recommend.models.sasrec import SasRec
from retention.recommend.models.social import Social
from retention.recommend.models.user_knn import UserBm25, UserCosine, UserKnn

MODELS: dict[str, type[Model]] = {
    model.name: model
    for model in (
        UserCosine,
        UserKnn,
        UserBm25,
        ItemCosine,
        ItemTfidf,
        ItemKnn,
        Als,
        Bpr,
        LogisticMf,
        Ease,
        Repeat,
        Popular,
        SegmentPopular,
        Trending,
        Content,
        Social,
        MultDae,
        SasRec,
    )
}

DEEP = (MultDae.name, SasRec.name)  # learned with torch, the extra `deep`; never part of the blend


def fitting(customers: int, items: int) -> Collaborative:
    """The model for a shop of this size: EASE where its matrix can be inverted in seconds, else ALS."""
    return Ease() if min(customers, items) <= LARGEST else Als()


__all__ = [
    "DEEP",
    "MODELS",
    "NOTHING",
    "Als",
    "Collaborative",
    "Days",
    "Ease",
    "Model",
    "Segments",
    "Side",
    "UserKnn",
    "fitting",
]
