"""The trained recommender, and its artefact: plain arrays and a JSON header in one npz, never a pickle."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

import numpy as np

from retention.errors import BadInput
from retention.recommend.cold_start import Cold
from retention.recommend.evaluation_context import BOTH, NEW, POLICIES
from retention.recommend.item_stats import Shelf
from retention.recommend.models import MODELS
from retention.recommend.models.neighbours import UserKnn
from retention.recommend.ranking.ranker import Ranker
from retention.recommend.sources import Learned
from retention.text import gettext

FORMAT = 6
MIXTURE, ALONE = "mixture", "alone"  # how lists are ranked without a ranker


@dataclass(frozen=True, slots=True)
class TrainedRecommender:
    """What was learned of items before ``cutoff``, and how to put candidates in order.

    It holds no customer under an id: histories are read from the lake when a list is asked for.

    Parameters
    ----------
    learned : Learned
        The shelf, the collaborative model and the neighbours (None where there is too little to learn from).
    rankers : dict
        For the policies ``both`` and ``new``; empty where there was too little to learn from: then the mixture ranks, as `mixture_scores`.
    cutoff, horizon_days, seed, min_buyers
        As trained.
    metrics : dict
        NDCG@10 and others in the last horizon before the cutoff, on customers not used for the tuning, beside the
        baselines; empty where the history is too short.
    rung : str
        What was used and why, in a sentence.
    cold : Cold or None
        What newcomers among customers and items are helped by.
    worth : dict
        What a cart and a view are worth beside a purchase, where that could be measured; see `worth.learn_worth`.
    alone : bool
        Whether the model ranks by itself, neither mixed nor ranked again.
    """

    learned: Learned
    rankers: dict[str, Ranker]
    cutoff: datetime
    horizon_days: int
    seed: int
    min_buyers: int
    metrics: dict[str, Any] = field(default_factory=dict)
    rung: str = ""
    cold: Cold | None = None
    worth: dict[str, float] = field(default_factory=dict)
    alone: bool = False

    @property
    def items(self) -> np.ndarray:
        """The items it has learned of, sorted."""
        return self.learned.shelf.items

    @property
    def estimator(self) -> str:
        """Name of the model, as people see it."""
        model = self.learned.model
        if self.alone and model is not None:
            return model.name
        how = self.kinds[BOTH]
        ranked = "" if how in (MIXTURE, ALONE) else f", ranked ({how})"
        return f"own+{model.name if model is not None else 'popular'}{ranked}"

    @property
    def kinds(self) -> dict[str, str]:
        """How each policy's lists are ranked: by which kind of ranker, by the mixture, or by the model alone."""
        without = ALONE if self.alone else MIXTURE
        return {
            policy: self.rankers[policy].kind if policy in self.rankers else without
            for policy in POLICIES
        }

    @property
    def parameters(self) -> dict[str, Any]:
        """For the registry."""
        return {
            **{f"ranker_{policy}": kind for policy, kind in self.kinds.items()},
            **{f"weight_{kind}": round(value, 4) for kind, value in self.worth.items()},
            "min_buyers": self.min_buyers,
            "items": len(self.items),
        }

    def ranking(self, policy: str) -> Ranker | None:
        """The ranker for a policy; None where the mixture ranks."""
        return self.rankers.get(NEW if policy == NEW else BOTH)

    @property
    def _different(self) -> dict[str, Ranker]:
        """Those to keep: where one ranks for both, once."""
        one = self.rankers.get(NEW) is self.rankers.get(BOTH)
        return {
            policy: ranker for policy, ranker in self.rankers.items() if policy == BOTH or not one
        }

    def to_bytes(self) -> bytes:
        """The artefact."""
        learned = self.learned
        header = {
            "format": FORMAT,
            "model": learned.model.name if learned.model is not None else None,
            "alone": self.alone,
            "cutoff": self.cutoff.isoformat(),
            "horizon_days": self.horizon_days,
            "seed": self.seed,
            "min_buyers": self.min_buyers,
            "metrics": self.metrics,
            "rung": self.rung,
            "worth": self.worth,
        }
        rooms: dict[str, Mapping[str, np.ndarray]] = {
            "shelf": learned.shelf.arrays(),
            "model": learned.model.arrays() if learned.model is not None else {},
            "neighbours": learned.neighbours.arrays() if learned.neighbours is not None else {},
            **{f"ranker_{policy}": ranker.arrays() for policy, ranker in self._different.items()},
            "cold": self.cold.arrays() if self.cold is not None else {},
        }
        target = io.BytesIO()
        np.savez(
            target,
            header=np.array(json.dumps(header)),
            **{
                f"{room}.{name}": array
                for room, arrays in rooms.items()
                for name, array in arrays.items()
            },  # type: ignore[arg-type]
        )
        return target.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Read an artefact back.

        Raises
        ------
        BadInput
            For another format.
        ValueError
            For arrays that would need unpickling.
        """
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            header = json.loads(str(file["header"]))
            if header["format"] != FORMAT:
                raise BadInput(
                    gettext(
                        "The recommender was saved in format {format}, and this version reads "
                        "{readable}; run `/retention retrain recommend`."
                    ).format(format=header["format"], readable=FORMAT)
                )
            rooms: dict[str, dict[str, np.ndarray]] = {}
            for name in file.files:
                room, _, rest = name.partition(".")
                rooms.setdefault(room, {})[rest] = file[name]
        kind = header["model"]
        return cls(
            learned=Learned(
                Shelf.restore(rooms["shelf"]),
                MODELS[kind].restore(rooms["model"]) if kind else None,
                UserKnn.restore(rooms["neighbours"]) if "neighbours" in rooms else None,
            ),
            rankers=_rankers(rooms),
            cutoff=datetime.fromisoformat(header["cutoff"]),
            horizon_days=header["horizon_days"],
            seed=header["seed"],
            min_buyers=header["min_buyers"],
            metrics=header["metrics"],
            rung=header["rung"],
            worth=header["worth"],
            alone=header["alone"],
            cold=Cold.restore(rooms["cold"]) if "cold" in rooms else None,
        )


def _rankers(rooms: Mapping[str, dict[str, np.ndarray]]) -> dict[str, Ranker]:
    """As `TrainedRecommender.rankers`."""
    found = {
        policy: Ranker.restore(rooms[f"ranker_{policy}"])
        for policy in POLICIES
        if f"ranker_{policy}" in rooms
    }
    return {policy: found.get(policy, found[BOTH]) for policy in POLICIES} if found else {}
