"""Store a trained recommender in an npz file.

It holds plain arrays and a JSON header, and needs no pickle.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

import numpy as np

from retention.errors import BadInput
from retention.recommend.candidates import CandidateSources
from retention.recommend.cold_start import ColdStart
from retention.recommend.evaluation_context import BOTH, NEW, POLICIES
from retention.recommend.item_stats import ItemStats
from retention.recommend.models import MODELS
from retention.recommend.models.neighbours import UserKnn
from retention.recommend.ranking.ranker import Ranker
from retention.text import gettext

FORMAT = 6
MIXTURE, ALONE = "mixture", "alone"  # how lists are ranked without a ranker


@dataclass(frozen=True, slots=True)
class TrainedRecommender:
    """Hold item knowledge learned before a cutoff, and rankers.

    It holds no customer ids. Histories are read from the lake for each list.

    Parameters
    ----------
    sources : CandidateSources
        Item statistics, the collaborative model and the neighbours (None in shops too small to
        learn from).
    rankers : dict
        By policy, ``both`` and ``new``. Empty in small shops, where the mixture of
        `mixture_scores` ranks.
    cutoff, horizon_days, seed, min_buyers
        As trained.
    metrics : dict
        NDCG@10 and others in the last horizon before the cutoff, on customers not used for tuning,
        with baselines. Empty for a short history.
    rung : str
        Description of the method.
    cold : ColdStart or None
    event_weights : dict
        Learned weights of carts and views, see `event_weights.learn_weights`.
    alone : bool
        Whether a single model ranks, without mixture or ranker.
    """

    sources: CandidateSources
    rankers: dict[str, Ranker]
    cutoff: datetime
    horizon_days: int
    seed: int
    min_buyers: int
    metrics: dict[str, Any] = field(default_factory=dict)
    rung: str = ""
    cold: ColdStart | None = None
    event_weights: dict[str, float] = field(default_factory=dict)
    alone: bool = False

    @property
    def items(self) -> np.ndarray:
        """Sorted ids of the known items."""
        return self.sources.item_stats.items

    @property
    def estimator(self) -> str:
        """Name of the model for people."""
        model = self.sources.model
        if self.alone and model is not None:
            return model.name
        kind = self.kinds[BOTH]
        ranked = "" if kind in (MIXTURE, ALONE) else f", ranked ({kind})"
        return f"own+{model.name if model is not None else 'popular'}{ranked}"

    @property
    def kinds(self) -> dict[str, str]:
        """Kind of ranking by policy.

        A kind of ranker, ``mixture`` or ``alone``.
        """
        default = ALONE if self.alone else MIXTURE
        return {
            policy: self.rankers[policy].kind if policy in self.rankers else default
            for policy in POLICIES
        }

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameters for the registry."""
        return {
            **{f"ranker_{policy}": kind for policy, kind in self.kinds.items()},
            **{f"weight_{kind}": round(value, 4) for kind, value in self.event_weights.items()},
            "min_buyers": self.min_buyers,
            "items": len(self.items),
        }

    def ranker(self, policy: str) -> Ranker | None:
        """Return the ranker of a policy.

        None if the mixture ranks.
        """
        return self.rankers.get(NEW if policy == NEW else BOTH)

    @property
    def _distinct_rankers(self) -> dict[str, Ranker]:
        """Rankers to store.

        One if both policies share it.
        """
        is_shared = self.rankers.get(NEW) is self.rankers.get(BOTH)
        return {
            policy: ranker
            for policy, ranker in self.rankers.items()
            if policy == BOTH or not is_shared
        }

    def to_bytes(self) -> bytes:
        """Serialise the recommender."""
        sources = self.sources
        header = {
            "format": FORMAT,
            "model": sources.model.name if sources.model is not None else None,
            "alone": self.alone,
            "cutoff": self.cutoff.isoformat(),
            "horizon_days": self.horizon_days,
            "seed": self.seed,
            "min_buyers": self.min_buyers,
            "metrics": self.metrics,
            "rung": self.rung,
            "worth": self.event_weights,
        }
        groups: dict[str, Mapping[str, np.ndarray]] = {
            "shelf": sources.item_stats.arrays(),
            "model": sources.model.arrays() if sources.model is not None else {},
            "neighbours": sources.neighbours.arrays() if sources.neighbours is not None else {},
            **{
                f"ranker_{policy}": ranker.arrays()
                for policy, ranker in self._distinct_rankers.items()
            },
            "cold": self.cold.arrays() if self.cold is not None else {},
        }
        target = io.BytesIO()
        np.savez(
            target,
            header=np.array(json.dumps(header)),
            **{
                f"{group}.{name}": array
                for group, arrays in groups.items()
                for name, array in arrays.items()
            },  # type: ignore[arg-type]
        )
        return target.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Read a serialised recommender.

        Raises
        ------
        BadInput
            If it has another format.
        ValueError
            If an array needs unpickling.
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
            groups: dict[str, dict[str, np.ndarray]] = {}
            for name in file.files:
                group, _, name_in_group = name.partition(".")
                groups.setdefault(group, {})[name_in_group] = file[name]
        model = header["model"]
        return cls(
            sources=CandidateSources(
                ItemStats.restore(groups["shelf"]),
                MODELS[model].restore(groups["model"]) if model else None,
                UserKnn.restore(groups["neighbours"]) if "neighbours" in groups else None,
            ),
            rankers=_rankers(groups),
            cutoff=datetime.fromisoformat(header["cutoff"]),
            horizon_days=header["horizon_days"],
            seed=header["seed"],
            min_buyers=header["min_buyers"],
            metrics=header["metrics"],
            rung=header["rung"],
            event_weights=header["worth"],
            alone=header["alone"],
            cold=ColdStart.restore(groups["cold"]) if "cold" in groups else None,
        )


def _rankers(groups: Mapping[str, dict[str, np.ndarray]]) -> dict[str, Ranker]:
    """Return the stored rankers by policy."""
    stored = {
        policy: Ranker.restore(groups[f"ranker_{policy}"])
        for policy in POLICIES
        if f"ranker_{policy}" in groups
    }
    return {policy: stored.get(policy, stored[BOTH]) for policy in POLICIES} if stored else {}
