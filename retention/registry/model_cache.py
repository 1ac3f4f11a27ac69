"""Artefacts as they were last read: a warm worker answers many people with one model, and need not read it each time."""

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from retention.db.tables import ModelVersion
from retention.registry.store import load, sealed
from retention.settings import Settings

if TYPE_CHECKING:
    from retention.churn import TrainedChurn
    from retention.recommend import TrainedRecommender

T = TypeVar("T")
MOST = 4  # models a process: the two in use, and those before them
_KEPT: OrderedDict[tuple[str, str, str], Any] = OrderedDict()
_LOCK = Lock()


def opened(settings: Settings, row: ModelVersion, read: Callable[[bytes], T]) -> T:
    """The model of a version; the one kept from the last time where its content has the same sha256.

    The row's seal is checked every time. Whoever gets a model must not change it.

    Raises
    ------
    BadInput
        See `load`.
    """
    key = row.kind, row.version, row.sha256
    with _LOCK:
        if key in _KEPT and sealed(settings, row):
            _KEPT.move_to_end(key)
            return _KEPT[key]
    made = read(load(settings, row))
    with _LOCK:
        _KEPT[key] = made
        while len(_KEPT) > MOST:
            _KEPT.popitem(last=False)
    return made


def churn_model(settings: Settings, row: ModelVersion) -> "TrainedChurn":
    """The churn model of a version."""
    from retention.churn import TrainedChurn

    return opened(
        settings, row, lambda content: TrainedChurn.from_bytes(content, version=row.version)
    )


def recommender(settings: Settings, row: ModelVersion) -> "TrainedRecommender":
    """The recommender of a version."""
    from retention.recommend import TrainedRecommender

    return opened(settings, row, TrainedRecommender.from_bytes)
